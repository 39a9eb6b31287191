"Properties over random inputs, many numbers to a case: extreme tails, round trips, orthogonality, and what a layer leaves alone."

import keras
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops
from scipy import optimize, special
from user_layers import scatter

import gaussflow as gf
from gaussflow.backend import compile_method, gradient
from gaussflow.coupling import check_mask
from gaussflow.mixture import (
    MixtureOfGaussians,
    logistic_to_normal,
    mixture_to_normal,
    normal_to_logistic,
    normal_to_mixture,
)
from gaussflow.spline import spline_forward, spline_inverse

LARGEST = float(np.finfo("float32").max)
FLOATS = st.floats(
    width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False
)
SEEDS = st.integers(0, 2**32 - 1)
TAIL = 2e-5  # of max(1, |z|), as promised
HELD = 1.8e19**1.9  # the largest |z| that the map gives
WIDEST = 1.6e38  # the farthest end of a bracket


def numpy(*tensors):
    found = [ops.convert_to_numpy(t) for t in tensors]
    return found if len(found) > 1 else found[0]


@st.composite
def mixtures(draw):
    "A mixture of K Gaussians, `(K,)` each: near or far modes, narrow or broad, weights down to e^-30."
    k, generator = draw(st.sampled_from([1, 2, 8])), np.random.default_rng(draw(SEEDS))
    spread, weight = (
        draw(st.sampled_from([0.3, 3.0, 30.0, 1000.0])),
        draw(st.sampled_from([0.0, 2.0, 10.0])),
    )
    params = (
        weight * generator.normal(size=k),
        spread * generator.normal(size=k),
        generator.uniform(-5, 3, k),
    )
    return [np.clip(p, -1e6, 1e6).astype("float32") for p in params]


@st.composite
def numbers(draw):
    "Finite float32 numbers: any that hypothesis likes, magnitudes over the whole range, and ordinary ones."
    generator = np.random.default_rng(draw(SEEDS))
    any_size = generator.choice([-1.0, 1.0], 40) * 10 ** generator.uniform(
        -38, 38.5, 40
    )
    edges = [0.0, -0.0, LARGEST, -LARGEST, 1e15, -1e15, 1.8e19, 1.9e19, -1e20]
    ordinary = generator.normal(size=40) * draw(st.sampled_from([1.0, 10.0, 1000.0]))
    chosen = draw(arrays("float32", 11, elements=FLOATS))
    return np.clip(
        np.concatenate([chosen, edges, any_size, ordinary]), -LARGEST, LARGEST
    ).astype("float32")


def spread_out(mixture, n):
    return [np.broadcast_to(p, (n, p.size)).copy() for p in mixture]


def forward(x, mixture):
    logits, means, log_scales = spread_out(mixture, len(x))
    return mixture_to_normal(
        ops.convert_to_tensor(x), ops.log_softmax(logits), means, log_scales
    )


# A loop, step by step, is slow: compiled once for each number of components.
INVERSE = compile_method(
    None,
    lambda z, logits, *rest: normal_to_mixture(z, ops.log_softmax(logits), *rest),
    False,
)


def backward(z, mixture):
    return INVERSE(z, *spread_out(mixture, len(z)))


def reference(x, mixture):
    "z by SciPy in float64, in logarithms on both sides."
    logits, means, log_scales = (p.astype("float64") for p in mixture)
    t = (x.astype("float64")[:, None] - means) * np.exp(-log_scales)
    log_weights = special.log_softmax(logits)
    lower, upper = (
        special.logsumexp(log_weights + special.log_ndtr(sign * t), axis=1)
        for sign in (1, -1)
    )
    z = special.ndtri_exp(np.minimum(lower, upper))
    return np.where(lower < upper, z, -z)


@given(mixtures(), numbers())
def test_mixture_forward_is_exact_to_the_last_float(mixture, x):
    "No NaN, within the promise of SciPy in float64, and increasing."
    z, log_slope = numpy(*forward(x, mixture))
    assert np.isfinite(z).all() and np.isfinite(log_slope).all()
    expected = np.clip(reference(x, mixture), -HELD, HELD)
    assert np.all(
        np.abs(z - expected) <= TAIL * np.maximum(1, np.abs(expected)) + 1e-30
    )
    order = np.argsort(x)
    assert np.all(
        np.diff(z[order].astype("float64"))
        >= -TAIL * np.maximum(1, np.abs(z[order][1:]))
    )


@given(mixtures(), numbers(), st.integers(0, 2))
def test_mixture_gradients_are_numbers(mixture, x, i):
    "Those of log p plus z: in x to 1e15 scales, and in one of the parameters to 1e6 scales."
    scale = np.exp(mixture[2].min())
    logits, means, log_scales = spread_out(mixture, len(x))
    params = [numpy(ops.log_softmax(logits)), means, log_scales]

    def score(x, *params):
        z, log_slope = mixture_to_normal(x, *params)
        return log_slope - 0.5 * ops.square(z) + z

    far = np.where(np.abs(x) < 1e15 * scale, x, 1.0).astype("float32")
    assert np.isfinite(gradient(lambda x: score(x, *params), far)).all()
    near = np.where(np.abs(x) < 1e6 * scale, x, 1.0).astype("float32")
    assert np.isfinite(
        gradient(lambda p: score(near, *params[:i], p, *params[i + 1 :]), params[i])
    ).all()


@given(mixtures(), numbers())
def test_mixture_inverse_finds_the_root_in_the_known_bracket(mixture, z):
    "z -> x -> z to what one float of x allows; x lies in the bracket, and the bracket's ends are on either side of z."
    x, log_slope = numpy(*backward(z, mixture))
    assert not np.isnan(x).any() and not np.isnan(log_slope).any()
    _, means, log_scales = (p.astype("float64") for p in mixture)
    ends = means + np.exp(log_scales) * z.astype("float64")[:, None]
    lower, upper = (
        np.clip(ends.min(1), -WIDEST, WIDEST),
        np.clip(ends.max(1), -WIDEST, WIDEST),
    )
    slack = 5e-6 * np.maximum(np.abs(lower), np.abs(upper)) + 1e-6 * np.exp(
        log_scales.max()
    )
    assert np.all(x >= lower - slack) and np.all(x <= upper + slack)
    inside = (np.abs(ends) < 1e30).all(1) & (np.abs(z) < 1e18)
    for end, sign in ((lower, 1), (upper, -1)):
        value = reference(end, mixture)
        assert np.all(
            sign * (z - value)[inside] >= -TAIL * np.maximum(1, np.abs(z[inside]))
        )
    again, slope = numpy(*forward(x, mixture))
    one_float = np.exp(
        np.maximum(slope, -log_scales.max()).astype("float64")
    ) * np.spacing(np.abs(x)).astype("float64")
    allowed = TAIL * np.maximum(1, np.abs(z)) + 4 * one_float
    assert np.all(np.abs(again - z)[inside] <= allowed[inside])


LOGISTIC_INVERSE = compile_method(
    None,
    lambda z, logits, *rest: normal_to_logistic(z, ops.log_softmax(logits), *rest),
    False,
)


@given(mixtures(), numbers())
def test_logistic_mixtures_both_ways(mixture, x):
    "No NaN, within the promise of SciPy in float64, increasing; and z -> x -> z to what one float of x allows."
    wide, (logits, means, log_scales) = (
        x.astype("float64"),
        (p.astype("float64") for p in mixture),
    )
    z, log_slope = numpy(
        *logistic_to_normal(
            ops.convert_to_tensor(x),
            *[numpy(ops.log_softmax(mixture[0])), *mixture[1:]],
        )
    )
    assert np.isfinite(z).all() and np.isfinite(log_slope).all()
    t = np.clip((wide[:, None] - means) * np.exp(-log_scales), -HELD, HELD)
    lower, upper = (
        special.logsumexp(
            special.log_softmax(logits) + special.log_expit(s * t), axis=1
        )
        for s in (1, -1)
    )
    expected = np.where(lower < upper, 1, -1) * special.ndtri_exp(
        np.minimum(lower, upper)
    )
    assert np.all(np.abs(z - expected) <= TAIL * np.maximum(1, np.abs(expected)))
    order = np.argsort(x)
    assert np.all(
        np.diff(z[order].astype("float64"))
        >= -TAIL * np.maximum(1, np.abs(z[order][1:]))
    )
    back, _ = numpy(*LOGISTIC_INVERSE(x, *spread_out(mixture, len(x))))
    again, slope = numpy(
        *logistic_to_normal(back, *[numpy(ops.log_softmax(mixture[0])), *mixture[1:]])
    )
    one_float = np.exp(
        np.maximum(slope, -mixture[2].max()).astype("float64")
    ) * np.spacing(np.abs(back)).astype("float64")
    inside = np.abs(x) < 1e14  # beyond, the event of this latent does not fit a float32
    assert not np.isnan(back).any()
    assert np.all(
        np.abs(again - x)[inside]
        <= (TAIL * np.maximum(1, np.abs(x)) + 4 * one_float)[inside]
    )


BOUNDS = [1e-3, 0.1, 1.0, 3.0, 5.0, 1000.0, 1e6]


@st.composite
def splines(draw):
    "A spline and raw parameters of one number, `(1, size)` by name: near the start, wild, or as large as 1e15."
    generator, k = (
        np.random.default_rng(draw(SEEDS)),
        draw(st.sampled_from([2, 3, 8, 50])),
    )
    scalar = gf.RationalQuadraticSpline(k, bound=draw(st.sampled_from(BOUNDS)))
    size = draw(st.sampled_from([0.0, 0.5, 3.0, 30.0, 1e4, 1e15]))
    base = scalar.identity_params()
    return scalar, {
        name: (base[name] + size * generator.normal(size=(1, n))).astype("float32")
        for name, n in scalar.param_sizes.items()
    }


def knots_of(scalar, params):
    return [np.asarray(v) for v in numpy(*scalar.knots(params))]


def inside(scalar, x):
    "The numbers `x`, those beyond the bound wrapped into it, and the ones around the bound."
    bound = np.float32(scalar.bound)
    near = np.nextafter(bound, np.float32([0, 2 * bound]))
    return np.concatenate([x, np.fmod(x, bound), [bound, -bound], near, -near]).astype(
        "float32"
    )


def climb(x, knots_x, knots_z, slopes):
    """The printed formulas of one spline in float64, eq. 4 and 5: z, dz/dx, and z's distance to the nearer knot.

    From the left knot as printed, and from the right one as the same formula says of the mirrored bin; the shorter way counts.
    """
    x, knots_x, knots_z, slopes = (
        v.astype("float64") for v in (x, knots_x, knots_z, slopes)
    )
    k = np.clip(np.searchsorted(knots_x, x, side="right") - 1, 0, len(knots_x) - 2)
    width, height, d0, d1 = (
        knots_x[k + 1] - knots_x[k],
        knots_z[k + 1] - knots_z[k],
        slopes[k],
        slopes[k + 1],
    )
    s, xi, mirrored = (
        height / width,
        (x - knots_x[k]) / width,
        (knots_x[k + 1] - x) / width,
    )
    below = s + (d1 + d0 - 2 * s) * xi * mirrored
    slope = s**2 * (d1 * xi**2 + 2 * s * xi * mirrored + d0 * mirrored**2) / below**2
    up, down = (
        height * (s * xi**2 + d0 * xi * mirrored) / below,
        height * (s * mirrored**2 + d1 * xi * mirrored) / below,
    )
    return (
        np.where(up < down, knots_z[k] + up, knots_z[k + 1] - down),
        slope,
        np.minimum(up, down),
    )


def to_nearer_knot(value, edges):
    value, edges = value.astype("float64"), edges.astype("float64")
    return np.abs(value[:, None] - edges).min(1)


def underflow(bound):
    "What is lost where a share of a bin, or a distance, is too small for a float."
    return 1e-36 * max(1.0, float(bound))


def floats(number, *sizes):
    "So many spacings of float32 at the largest of these sizes."
    return number * np.spacing(np.max(np.abs(sizes), axis=0).astype("float32")).astype(
        "float64"
    )


@given(splines(), numbers())
def test_spline_forward_is_exact_to_the_last_float(spline, x):
    "Increasing knots with exact ends; z and the log-slope within the promise of the printed formulas; unchanged outside."
    scalar, params = spline
    knots, bound, x = (
        knots_of(scalar, params),
        np.float32(scalar.bound),
        inside(scalar, x),
    )
    for edges in knots[:2]:
        assert (
            np.all(np.diff(edges) > 0)
            and edges[0, 0] == -bound
            and edges[0, -1] == bound
        )
    assert np.all(knots[2] >= 9.9e-4)
    z, log_slope = numpy(*spline_forward(ops.convert_to_tensor(x), *knots))
    assert np.isfinite(z).all() and np.isfinite(log_slope).all()
    beyond = np.abs(x) >= bound
    np.testing.assert_array_equal(z[beyond], x[beyond])
    np.testing.assert_array_equal(log_slope[beyond], 0)
    exact, slope, distance = climb(x[~beyond], *(v[0] for v in knots))
    assert np.all(
        np.abs(z[~beyond] - exact) <= floats(8, exact, distance) + underflow(bound)
    )
    np.testing.assert_allclose(log_slope[~beyond], np.log(slope), atol=1e-5)
    np.testing.assert_array_equal(
        numpy(spline_forward(knots[0][0], *knots)[0]), knots[1][0]
    )
    order = np.argsort(x)
    assert np.all(
        np.diff(z[order].astype("float64"))
        >= -1e-6 * np.maximum(float(bound), np.abs(z[order][1:]))
    )


@given(splines(), numbers())
def test_spline_inverse_agrees_with_a_bracketing_search(spline, z):
    """Within 4 floats of x the printed formula gives z to within 8 floats, counted at z's distance to its nearer knot.

    That is all a float32 inverse can promise: the x of a rounded z, then rounded. Four floats of x are those at |x| or at the
    distance to the nearer knot, whichever is larger. How far x is off is then 8 floats over the slope, as the search says.
    """
    scalar, params = spline
    knots, bound, z = (
        knots_of(scalar, params),
        float(np.float32(scalar.bound)),
        inside(scalar, z),
    )
    x, log_slope = numpy(*spline_inverse(ops.convert_to_tensor(z), *knots))
    assert np.isfinite(x).all() and np.isfinite(log_slope).all()
    beyond = np.abs(z) >= np.float32(bound)
    np.testing.assert_array_equal(x[beyond], z[beyond])
    np.testing.assert_array_equal(log_slope[beyond], 0)
    z, x, log_slope, one = (
        z[~beyond].astype("float64"),
        x[~beyond].astype("float64"),
        log_slope[~beyond],
        [v[0] for v in knots],
    )
    of_z = floats(8, to_nearer_knot(z, one[1])) + underflow(bound)
    of_x = floats(4, x, to_nearer_knot(x, one[0])) + underflow(bound)
    lowest, highest = (
        climb(np.clip(x + s * of_x, -bound, bound), *one)[0] for s in (-1, 1)
    )
    assert np.all((lowest - of_z <= z) & (z <= highest + of_z))

    def search(value):
        miss = lambda t: climb(np.array([t]), *one)[0][0] - value
        return (
            optimize.brentq(miss, -bound, bound, xtol=1e-40, maxiter=1000)
            if abs(value) < bound
            else value
        )

    for i in range(min(5, len(z))):
        roots = np.array([search(z[i] + s * of_z[i]) for s in (-1, 0, 1)])
        assert roots[0] - of_x[i] <= x[i] <= roots[2] + of_x[i]
        if (
            one[2].max() < 1e6
        ):  # steeper, and x in float64 is too coarse to say what the slope is
            slopes = np.log(climb(np.append(roots, x[i]), *one)[1])
            assert slopes.min() - 1e-5 <= -log_slope[i] <= slopes.max() + 1e-5
    np.testing.assert_array_equal(
        numpy(spline_inverse(knots[1][0], *knots)[0]), knots[0][0]
    )


@given(
    splines(),
    numbers(),
    st.sampled_from(["forward", "inverse"]),
    st.sampled_from(["x", "widths", "heights", "slopes"]),
)
def test_spline_gradients_are_numbers(spline, x, direction, name):
    "In the number and in every parameter, in both directions, for any finite number and raw parameters up to 1e15."
    scalar, params = spline
    x = inside(scalar, x)[:, None]
    at = {
        "x": x,
        **{
            name: np.repeat(value[None], len(x), axis=0)
            for name, value in params.items()
        },
    }

    def move(value):
        parts = {**at, name: value}
        return sum(getattr(scalar, direction)(parts.pop("x"), parts))

    assert np.isfinite(gradient(move, at[name])).all()


@given(arrays("float32", 60, elements=FLOATS), SEEDS)
def test_special_functions_agree_with_scipy(x, seed):
    x = np.concatenate(
        [x, np.random.default_rng(seed).normal(size=60).astype("float32") * 12]
    )
    wide = x.astype("float64")
    near = np.abs(wide) < 1e18  # beyond, the logarithm does not fit a float32
    np.testing.assert_allclose(
        numpy(gf.norm_cdf(x)), special.ndtr(wide), rtol=1e-5, atol=1e-37
    )
    np.testing.assert_allclose(
        numpy(gf.norm_log_cdf(x))[near],
        special.log_ndtr(wide)[near],
        rtol=1e-5,
        atol=1e-37,
    )
    np.testing.assert_allclose(
        numpy(gf.norm_log_pdf(x))[near],
        (-0.5 * wide**2 - 0.5 * np.log(2 * np.pi))[near],
        rtol=1e-6,
    )
    assert not np.isnan(
        numpy(gf.norm_cdf(x), gf.norm_log_cdf(x), gf.norm_log_pdf(x))
    ).any()


@given(
    arrays("float32", 60, elements=st.floats(0, 1, width=32, allow_subnormal=False)),
    arrays(
        "float32",
        60,
        elements=st.floats(
            width=32, max_value=0, allow_nan=False, allow_subnormal=False
        ),
    ),
)
def test_quantiles_agree_with_scipy(p, log_p):
    z, expected = numpy(gf.norm_icdf(p)), special.ndtri(p.astype("float64"))
    np.testing.assert_allclose(z, expected, rtol=5e-6, atol=2e-6)
    z, expected = (
        numpy(gf.norm_icdf_from_log(log_p)),
        special.ndtri_exp(log_p.astype("float64")),
    )
    np.testing.assert_allclose(z, expected, rtol=5e-6, atol=2e-6)


@st.composite
def reflectors(draw):
    "A product of reflections, `(k, d)`: independent directions, nearly parallel ones, or of very different lengths."
    generator, d = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 12))
    v = generator.normal(size=(draw(st.integers(1, 12)), d))
    kind = draw(st.sampled_from(["plain", "parallel", "lengths"]))
    v = (
        v[:1] + 0.05 * v
        if kind == "parallel"
        else v * 10 ** generator.uniform(-6, 6, (len(v), 1))
        if kind == "lengths"
        else v
    )
    return v.astype("float32")


@given(reflectors(), SEEDS)
def test_reflections_are_orthogonal(v, seed):
    d = v.shape[1]
    q = numpy(gf.apply_reflectors(v, np.eye(d, dtype="float32"))).astype("float64")
    np.testing.assert_allclose(q @ q.T, np.eye(d), atol=2e-5)
    assert abs(abs(np.linalg.det(q)) - 1) < 1e-4
    y = np.random.default_rng(seed).normal(size=(5, d)).astype("float32")
    np.testing.assert_allclose(
        numpy(gf.apply_reflectors(v[::-1], gf.apply_reflectors(v, y))), y, atol=5e-5
    )
    exact = np.linalg.svd(q)
    again = numpy(
        gf.apply_reflectors(
            gf.householder_decompose(exact[0] @ exact[2]).astype("float32"), y
        )
    )
    flipped = np.where(
        (np.arange(d) == d - 1) & (np.linalg.det(q) * (-1) ** d < 0), -1, 1
    )
    np.testing.assert_allclose(again, y @ (exact[0] @ exact[2] * flipped), atol=5e-5)


@given(st.integers(2, 200), SEEDS)
def test_masks_keep_something_and_move_something(d, seed):
    masks = [gf.default_half_mask(d), gf.alternating_mask(d), gf.random_mask(d, seed)]
    for mask in (*masks, *(~m for m in masks)):
        np.testing.assert_array_equal(check_mask(mask.tolist()), mask)
        assert (
            mask.dtype == bool and mask.shape == (d,) and abs(2 * mask.sum() - d) <= 1
        )
    np.testing.assert_array_equal(gf.random_mask(d, seed), masks[2])
    assert (
        masks[1][0]
        and not np.any(masks[1][1:] & masks[1][:-1])
        and np.all(masks[1][1:] | masks[1][:-1])
    )


@given(st.integers(2, 6), SEEDS, st.data())
def test_couplings_keep_what_they_promise(d, seed, data):
    "The kept half to the bit; a moved number depends on itself and the kept ones only; the way back; the log-determinant's sign."
    mask = np.array(
        data.draw(
            st.lists(st.booleans(), min_size=d, max_size=d).filter(
                lambda m: any(m) and not all(m)
            )
        )
    )
    layer = gf.AffineCoupling(mask, gf.MLPConditioner(2 * int((~mask).sum()), (5,)))
    x = np.random.default_rng(seed).normal(size=(30, d)).astype("float32") * 3
    layer.forward_and_log_det(x)
    scatter(layer, seed)
    z, log_det = numpy(*layer.forward_and_log_det(x))
    np.testing.assert_array_equal(z[:, mask], x[:, mask])
    other, moved = x.copy(), np.flatnonzero(~mask)
    other[:, moved[1:]] += 1.0
    np.testing.assert_array_equal(
        numpy(layer.forward_and_log_det(other)[0])[:, moved[0]], z[:, moved[0]]
    )
    back, inverse_log_det = numpy(*layer.inverse_and_log_det(z))
    np.testing.assert_allclose(back, x, atol=1e-3, rtol=1e-4)
    np.testing.assert_array_equal(inverse_log_det, -log_det)


@given(st.integers(2, 8), SEEDS)
def test_rotations_keep_lengths_and_volumes(d, seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(20, d)).astype("float32")
    for layer in (
        gf.Householder(int(generator.integers(1, d + 1)), seed=seed % 1000),
        gf.FixedOrtho.random_haar(d, seed=seed % 1000),
    ):
        z, log_det = numpy(*layer.forward_and_log_det(x))
        np.testing.assert_allclose(
            np.linalg.norm(z, axis=1), np.linalg.norm(x, axis=1), rtol=2e-5
        )
        np.testing.assert_array_equal(log_det, np.zeros(20))
        np.testing.assert_allclose(numpy(layer.inverse_and_log_det(z)[0]), x, atol=5e-5)
    order = generator.permutation(d)
    z, _ = gf.Permute(order.tolist()).forward_and_log_det(x)
    np.testing.assert_array_equal(z, x[:, order])


def small_flow(coupling):
    keras.utils.set_random_seed(0)
    flow = gf.GaussianizationFlow([gf.Householder(2), coupling], 2)
    flow.compile(jit_compile=False)
    flow.build((None, 2))
    return flow


FLOW = small_flow(
    gf.MixtureCDFCoupling([True, False], gf.make_mlp_conditioner(1, 2, (4,)), 2)
)
START = [numpy(w) for w in FLOW.trainable_weights]
AFFINE = small_flow(gf.AffineCoupling([True, False], gf.MLPConditioner(2, (4,))))


@given(numbers(), SEEDS)
def test_a_flow_s_log_density_is_a_number_or_minus_infinity(x, seed):
    "For every finite event; and its gradient in the event is finite to 1e15."
    for weight, start in zip(FLOW.trainable_weights, START):
        weight.assign(start)
    scatter(FLOW, seed, spread=0.5)
    x = np.stack([x, np.random.default_rng(seed).permutation(x)], axis=1)
    log_prob = numpy(FLOW.log_prob(x))
    assert not np.isnan(log_prob).any() and not np.any(log_prob == np.inf)
    near = np.where(np.abs(x) <= 1e15, x, 0)
    assert np.isfinite(gradient(FLOW.log_prob, near)).all()


@given(st.integers(1, 700), st.sampled_from([256, 300, 512]), SEEDS)
def test_chunks_change_nothing(n, chunk, seed):
    x = np.random.default_rng(seed).normal(size=(n, 2)).astype("float32")
    ask = lambda flow, x: flow.forward_and_log_det(x)
    for part, plain in zip(
        AFFINE.run("chunks", ask, [x], chunk, False), numpy(*ask(AFFINE, x))
    ):
        np.testing.assert_allclose(part, plain, atol=1e-5)


@given(mixtures(), SEEDS)
def test_mixture_density_is_the_slope_of_its_distribution(mixture, seed):
    "cdf and pdf against SciPy, where float32 can tell."
    generator = np.random.default_rng(seed)
    logits, means, log_scales = (p.astype("float64") for p in mixture)
    x = (
        generator.choice(means, 60)
        + generator.normal(size=60) * np.exp(generator.choice(log_scales, 60))
    ).astype("float32")
    ours, weights = MixtureOfGaussians(*mixture), special.softmax(logits)
    t = (x.astype("float64")[:, None] - means) / np.exp(log_scales)
    np.testing.assert_allclose(numpy(ours.cdf(x)), special.ndtr(t) @ weights, atol=5e-6)
    density = np.exp(-0.5 * t**2 - 0.5 * np.log(2 * np.pi) - log_scales) @ weights
    sensitive = 1e-4 + 4e-6 * np.abs(t).max() ** 2
    np.testing.assert_allclose(
        numpy(ours.pdf(x)), density, rtol=min(sensitive, 0.1), atol=1e-4 * density.max()
    )
