"A warm start of what users bring: conditioners of their own, events of other sizes, context, files, odd stacks of layers."

import keras
import numpy as np
import pytest
from keras import ops
from user_layers import Fourier, Plain, functional, scatter

import gaussflow as gf
from gaussflow.bijector import Arrivals
from gaussflow.linear import principal_rotation
from gaussflow.mixture import MixtureCDF, fit_mixture

RNG = np.random.default_rng(0)
X2 = (
    RNG.normal(size=(600, 2)) ** 3 @ np.array([[1.0, 0.4], [0.0, 1.0]]) + [2.0, -1.0]
).astype("float32")
X3 = np.stack(
    [
        RNG.normal(size=600),
        RNG.gamma(2.0, size=600),
        RNG.choice([-2.0, 2.0], 600) + 0.3 * RNG.normal(size=600),
    ],
    1,
).astype("float32")
CONTEXT = RNG.normal(size=(600, 2)).astype("float32")
FIRST = [True, False]


def coupling_flow(conditioner, num_components=4, layers=()):
    flow = gf.GaussianizationFlow(
        [
            gf.Householder(2),
            gf.MixtureCDFCoupling(FIRST, conditioner, num_components),
            *layers,
        ],
        2,
    )
    flow.build((None, 2))
    return flow


def outputs(flow, index=1, rows=X2):
    coupling = flow.bijector_layers[index]
    kept = RNG.normal(size=(50, coupling.d_a)).astype("float32")
    return ops.convert_to_numpy(coupling.conditioner(kept))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fourier(12),
        lambda: Plain(12),
        lambda: functional(1, 12),
        lambda: gf.make_residual_conditioner(1, 4),
    ],
)
def test_any_conditioner_ends_silent_and_the_coupling_is_the_marginal_layer(make):
    flow = coupling_flow(make())
    scatter(flow)
    before = flow.get_weights()
    z = gf.initialize_flow_from_ig(flow, X2)
    assert not outputs(flow).any()
    np.testing.assert_allclose(z, flow(X2), atol=1e-5)
    marginal = gf.GaussianizationFlow(
        [gf.Householder(2), gf.MixtureCDFGaussianization(4)], 2
    )
    marginal.build((None, 2))
    np.testing.assert_allclose(
        z[:, 1], gf.initialize_flow_from_ig(marginal, X2)[:, 1], atol=1e-5
    )
    changed = sum(
        not np.array_equal(a, b)
        for a, b in zip(before, flow.get_weights(), strict=True)
    )
    assert (
        changed == 1 + 3 + 2
    )  # the reflectors, the base, the last layer's kernel and bias: hidden layers keep their weights


def test_a_hidden_layer_of_the_heads_width_is_not_taken_for_the_head():
    hidden = keras.layers.Dense(12, activation="relu")
    conditioner = keras.Sequential([hidden, keras.layers.Dense(12)])
    flow = coupling_flow(conditioner)
    scatter(flow)
    gf.initialize_flow_from_ig(flow, X2)
    assert ops.convert_to_numpy(hidden.kernel).any()
    assert not ops.convert_to_numpy(conditioner.layers[1].kernel).any()


def test_a_conditioner_without_weights_that_answers_zero_is_welcome_and_another_is_not():
    silent = coupling_flow(
        keras.layers.Lambda(
            lambda kept: 0 * ops.tile(kept, (1, 12)), output_shape=(12,)
        )
    )
    np.testing.assert_allclose(
        gf.initialize_flow_from_ig(silent, X2), silent(X2), atol=1e-5
    )
    loud = coupling_flow(
        keras.layers.Lambda(lambda kept: ops.tile(kept, (1, 12)), output_shape=(12,))
    )
    with pytest.raises(
        ValueError,
        match="width 12 that can be set to zero, or zero outputs, received Lambda",
    ):
        gf.initialize_flow_from_ig(loud, X2)


def test_a_refused_flow_keeps_all_its_weights_those_of_earlier_layers_too():
    loud = keras.layers.Lambda(lambda kept: ops.tile(kept, (1, 12)), output_shape=(12,))
    flow = coupling_flow(
        Plain(12), layers=[gf.MixtureCDFCoupling([False, True], loud, 4)]
    )
    scatter(flow)
    before = flow.get_weights()
    with pytest.raises(ValueError, match="Expected a conditioner with a last layer"):
        gf.initialize_flow_from_ig(flow, X2)
    for old, new in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "mask", [[True, False, False], [False, True, False], [True, True, False]]
)
def test_three_dimensions_start_where_the_marginal_flow_does(mask):
    coupling, marginal = (
        gf.make_coupling_flow(3, num_blocks=3, mask=mask),
        gf.make_gaussianization_flow(3, num_blocks=3),
    )
    for flow in (coupling, marginal):
        flow.build((None, 3))
    z = gf.initialize_flow_from_ig(coupling, X3, random_state=5)
    np.testing.assert_allclose(
        z, gf.initialize_flow_from_ig(marginal, X3, random_state=5), atol=1e-5
    )
    np.testing.assert_allclose(z, coupling(X3), atol=1e-5)
    for i in range(3):
        for name in ("logits", "means", "log_scales"):
            _, first, second = coupling.bijector_layers[3 * i : 3 * i + 3]
            base = np.zeros((3, 8))
            for layer in (first, second):
                base[~np.array(layer.mask)] = ops.convert_to_numpy(
                    getattr(layer, f"base_{name}")
                )
            expected = ops.convert_to_numpy(
                getattr(marginal.bijector_layers[2 * i + 1], name)
            )
            np.testing.assert_allclose(base, expected, atol=1e-3, rtol=1e-3)


def test_shared_conditioners_get_the_average_of_sorted_fits_or_each_its_own():
    flow, marginal = (
        gf.make_coupling_flow(3, num_blocks=1, shared_mixture=True),
        gf.make_gaussianization_flow(3, num_blocks=1),
    )
    for each in (flow, marginal):
        each.build((None, 3))
        scatter(each)
    separate = gf.initialize_flow_from_ig(flow, X3, average_shared=False)
    np.testing.assert_allclose(
        separate, gf.initialize_flow_from_ig(marginal, X3), atol=1e-5
    )
    gf.initialize_flow_from_ig(flow, X3)
    means = ops.convert_to_numpy(marginal.bijector_layers[1].means)
    assert (np.diff(means, axis=1) >= 0).all()
    base = ops.convert_to_numpy(flow.bijector_layers[1].base_means)
    np.testing.assert_allclose(
        base, np.repeat(means[None, 1:].mean(axis=1), 2, axis=0), atol=1e-5
    )
    head = flow.bijector_layers[1].conditioner.head
    assert not any(ops.convert_to_numpy(w).any() for w in head.weights)
    np.testing.assert_allclose(
        gf.initialize_flow_from_ig(flow, X3), flow(X3), atol=1e-5
    )


def test_files_give_the_same_bits_and_training_goes_on(tmp_path):
    flow = gf.make_coupling_flow(2, num_blocks=2, num_components=4, hidden=(8,))
    flow.build((None, 2))
    gf.initialize_flow_from_ig(flow, X2)
    flow.save(tmp_path / "warm.keras")
    again = keras.saving.load_model(tmp_path / "warm.keras")
    np.testing.assert_array_equal(flow(X2), again(X2))
    for ours, theirs in zip(flow.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    flow.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    start = flow.evaluate(X2, verbose=0)
    keras.utils.set_random_seed(0)
    flow.fit(X2, epochs=4, batch_size=100, verbose=0)
    assert flow.evaluate(X2, verbose=0) < start


def test_context_comes_along_and_does_not_change_the_start():
    flow = gf.GaussianizationFlow(
        [gf.Householder(2), gf.MixtureCDFCoupling(FIRST, Plain(12), 4)], 2
    )
    flow.build({"x": (None, 2), "context": (None, 2)})
    scatter(flow)
    z = gf.initialize_flow_from_ig(flow, {"x": X2, "context": CONTEXT})
    np.testing.assert_array_equal(
        z, gf.initialize_flow_from_ig(flow, X2, context=CONTEXT)
    )
    np.testing.assert_allclose(z, flow({"x": X2, "context": 0 * CONTEXT}), atol=1e-5)


def test_a_conditional_marginal_flow_starts_as_the_plain_one():
    plain, given = (
        gf.make_gaussianization_flow(2, 2),
        gf.make_gaussianization_flow(2, 2, context_hidden=(4,)),
    )
    plain.build((None, 2))
    given.build({"x": (None, 2), "context": (None, 2)})
    scatter(given)
    z = gf.initialize_flow_from_ig(given, X2, context=CONTEXT)
    np.testing.assert_allclose(z, gf.initialize_flow_from_ig(plain, X2), atol=1e-5)
    np.testing.assert_allclose(z, given({"x": X2, "context": -CONTEXT}), atol=1e-5)


def test_an_autoregressive_flow_starts_as_the_marginal_one():
    law = gf.MixtureCDF(4)
    flow = gf.NormalizingFlow(
        [
            gf.Householder(2),
            gf.Autoregressive(gf.MaskedMLPConditioner([4, 4, 4], 2, (8,)), law),
        ],
        2,
    )
    plain = gf.make_gaussianization_flow(2, 1, num_components=4)
    for each in (flow, plain):
        each.build((None, 2))
        scatter(each)
    np.testing.assert_allclose(
        gf.initialize_flow_from_ig(flow, X2),
        gf.initialize_flow_from_ig(plain, X2),
        atol=1e-5,
    )


def test_affine_and_additive_couplings_standardise():
    layers = [
        gf.AffineCoupling(FIRST, gf.MLPConditioner(2, (4,))),
        gf.AdditiveCoupling([False, True], Plain(1)),
        gf.Marginal(gf.Affine()),
    ]
    flow = gf.GaussianizationFlow(layers, 2)
    flow.build((None, 2))
    scatter(flow)
    z = gf.initialize_flow_from_ig(flow, X2)
    np.testing.assert_allclose(z, (X2 - X2.mean(0)) / X2.std(0), atol=1e-4)


def test_logistic_components_get_the_variance_of_the_gaussian_ones():
    layer = gf.Marginal(MixtureCDF(4, family="logistic"))
    layer.build((None, 2))
    z = layer.adapt(X2)
    np.testing.assert_allclose([z.mean(0), z.std(0)], [[0, 0], [1, 1]], atol=0.1)


def test_any_stack_passes_through_and_background_is_known():
    chain = gf.Chain(
        [gf.Householder(1), gf.MixtureCDFGaussianization(4, background=0.1)]
    )
    layers = [
        gf.LinearLU(seed=0),
        chain,
        gf.Permute([1, 0]),
        gf.Inverse(gf.FixedOrtho(np.eye(2))),
        gf.Marginal(gf.Affine()),
    ]
    flow = gf.NormalizingFlow(layers, 2)
    flow.build((None, 2))
    z = gf.initialize_flow_from_ig(flow, X2)
    np.testing.assert_allclose(z, flow(X2), atol=1e-5)
    np.testing.assert_allclose([z.mean(0), z.std(0)], [[0, 0], [1, 1]], atol=1e-4)


def test_images_are_fitted_channel_by_channel():
    images = (RNG.normal(size=(200, 4, 4, 2)) * [1.0, 3.0] + [0.0, 5.0]).astype(
        "float32"
    )
    flow = gf.NormalizingFlow(
        [gf.Householder(2), gf.MixtureCDFGaussianization(3)], (4, 4, 2)
    )
    flow.build((None, 4, 4, 2))
    z = gf.initialize_flow_from_ig(flow, images)
    assert z.shape == images.shape
    np.testing.assert_allclose(z.reshape(-1, 2).std(0), 1, atol=0.02)


def test_blocks_without_rotations_count_by_pairs():
    flow = gf.make_coupling_flow(2, num_blocks=2, include_rotation=False)
    rows = Arrivals(X2)
    blocks = [
        rows.next_block(np.flatnonzero(~np.array(layer.mask)).tolist())
        for layer in flow.bijector_layers
    ]
    assert blocks == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "column",
    [
        np.full(50, 7.0),
        np.arange(60) % 3.0,
        np.array([0.0, 1.0]),
        np.zeros(9),
        1e12 + np.arange(9.0),
    ],
)
@pytest.mark.parametrize("background", [0.0, 0.2])
def test_dull_columns_break_nothing(column, background):
    fit = fit_mixture(column, 8, background)
    assert all(np.isfinite(part).all() for part in fit.values())
    layer = gf.MixtureCDFGaussianization(8, background=background)
    layer.build((None, 1))
    z = layer.adapt(column[:, None].astype("float32"), few_rows="keep")
    assert np.isfinite(z).all()


def test_many_rows_are_thinned_out_and_seeds_matter():
    x = RNG.normal(size=30_000)
    thin, full = fit_mixture(x, 2, max_rows=2_000), fit_mixture(x, 2, max_rows=40_000)
    assert not np.array_equal(thin["means"], full["means"])
    np.testing.assert_array_equal(
        thin["means"], fit_mixture(x, 2, max_rows=2_000)["means"]
    )
    assert not np.array_equal(
        fit_mixture(x, 2, seed=(0, 1))["means"], fit_mixture(x, 2, seed=(1, 0))["means"]
    )


def test_fixed_rotations_and_reflections_get_the_same_axes():
    layers = [gf.FixedOrtho(np.eye(3)), gf.Householder(3)]
    layers[1].build((None, 3))
    for layer in layers:
        layer.set_rotation(principal_rotation(X3))
    np.testing.assert_allclose(layers[0](X3), layers[1](X3), atol=1e-5)


def test_growing_in_three_dimensions_and_files(tmp_path):
    flow, report = gf.iterative_gaussianization(
        X3, num_components=4, max_blocks=3, rotation="random"
    )
    assert [row["block"] for row in report] == list(range(1, len(report) + 1))
    assert len(str(report).splitlines()) == len(report) + 1
    assert len(flow.bijector_layers) == 2 * sum(row["kept"] for row in report)
    again, _ = gf.iterative_gaussianization(
        X3, num_components=4, max_blocks=3, rotation="random"
    )
    np.testing.assert_array_equal(flow(X3), again(X3))
    flow.save(tmp_path / "grown.keras")
    np.testing.assert_array_equal(
        flow(X3), keras.saving.load_model(tmp_path / "grown.keras")(X3)
    )


def test_a_warm_start_of_a_checkerboard_sees_what_moves():
    "Each channel's base is fitted to the moved positions of that channel alone; the kept ones, far away, do not show."
    board = gf.checkerboard_mask((4, 4, 2))
    rng = np.random.default_rng(0)
    x = np.where(
        board, 50.0, rng.normal([1.0, -2.0], [0.5, 2.0], size=(400, 4, 4, 2))
    ).astype("float32")
    layer = gf.AffineCoupling(board, gf.ConvConditioner(4, ()))
    layer.build((None, 4, 4, 2))
    z = layer.adapt(x)
    moved = z[:, ~board[..., 0]]
    np.testing.assert_allclose(moved.mean(axis=(0, 1)), 0.0, atol=0.02)
    np.testing.assert_allclose(moved.std(axis=(0, 1)), 1.0, atol=0.02)


@pytest.mark.parametrize("num_bins", [2, 3, 8])
@pytest.mark.parametrize("case", ["normal", "few", "far", "constant", "heavy"])
def test_a_spline_starts_from_any_numbers(num_bins, case):
    rng = np.random.default_rng(0)
    x = {
        "normal": rng.normal(size=500),
        "few": rng.normal(size=4),
        "far": rng.normal(100, 1, 500),
        "constant": np.full(50, 2.0),
        "heavy": rng.standard_t(1.5, 500),
    }[case]
    spline = gf.RationalQuadraticSpline(num_bins)
    params = {k: v[None].astype("float32") for k, v in spline.fit(x).items()}
    grid = np.linspace(-6, 6, 241, dtype="float32")[:, None]
    z, log_slope = spline.forward(grid, params)
    assert np.isfinite(log_slope).all() and (np.diff(z, axis=0) > 0).all()
    np.testing.assert_allclose(spline.inverse(z, params)[0], grid, atol=1e-3)


def test_a_scalar_without_a_start_is_named():
    class Odd(gf.Affine):
        def fit(self, x, seed=0, **options):
            return None

    flow = gf.NormalizingFlow([gf.Marginal(Odd())], 2)
    flow.ensure_built()
    x = np.random.default_rng(0).normal(3, 2, size=(500, 2)).astype("float32")
    with pytest.warns(UserWarning, match="Odd has no start from data"):
        z = gf.initialize_flow_from_ig(flow, x)
    np.testing.assert_array_equal(z, x)
