"Few rows, dull columns, saved rotations and arrays: what users ran into at the warm start."

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops
from scipy.stats import ortho_group

import gaussflow as gf
from gaussflow.bijector import float64_twin

RNG = np.random.default_rng(0)


def rotation_flow(d, layer=None):
    layer = layer or gf.FixedOrtho.random_haar(d, seed=0)
    flow = gf.GaussianizationFlow([layer, gf.MixtureCDFGaussianization(2)], d)
    flow.build((None, d))
    return flow


# --- case 27: a rotation is stored once, with the weights ---


def test_case_27_a_saved_rotation_of_400_columns_is_as_large_as_its_weights(tmp_path):
    flow = rotation_flow(400)
    flow.save(tmp_path / "flow.keras")
    assert (tmp_path / "flow.keras").stat().st_size < 1.3 * 4 * 400**2
    x = RNG.normal(size=(5, 400)).astype("float32")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(flow.log_prob(x), again.log_prob(x))
    np.testing.assert_array_equal(flow.bijector_layers[0].q, again.bijector_layers[0].q)


def test_case_27_the_configuration_holds_no_numbers_and_gives_nan_until_loaded():
    layer = gf.FixedOrtho.random_haar(5, seed=0)
    config = layer.get_config()
    assert config["dim"] == 5 and "q" not in config
    bare = gf.FixedOrtho.from_config(config)
    assert np.isnan(ops.convert_to_numpy(bare(np.ones((2, 5))))).all()
    flow = rotation_flow(5, gf.FixedOrtho.from_config(config))
    assert np.isnan(flow.log_prob(np.ones((2, 5)))).all()
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
