"Image flows beyond what their pages show: any law on any mask, backends, data sets, a file in a fresh flow, and what is refused."

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import gaussflow as gf
from gaussflow.testing import check_layer, scatter_weights

contract = pytest.mark.contract
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(10, 4, 4, 2)).astype("float32")
LABELS = np.eye(3, dtype="float32")[np.arange(10) % 3]
GREY = RNG.integers(17, size=(40, 8, 8, 1))
LAWS = {
    "additive": gf.Additive(),
    "affine": gf.Affine(),
    "mixture": gf.MixtureCDF(3),
    "logistic mixture": gf.MixtureCDF(3, family="logistic"),
    "spline": gf.RationalQuadraticSpline(4),
    "scale": gf.Scale(),
}
MASKS = {
    "board": gf.checkerboard_mask((4, 4, 2)),
    "channels": gf.default_half_mask(2),
    "some": np.arange(32).reshape(4, 4, 2) % 3 == 0,
}


ONCE_EACH = [("affine", "board"), ("mixture", "board"), ("affine", "channels")]
PAIRS = [
    pytest.param(law, mask, marks=contract if (law, mask) in ONCE_EACH else ())
    for law in LAWS
    for mask in MASKS
]


@pytest.mark.parametrize(("law", "mask"), PAIRS)
def test_every_law_on_every_mask(law, mask):
    "There and back to 1e-4, kept numbers untouched, finite gradients, the same bits from a file; on a checkerboard with a context."
    scalar, kept, context = LAWS[law], MASKS[mask], LABELS if mask == "board" else None
    width = scalar.width(1 if kept.ndim == 1 else 2)
    layer = gf.Coupling(
        kept, gf.ConvConditioner(width, (6,), activation="tanh"), scalar
    )
    layer.forward_and_log_det(IMAGES, context=context)
    scatter_weights(layer, 0.1)
    z, log_det = layer.forward_and_log_det(IMAGES, context=context)
    back, inverse_log_det = layer.inverse_and_log_det(z, context=context)
    z, log_det, back, inverse_log_det = map(
        ops.convert_to_numpy, (z, log_det, back, inverse_log_det)
    )
    np.testing.assert_allclose(back, IMAGES, atol=1e-4)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-3)
    everywhere = np.broadcast_to(kept, (4, 4, 2))
    np.testing.assert_array_equal(z[:, everywhere], IMAGES[:, everywhere])
    check_layer(layer, IMAGES, context=context)


@contract
@pytest.mark.parametrize("mask", ["board", "some"])
def test_kept_numbers_may_be_anything(mask):
    "Neither values nor gradients of kept positions pass through the law: huge ones leave the log-determinant finite."
    kept = MASKS[mask]
    layer = gf.Coupling(
        kept, gf.MLPConditioner(2 * 9, (), activation="tanh"), gf.MixtureCDF(3)
    )
    x = np.where(kept, 1e30, IMAGES).astype("float32")
    z, log_det = map(ops.convert_to_numpy, layer.forward_and_log_det(x))
    assert np.isfinite(log_det).all() and np.isfinite(z).all()
    np.testing.assert_allclose(z, x, rtol=1e-5, atol=1e-4)


@given(
    num_values=st.integers(2, 65_536),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    training=st.booleans(),
    seed=st.integers(0, 100),
)
@settings(deadline=None, max_examples=30)
def test_noise_never_changes_a_grey_value(num_values, shape, training, seed):
    "Of any number of grey values and any event, the outermost included; the same noise in whatever batch outside of training."
    x = (
        np.random.default_rng(seed)
        .integers(num_values, size=(6, *shape))
        .astype("float32")
    )
    x[0], x[1] = 0, num_values - 1
    layer = gf.UniformDequantization(num_values, seed=seed)
    z = ops.convert_to_numpy(layer.forward_and_log_det(x, training=training)[0])
    assert z.min() >= 0 and z.max() < 1
    np.testing.assert_array_equal(layer.inverse_and_log_det(z)[0], x)
    if not training:
        np.testing.assert_array_equal(
            ops.convert_to_numpy(layer.forward_and_log_det(x[3:5])[0]), z[3:5]
        )


def small(**options):
    return gf.make_glow(
        (8, 8, 1), num_levels=2, num_blocks=1, hidden=(6, 6), num_values=17, **options
    )


@contract
def test_glow_from_fit_to_file(tmp_path):
    "Trained on whole numbers with a context; loss finite and falling; the same answers from a file, and the start is not set again."
    keras.utils.set_random_seed(0)
    flow, labels = small(), np.eye(3, dtype="float32")[np.arange(40) % 3]
    flow.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    losses = flow.fit(
        {"x": GREY, "context": labels}, epochs=4, batch_size=20, verbose=0
    ).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    flow.save(tmp_path / "glow.keras")
    again = keras.saving.load_model(tmp_path / "glow.keras")
    assert not any(layer.awaits_data for layer in again.bijectors)
    np.testing.assert_array_equal(
        again.log_prob(GREY, context=labels), flow.log_prob(GREY, context=labels)
    )
    drawn = [
        ops.convert_to_numpy(f.sample(4, seed=1, context=labels[:4]))
        for f in (again, flow)
    ]
    np.testing.assert_array_equal(*drawn)
    latent = ops.convert_to_numpy(flow({"x": GREY, "context": labels}))
    np.testing.assert_array_equal(flow.invert(latent, context=labels), GREY)


def normalised():
    return gf.NormalizingFlow(
        [gf.UniformDequantization(17), gf.Squeeze(), gf.ActNorm()], (8, 8, 1)
    )


def test_the_start_of_the_normalisation_from_every_kind_of_data():
    "Arrays, data sets and a context set it; a generator is refused before anything is trained; nobody's own start is undone."
    tf = pytest.importorskip("tensorflow")
    for data in (
        GREY,
        tf.data.Dataset.from_tensor_slices(GREY).batch(40),
        keras.utils.PyDataset,
    ):
        flow = normalised()
        flow.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        if data is keras.utils.PyDataset:

            class Rows(keras.utils.PyDataset):
                def __len__(self):
                    return 1

                def __getitem__(self, index):
                    return (GREY,)

            data = Rows()
        flow.fit(data, verbose=0)
        z = ops.convert_to_numpy(flow(GREY))
        assert abs(z.mean()) < 0.3 and 0.5 < z.std() < 1.5
    flow = normalised()
    flow.compile(keras.optimizers.SGD(0.0))
    flow.fit(iter([GREY]), verbose=0)  # a generator, which can be read only once
    z = ops.convert_to_numpy(flow(GREY))
    assert abs(z.mean()) < 0.3 and 0.5 < z.std() < 1.5
    flow = normalised()
    flow.adapt(GREY)
    before = flow.get_weights()
    flow.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    flow.fit(GREY // 2, verbose=0)
    for old, new in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@contract
def test_constant_channels_are_kept_as_they_are():
    "A channel that does not vary keeps its scale, also where its value is large; nothing is NaN."
    x = np.stack(
        [np.full((20, 3, 3), value, "float32") for value in (0.0, 1e6, -3.0)], axis=-1
    )
    layer = gf.ActNorm()
    layer.adapt(x)
    z, log_det = map(ops.convert_to_numpy, layer.forward_and_log_det(x))
    np.testing.assert_array_equal(z, np.zeros_like(x))
    np.testing.assert_array_equal(log_det, np.zeros(20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gf.make_glow((28, 28, 1), num_levels=3), "that 8 divides"),
        (lambda: gf.make_real_nvp((6, 7, 1)), "that 2 divides"),
        (lambda: gf.make_glow((8, 8)), "event_shape"),
        (lambda: gf.make_glow((8, 8, 1), num_values=1), "from 2 to 65536"),
        (
            lambda: gf.make_glow((8, 8, 1), num_values=17, dequantization="none"),
            "'uniform' or 'variational'",
        ),
        (lambda: gf.make_glow((8, 8, 1), scalar="affine"), "scalar"),
        (
            lambda: gf.MultiScale([gf.ActNorm(), gf.ActNorm()]).build((None, 4, 4, 3)),
            "can be halved",
        ),
        (lambda: gf.Squeeze().build((None, 5, 4, 1)), "that 2 divides"),
        (lambda: gf.Squeeze(0), "Expected factor >= 1"),
        (lambda: small().log_prob(GREY + 1), "Expected whole numbers from 0 to 16"),
        (lambda: small().adapt(GREY - 1), "Expected whole numbers from 0 to 16"),
        (lambda: small().log_prob(GREY + 0.25), "Expected whole numbers from 0 to 16"),
        (lambda: gf.make_nice((8, 8, 1)).fit(GREY), "pass num_values"),
        (
            lambda: gf.NormalizingFlow([gf.Logit()], (2, 2, 1)).adapt(
                np.full((1, 2, 2, 1), 1.5)
            ),
            "Expected numbers inside",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fit_leaves_alone_what_does_not_await_data():
    "One new ActNorm in a flow: neither mixtures set by hand nor a normalisation that was adapted before are set again."
    x = RNG.normal(3.0, 2.0, size=(60, 2)).astype("float32")
    mixtures, old = gf.MixtureCDFGaussianization(3), gf.ActNorm()
    flow = gf.NormalizingFlow([gf.Chain([mixtures, old]), gf.ActNorm()], 2)
    flow.build((None, 2))
    mixtures.means.assign(0.7 * np.ones((2, 3)))
    old.shift.assign([9.0, 9.0])
    old.adapted.assign(1.0)
    flow.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    flow.fit(x, verbose=0)
    np.testing.assert_allclose(mixtures.means, 0.7, rtol=1e-6)
    np.testing.assert_allclose(old.shift, 9.0)
    assert not flow.bijectors[1].awaits_data


def test_noise_first_in_a_chain_takes_whole_numbers():
    flow = gf.NormalizingFlow(
        [gf.Chain([gf.UniformDequantization(17), gf.Logit(alpha=0.05)]), gf.ActNorm()],
        (8, 8, 1),
    )
    flow.compile("adam", jit_compile=False)
    assert np.isfinite(flow.fit(GREY, verbose=0).history["loss"]).all()
    with pytest.raises(ValueError, match="Expected whole numbers from 0 to 16"):
        flow.evaluate(GREY + 17, verbose=0)


@contract
def test_learned_noise_counts_both_ways():
    "The log-determinant of the inverse is minus that of the forward direction, which drew the noise, up to the edges that are counted once."
    keras.utils.set_random_seed(0)
    chain = gf.Chain(
        [
            gf.AffineCoupling(
                gf.checkerboard_mask((8, 8, 1)), gf.ConvConditioner(2, (6,))
            ),
            gf.Marginal(gf.Affine()),
        ]
    )
    layer = gf.VariationalDequantization(chain, 17, seed=0)
    layer.forward_and_log_det(GREY)
    scatter_weights(layer, 0.2)
    z, log_det = layer.forward_and_log_det(GREY, training=True)
    x, inverse = layer.inverse_and_log_det(z)
    np.testing.assert_array_equal(ops.convert_to_numpy(x), GREY)
    difference = np.abs(ops.convert_to_numpy(inverse) + ops.convert_to_numpy(log_det))
    assert (
        np.quantile(difference, 0.9) < 0.02
    )  # of a noise within 1e-5 of 0 or 1 float32 keeps a digit or two


def test_a_context_that_is_an_image_fits_its_size_only():
    picture = np.ones((10, 4, 4, 1), "float32")
    layer = gf.AffineCoupling([True, False], gf.ConvConditioner(2, (4,)))
    assert layer.forward_and_log_det(IMAGES, context=picture)[0].shape == IMAGES.shape
    with pytest.raises(ValueError, match="beside a kept part of shape"):
        small(dequantization="uniform").log_prob(GREY, context=np.ones((40, 8, 8, 2)))
