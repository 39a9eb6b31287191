"What a notebook cannot see of the autoregressive flows: files, other backends, compiled gradients, orders and widths at random."

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from user_layers import Plain, scatter

import gaussflow as gf
from gaussflow.autoregressive import check_autoregressive
from gaussflow.backend import compile_method, gradient
from gaussflow.special import widest_float
from gaussflow.testing import float64_twin

contract = pytest.mark.contract
X = np.random.default_rng(0).normal(size=(400, 3)).astype("float32") * [1.0, 2.0, 0.5]
X[:, 2] += X[:, 0] * X[:, 1]
X = X.astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(400, 2)).astype("float32")
SCALARS = {
    "affine": gf.Affine(),
    "additive": gf.Additive(),
    "mixture": gf.MixtureCDF(3),
    "logistic": gf.MixtureCDF(3, family="logistic"),
}


def numpy(*tensors):
    found = [ops.convert_to_numpy(t) for t in tensors]
    return found if len(found) > 1 else found[0]


def layer_of(scalar, d, hidden=(8, 8), spread=0.3, **kwargs):
    layer = gf.Autoregressive(
        gf.MaskedMLPConditioner(scalar.param_sizes.values(), d, hidden, **kwargs),
        scalar,
    )
    layer.build((None, d))
    return scatter(layer, spread=spread)


@given(
    st.integers(1, 9),
    st.lists(st.integers(1, 20), max_size=3),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from([(1, 1), (2, 3)]),
)
@settings(max_examples=60)
def test_parameters_depend_on_earlier_dimensions_only(
    d, hidden, seed, with_context, sizes
):
    "To the bit, in any order, kind by kind; wide layers see all that is allowed, context included."
    generator = np.random.default_rng(seed)
    order = generator.permutation(d)
    position = np.argsort(order)
    network = gf.MaskedMLPConditioner(sizes, d, hidden, activation="tanh", order=order)
    x, context = (generator.normal(size=(1, n)).astype("float32") for n in (d, 2))
    # A row is compared with itself in a batch of the same size: where it stands in the
    # batch decides how a processor adds.
    before = np.repeat(x, d, axis=0)
    rows = before + np.eye(d, dtype="float32")  # row j: input j is changed
    ask = (
        (lambda x, c: network([x, np.repeat(c, len(x), axis=0)]))
        if with_context
        else (lambda x, c: network(x))
    )
    ask(rows, context)
    scatter(network, seed)
    output = numpy(ask(rows, context))
    differs = output != numpy(ask(before, context))
    widths = [d * size for size in sizes]
    parts = [
        part.reshape(d, d, -1)
        for part in np.split(differs, np.cumsum(widths)[:-1], axis=1)
    ]
    changed = np.any([part.any(axis=-1) for part in parts], axis=0)  # (input, output)
    earlier = position[:, None] < position
    assert not np.any(changed & ~earlier)
    if min(hidden, default=d) >= d:
        np.testing.assert_array_equal(changed, earlier)
    if with_context and min(hidden, default=d) >= d:
        other = numpy(ask(rows, context + 1.0))
        assert np.all(other != output)


@given(
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["affine", "additive"]),
)
@settings(max_examples=25)
def test_the_way_back_in_any_order(d, seed, name):
    order = np.random.default_rng(seed).permutation(d)
    layer = layer_of(SCALARS[name], d, order=order, spread=0.2)
    x = np.random.default_rng(seed).normal(size=(20, d)).astype("float32") * 3
    z, log_det = numpy(*layer.forward_and_log_det(x))
    back, inverse_log_det = numpy(*layer.inverse_and_log_det(z))
    np.testing.assert_allclose(back, x, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-4)
    first = x.copy()
    first[:, order[1:]] += 1.0
    np.testing.assert_array_equal(
        numpy(layer.forward_and_log_det(first)[0])[:, order[0]], z[:, order[0]]
    )


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("d", [1, 64])
def test_round_trip_compiled(d, name):
    "By the compiled function that `sample` and `invert` use; its loop is the same for any d."
    layer = layer_of(SCALARS[name], d, (32,), spread=0.1)
    x = np.random.default_rng(2).normal(size=(50, d)).astype("float32")
    z, log_det = numpy(*layer.forward_and_log_det(x))
    back, inverse_log_det = numpy(
        *compile_method(layer, lambda z: layer.inverse_and_log_det(z), False)(z)
    )
    np.testing.assert_allclose(back, x, atol=2e-5)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-4)


def weight_gradients(layer, z, jit_compile):
    "The gradient of `sum(x * x) / 2 + log_det` of the inverse in the latents and in the trained weights, compiled."
    weights = layer.trainable_variables

    def score(z):
        x, log_det = layer.inverse_and_log_det(z)
        return ops.sum(ops.square(x)) / 2 + ops.sum(log_det)

    # Each backend's gradient is called by name, as in `gradient`.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=jit_compile, autograph=False)
        def slopes(z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = score(z)
            return tape.gradient(value, [z, *(w.value for w in weights)])

        return [numpy(s) for s in slopes(tf.constant(z))]
    if keras.backend.backend() == "jax":
        import jax

        def stateless(z, values):
            with keras.StatelessScope(state_mapping=list(zip(weights, values))):
                return score(z)

        to_z, to_weights = jax.jit(jax.grad(stateless, argnums=(0, 1)))(
            z, [w.value for w in weights]
        )
        return [numpy(s) for s in (to_z, *to_weights)]
    z = ops.convert_to_tensor(z).requires_grad_(True)
    score(z).backward()
    return [numpy(z.grad), *(numpy(w.value.grad) for w in weights)]


@contract
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", ["affine", "mixture", "logistic"])
def test_gradients_through_the_inverse(name, jit_compile):
    "A round trip, and gradients in the latents and every weight, against central differences; in float64 where the backend has it."
    if not jit_compile and keras.backend.backend() == "jax":
        pytest.skip("compiled in either case")
    layer = float64_twin(
        layer_of(SCALARS[name], 3, (5,), spread=0.5, activation="tanh", order=[1, 2, 0])
    )
    double = widest_float() == "float64"
    z = (
        np.random.default_rng(3)
        .normal(size=(4, 3))
        .astype("float64" if double else "float32")
    )
    h, tolerance = (1e-6, 1e-6) if double else (1e-2, 2e-2)

    inverse = compile_method(layer, lambda z: layer.inverse_and_log_det(z), False)

    def score(z):
        x, log_det = numpy(*inverse(z))
        return np.sum(x.astype("float64") ** 2) / 2 + np.sum(log_det.astype("float64"))

    x, log_det = numpy(*inverse(z))
    forward = compile_method(layer, lambda x: layer.forward_and_log_det(x), False)
    again, forward_log_det = numpy(*forward(x))
    np.testing.assert_allclose(again, z, atol=1e-4)
    np.testing.assert_allclose(forward_log_det, -log_det, atol=1e-3)

    to_z, *to_weights = weight_gradients(layer, z, jit_compile)
    generator = np.random.default_rng(4)
    direction = generator.normal(size=z.shape)
    expected = (
        score((z + h * direction).astype(z.dtype))
        - score((z - h * direction).astype(z.dtype))
    ) / (2 * h)
    np.testing.assert_allclose(
        np.sum(to_z * direction), expected, rtol=tolerance, atol=tolerance
    )
    for weight, slope in zip(layer.trainable_variables, to_weights, strict=True):
        value, direction = numpy(weight), generator.normal(size=weight.shape)
        ends = []
        for sign in (1, -1):
            weight.assign(value + sign * h * direction)
            ends.append(score(z))
        weight.assign(value)
        expected = (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(
            np.sum(slope * direction),
            expected,
            rtol=tolerance,
            atol=tolerance,
            err_msg=weight.path,
        )


@contract
@pytest.mark.parametrize("make", [gf.make_maf, gf.make_iaf])
def test_a_flow_s_whole_life_with_context(make, tmp_path):
    "Trained, asked, saved, loaded, and trained on; the IAF through its loop of passes."
    keras.utils.set_random_seed(0)
    flow = make(3, num_blocks=2, hidden=(16,))
    flow.compile(keras.optimizers.Adam(0.02))
    data = {"x": X, "context": CONTEXT}
    loss = flow.fit(data, epochs=4, batch_size=100, verbose=0).history["loss"]
    assert loss[-1] < loss[0] - 0.2
    before = numpy(flow.log_prob(X, context=CONTEXT))
    np.testing.assert_allclose(
        -before.mean(), flow.evaluate(data, verbose=0), rtol=1e-5
    )
    z = flow(data)
    np.testing.assert_allclose(numpy(flow.invert(z, context=CONTEXT)), X, atol=1e-3)
    samples = numpy(flow.sample(7, seed=1, context=CONTEXT[:1]))
    assert samples.shape == (7, 3) and np.isfinite(samples).all()
    other = numpy(flow.sample(7, seed=1, context=CONTEXT[1:2]))
    assert np.min(np.abs(samples - other)) > 0
    path = tmp_path / "flow.keras"
    flow.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(numpy(again.log_prob(X, context=CONTEXT)), before)
    np.testing.assert_array_equal(
        numpy(again.sample(7, seed=1, context=CONTEXT[:1])), samples
    )
    assert (
        again.fit(data, epochs=1, batch_size=100, verbose=0).history["loss"][0]
        < loss[-1] + 0.1
    )


@pytest.mark.parametrize("make", [gf.make_maf, gf.make_iaf])
@pytest.mark.parametrize("scalar", [gf.Affine(), gf.MixtureCDF(3)])
def test_training_without_context_in_both_directions(make, scalar):
    keras.utils.set_random_seed(0)
    flow = make(
        (3,), num_blocks=2, hidden=(16,), scalar=scalar, base=gf.DiagonalNormal()
    )
    flow.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    loss = flow.fit(X, epochs=4, batch_size=100, verbose=0).history["loss"]
    assert loss[-1] < loss[0] - 0.1
    assert len(flow.trainable_weights) == 2 * 4 + 2


def test_one_dimension():
    "A marginal map: nothing comes before the only number."
    layer = layer_of(gf.MixtureCDF(3), 1)
    x = X[:, :1]
    z, log_det = numpy(*layer.forward_and_log_det(x))
    parameters = numpy(layer.conditioner(x))
    np.testing.assert_array_equal(parameters, np.repeat(parameters[:1], len(x), axis=0))
    np.testing.assert_allclose(numpy(layer.inverse_and_log_det(z)[0]), x, atol=1e-4)
    slope = gradient(lambda x: layer.forward_and_log_det(x)[0], x)
    np.testing.assert_allclose(log_det, np.log(slope[:, 0]), atol=1e-4)
    flow = gf.make_maf(1, num_blocks=2, hidden=(4,))
    assert numpy(flow.log_prob(x)).shape == (400,) and numpy(
        flow.sample(3, seed=0)
    ).shape == (3, 1)


def test_the_start_is_the_base():
    near = np.clip(X[:50], -3.5, 3.5)
    for make in (gf.make_maf, gf.make_iaf):
        flow = make(3, num_blocks=3, scalar=gf.MixtureCDF(8))
        np.testing.assert_allclose(numpy(flow(near)), near, atol=3e-5)


@contract
def test_the_start_survives_a_data_set():
    "Built by `fit` itself, symbolically: the components start apart, as they do when the flow is built beforehand."
    flow = gf.make_maf(3, num_blocks=1, hidden=(4,), scalar=gf.MixtureCDF(4))
    flow.compile(keras.optimizers.SGD(0.0), jit_compile=False)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return (X[100 * i : 100 * (i + 1)],)

    loss = flow.fit(Batches(), epochs=1, verbose=0).history["loss"][0]
    assert loss == pytest.approx(
        0.5 * np.mean(np.sum(X**2, axis=1)) + 1.5 * np.log(2 * np.pi), abs=1e-2
    )
    for name, start in gf.MixtureCDF(4).identity_params().items():
        base = numpy(getattr(flow.bijectors[0], f"base_{name}"))
        np.testing.assert_allclose(base, np.broadcast_to(start, (3, 4)), rtol=1e-6)


class Ahead(Plain):
    "Looks at everything."


class Backward(Plain):
    "Sees later dimensions only, and says so."

    order = (1, 0)

    def call(self, inputs, training=None):
        h = inputs[:, 1:]
        constant = ops.zeros_like(h)
        return ops.concatenate(
            [
                self.head(self.hidden(h)),
                constant + 0.5,
                self.head(self.hidden(-h)),
                constant,
            ],
            axis=-1,
        )


def test_a_network_that_looks_ahead_is_refused_when_built():
    x = X[:, :2]
    with pytest.raises(
        ValueError,
        match="the parameters of dimension 0 may depend on the dimensions before it",
    ):
        gf.Autoregressive(Ahead(4), gf.Affine()).forward_and_log_det(x)
    zeros = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(4, kernel_initializer="zeros")]
    )
    with pytest.raises(ValueError, match="Expected an autoregressive conditioner"):
        gf.NormalizingFlow([gf.Autoregressive(zeros, gf.Affine())], 2).log_prob(x)
    np.testing.assert_array_equal(
        numpy(zeros(x)), np.zeros((400, 4)), err_msg="weights are put back"
    )
    layer = gf.Autoregressive(Backward(1), gf.Affine())
    z, _ = layer.forward_and_log_det(x)
    np.testing.assert_allclose(numpy(layer.inverse_and_log_det(z)[0]), x, atol=1e-4)
    check_autoregressive(layer.conditioner, gf.Affine(), 2)
    with pytest.raises(ValueError, match="the parameters of dimension 0 may depend"):
        layer.conditioner.order = (0, 1)
        check_autoregressive(layer.conditioner, gf.Affine(), 2)


def test_a_network_of_the_user_s_takes_context():
    class Zero(Plain):
        def call(self, inputs, training=None):
            return super().call([0.0 * inputs[0], inputs[1]])

    layer = gf.Autoregressive(Zero(6), gf.Affine())
    z, _ = layer.forward_and_log_det(X, context=CONTEXT)
    np.testing.assert_allclose(
        numpy(layer.inverse_and_log_det(z, context=CONTEXT)[0]), X, atol=1e-4
    )
    with pytest.raises(ValueError, match="Expected an autoregressive conditioner"):
        gf.Autoregressive(Plain(6), gf.Affine()).forward_and_log_det(X, context=CONTEXT)


def test_errors_come_early():
    network = gf.MaskedMLPConditioner([1, 1], 3)
    with pytest.raises(ValueError, match="Expected events with one axis"):
        gf.Autoregressive(network, gf.Affine()).build((None, 4, 4, 3))
    with pytest.raises(ValueError, match="conditioner output width 6, expected d_b"):
        gf.Autoregressive(network, gf.Additive()).build((None, 3))
    layer = gf.Autoregressive(network, gf.Affine())
    layer.build((None, 3))
    for direction in (layer.forward_and_log_det, layer.inverse_and_log_det):
        with pytest.raises(ValueError, match="Expected inputs of shape"):
            direction(np.zeros((5, 2), "float32"))
    for bad in ((28, 28, 1), 0, 2.5, None, True, "2", ()):
        with pytest.raises(
            ValueError,
            match="Expected event_shape (as an integer or one axis|>= 1|as a size|with at least one axis)",
        ):
            gf.make_maf(bad)
    with pytest.raises(ValueError, match="Expected num_blocks >= 1"):
        gf.make_iaf(2, num_blocks=0)
    with pytest.raises(ValueError, match="missing keys"):
        gf.MaskedMLPConditioner.from_config({"sizes": [1], "d": 3})


def test_configurations_make_equal_networks():
    network = gf.MaskedMLPConditioner(
        [2, 1], 4, (7, 5), "gelu", order="reversed", dtype="float64"
    )
    again = gf.MaskedMLPConditioner.from_config(network.get_config())
    assert again.get_config() == network.get_config() and again.order == (3, 2, 1, 0)
    network.build((None, 4)), again.build((None, 4))
    for ours, theirs in zip(network.masks, again.masks, strict=True):
        np.testing.assert_array_equal(ours, theirs)
