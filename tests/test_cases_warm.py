"Few rows, dull columns, saved rotations and arrays: what users ran into at the warm start."

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops
from scipy.stats import multivariate_normal, ortho_group
from sklearn.covariance import ledoit_wolf

import gaussflow as gf
from gaussflow.marginal import quantile_mixture
from gaussflow.mixture import fit_mixture
from gaussflow.testing import float64_twin
from gaussflow.warmstart import normal_block, report_row

RNG = np.random.default_rng(0)


def rotation_flow(d, layer=None):
    layer = layer or gf.FixedOrtho.random_haar(d, seed=0)
    flow = gf.GaussianizationFlow([layer, gf.MixtureCDFGaussianization(2)], d)
    flow.build((None, d))
    return flow


# --- case 1: a start that few rows can carry, or a refusal ---

MIX = np.random.default_rng(99).normal(size=(10, 10))
KINDS = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "shifted": lambda rng, n, d: 50 + 3 * rng.normal(size=(n, d)),
    "heavy tails": lambda rng, n, d: rng.standard_t(3, size=(n, d)),
    "correlated": lambda rng, n, d: rng.normal(size=(n, d)) @ MIX[:d, :d],
}


def rows_and_measure(kind, n, d, seed=0):
    "Rows, new rows, and the new rows' mean log-density under a shrunk normal."
    rng = np.random.default_rng(seed)
    x, new = (KINDS[kind](rng, m, d).astype("float32") for m in (n, 500))
    covariance, _ = ledoit_wolf(x.astype("float64"))
    normal = multivariate_normal(x.mean(0), covariance, allow_singular=True)
    return x, new, normal.logpdf(new).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(8, 6), (20, 10)])
def test_case_01_few_rows_grow_a_flow_no_worse_than_a_shrunk_normal(kind, size):
    x, new, shrunk = rows_and_measure(kind, *size)
    flow, report = gf.iterative_gaussianization(x)
    assert np.mean(flow.log_prob(new)) > shrunk - 0.1
    for row in report:
        assert not row["kept"] or row["gain"] > row["standard_error"]
    assert report[0]["block"] == 0


@pytest.mark.parametrize("kind", ["normal", "heavy tails"])
def test_case_01_few_rows_start_a_flow_no_worse_than_a_shrunk_normal(kind):
    x, new, shrunk = rows_and_measure(kind, 8, 6, seed=1)
    for flow in (
        gf.make_gaussianization_flow(6, num_blocks=3, num_components=4),
        gf.make_coupling_flow(6, num_blocks=1, num_components=4, hidden=(8,)),
    ):
        flow.build((None, 6))
        z = gf.initialize_flow_from_ig(flow, x)
        assert z.shape == x.shape
        np.testing.assert_allclose(z, flow(x), atol=1e-4)
        assert np.mean(flow.log_prob(new)) > shrunk - 0.1


@pytest.mark.parametrize("size", [(8, 6), (20, 10)])
def test_case_01_principal_axes_and_quantiles_of_few_rows_are_shrunk(size):
    x, new, shrunk = rows_and_measure("normal", *size)
    flow = gf.make_gaussianization_flow(
        size[1], num_blocks=3, pca_init_data=x, mixture_init_data=x
    )
    assert np.mean(flow.log_prob(new)) > shrunk - 4


def test_case_01_a_context_follows_its_rows():
    x, _, _ = rows_and_measure("normal", 8, 6)
    context = np.arange(8.0)[:, None]
    flow = gf.make_gaussianization_flow(6, num_blocks=1, context_hidden=(4,))
    flow.build({"x": (None, 6), "context": (None, 1)})
    z = gf.initialize_flow_from_ig(flow, x, context=context)
    np.testing.assert_allclose(z, flow({"x": x, "context": context}), atol=1e-5)


def test_case_01_the_first_block_has_to_gain_too():
    "A standard normal needs no block: many rows too end at block 0, the normal."
    x = RNG.normal(size=(3000, 2)).astype("float32")
    flow, report = gf.iterative_gaussianization(x, num_components=3, holdout=0.5)
    assert [row["block"] for row in report] == [1, 0]
    assert not report[0]["kept"] and len(flow.bijector_layers) == 2
    new = RNG.normal(size=(2000, 2))
    exact = multivariate_normal(np.zeros(2)).logpdf(new).mean()
    assert np.mean(flow.log_prob(new)) > exact - 0.01


def test_case_01_kept_means_above_the_error():
    rng = np.random.default_rng(0)
    for n in (2, 5, 1000):
        for shift in (-1.0, 0.0, 1.0):
            gain = shift + rng.normal(size=n)
            row = report_row(1, gain, 0.0)
            assert not row["kept"] or row["gain"] > row["standard_error"]
    assert not report_row(1, np.array([np.nan, 1.0]), 0.0)["kept"]


def test_case_01_the_normal_block_is_normal_far_out_and_can_be_trained():
    x = RNG.normal(size=(500, 2)).astype("float32")
    flow = gf.GaussianizationFlow(normal_block(x, 8), 2)
    far = 100 * np.eye(2)
    normal = multivariate_normal(x.mean(0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(flow.log_prob(far), normal.logpdf(far), rtol=0.01)
    means = ops.convert_to_numpy(flow.bijector_layers[1].means)
    assert np.ptp(means, axis=1).min() > 1e-3


@pytest.mark.parametrize("n", [6, 8, 20])
def test_case_01_few_points_do_not_attract_components(n):
    points = RNG.normal(size=n)
    spread = points.std()
    fit = fit_mixture(points, 8)
    weights, scales = np.exp(fit["logits"]), np.exp(fit["log_scales"])
    variance = weights @ (scales**2 + fit["means"] ** 2) - (weights @ fit["means"]) ** 2
    np.testing.assert_allclose(variance, spread**2 * (1 + 0.05**2), rtol=1e-6)
    assert scales.min() > 0.8 / np.sqrt(n) * spread
    _, log_scales = quantile_mixture(points[:, None], 8)
    assert np.exp(log_scales).min() > 0.25 * spread


def test_case_01_many_rows_are_fitted_as_before():
    points = RNG.normal(size=2000)
    default, given = fit_mixture(points, 4), fit_mixture(points, 4, smoothing=0.05)
    for name in given:
        np.testing.assert_array_equal(default[name], given[name])


@pytest.mark.parametrize("n", [30, 2000])
@pytest.mark.parametrize("start", ["grow", "set"])
def test_case_01_columns_without_a_density_are_refused_by_name(n, start):
    x = np.random.default_rng(0).normal(size=(n, 3))
    flow = gf.make_gaussianization_flow(4, num_blocks=1)
    flow.build((None, 4))
    before = flow.get_weights()

    def begin(x):
        if start == "grow":
            return gf.iterative_gaussianization(x)
        return gf.initialize_flow_from_ig(flow, x)

    with pytest.raises(ValueError, match=r"constant columns 3 \(always 7\)"):
        begin(np.column_stack([x, np.full(n, 7.0)]))
    with pytest.raises(ValueError, match="dependence between columns 0, 2, 3"):
        begin(np.column_stack([x, 5 - x[:, 0] + 2 * x[:, 2]]))
    with pytest.raises(ValueError, match="drop one of them, or add noise"):
        begin(np.column_stack([x, x[:, 1]]))
    for old, new in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_case_01_a_frame_s_columns_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(20.0) ** 2, "b": 1.5})
    with pytest.raises(ValueError, match="constant columns 'b'"):
        gf.iterative_gaussianization(frame)


# --- case 27: a rotation is stored once, with the weights ---


def test_case_27_a_saved_rotation_of_400_columns_is_as_large_as_its_weights(tmp_path):
    flow = rotation_flow(400)
    flow.save(tmp_path / "flow.keras")
    assert (tmp_path / "flow.keras").stat().st_size < 1.3 * 4 * 400**2
    x = RNG.normal(size=(5, 400)).astype("float32")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(flow.log_prob(x), again.log_prob(x))
    np.testing.assert_array_equal(flow.bijector_layers[0].q, again.bijector_layers[0].q)


def test_case_27_the_configuration_holds_no_numbers_and_a_layer_without_them_refuses():
    layer = gf.FixedOrtho.random_haar(5, seed=0)
    config = layer.get_config()
    assert config["dim"] == 5 and "q" not in config
    bare = gf.FixedOrtho.from_config(config)
    flow = rotation_flow(5, gf.FixedOrtho.from_config(config))
    for ask in (bare, flow.log_prob, flow.invert):
        with pytest.raises(RuntimeError, match="does not hold q: load or assign it"):
            ask(np.ones((2, 5)))
    bare.set_weights(layer.get_weights())
    np.testing.assert_array_equal(bare.q, layer.q)
    for wrong in ({}, {"dim": 5, "q": [[1.0]]}, {"size": 5}):
        with pytest.raises(ValueError, match="to have the key 'dim'"):
            gf.FixedOrtho.from_config(wrong)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "twin": float64_twin,
}


@pytest.mark.parametrize("how", COPIES)
def test_case_27_copies_of_a_rotation_hold_the_same_bits(how):
    x = RNG.normal(size=(4, 6)).astype("float32")
    layer = gf.FixedOrtho.random_haar(6, seed=1)
    layer(x)
    chain = gf.Chain([layer, gf.Inverse(gf.FixedOrtho.random_haar(6, seed=2))])
    chain(x)
    for each in (layer, chain):
        again = COPIES[how](each)
        assert len(each.weights) == len(again.weights) > 0
        for ours, theirs in zip(each.weights, again.weights, strict=True):
            bits = ops.convert_to_numpy(theirs).astype("float32")
            np.testing.assert_array_equal(ours, bits)


def test_case_27_files_of_weights_and_dtypes_of_their_own(tmp_path):
    flow, other = rotation_flow(3), rotation_flow(3, gf.FixedOrtho(np.eye(3)))
    flow.save_weights(tmp_path / "flow.weights.h5")
    other.load_weights(tmp_path / "flow.weights.h5")
    np.testing.assert_array_equal(flow.bijector_layers[0].q, other.bijector_layers[0].q)
    wide = gf.FixedOrtho(np.eye(3), dtype="float64", name="wide")
    again = gf.FixedOrtho.from_config(wide.get_config())
    assert (again.name, again.dtype) == ("wide", "float64")


# --- case 28: arrays give arrays ---


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_case_28_apply_reflectors_gives_arrays_for_arrays(dtype):
    q = ortho_group.rvs(4, random_state=0)
    q[:, -1] *= np.linalg.det(q)  # four reflections have determinant 1
    y = (3 * RNG.normal(size=(7, 4))).astype(dtype)
    z = gf.apply_reflectors(gf.householder_decompose(q), y)
    assert isinstance(z, np.ndarray)
    assert z.dtype == ("float64" if dtype == "float64" else "float32")
    assert z.T.shape == (4, 7)
    allowed = 1e-13 if dtype == "float64" else 1e-6
    assert np.abs(z - y @ q).max() < allowed * 10


def test_case_28_apply_reflectors_gives_tensors_for_tensors():
    v, y = RNG.normal(size=(2, 4)), RNG.normal(size=(3, 2, 4)).astype("float32")
    expected = gf.apply_reflectors(v, y)
    for pair in (
        (ops.convert_to_tensor(v), y),
        (v, ops.convert_to_tensor(y)),
        (keras.Variable(v.astype("float32")), y),
    ):
        z = gf.apply_reflectors(*pair)
        assert ops.is_tensor(z)
        np.testing.assert_allclose(z, expected, atol=1e-5)
    for wrong in ((v[:, :3], y), (v[0], y), (v, np.float64(1.0) * np.ones(()))):
        with pytest.raises(ValueError, match="Expected v of shape"):
            gf.apply_reflectors(*wrong)


# --- case 12: no number of reflectors but a positive integer ---


@pytest.mark.parametrize("number", [0, -2, 1.5, True, np.nan, np.inf, "3"])
def test_case_12_num_reflectors_is_a_positive_integer(number):
    with pytest.raises(ValueError, match="Expected num_reflectors >= 1"):
        gf.Householder(number)
