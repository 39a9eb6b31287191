"Trained and saved on one backend: the same density, the same optimizer and the same next steps on the others."

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from books import QUIET, ROOT
from run_checks import JAX

X = (np.random.default_rng(0).normal(size=(200, 2)) * [1.0, 0.5]).astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(200, 1)).astype("float32")
BACKENDS = ("tensorflow", "jax", "torch")


def pair(first, second):
    "Two backends, skipped where one is not installed."
    absent = [b for b in (first, second) if importlib.util.find_spec(b) is None]
    reason = f"{' and '.join(absent)} not installed (PyTorch: make torch)"
    return pytest.param(first, second, marks=pytest.mark.skipif(absent, reason=reason))


PAIRS = [pair(a, b) for a in BACKENDS for b in BACKENDS if a != b]


def makers():
    "Flows of every kind of part, small, and the data of each."
    import keras

    import gaussflow as gf

    first, heavy = [True, False], {"base": gf.StudentT(6.0)}
    layers = lambda: [
        gf.Standardize(),
        gf.Householder(),
        gf.AffineCoupling(first, gf.MLPConditioner(2, (8,))),
        gf.LinearLU(),
        gf.ActNorm(),
    ]
    given = {"x": X, "context": CONTEXT}
    spline = gf.RationalQuadraticSpline(4)
    return {
        "affine": (lambda: gf.NormalizingFlow(layers(), 2, **heavy), X, "adam"),
        "context": (
            lambda: gf.make_coupling_flow(2, 1, num_components=3, hidden=(8,)),
            given,
            keras.optimizers.SGD(0.01, momentum=0.9),
        ),
        "spline": (
            lambda: gf.make_maf(2, 1, scalar=spline, hidden=(8,)),
            X,
            keras.optimizers.AdamW(0.01),
        ),
    }


def facts(flow, x):
    "The density and the optimizer's state."
    from keras import ops

    state = {v.path: ops.convert_to_numpy(v) for v in flow.optimizer.variables}
    return {"log_prob": ops.convert_to_numpy(flow.log_prob(x)), **state}


def go_on(flow, x):
    "Losses of one more epoch."
    options = {"batch_size": 50, "shuffle": False, "verbose": 0}
    return flow.fit(x, epochs=2, **options).history["loss"]


def train(folder: Path) -> None:
    "Train and save every flow, with what it says before and after two more epochs."
    import keras

    for name, (make, x, optimizer) in makers().items():
        keras.utils.set_random_seed(0)
        flow = make()
        flow.compile(optimizer, jit_compile=False)
        go_on(flow, x)
        flow.save(folder / f"{name}.keras")
        found = facts(flow, x)
        np.savez(folder / f"{name}.npz", losses=go_on(flow, x), **found)


def compare(folder: Path) -> None:
    "Load every flow and compare. **Raises** `AssertionError` where something differs."
    import keras

    for name, (_, x, _) in makers().items():
        flow = keras.saving.load_model(folder / f"{name}.keras")
        expected = dict(np.load(folder / f"{name}.npz"))
        losses, found = expected.pop("losses"), facts(flow, x)
        assert len(found) == len(expected)
        # Names of an optimizer's variables are the backend's; their order is Keras's.
        for (key, ours), theirs in zip(found.items(), expected.values()):
            tolerance = {"rtol": 1e-5, "atol": 1e-5} if key == "log_prob" else {}
            np.testing.assert_allclose(ours, theirs, **tolerance, err_msg=name + key)
        np.testing.assert_allclose(go_on(flow, x), losses, rtol=1e-4, err_msg=name)


def on_backend(backend: str, task: str, folder: Path) -> None:
    places = [str(ROOT), str(ROOT / "tools")]
    # JAX's second process finds what its first one compiled.
    extra = JAX if backend == "jax" else {"KERAS_BACKEND": backend}
    env = os.environ | QUIET | extra | {"OMP_NUM_THREADS": "2"}
    env["PYTHONPATH"] = os.pathsep.join(places)
    done = subprocess.run(
        [sys.executable, __file__, task, str(folder)],
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    "A folder for each backend, made when first asked for."
    folders = {}

    def on(backend):
        if backend not in folders:
            folders[backend] = tmp_path_factory.mktemp(backend)
            on_backend(backend, "train", folders[backend])
        return folders[backend]

    return on


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_trained_on_one_and_asked_on_another(saved, first, second):
    on_backend(second, "compare", saved(first))


if __name__ == "__main__":
    {"train": train, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
