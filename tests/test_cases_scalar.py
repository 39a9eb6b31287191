"Cases 8, 18 and 21 of scalar bijections: NaN stays NaN, forward-mode derivatives on JAX, the spline's accuracy."

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

import gaussflow as gf
from gaussflow.testing import scatter_weights

contract = pytest.mark.contract
BACKEND = keras.backend.backend()

SCALARS = {
    "additive": gf.Additive(),
    "affine": gf.Affine(),
    "mixture": gf.MixtureCDF(9),
    "mixture, background": gf.MixtureCDF(3, background=1e-3),
    "logistic": gf.MixtureCDF(3, family="logistic"),
    "spline": gf.RationalQuadraticSpline(3, bound=3.0),
    "spline, two bins": gf.RationalQuadraticSpline(2, bound=3.0),
}
NUMBERS = np.array(
    [-40.0, -3.0, -0.7, 0.0, 0.3, 3.0, 1e5], "float32"
)  # inside a spline, at its ends and beyond


def numpy(*tensors):
    return [ops.convert_to_numpy(t) for t in tensors]


def compiled(function, how):
    "The function as it is, in a graph, or compiled by XLA."
    if BACKEND == "tensorflow":
        import tensorflow as tf

        wrap = {
            "graph": tf.function,
            "xla": functools.partial(tf.function, jit_compile=True),
        }
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
    places = [
        None,
        ("x", 0),
        *((name, i) for name, size in scalar.param_sizes.items() for i in range(size)),
    ]
    rows = list(itertools.product(places, NUMBERS))
    x = np.array([number for _, number in rows])[:, None]
    params = scalar.random_params(x.shape, seed=1)
    params = {
        name: ops.convert_to_numpy(value).copy() for name, value in params.items()
    }
    for row, (place, _) in enumerate(rows):
        if place == ("x", 0):
            x[row] = np.nan
        elif place is not None:
            params[place[0]][row, 0, place[1]] = np.nan
    return x, params, np.array([place is not None for place, _ in rows])


MODES = ["plain", "graph", pytest.param("xla", marks=contract)]  # on JAX too


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name", SCALARS)
def test_case_08_nan_gives_nan(name, direction, how):
    "In the number or in any parameter, in values and log-slopes; the rows beside it stay numbers."
    scalar = SCALARS[name]
    x, params, broken = rows_with_nan(scalar)
    value, log_slope = numpy(
        *compiled(getattr(scalar, direction), how)(ops.convert_to_tensor(x), params)
    )
    for found in (value, log_slope):
        np.testing.assert_array_equal(np.isnan(found[:, 0]), broken)


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize(
    "clamp", [gf.tanh_log_scale_clamp(), gf.sigmoid_log_scale_clamp()]
)
def test_case_08_clamps_keep_nan(clamp, how):
    raw = np.array([[np.nan, 0.0, 50.0, -50.0] * 5], "float32")
    (found,) = numpy(compiled(clamp, how)(ops.convert_to_tensor(raw)))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(raw))


only_jax = pytest.mark.skipif(
    BACKEND != "jax",
    reason="forward mode is jax.jvp; the other backends have reverse mode",
)
SOME = {
    name: SCALARS[name]
    for name in ("additive", "affine", "mixture", "logistic", "spline")
}


def changed(scalar, seed=0):
    "Numbers and parameters as one list of arrays, a function of them, and changes of each."
    generator, names = np.random.default_rng(seed), list(scalar.param_sizes)
    x = generator.normal(size=(20, 1)).astype("float32")
    params = scalar.random_params(x.shape, seed=1)
    at = [x, *(ops.convert_to_numpy(params[name]) for name in names)]
    changes = [generator.normal(size=v.shape).astype("float32") for v in at]
    return (
        at,
        changes,
        lambda method: lambda x, *values: method(x, dict(zip(names, values))),
    )


def differences(function, at, changes, h=1e-6):
    "Central differences along the changes, in float64."
    import jax

    with jax.enable_x64(True):
        wide = jax.jit(function)
        ends = [
            wide(*(v.astype("float64") + s * h * c for v, c in zip(at, changes)))
            for s in (-1, 1)
        ]
        assert all(str(v.dtype) == "float64" for v in jax.tree.leaves(ends))
        return jax.tree.map(lambda low, high: np.asarray((high - low) / (2 * h)), *ends)


@contract
@only_jax
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name", SOME)
def test_case_18_forward_mode_of_scalars(name, direction):
    "`jax.jvp` in the number and all parameters, against float64 differences, and as the transpose of `jax.vjp`."
    import jax

    at, changes, as_function = changed(SOME[name])
    function = as_function(getattr(SOME[name], direction))
    _, found = jax.jit(lambda at, changes: jax.jvp(function, at, changes))(
        tuple(at), tuple(changes)
    )
    for ours, expected in zip(found, differences(function, at, changes)):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=3e-5)
    weights = tuple(np.random.default_rng(9).normal(size=(2, 20, 1)).astype("float32"))
    pulled = jax.jit(lambda *at: jax.vjp(function, *at)[1](weights))(*at)
    forward = sum(float(np.sum(w * v)) for w, v in zip(weights, found))
    np.testing.assert_allclose(
        forward,
        sum(float(np.sum(c * v)) for c, v in zip(changes, pulled)),
        rtol=1e-4,
        atol=1e-4,
    )


@contract
@only_jax
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_case_18_second_derivatives_of_a_mixture(direction):
    "Forward over reverse, reverse over forward and `jax.hessian`, against float64 differences of the gradient."
    import jax

    at, changes, as_function = changed(gf.MixtureCDF(3))
    function = as_function(getattr(gf.MixtureCDF(3), direction))
    total = lambda *at: sum(v.sum() for v in function(*at))
    along = lambda x: jax.jvp(total, (x, *at[1:]), tuple(changes))[1]
    forward_over_reverse = jax.jit(
        lambda at: jax.jvp(jax.grad(total), at, tuple(changes))[1]
    )(tuple(at))
    expected = differences(jax.grad(total), at, changes, h=1e-5)
    np.testing.assert_allclose(forward_over_reverse, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        jax.jit(jax.grad(along))(at[0]), expected, rtol=1e-4, atol=1e-4
    )
    of_x = lambda x: total(x, *at[1:])
    hessian = jax.jit(jax.hessian(of_x))(at[0])[:, 0, :, 0]
    still = [changes[0], *(0 * c for c in changes[1:])]
    np.testing.assert_allclose(
        hessian @ changes[0][:, 0],
        differences(jax.grad(total), at, still, h=1e-5)[:, 0],
        rtol=1e-4,
        atol=1e-4,
    )


@contract
@only_jax
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_case_18_jacobians_agree_forward_and_reverse(direction):
    "`jax.jacfwd`, refused before, gives what `jax.jacrev` gives."
    import jax

    at, _, as_function = changed(gf.MixtureCDF(3))
    of_x = lambda x: as_function(getattr(gf.MixtureCDF(3), direction))(x, *at[1:])
    for ours, theirs in zip(
        jax.jit(jax.jacfwd(of_x))(at[0]), jax.jit(jax.jacrev(of_x))(at[0])
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


FLOWS = {
    "default": lambda: gf.make_coupling_flow(2),
    "maf": lambda: gf.make_maf(2, hidden=(8,)),
    "iaf": lambda: gf.make_iaf(2, hidden=(8,)),
    "maf, mixtures": lambda: gf.make_maf(2, hidden=(8,), scalar=gf.MixtureCDF(3)),
    "splines": lambda: gf.NormalizingFlow(
        [gf.SplineCoupling([True, False], gf.MLPConditioner(11, (8,)), 4)], 2
    ),
}


SLOW = {"iaf", "maf, mixtures", "splines"}


@contract
@only_jax
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in FLOWS
    ],
)
def test_case_18_forward_mode_of_flows(name):
    "There and back the change of an event is itself, and the two log-determinants change by opposite amounts."
    import jax

    keras.utils.set_random_seed(0)
    flow = FLOWS[name]()
    x, change = np.random.default_rng(0).normal(size=(2, 6, 2)).astype("float32")
    flow(x)
    for layer in flow.bijector_layers:
        scatter_weights(layer, 0.05)

    def there_and_back(x):
        z, log_det = flow.forward_and_log_det(x)
        back, inverse_log_det = flow.inverse_and_log_det(z)
        return back, log_det + inverse_log_det, log_det

    _, (moved, none, some) = jax.jit(
        lambda x, change: jax.jvp(there_and_back, (x,), (change,))
    )(x, change)
    np.testing.assert_allclose(moved, change, atol=2e-3)
    np.testing.assert_allclose(none, np.zeros(6), atol=2e-3)
    assert np.abs(some).max() > 1e-2
    plain = (
        (lambda f: f) if name == "maf" else jax.jit
    )  # without jit the flow runs plainly in a trace, slowly where it is deep
    pushed = plain(lambda x, change: jax.jvp(flow.log_prob, (x,), (change,))[1])(
        x, change
    )
    slope = plain(jax.grad(lambda x: flow.log_prob(x).sum()))(x)
    np.testing.assert_allclose(
        pushed, np.sum(slope * change, axis=1), rtol=1e-4, atol=1e-4
    )


def test_a_parameter_of_any_name_is_clamped_where_the_class_says_so():
    class Tail(gf.ScalarBijection):
        clamped = ("log_tail",)
        log_scale_clamp = gf.tanh_log_scale_clamp(1.0)

        @property
        def param_sizes(self):
            return {"log_tail": 1, "shift": 1}

    raw = {"log_tail": ops.ones((3, 1)) * 50.0, "shift": ops.ones((3, 1)) * 50.0}
    base = {"log_tail": np.zeros(1, "float32"), "shift": np.zeros(1, "float32")}
    params = Tail().combine(base, raw)
    np.testing.assert_allclose(params["log_tail"], np.ones((3, 1)), rtol=1e-6)
    np.testing.assert_allclose(params["shift"], 50.0 * np.ones((3, 1)))
