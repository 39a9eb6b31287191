"Every factory under `floatx` float64: a process per backend, as `floatx` is global."

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback

import pytest
from books import QUIET, ROOT

FEW = {"hidden": (4,)}
BLOCK = {"num_blocks": 1, "num_components": 2, **FEW}
EVENT, IMAGE, CONTEXT_WIDTH, ROWS = 3, (4, 4, 1), 2, 16
NEEDS_CONTEXT, TAKES_CONTEXT = (
    ("gaussianization, context",),
    (
        "coupling flow",
        "coupling flow, spline",
        "maf",
        "iaf",
        "nice",
        "real nvp",
        "glow",
    ),
)
ON_JAX = (
    "coupling flow, spline",
    "gaussianization",
    "maf",
    "iaf",
    "nice",
    "glow",
    "glow, grey images",
)


def factories() -> dict:
    "Makers of small flows by name."
    import gaussflow as gf

    residual = {"num_blocks": 1, "hidden": (4, 4)}
    step = {"num_blocks": 1, **FEW}
    logistic = gf.MixtureCDF(2, family="logistic")
    learned = {"num_values": 8, "dequantization": "variational"}
    return {
        "coupling flow": lambda: gf.make_coupling_flow(EVENT, **BLOCK),
        "coupling flow, shared": lambda: gf.make_coupling_flow(
            EVENT, shared_mixture=True, **BLOCK
        ),
        "coupling flow, logistic": lambda: gf.make_coupling_flow(
            EVENT, 1, scalar=logistic, **FEW
        ),
        "coupling flow, spline": lambda: gf.make_coupling_flow(
            EVENT, 1, scalar=gf.RationalQuadraticSpline(4), **FEW
        ),
        "gaussianization": lambda: gf.make_gaussianization_flow(
            EVENT, 1, num_components=2
        ),
        "gaussianization, context": lambda: gf.make_gaussianization_flow(
            EVENT, 1, num_components=2, context_hidden=(4,)
        ),
        "maf": lambda: gf.make_maf(EVENT, 2, **FEW),
        "maf, mixture": lambda: gf.make_maf(EVENT, 1, scalar=gf.MixtureCDF(2), **FEW),
        "iaf": lambda: gf.make_iaf(EVENT, 2, **FEW),
        "nice": lambda: gf.make_nice(EVENT, 2, **FEW),
        "real nvp": lambda: gf.make_real_nvp(EVENT, 2, **FEW),
        "glow": lambda: gf.make_glow(EVENT, **step),
        "nice, images": lambda: gf.make_nice(IMAGE, 2, **FEW),
        "real nvp, images": lambda: gf.make_real_nvp(IMAGE, **residual),
        "glow, images": lambda: gf.make_glow(IMAGE, **step),
        "nice, grey images": lambda: gf.make_nice(IMAGE, 2, num_values=8, **FEW),
        "real nvp, grey images": lambda: gf.make_real_nvp(
            IMAGE, num_values=8, **residual
        ),
        "glow, grey images": lambda: gf.make_glow(IMAGE, **learned, **step),
    }


def questions() -> list[tuple[str, bool]]:
    "Names of factories, and whether a context comes along."
    with_context = [(name, True) for name in (*NEEDS_CONTEXT, *TAKES_CONTEXT)]
    return [
        (name, False) for name in factories() if name not in NEEDS_CONTEXT
    ] + with_context


def ask(make, with_context: bool) -> dict:
    "Dtypes of all results that are not float64, and the largest error of a round trip."
    import keras
    import numpy as np
    from keras import ops

    from gaussflow.testing import scatter_weights

    flow, generator = make(), np.random.default_rng(0)
    grey = flow.bijectors[0].whole_numbers
    x = generator.normal(size=(ROWS, *flow.event_shape))
    x = generator.integers(0, 8, size=x.shape).astype("float64") if grey else x
    context = generator.normal(size=(ROWS, CONTEXT_WIDTH)) if with_context else None
    # One eager step costs less than the trace of a gradient; queries are traced.
    flow.compile(keras.optimizers.Adam(1e-3), jit_compile=False, run_eagerly=True)
    inputs = x if context is None else {"x": x, "context": context}
    loss = flow.fit(inputs, batch_size=ROWS, epochs=1, verbose=0).history["loss"][0]
    scatter_weights(flow, 0.05)
    z = generator.normal(size=(4, *flow.latent_shape))
    some = None if context is None else context[:4]
    found = {
        "log_prob": flow.log_prob(x, context=context),
        "sample": flow.sample(4, seed=0, context=some),
        "invert": (events := flow.invert(z, context=some)),
    }
    assert np.isfinite(loss), f"loss {loss}"
    for name, value in found.items():
        assert np.isfinite(ops.convert_to_numpy(value)).all(), f"{name} is not finite"
    error = 0.0
    if (
        not grey
    ):  # noise is added to whole numbers: there is no way back to the same latent
        there, log_det = flow.forward_and_log_det(events, some, training=False)
        back, inverse_log_det = flow.inverse_and_log_det(there, some, training=False)
        found |= {"forward": there, "log_det": log_det, "inverse": back}
        pairs = ((there, z), (back, events), (log_det, -inverse_log_det))
        numpy = ops.convert_to_numpy
        error = max(float(np.abs(numpy(a) - numpy(b)).max()) for a, b in pairs)
    with tempfile.TemporaryDirectory() as folder:
        flow.save(f"{folder}/flow.keras")
        again = keras.saving.load_model(f"{folder}/flow.keras")
    for ours, theirs in zip(flow.weights, again.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs)
        )
    found |= {f"weight {w.path}": w for w in again.trainable_weights}
    found["a copy's answer"] = again.inverse_and_log_det(z, some, training=False)[0]
    compared = [
        ops.convert_to_numpy(found[name]) for name in ("a copy's answer", "invert")
    ]
    np.testing.assert_allclose(*compared, rtol=1e-12, atol=1e-12)
    dtypes = {
        name: keras.backend.standardize_dtype(value.dtype)
        for name, value in found.items()
    }
    return {
        "narrow": {k: v for k, v in dtypes.items() if v != "float64"},
        "error": error,
    }


def main(only: list[str]) -> None:
    "The child's part: ask every factory, print all answers as one line of JSON."
    import keras

    keras.config.set_floatx("float64")
    answers = {}
    for name, with_context in questions():
        if only and (name not in only or with_context):
            continue
        try:
            answers[f"{name} {with_context}"] = ask(factories()[name], with_context)
        except Exception:
            answers[f"{name} {with_context}"] = {"failed": traceback.format_exc()}
    print(json.dumps(answers))


ANSWERS = {}


def answers_on(backend: str, only=()) -> dict:
    "Every answer of a process on `backend`; one process for all tests."
    if backend not in ANSWERS:
        env = QUIET | os.environ | {"KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1"}
        env["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), str(ROOT / "tools"), env.get("PYTHONPATH", "")]
        )
        command = [sys.executable, __file__, *only]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        ANSWERS[backend] = json.loads(done.stdout.splitlines()[-1])
    return ANSWERS[backend]


def check(answer: dict) -> None:
    assert "failed" not in answer, answer.get("failed")
    assert answer["narrow"] == {}
    assert answer["error"] < 1e-8


@pytest.mark.parametrize(("name", "with_context"), questions())
def test_case_13_every_factory_computes_in_float64(name, with_context):
    check(answers_on("tensorflow")[f"{name} {with_context}"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@pytest.mark.parametrize("name", ON_JAX)
def test_case_13_factories_compute_in_float64_on_jax(name):
    check(answers_on("jax", ON_JAX)[f"{name} False"])


if __name__ == "__main__":
    main(sys.argv[1:])
