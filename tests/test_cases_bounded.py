"Bounded variables (case 15): samples inside, densities of integral 1, -inf outside."

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from scipy import integrate, stats

import gaussflow as gf
from gaussflow.backend import gradient
from gaussflow.testing import check_layer

numpy = ops.convert_to_numpy
RNG = np.random.default_rng(0)

RANGES = {  # a layer, and the ends of its range
    "unit": (lambda: gf.Logit(), 0.0, 1.0),
    "interval": (lambda: gf.Logit(-5, 3), -5.0, 3.0),
    "no float": (lambda: gf.Logit(0.1, 0.7), 0.1, 0.7),
    "far": (lambda: gf.Logit(100, 101), 100.0, 101.0),
    "wide": (lambda: gf.Logit(-1e6, 1e7), -1e6, 1e7),
    "margin": (lambda: gf.Logit(0, 1, alpha=0.05), -0.05 / 0.9, 1 + 0.05 / 0.9),
    "above 0": (lambda: gf.Log(), 0.0, np.inf),
    "above 7": (lambda: gf.Log(7), 7.0, np.inf),
    "below -3": (lambda: gf.Log(-3, side="upper"), -np.inf, -3.0),
    "softplus": (lambda: gf.Log(map="softplus"), 0.0, np.inf),
    "below 2, softplus": (lambda: gf.Log(2, "upper", "softplus"), -np.inf, 2.0),
    "bounded": (lambda: gf.Bounded(-1, 2), -1.0, 2.0),
    "bounded below -3": (lambda: gf.Bounded(high=-3), -np.inf, -3.0),
}
each_range = pytest.mark.parametrize("name", RANGES)


def events_of(layer, rows=50, size=1, seed=0):
    "Events in the middle of a layer's range."
    z = np.random.default_rng(seed).uniform(-2, 2, size=(rows, size)).astype("float32")
    return numpy(layer.inverse_and_log_det(z)[0])


def finite(*values):
    return [bool(np.all(np.isfinite(numpy(v)))) for v in values]


def test_case_15_log_prob_of_samples():
    "As reported: the density of 1,000 samples of a flow that is a logit alone."
    flow = gf.NormalizingFlow([gf.Logit()], 1)
    x = flow.sample(1000, seed=0)
    assert np.all((numpy(x) > 0) & (numpy(x) < 1))
    assert finite(flow.log_prob(x)) == [True]
    x, log_prob = flow.sample_and_log_prob(1000, seed=0)
    np.testing.assert_allclose(log_prob, flow.log_prob(x), atol=1e-4)


@each_range
def test_case_15_samples_lie_inside(name):
    make, low, high = RANGES[name]
    layer, affine = make(), gf.Marginal(gf.Affine())
    flow = gf.NormalizingFlow([layer, affine], 1)
    flow.build((None, 1))
    for log_scale in (0.0, -np.log(40.0)):  # latents of spread 1 and of spread 40
        affine.log_scale.assign([[log_scale]])
        x = numpy(flow.sample(100_000, seed=1))
        assert x.dtype == "float32"
        # As float64 numbers and as float32 numbers: 0.1 is not a float of either.
        assert np.all((x.astype("float64") > low) & (x.astype("float64") < high))
        assert np.all((x > np.float32(low)) & (x < np.float32(high)))
        assert finite(x, flow.forward_and_log_det(x)[1]) == [True, True]


@each_range
def test_case_15_density_integrates_to_1(name):
    "By a substitution that puts nodes at the bounds, without the layer's own map."
    make, low, high = RANGES[name]
    s = (
        np.linspace(-10, 10, 2001)
        if np.isfinite(low + high)
        else np.linspace(-20, 20, 4001)
    )
    if np.isfinite(low + high):
        u = stats.logistic.cdf(s)
        x, weight = low + (high - low) * u, (high - low) * u * (1 - u)
    else:
        end, sign = (low, 1) if np.isfinite(low) else (high, -1)
        s = s[s < 9] if name.count("softplus") else s
        x, weight = end + sign * np.exp(s), np.exp(s)
    flow = gf.NormalizingFlow([make()], 1)
    x = x.astype("float32")
    z, log_det = flow.forward_and_log_det(x[:, None])
    density = np.exp(numpy(flow.base.log_prob(z) + log_det).astype("float64"))
    # Near a bound that is not 0, nodes are rounded to floats, so they are uneven.
    assert abs(integrate.simpson(density * weight, x=s) - 1) < (
        5e-3 if name == "far" else 2e-4
    )


def test_case_15_a_margin_has_mass_outside():
    "With alpha, [0, 1] misses what the latent has beyond logit(1 - alpha)."
    flow = gf.NormalizingFlow([gf.Logit(alpha=0.05)], 1)
    x = np.linspace(0, 1, 20_001)[:, None]
    z, log_det = flow.forward_and_log_det(x)
    inside = integrate.simpson(
        np.exp(numpy(flow.base.log_prob(z) + log_det).astype("float64")), x=x[:, 0]
    )
    np.testing.assert_allclose(
        inside, 1 - 2 * stats.norm.sf(stats.logistic.ppf(0.95)), atol=1e-5
    )
    drawn = numpy(flow.sample(100_000, seed=0))
    np.testing.assert_allclose(np.mean((drawn > 0) & (drawn < 1)), inside, atol=1e-3)


@each_range
def test_case_15_minus_infinity_outside(name):
    "On the bound and beyond: -inf, a finite latent, no gradient; NaN stays NaN."
    make, low, high = RANGES[name]
    layer = make()
    ends = np.float32([end for end in (low, high) if np.isfinite(end)])
    beyond = np.concatenate(
        [
            ends,
            [e - 1e3 if e == np.float32(low) else e + 1e3 for e in ends],
            [np.inf, -np.inf],
        ]
    )
    x = np.float32([*beyond, np.nan])[:, None]
    z, log_det = layer.forward_and_log_det(x)
    np.testing.assert_array_equal(log_det, [-np.inf] * len(beyond) + [np.nan])
    assert finite(z[:-1]) == [True] and np.isnan(numpy(z)[-1, 0])
    slope = gradient(lambda x: sum(map(ops.sum, layer.forward_and_log_det(x))), x[:-1])
    np.testing.assert_array_equal(slope, np.zeros_like(slope))
    flow = gf.NormalizingFlow(
        [gf.Chain([gf.Permute([0])]), layer, gf.Marginal(gf.MixtureCDF(3))], 1
    )
    np.testing.assert_array_equal(flow.log_prob(x), [-np.inf] * len(beyond) + [np.nan])


def test_case_15_log_prob_of_a_flow_outside():
    "A density may be asked anywhere: 0 outside, NaN only for NaN."
    for layer, x in (
        (gf.Logit(), [[1.5], [-0.5], [1.0], [np.nan]]),
        (gf.Log(2), [[2.0], [-1.0], [-np.inf], [np.nan]]),
    ):
        flow = gf.NormalizingFlow([layer], 1)
        np.testing.assert_array_equal(
            flow.log_prob(np.array(x)), [-np.inf] * 3 + [np.nan]
        )


def test_case_15_nan_beside_a_number_outside():
    "One column outside, one NaN: never -inf, which is a claim."
    for layer in (gf.Logit(), gf.Log(), gf.Log(0, "upper", "softplus")):
        _, log_det = layer.forward_and_log_det(
            np.array([[5.0 * -getattr(layer, "sign", 1), np.nan]])
        )
        assert np.isnan(numpy(log_det)[0])
        x, log_det = layer.inverse_and_log_det(np.array([[0.0, np.nan]]))
        assert np.isnan(numpy(log_det)[0]) and np.isnan(numpy(x)).tolist() == [
            [False, True]
        ]


@each_range
def test_case_15_any_latent(name):
    "Latents to 1e4 and infinite ones, plain and compiled: inside, and finite."
    layer = RANGES[name][0]()
    z = np.concatenate(
        [
            np.linspace(-1e4, 1e4, 4001),
            np.linspace(-90, 90, 4001),
            [np.inf, -np.inf, 3e38, -3e38],
        ]
    )
    z = z.astype("float32")[:, None]
    flow = gf.NormalizingFlow([layer], 1)
    x, log_det = layer.inverse_and_log_det(z)
    compiled = flow.invert(z)
    for found in (x, compiled):
        found = numpy(found)
        assert np.all((found >= layer.lowest) & (found <= layer.highest))
        assert finite(*layer.forward_and_log_det(found)) == [True, True]
    slope = gradient(lambda t: sum(map(ops.sum, layer.inverse_and_log_det(t))), z)
    assert finite(log_det, slope) == [True, True]
    middle = np.linspace(-5, 5, 101).astype("float32")[:, None]
    x, log_det = layer.inverse_and_log_det(middle)
    back, forward = layer.forward_and_log_det(x)
    atol = 2e-2 if name == "far" else 2e-4
    np.testing.assert_allclose(back, middle, atol=atol)
    np.testing.assert_allclose(forward, -numpy(log_det), atol=atol)


@each_range
def test_case_15_gradients_inside(name):
    "Finite up to the outermost floats; central differences in the middle."
    layer = RANGES[name][0]()
    x = np.unique(
        numpy(layer.inverse_and_log_det(np.linspace(-100, 100, 2001)[:, None])[0])
    )[:, None]
    assert len(x) > 100
    for part in (0, 1):
        slope = gradient(lambda x, part=part: layer.forward_and_log_det(x)[part], x)
        assert finite(slope) == [True]
    middle = events_of(layer, 20)
    twin = gf.testing.float64_twin(layer)
    wide = middle.astype("float64")
    h = 1e-6 * (np.abs(wide) + 1e-3)
    ends = [
        numpy(twin.forward_and_log_det((wide + sign * h).astype(twin.compute_dtype))[1])
        for sign in (1, -1)
    ]
    if twin.compute_dtype == "float64":
        expected = (ends[0] - ends[1]) / (2 * h[:, 0])
        slope = gradient(lambda x: layer.forward_and_log_det(x)[1], middle)[:, 0]
        np.testing.assert_allclose(
            slope, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max()
        )


@each_range
def test_case_15_contract(name):
    layer = RANGES[name][0]()
    atol = {"far": 2e-2}.get(name, 1e-3)
    x = events_of(layer, 40, 3)
    if (
        name == "wide"
    ):  # its finite differences need a larger step than the contract takes
        check_layer(layer, x)
    else:
        gf.check_bijector(layer, x, atol=atol)


def test_case_15_composition():
    "Behind another layer and before one, in a chain."
    chain = gf.Chain(
        [
            gf.Permute([2, 0, 1]),
            gf.Logit([-5, 0, 0], [3, 1, 2]),
            gf.Log(-6, map="softplus"),
            gf.Marginal(gf.Affine()),
        ]
    )
    gf.check_bijector(
        chain,
        RNG.uniform([0.1, 0.1, -3], [0.9, 1.8, 2.5], size=(40, 3)).astype("float32"),
        atol=1e-3,
    )


def test_case_15_bounds_for_each_column():
    "Each column has its own range, on vectors and on images."
    low, high = [0.0, -3.0, 10.0], [1.0, 3.0, 1000.0]
    z = RNG.normal(size=(2000, 3)).astype("float32") * 5
    for shape in ((2000, 3), (500, 2, 2, 3)):
        layer = gf.Logit(low, high)
        x, log_det = layer.inverse_and_log_det(z.reshape(shape))
        assert np.all((numpy(x) > np.float32(low)) & (numpy(x) < np.float32(high)))
        parts = [
            gf.Logit(a, b).inverse_and_log_det(z[:, [i]])
            for i, (a, b) in enumerate(zip(low, high))
        ]
        np.testing.assert_array_equal(
            numpy(x).reshape(-1, 3),
            np.concatenate([numpy(p[0]) for p in parts], axis=1),
        )
        total = sum(numpy(p[1]) for p in parts).reshape(shape[0], -1).sum(axis=1)
        np.testing.assert_allclose(log_det, total, rtol=1e-5, atol=1e-4)
    mixed = gf.Logit(0, high)
    assert mixed.get_config()["low"] == 0.0 and mixed.get_config()["high"] == high
    gf.check_bijector(
        gf.Log(np.array([0, 1, -5])), [0, 1, -5] + np.exp(z[:50] / 5), atol=1e-3
    )


LOW, HIGH = (
    [None, 0, 0, -np.inf],
    [None, np.inf, 1, None],
)  # time, price, share, temperature


def mixed_table(rows, seed=0):
    "Four columns that depend on each other, each within its own bounds."
    z = np.random.default_rng(seed).normal(size=(rows, 4))
    z[:, 1:] += 0.7 * z[:, :1]
    price, share = np.exp(2 + 0.5 * z[:, 1]), stats.logistic.cdf(z[:, 2] - 1)
    return np.stack([180 + 60 * z[:, 0], price, share, 12 + 8 * z[:, 3]], axis=1)


def test_case_15_mixed_bounds(tmp_path):
    "One table, four kinds of columns, a flow that standardises: fitted, asked, drawn from, saved."
    x = mixed_table(1000)
    rest = gf.make_coupling_flow(4, 1, 4, hidden=(16,), standardize=True)
    flow = gf.NormalizingFlow([gf.Bounded(LOW, HIGH), *rest.bijectors], 4)
    flow.compile(keras.optimizers.Adam(5e-3), jit_compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", UserWarning
        )  # no advice on units: Standardize stands behind
        losses = flow.fit(x, batch_size=250, epochs=5, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]

    at = np.tile(x.mean(axis=0), (9, 1))
    for row, (column, value) in enumerate(
        [(1, 0), (1, -3), (2, 0), (2, 1), (2, 1.5), (0, -900), (3, -90), (3, np.nan)]
    ):
        at[row, column] = value
    at[7, 1] = -1  # NaN beside a number outside
    log_prob = numpy(flow.log_prob(at))
    np.testing.assert_array_equal(log_prob[:5], [-np.inf] * 5)
    assert np.isfinite(log_prob[[5, 6, 8]]).all() and np.isnan(log_prob[7])
    slope = gradient(flow.log_prob, at[[5, 6, 8]].astype("float32"))
    assert np.isfinite(slope).all() and np.all(slope != 0)
    edge = np.float32(
        [[100, 1e-30, 0.5, 10], [100, 5, np.nextafter(np.float32(1), 0), 10]]
    )
    assert finite(flow.log_prob(edge), gradient(flow.log_prob, edge)) == [True, True]

    drawn = numpy(flow.sample(100_000, seed=0))
    wild = numpy(flow.invert(np.random.default_rng(1).normal(size=(10_000, 4)) * 1e3))
    for events in (drawn, wild):
        price, share = events[:, 1], events[:, 2]
        assert events.dtype == "float32" and np.isfinite(events).all()
        assert np.all(price > 0) and np.all((share > 0) & (share < 1))
        assert events[:, 3].min() < 0 < events[:, 3].max()
    assert finite(flow.log_prob(drawn)) == [True]

    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    assert again.bijectors[0].get_config() == flow.bijectors[0].get_config()
    np.testing.assert_allclose(again.log_prob(at), log_prob, rtol=1e-5)
    samples = [numpy(f.sample(100, seed=0)) for f in (again, flow)]
    np.testing.assert_allclose(*samples, rtol=1e-5)
    flow.save_weights(tmp_path / "flow.weights.h5")
    again.load_weights(tmp_path / "flow.weights.h5")

    x[3, 2] = 1.0
    with pytest.raises(
        ValueError,
        match=r"inside \(0, 1\) for Bounded, received 1.0 in row 3, column 2",
    ):
        flow.fit(x, verbose=0)


def test_case_15_mixed_bounds_column_by_column():
    "Each column as its own layer maps it, on vectors and images, in any order of the columns."
    low, high = [0, None, -5, None, 2, -1], [None, None, 3, 4, None, 1]
    alone = [
        gf.Log(),
        None,
        gf.Logit(-5, 3),
        gf.Log(4, "upper"),
        gf.Log(2),
        gf.Logit(-1, 1),
    ]
    z = RNG.normal(size=(60, 6)).astype("float32") * 3
    for order in (np.arange(6), np.array([3, 1, 5, 0, 4, 2])):
        layer = gf.Bounded([low[i] for i in order], [high[i] for i in order])
        for shape in ((60, 6), (10, 2, 3, 6)):
            layer = gf.Bounded.from_config(layer.get_config())
            x, _ = layer.inverse_and_log_det(z.reshape(shape))
            back, _ = layer.forward_and_log_det(x)
            for j, i in enumerate(order):
                column, _ = (
                    (z[:, [j]], 0)
                    if alone[i] is None
                    else alone[i].inverse_and_log_det(z[:, [j]])
                )
                np.testing.assert_allclose(
                    numpy(x).reshape(-1, 6)[:, [j]], column, rtol=1e-6
                )
                there = (
                    column
                    if alone[i] is None
                    else alone[i].forward_and_log_det(column)[0]
                )
                np.testing.assert_allclose(
                    numpy(back).reshape(-1, 6)[:, [j]], there, rtol=1e-6, atol=1e-6
                )


def test_case_15_units_by_column():
    "`fit` warns of raw units where no layer takes them, and says what a clock needs."
    x = mixed_table(500)
    flow = gf.NormalizingFlow([gf.Bounded(LOW, HIGH), gf.Marginal(gf.Affine())], 4)
    flow.compile("adam", jit_compile=False)
    with pytest.warns(UserWarning, match="column 0 has mean") as caught:
        flow.fit(x, verbose=0)
    said = "".join(str(w.message) for w in caught)
    assert "column 3" in said and "column 1" not in said and "column 2" not in said
    flow = gf.NormalizingFlow(
        [gf.Bounded(LOW, HIGH), gf.Standardize(), gf.Marginal(gf.Affine())], 4
    )
    flow.compile("adam", jit_compile=False)
    with pytest.raises(
        ValueError,
        match="column 0 has a spread .* comes before `Standardize`: subtract",
    ):
        flow.fit(x + [1.7e9, 0, 0, 0], verbose=0)


def test_case_15_saved_and_loaded(tmp_path):
    layers = [
        gf.Logit([0, -1], 2, alpha=0.0),
        gf.Log([-90, -90], map="softplus"),
        gf.Log(200, "upper"),
        gf.Marginal(gf.MixtureCDF(2)),
    ]
    flow = gf.NormalizingFlow(layers, 2)
    x = RNG.uniform(0.1, 0.9, size=(64, 2)).astype("float32")
    flow.compile("adam", jit_compile=False)
    flow.fit(x, verbose=0)
    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(again.log_prob(x), flow.log_prob(x))
    np.testing.assert_array_equal(again.sample(50, seed=1), flow.sample(50, seed=1))
    assert [b.get_config() for b in again.bijectors[:3]] == [
        b.get_config() for b in flow.bijectors[:3]
    ]


def test_case_15_data_outside_are_refused():
    "`fit`, `evaluate` and `adapt` name row and column, and what float32 made of it."
    flow = gf.NormalizingFlow([gf.Logit([0, 10], [1, 20]), gf.Marginal(gf.Affine())], 2)
    flow.compile("adam", jit_compile=False)
    good = np.array([[0.5, 15.0], [0.2, 12.0]])
    bad = np.array([[0.5, 15.0], [0.5, 25.0]])
    flow.fit(good, verbose=0)
    for ask in (flow.fit, flow.evaluate, flow.adapt):
        with pytest.raises(
            ValueError,
            match=r"inside \(10, 20\) for Logit, received 25.0 in row 1, column 1",
        ):
            ask(bad)
    with pytest.raises(ValueError, match=r"received 1.0 in row 0, column 0"):
        flow.fit(np.array([[1.0, 15.0]]))
    with pytest.raises(ValueError, match=r"0.9999999999 \(1.0 in float32\)"):
        flow.fit(np.array([[1 - 1e-10, 15.0]]))
    with pytest.raises(
        ValueError,
        match="Expected numbers above 0 for Log, received -1 in row 1, column 0",
    ):
        gf.NormalizingFlow([gf.Log()], 1).evaluate(np.array([[1], [-1]]))
    with pytest.raises(ValueError, match="received nan in row 0"):
        gf.Log().check_data(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="in row 2, column \\(1, 0, 1\\)"):
        gf.Logit([0, 0], 1).check_data(
            np.where(np.arange(32).reshape(4, 2, 2, 2) == 21, 3.0, 0.5)
        )
    gf.Logit(alpha=0.05).check_data(np.array([[0.0, 1.0]]))
    gf.UniformDequantization(4).check_query(np.array([[3.0]]))
    with pytest.raises(ValueError, match="Expected whole numbers"):
        gf.UniformDequantization(4).check_query(np.array([[4.0]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gf.Logit(1, 0), "Expected low < high, received low=1.0, high=0.0"),
        (lambda: gf.Logit([0, 0], [1, 0]), "Expected low < high"),
        (lambda: gf.Logit(0, float("nan")), "Expected high finite"),
        (lambda: gf.Logit(-np.inf, 0), "with one bound use Log"),
        (lambda: gf.Logit(None), "Expected low finite"),
        (lambda: gf.Logit("a"), "Expected low to be a number"),
        (lambda: gf.Logit([[0.0]]), "Expected low to be a number"),
        (lambda: gf.Logit([]), "Expected low to be a number"),
        (lambda: gf.Logit([0, 0], [1, 1, 1]), "one length"),
        (
            lambda: gf.Logit(1.7e9, 1.7e9 + 60),
            "room for 1,000 numbers of float32 .* subtract a start",
        ),
        (
            lambda: gf.Logit([0, 1.7e9], [1, 1.7e9 + 60]),
            "float32 .* in column 1: subtract a start",
        ),
        (
            lambda: gf.Bounded([0, 1.7e9, 0], [1, 1.7e9 + 60, None]),
            "float32 .* in column 1: subtract",
        ),
        (
            lambda: gf.Bounded([None, 2, 1, 4], [None, 1, 2, 3]),
            "low=2.0, high=1.0 in column 1, likewise in column 3",
        ),
        (
            lambda: gf.Bounded([0, np.inf]),
            "low < high, received low=inf, high=inf in column 1",
        ),
        (lambda: gf.Bounded(high=[None, -np.inf]), "low=-inf, high=-inf in column 1"),
        (
            lambda: gf.Bounded([0, np.nan]),
            "None for no bound, received nan in column 1",
        ),
        (lambda: gf.Bounded(1e31), "low at most 1e\\+30 in size"),
        (lambda: gf.Bounded([[0.0]]), "Expected low to be a number"),
        (lambda: gf.Bounded([0, 0], [1, 1, 1]), "one length"),
        (lambda: gf.Bounded(map="sqrt"), "'log' or 'softplus'"),
        (
            lambda: gf.Bounded([0, None]).build((None, 3)),
            "Expected events with 2 entries",
        ),
        (
            lambda: gf.Logit([-np.inf, 0, 0], [np.inf, np.inf, 1]),
            "columns of several kinds Bounded",
        ),
        (lambda: gf.Log([-np.inf, 0, 0]), "columns of several kinds, .* use Bounded"),
        (lambda: gf.Logit([0, 0]).build((None, 3)), "Expected events with 2 entries"),
        (
            lambda: gf.Logit([0]).forward_and_log_det(np.zeros((1, 2))),
            "Expected events with 1 entries",
        ),
        (lambda: gf.Logit(alpha=1e-9), "alpha = 0 or 1e-6 <= alpha < 0.5"),
        (lambda: gf.Logit(alpha=float("nan")), "alpha = 0 or"),
        (lambda: gf.Log(np.nan), "Expected bound finite"),
        (lambda: gf.Log([0, 1]).build((None, 3)), "Expected events with 2 entries"),
        (lambda: gf.Log(side=1), "'lower' or 'upper'"),
        (lambda: gf.Log(map=None), "'log' or 'softplus'"),
        (lambda: gf.Logit.from_config({"low": 0.0}), "missing keys"),
    ],
)
def test_case_15_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_case_15_image_flows_keep_their_logit():
    "The factories pass alpha by name: the same map as before, by hand."
    for make in (gf.make_real_nvp, gf.make_glow):
        flow = make((8, 8, 1), num_values=17, alpha=0.05, hidden=(4, 4))
        layer = next(b for b in flow.bijectors if isinstance(b, gf.Logit))
        assert (layer.low, layer.high, layer.alpha) == (0.0, 1.0, 0.05)
    x = np.append(RNG.uniform(size=(30, 8)), [[0.0] * 8, [1.0] * 8], axis=0).astype(
        "float32"
    )
    z, log_det = layer.forward_and_log_det(x)
    low, high = (0.05 + 0.9 * side.astype("float64") for side in (x, 1 - x))
    np.testing.assert_allclose(z, np.log(low) - np.log(high), atol=1e-6)
    np.testing.assert_allclose(
        log_det, np.sum(np.log(0.9) - np.log(low) - np.log(high), axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(layer.inverse_and_log_det(z)[0], x, atol=1e-6)


IN_FLOAT64 = """
import numpy as np, keras
keras.config.set_floatx("float64")
import gaussflow as gf
layers = [gf.Logit(), gf.Logit([-5, 0.1], [3, 0.7])]
layers += [gf.Log(7), gf.Log(0, "upper", "softplus"), gf.Bounded([None, 0.1], [None, 0.7])]
for layer in layers:
    flow = gf.NormalizingFlow([layer, gf.Marginal(gf.Affine())], 2)
    x = keras.ops.convert_to_numpy(flow.sample(100_000, seed=0))
    assert x.dtype == "float64"
    assert np.all((x >= layer.lowest) & (x <= layer.highest))
    assert np.isfinite(keras.ops.convert_to_numpy(flow.log_prob(x))).all()
    far = np.linspace(-1e4, 1e4, 2000).reshape(-1, 2)
    x, log_det = layer.inverse_and_log_det(far)
    z, log_det = layer.forward_and_log_det(x)
    for value in (z, log_det):
        assert np.isfinite(keras.ops.convert_to_numpy(value)).all()
    near = np.linspace(-3, 3, 40).reshape(-1, 2)
    x, log_det = layer.inverse_and_log_det(near)
    z, forward = layer.forward_and_log_det(x)
    np.testing.assert_allclose(z, near, atol=1e-12)
    total = keras.ops.convert_to_numpy(forward + log_det)
    np.testing.assert_allclose(total, 0 * total, atol=1e-12)
    gf.check_bijector(layer, keras.ops.convert_to_numpy(x))
gf.Logit(1.7e9, 1.7e9 + 60).check_data(np.array([[1.7e9 + 1e-3]]))
x, _ = gf.Logit().inverse_and_log_det(np.array([[36.0]]))
assert 0 < 1 - float(x[0, 0]) < 1e-15
"""


def test_case_15_float64():
    environment = {**os.environ, "JAX_ENABLE_X64": "1"}
    result = subprocess.run(
        [sys.executable, "-c", IN_FLOAT64],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
