"Files that answer without gaussflow: SavedModel in a process with TensorFlow alone, ONNX in ONNX Runtime."

import json
import os
import subprocess
import sys

import keras
import numpy as np
import onnxruntime
import pytest
from books import QUIET, ROOT
from keras import ops
from scipy import stats

import gaussflow as gf
from gaussflow.testing import scatter_weights

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(40, 2)).astype("float32")
ASK = """
import json, sys
import numpy as np, tensorflow as tf

served, given = tf.saved_model.load(sys.argv[1]), np.load(sys.argv[2])
x, rest = given["x"], [given["context"]] if "context" in given else []
found = {}
for rows in (1, 7, 40):
    some = [x[:rows], *(c[:rows] for c in rest)]
    found[f"log_prob {rows}"] = served.log_prob(*some).numpy()
    found[f"serve {rows}"] = served.serve(*some).numpy()
z = served.forward(x, *rest)
found["forward"], found["invert"] = z.numpy(), served.invert(z, *rest).numpy()
draw = lambda n, seed: served.sample(rest[0][:n] if rest else n, seed).numpy()
found |= {"seed 3": draw(5, 3), "again": draw(5, 3), "seed 4": draw(5, 4)}
found["many"] = served.sample(np.tile(rest[0][:1], (20000, 1)) if rest else 20000, 5).numpy()
named = {"seed": tf.constant(3)} | ({"context": tf.constant(rest[0][:5])} if rest else {"num_samples": tf.constant(5)})
found["named"] = next(iter(served.signatures["sample"](**named).values())).numpy()
np.savez(sys.argv[3], **found)
print(json.dumps(sorted(m for m in sys.modules if m.startswith("gaussflow"))))
"""


def flow_of(context=False, wide=False):
    "A mixture coupling flow with a heavy base, scattered, or one behind a wide `Standardize`."
    layers = [gf.Standardize()] if wide else []
    layers += [
        gf.Householder(3, seed=0),
        gf.MixtureCDFCoupling([True, False, True], gf.MLPConditioner(9, (8,)), 3),
    ]
    flow = gf.NormalizingFlow(layers, 3, base=None if wide else gf.StudentT(5.0))
    flow.ensure_built(CONTEXT if context else None)
    if wide:
        flow.adapt(far())
    scatter_weights(flow.bijectors[-1], 0.2)
    return flow


def far():
    "Events in float64 that float32 cannot hold."
    return X.astype("float64") + 1e9


def ask_alone(flow, folder, x, context=None):
    "The answers of a process that has TensorFlow and the file, nothing of ours."
    flow.export(folder / "served")
    given = {"x": x} if context is None else {"x": x, "context": context}
    np.savez(folder / "given.npz", **given)
    command = [sys.executable, "-c", ASK]
    command += [str(folder / name) for name in ("served", "given.npz", "found.npz")]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | QUIET
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
    return np.load(folder / "found.npz")


def check_answers(flow, found, x, context=None, atol=1e-5):
    numpy = ops.convert_to_numpy
    rest = () if context is None else (context,)
    expected = numpy(flow.log_prob(x, *rest))
    for rows in (1, 7, 40):
        for name in ("log_prob", "serve"):
            np.testing.assert_allclose(
                found[f"{name} {rows}"], expected[:rows], rtol=1e-5, atol=1e-5
            )
    np.testing.assert_allclose(found["invert"], x, atol=10 * atol)
    np.testing.assert_array_equal(found["seed 3"], found["again"])
    np.testing.assert_array_equal(found["seed 3"], found["named"])
    assert found["seed 3"].shape == (5, 3)
    assert not np.any(found["seed 3"] == found["seed 4"])
    given = None if context is None else context[:1]
    ours = numpy(flow.sample(20_000, seed=0, context=given))
    for i in range(3):  # one of 10,000 true pairs would be refused
        assert stats.ks_2samp(found["many"][:, i], ours[:, i]).pvalue > 1e-4


on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends write through it"
)


@on_tensorflow
@pytest.mark.parametrize("with_context", [False, True])
def test_a_saved_model_answers_alone(tmp_path, with_context):
    context = CONTEXT if with_context else None
    flow = flow_of(with_context)
    found = ask_alone(flow, tmp_path, X, context)
    check_answers(flow, found, X, context)


@on_tensorflow
def test_a_saved_model_keeps_digits_that_float32_cannot_hold(tmp_path):
    flow = flow_of(wide=True)
    found = ask_alone(flow, tmp_path, far())
    check_answers(flow, found, far(), atol=1e-5)
    assert found["many"].dtype == "float64"


MAKERS = {
    "affine": lambda: gf.make_real_nvp(3, 2, hidden=(8,)),
    "spline": lambda: gf.make_coupling_flow(
        3, 1, scalar=gf.RationalQuadraticSpline(4), hidden=(8,)
    ),
    "affine, context": lambda: gf.make_real_nvp(3, 1, hidden=(8,), standardize=True),
}


@on_tensorflow
@pytest.mark.parametrize("name", MAKERS)
def test_onnx_gives_the_same_density(tmp_path, name):
    flow, rest = MAKERS[name](), [CONTEXT] if "context" in name else []
    flow.ensure_built(*rest)
    if "context" in name:
        flow.adapt(2 * X + 1, *rest)
    for layer in flow.bijectors[1 if "context" in name else 0 :]:
        scatter_weights(layer, 0.1)
    flow.export(tmp_path / "flow.onnx", format="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "flow.onnx")
    for rows in (1, 40):
        given = [a[:rows] for a in (X, *rest)]
        names = [i.name for i in session.get_inputs()]
        found = session.run(["log_prob"], dict(zip(names, given)))[0]
        expected = ops.convert_to_numpy(flow.log_prob(*given))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    outside = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [1e25, 0, 0]], "float32")
    inputs = dict(zip(names, [outside, *(c[:3] for c in rest)]))
    far = session.run(None, inputs)[0]
    assert np.isnan(far[0]) and not np.isfinite(far[1:]).any()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_write_the_same_files(tmp_path, backend):
    pytest.importorskip(backend)
    code = f"""
import numpy as np
import test_serving as t
from pathlib import Path
flow, folder = t.flow_of(), Path({str(tmp_path)!r})
found = t.ask_alone(flow, folder, t.X)
t.check_answers(flow, found, t.X)
flow = t.MAKERS["affine"]()
flow.build((None, 3))
flow.export(folder / "flow.onnx", format="onnx")
session = t.onnxruntime.InferenceSession(folder / "flow.onnx")
np.testing.assert_allclose(
    session.run(None, {{"x": t.X}})[0],
    t.ops.convert_to_numpy(flow.log_prob(t.X)),
    rtol=1e-5, atol=1e-5,
)
"""
    places = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tools")]
    env = os.environ | QUIET | {"KERAS_BACKEND": backend}
    env["PYTHONPATH"] = os.pathsep.join(places)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_flow_that_is_not_built_is_refused(tmp_path):
    for format in ("tf_saved_model", "onnx"):
        with pytest.raises(RuntimeError, match="received one that is not built"):
            MAKERS["affine"]().export(tmp_path / "flow", format=format)


@on_tensorflow
def test_missing_packages_are_named(tmp_path, monkeypatch):
    flow = MAKERS["affine"]()
    flow.build((None, 3))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install onnx tf2onnx onnxruntime"):
        flow.export(tmp_path / "flow.onnx", format="onnx")
