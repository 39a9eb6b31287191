"A `.keras` file written in one process is the same flow in another; a file that is not as it should be is refused by name."

import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from books import QUIET, ROOT
from keras import ops
from user_layers import Fourier, Plain, functional, scatter

import gaussflow as gf

X = np.random.default_rng(0).normal(size=(300, 2)).astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(300, 1)).astype("float32")
FIRST, SECOND = [True, False], [False, True]
LOAD = """
import sys
from pathlib import Path
import keras, numpy as np
import gaussflow, user_layers, test_save_load
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    test_save_load.answers(keras.saving.load_model(path), path.stem, path.with_suffix(".npz"))
"""


def answers(flow, name, path):
    "Write the weights, what `flow` says about fixed questions, its optimizer's state, and the losses of two more epochs."
    context = CONTEXT if "context" in name else None
    x = X if context is None else {"x": X, "context": context}
    found = {
        f"weight_{i}": ops.convert_to_numpy(w) for i, w in enumerate(flow.weights)
    } | {"log_prob": flow.log_prob(x)}
    if name != "default":  # compiled by XLA, which takes long over a loop
        found["sample"] = flow.sample(
            9, seed=1, context=None if context is None else context[:1]
        )
    if getattr(flow, "optimizer", None):
        found |= {
            f"optimizer_{i}": ops.convert_to_numpy(v)
            for i, v in enumerate(flow.optimizer.variables)
        }
        if flow.optimizer.name == "adam":
            found["losses"] = flow.fit(
                x, epochs=2, batch_size=100, shuffle=False, verbose=0
            ).history["loss"]
    np.savez(path, **found)


def flow_of(*bijectors, **kwargs):
    "A flow on the plane whose weights are away from the start."
    flow = gf.NormalizingFlow(
        [gf.Householder(2, seed=0), *bijectors], event_shape=2, **kwargs
    )
    flow.ensure_built(kwargs.get("context"))
    return scatter(flow)


def compiled(flow):
    flow.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    return flow


def trained(flow, x=X, jit_compile=False):
    "The flow after a few steps of Adam, so that its optimizer has a state."
    flow.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    flow.fit(x, epochs=2, batch_size=100, verbose=0)
    return flow


def with_context():
    flow = gf.NormalizingFlow(
        [
            gf.AffineCoupling(FIRST, Plain(2)),
            gf.AffineCoupling(SECOND, gf.MLPConditioner(2, (8,))),
        ],
        2,
    )
    return trained(flow, {"x": X, "context": CONTEXT})


def conditional_marginal():
    flow = gf.make_gaussianization_flow(
        2,
        1,
        num_components=3,
        context_hidden=(4,),
        base=gf.DiagonalNormal(gf.MLPConditioner(4, (4,))),
    )
    return trained(flow, {"x": X, "context": CONTEXT})


FLOWS = {
    "default": lambda: trained(
        gf.make_coupling_flow(2, num_blocks=1, num_components=3, hidden=(8,)),
        jit_compile="auto",
    ),
    "marginal": lambda: compiled(
        gf.make_gaussianization_flow(
            2, num_blocks=1, pca_init_data=X, mixture_init_data=X
        )
    ),
    "own": lambda: trained(
        flow_of(gf.MixtureCDFCoupling(FIRST, Fourier(9), 3, background=1e-3))
    ),
    "own without build": lambda: trained(
        flow_of(gf.AffineCoupling(SECOND, Plain(2), gf.sigmoid_log_scale_clamp(-1, 2)))
    ),
    "functional": lambda: compiled(
        flow_of(gf.MixtureCDFCoupling(FIRST, functional(1, 6), 2, identity="equal"))
    ),
    "context": with_context,
    "context, marginal": conditional_marginal,
    "others": lambda: compiled(
        flow_of(
            gf.Chain([gf.LinearLU(seed=1), gf.Permute([1, 0])]),
            gf.Inverse(gf.Marginal(gf.Affine())),
            gf.FixedOrtho.random_haar(2, seed=2),
            gf.Coupling(
                FIRST, gf.make_shared_mlp_conditioner(1, 2, (4,)), gf.MixtureCDF(2)
            ),
            gf.MixtureCDFCoupling(SECOND, gf.make_residual_conditioner(1, 2, 4), 2),
            base=gf.DiagonalNormal(),
        )
    ),
    "heavy": lambda: flow_of(
        gf.AdditiveCoupling(FIRST, gf.MLPConditioner(1, ())), base=gf.StudentT(4.0)
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "All flows saved here, and what they give; then loaded, asked and trained on in one new process."
    path = tmp_path_factory.mktemp("flows")
    for name, make in FLOWS.items():
        flow = make()
        flow.save(path / f"{name}.keras")
        answers(flow, name, path / f"{name}.expected.npz")
    environment = (
        os.environ
        | QUIET
        | {
            "PYTHONPATH": os.pathsep.join(
                map(str, (ROOT, ROOT / "tests", ROOT / "tools"))
            )
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return path


@pytest.mark.parametrize("name", FLOWS)
def test_a_new_process_has_the_same_bits_and_gives_the_same_answers(folder, name):
    "Weights and optimizer to the bit; answers up to rounding, since where in memory an array begins decides how its ends are summed."
    expected, found = (
        np.load(folder / f"{name}.expected.npz"),
        np.load(folder / f"{name}.npz"),
    )
    assert set(expected.files) == set(found.files)
    for key in expected.files:
        tolerance = {"log_prob": 1e-5, "losses": 1e-5, "sample": 1e-4}.get(key, 0.0)
        np.testing.assert_allclose(
            found[key], expected[key], rtol=tolerance, atol=tolerance, err_msg=key
        )


def test_what_is_compiled_comes_back_compiled(folder):
    loaded = keras.saving.load_model(folder / "default.keras")
    assert type(loaded) is gf.GaussianizationFlow and loaded.input_dim == 2
    assert (
        type(loaded.optimizer) is keras.optimizers.Adam
        and int(loaded.optimizer.iterations) == 6
    )
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.01)
    assert (
        getattr(keras.saving.load_model(folder / "heavy.keras"), "optimizer", None)
        is None
    )
    assert (
        getattr(
            keras.saving.load_model(folder / "default.keras", compile=False),
            "optimizer",
            None,
        )
        is None
    )


def test_an_own_layer_that_is_not_known_is_named(folder):
    environment = os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
    code = f"import keras, gaussflow; keras.saving.load_model({str(folder / 'own.keras')!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert (
        done.returncode != 0
        and "Fourier" in done.stderr
        and "user_layers" in done.stderr
    )


def edited(path, target, change):
    "A copy of a `.keras` file whose configuration went through `change`."
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config["config"])
                data = json.dumps(config)
            new.writestr(name, data)
    return target


CHANGES = {
    "flow, unknown": (
        lambda c: c.update(colour="red"),
        "GaussianizationFlow.*unknown keys.*colour",
    ),
    "flow, missing": (
        lambda c: c.pop("input_dim"),
        "GaussianizationFlow.*missing keys.*input_dim",
    ),
    "layer, unknown": (
        lambda c: c["bijectors"][1]["config"].update(colour="red"),
        "MixtureCDFCoupling.*unknown keys.*colour",
    ),
    "layer, missing": (
        lambda c: c["bijectors"][1]["config"].pop("background"),
        "MixtureCDFCoupling.*missing keys.*background",
    ),
    "rotation, missing": (
        lambda c: c["bijectors"][0]["config"].pop("seed"),
        "Householder.*missing keys.*seed",
    ),
    "clamp, unknown": (
        lambda c: c["bijectors"][1]["config"]["log_scale_clamp"]["config"].update(b=1),
        "TanhClamp.*unknown keys.*b",
    ),
    "conditioner, missing": (
        lambda c: c["bijectors"][1]["config"]["conditioner"]["config"].pop("hidden"),
        "MLPConditioner.*missing keys.*hidden",
    ),
    "no layers": (lambda c: c.update(bijectors=[]), "at least one bijector"),
    "wrong mask": (
        lambda c: c["bijectors"][1]["config"].update(mask=[True, False, False]),
        "mask of length 2|conditioner output width",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_edited_configuration_is_refused_by_name(folder, tmp_path, name):
    change, message = CHANGES[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        keras.saving.load_model(
            edited(folder / "default.keras", tmp_path / "edited.keras", change)
        )


def test_a_base_with_a_wrong_key_is_refused(folder, tmp_path):
    path = edited(
        folder / "heavy.keras",
        tmp_path / "edited.keras",
        lambda c: c["base"]["config"].pop("degrees"),
    )
    with pytest.raises(ValueError, match=r"StudentT.*missing keys \['degrees'\]"):
        keras.saving.load_model(path)


def test_a_lambda_does_not_run(tmp_path):
    "Keras's safe mode stays on: code inside a file is refused, at loading as in every nested configuration."
    trace = tmp_path / "it ran"
    path = str(trace)
    body = keras.layers.Lambda(lambda x: (open(path, "a").close(), 0 * x)[1])
    conditioner = keras.Sequential([keras.Input((1,)), body, keras.layers.Dense(2)])
    flow = gf.NormalizingFlow([gf.AffineCoupling(FIRST, conditioner)], 2)
    flow.build((None, 2))
    flow.save(tmp_path / "lambda.keras")
    trace.unlink()
    with pytest.raises(ValueError, match=r"[Ll]ambda"):
        keras.saving.load_model(tmp_path / "lambda.keras")
    assert not trace.exists()


@pytest.mark.parametrize("place", ["base", "conditioner"])
def test_a_foreign_function_is_not_called(folder, tmp_path, place):
    "A configuration that names a function of the standard library in place of a layer."
    trace = tmp_path / "it ran"
    foreign = {
        "module": "os",
        "class_name": "mkdir",
        "config": {"path": str(trace)},
        "registered_name": None,
    }

    def change(config):
        if place == "base":
            config["base"] = foreign
        else:
            config["bijectors"][1]["config"]["conditioner"] = foreign

    path = edited(
        folder / ("heavy.keras" if place == "base" else "default.keras"),
        tmp_path / "edited.keras",
        change,
    )
    with pytest.raises((ValueError, TypeError)):
        keras.saving.load_model(path)
    assert not trace.exists()


def test_weights_of_another_flow_are_refused(folder, tmp_path):
    gf.make_coupling_flow(2, num_blocks=2, num_components=3, hidden=(8,)).build(
        (None, 2)
    )
    other = gf.make_coupling_flow(2, num_blocks=1, num_components=4, hidden=(8,))
    other.build((None, 2))
    other.save_weights(tmp_path / "other.weights.h5")
    loaded = keras.saving.load_model(folder / "default.keras")
    with pytest.raises(ValueError, match=r"shape|weights|variable"):
        loaded.load_weights(tmp_path / "other.weights.h5")
