"Cases 8, 18 and 21 of scalar bijections: NaN stays NaN, forward-mode derivatives on JAX, the spline's accuracy."

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

import gaussflow as gf
from gaussflow.scalar import random_params

contract = pytest.mark.contract
BACKEND = keras.backend.backend()

SCALARS = {
    "additive": gf.Additive(),
    "affine": gf.Affine(),
    "mixture": gf.MixtureCDF(9),
    "mixture, one": gf.MixtureCDF(1),
    "mixture, background": gf.MixtureCDF(3, background=1e-3),
    "logistic": gf.MixtureCDF(3, family="logistic"),
    "spline": gf.RationalQuadraticSpline(3, bound=3.0),
    "spline, two bins": gf.RationalQuadraticSpline(2, bound=3.0),
}
NUMBERS = np.array([-40.0, -3.0, -0.7, 0.0, 0.3, 3.0, 1e5], "float32")  # inside a spline, at its ends and beyond


def numpy(*tensors):
    return [ops.convert_to_numpy(t) for t in tensors]


def compiled(function, how):
    "The function as it is, in a graph, or compiled by XLA."
    if BACKEND == "tensorflow":
        import tensorflow as tf

        wrap = {"graph": tf.function, "xla": functools.partial(tf.function, jit_compile=True)}
    elif BACKEND == "jax":
        import jax

        wrap = {"xla": jax.jit}
    else:
        wrap = {}
    if how != "plain" and how not in wrap:
        pytest.skip(f"{BACKEND} has no such mode")
    return wrap.get(how, lambda f: f)(function)


def rows_with_nan(scalar):
    "Numbers, parameters and which rows hold a NaN: in the number, or in one entry of one parameter."
    places = [None, ("x", 0), *((name, i) for name, size in scalar.param_sizes.items() for i in range(size))]
    rows = list(itertools.product(places, NUMBERS))
    x = np.array([number for _, number in rows])[:, None]
    params = random_params(scalar, x.shape, seed=1)
    params = {name: ops.convert_to_numpy(value).copy() for name, value in params.items()}
    for row, (place, _) in enumerate(rows):
        if place == ("x", 0):
            x[row] = np.nan
        elif place is not None:
            params[place[0]][row, 0, place[1]] = np.nan
    return x, params, np.array([place is not None for place, _ in rows])


@contract
@pytest.mark.parametrize("how", ["plain", "graph", "xla"])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name", SCALARS)
def test_case_08_nan_gives_nan(name, direction, how):
    "In the number or in any parameter, in values and log-slopes; the rows beside it stay numbers."
    scalar = SCALARS[name]
    x, params, broken = rows_with_nan(scalar)
    value, log_slope = numpy(*compiled(getattr(scalar, direction), how)(ops.convert_to_tensor(x), params))
    for found in (value, log_slope):
        np.testing.assert_array_equal(np.isnan(found[:, 0]), broken)


@contract
@pytest.mark.parametrize("how", ["plain", "graph", "xla"])
@pytest.mark.parametrize("clamp", [gf.tanh_log_scale_clamp(), gf.sigmoid_log_scale_clamp()])
def test_case_08_clamps_keep_nan(clamp, how):
    raw = np.array([[np.nan, 0.0, 50.0, -50.0] * 5], "float32")
    (found,) = numpy(compiled(clamp, how)(ops.convert_to_tensor(raw)))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(raw))
