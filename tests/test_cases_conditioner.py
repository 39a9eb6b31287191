"Cases 8, 23, 25 and 28 for networks: NaN that stays, sets, widths, Keras models."

import copy

import keras
import numpy as np
import pytest
from keras import ops

import gaussflow as gf
from gaussflow.backend import compile_method
from gaussflow.bijector import build_conditioner
from gaussflow.conditioner import check_hidden
from gaussflow.testing import scatter_weights

contract = pytest.mark.contract
CONDITIONERS = {  # a maker, what it is built for, and the names of its layers
    "plain": (
        lambda **k: gf.MLPConditioner(6, (5, 4), **k),
        (3,),
        ["hidden_0", "hidden_1", "head"],
    ),
    "one width": (lambda **k: gf.MLPConditioner(6, 5, **k), (3,), ["hidden_0", "head"]),
    "shared": (
        lambda **k: gf.SharedMLPConditioner((2, 1), 2, 5, **k),
        (3,),
        ["hidden_0", "head"],
    ),
    "residual": (
        lambda **k: gf.ResidualConditioner(6, 5, **k),
        (3,),
        ["hidden_0", "hidden_1", "head"],
    ),
    "masked": (
        lambda **k: gf.MaskedMLPConditioner((1, 1), 3, 5, **k),
        (3,),
        ["hidden_0", "head"],
    ),
    "convolution": (
        lambda **k: gf.ConvConditioner(6, 5, **k),
        (4, 4, 3),
        ["hidden_0", "head"],
    ),
    "residual convolution": (
        lambda **k: gf.ResidualConvConditioner(6, 5, 1, gated=True, **k),
        (4, 4, 3),
        ["hidden_0", "hidden_1", "hidden_2", "head"],
    ),
}
X = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")


def numpy(*tensors):
    found = [ops.convert_to_numpy(t) for t in tensors]
    return found if len(found) > 1 else found[0]


@pytest.mark.parametrize("name", CONDITIONERS)
def test_case_28_conditioners_are_keras_models(name, tmp_path):
    make, event, names = CONDITIONERS[name]
    conditioner, lines = make(), []
    x = np.random.default_rng(0).normal(size=(7, *event)).astype("float32")
    unbuilt = copy.deepcopy(conditioner)
    assert isinstance(conditioner, keras.Model)
    conditioner.build((None, *event))
    scatter_weights(conditioner)
    assert [layer.name for layer in conditioner.layers] == names
    conditioner.summary(print_fn=lambda line, **_: lines.append(line))
    total = sum(int(np.prod(w.shape)) for w in conditioner.weights)
    assert all(name in "\n".join(lines) for name in names) and "?" not in "\n".join(
        lines
    )
    assert (
        conditioner.count_params() == total
        and f"Total params: {total}" in "\n".join(lines)
    )
    conditioner.save(tmp_path / "conditioner.keras")
    for again in (
        keras.saving.load_model(tmp_path / "conditioner.keras"),
        copy.deepcopy(conditioner),
    ):
        np.testing.assert_array_equal(*numpy(again(x), conditioner(x)))
        assert [layer.name for layer in again.layers] == names
    assert not unbuilt.built
    np.testing.assert_array_equal(numpy(unbuilt(x)), np.zeros(conditioner(x).shape))


@pytest.mark.parametrize("name", CONDITIONERS)
def test_case_28_conditioners_follow_a_mixed_policy(name):
    make, event, _ = CONDITIONERS[name]
    conditioner = make(dtype="mixed_bfloat16")
    again = type(conditioner).from_config(conditioner.get_config())
    for network in (conditioner, again):
        answer = network(np.zeros((2, *event), "float32"))
        assert keras.backend.standardize_dtype(answer.dtype) == "bfloat16"
        assert {w.dtype for w in network.weights} == {"float32"}
        assert {layer.dtype_policy.name for layer in network.layers} == {
            "mixed_bfloat16"
        }


def test_case_28_initial_weights_are_drawn_kernel_then_bias_layer_by_layer():
    "By hand: each hidden layer draws its kernel and bias from initializers of its own."
    keras.utils.set_random_seed(0)
    conditioner = gf.MLPConditioner(6, (5, 4))
    conditioner.build((None, 3))
    keras.utils.set_random_seed(0)
    expected = []
    for _ in range(2):  # of Dense, replaced at build
        keras.initializers.GlorotUniform()
    for n, width in ((3, 5), (5, 4)):
        kernel, bias = (
            keras.initializers.RandomUniform(-(n**-0.5), n**-0.5) for _ in range(2)
        )
        expected += [kernel((n, width), "float32"), bias((width,), "float32")]
    for weight, value in zip(conditioner.weights, expected):
        np.testing.assert_array_equal(*numpy(weight, value))


def of_user():
    return keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)]
    )


@pytest.mark.parametrize("make", [lambda: gf.MLPConditioner(2, 4), of_user])
def test_case_28_what_a_network_was_compiled_with_stays_out_of_the_flow(make, tmp_path):
    "Losses, metrics and optimizer of a network that was trained on its own first."
    network = make()
    network.compile("adam", loss="mse", metrics=["mae"])
    network.fit(X[:, :1], np.zeros((len(X), 2)), verbose=0)
    flow = gf.NormalizingFlow([gf.AffineCoupling([True, False], network)], 2)
    flow.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    flow(X)
    weights = flow.get_weights()
    assert list(flow.fit(X, verbose=0, batch_size=64).history) == ["loss"]
    assert (
        flow.metrics_names == ["loss"] and len(flow.losses) <= 1
    )  # the flow's own, for models around it
    assert [v.name for v in flow.optimizer.variables] == [
        "iteration",
        "learning_rate",
    ]  # SGD's own
    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(*numpy(again.log_prob(X), flow.log_prob(X)))
    assert list(again.fit(X, verbose=0).history) == ["loss"]
    never_compiled = gf.NormalizingFlow([gf.AffineCoupling([True, False], make())], 2)
    never_compiled.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    never_compiled(X)
    never_compiled.set_weights(weights)
    never_compiled.fit(X, verbose=0, batch_size=64)
    for ours, theirs in zip(flow.weights, never_compiled.weights, strict=True):
        np.testing.assert_allclose(*numpy(ours, theirs), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("given", [64, np.int64(64), [64], (64,), np.array([64]), 64.0])
def test_case_25_one_integer_is_one_hidden_layer(given):
    assert check_hidden(given) == (64,)
    makers = [
        lambda h: gf.MLPConditioner(2, h),
        lambda h: gf.SharedMLPConditioner((2,), 1, h),
        lambda h: gf.ConvConditioner(2, h),
        lambda h: gf.MaskedMLPConditioner((1,), 2, h),
        lambda h: gf.make_mlp_conditioner(1, 2, h),
        lambda h: gf.make_shared_mlp_conditioner(1, 2, h),
    ]
    assert [make(given).hidden for make in makers] == [(64,)] * len(makers)


@pytest.mark.parametrize(
    "wrong", ["64", None, True, 0, -3, 1.5, np.nan, (64, 0), {"a": 64}, ((8,), 8)]
)
def test_case_25_other_widths_are_refused_in_one_sentence(wrong):
    with pytest.raises(
        ValueError, match="Expected hidden as an integer or a sequence of integers"
    ) as caught:
        gf.MLPConditioner(2, wrong)
    assert str(caught.value).endswith(f"received hidden={wrong!r}")


@keras.saving.register_keras_serializable("test_cases_conditioner")
def hiding(x):
    "A relu that makes 0 of NaN, as oneDNN does: here on every machine."
    return ops.where(x > 0, x, ops.zeros_like(x))


class Own(keras.layers.Layer):
    "A network of a user's."

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = (
            keras.layers.Dense(8, hiding),
            keras.layers.Dense(width),
        )

    def call(self, inputs):
        return self.head(self.hidden(ops.concatenate(inputs, axis=-1)))


SCALARS = {
    "additive": gf.Additive(),
    "affine": gf.Affine(),
    "mixture": gf.MixtureCDF(3),
    "logistic": gf.MixtureCDF(3, family="logistic"),
    "spline": gf.RationalQuadraticSpline(4),
}
HALF = [True, True, False, False]
LAYERS = {
    "coupling": lambda s: gf.Coupling(
        HALF, gf.MLPConditioner(s.width(2), 8, hiding), s
    ),
    "a user's network": lambda s: gf.Coupling(HALF, Own(s.width(2)), s),
    "marginal": lambda s: gf.Marginal(s, gf.MLPConditioner(s.width(4), 8, hiding)),
    "autoregressive": lambda s: gf.Autoregressive(
        gf.MaskedMLPConditioner(s.param_sizes.values(), 4, 8, hiding), s
    ),
}
# What is NaN after row 1 lost its first number, and row 2 a number of its context.
PATTERNS = {
    "coupling": ([1, 0, 1, 1], [0, 0, 1, 1]),
    "a user's network": ([1, 0, 1, 1], [0, 0, 1, 1]),
    "marginal": ([1, 0, 0, 0], [1, 1, 1, 1]),
    "autoregressive": ([1, 1, 1, 1], [1, 1, 1, 1]),
}


def ways(layer):
    "Both directions, eagerly and compiled."
    for direction in (layer.forward_and_log_det, layer.inverse_and_log_det):
        ask = lambda x, *context, direction=direction: direction(x, *context)
        yield ask
        for jit_compile in (
            [True] if keras.backend.backend() == "jax" else [False, True]
        ):
            yield compile_method(layer, ask, jit_compile)


@contract
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("law", ["affine", "spline"])
def test_case_08_nan_that_a_network_sees_stays_nan(kind, law):
    check_nan(kind, law)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("law", ["additive", "mixture", "logistic"])
def test_case_08_nan_stays_nan_under_every_law(kind, law):
    check_nan(kind, law)


def check_nan(kind, law):
    layer = LAYERS[kind](SCALARS[law])
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 4)).astype("float32")
    context = generator.normal(size=(8, 3)).astype("float32")
    layer.forward_and_log_det(x, context=context)
    scatter_weights(layer, 0.1)
    x[1, 0] = context[2, 1] = np.nan
    for ask in ways(layer):
        z, log_det = numpy(*ask(x, context))
        np.testing.assert_array_equal(np.isnan(z[1:3]), PATTERNS[kind])
        assert np.isfinite(np.delete(z, (1, 2), axis=0)).all()
        if law != "additive":  # a shift's log-determinant is 0 whatever is missing
            assert np.flatnonzero(np.isnan(log_det)).tolist() == [1, 2]


@contract
@pytest.mark.parametrize("by", ["checkerboard", "channels"])
def test_case_08_nan_in_an_image_stays_in_its_image(by):
    mask = gf.checkerboard_mask((4, 4, 2)) if by == "checkerboard" else [True, False]
    width = 4 if by == "checkerboard" else 2
    layer = gf.AffineCoupling(mask, gf.ConvConditioner(width, 4, activation=hiding))
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype("float32")
    layer.forward_and_log_det(x)
    scatter_weights(layer)
    x[1, 0, 0, 0] = np.nan  # kept by either mask
    moved = np.broadcast_to(~np.asarray(mask), (4, 4, 2))
    for ask in ways(layer):
        z, log_det = numpy(*ask(x))
        assert np.isnan(z[1][moved]).all()
        assert np.isnan(z).sum() == moved.sum() + 1
        np.testing.assert_array_equal(np.isnan(log_det), [False, True, False, False])


def test_case_08_huge_numbers_and_labels_are_no_nan():
    x = np.array([[3e38, 1.0], [-3e38, 2.0], [1e-38, 3.0]], "float32")
    for context in (None, np.array([[1], [2], [3]])):
        layer = gf.AffineCoupling([True, False], gf.MLPConditioner(2, 4))
        z, log_det = numpy(*layer.forward_and_log_det(x, context=context))
        np.testing.assert_array_equal(z, x)
        np.testing.assert_array_equal(log_det, np.zeros(3))


def summary_network(d_a, width):
    "A network of a kept part, if any, and a set: the mean over its points."
    points = keras.Input((None, 2))
    summary = ops.mean(keras.layers.Dense(8, "tanh")(points), axis=1)
    if d_a is None:
        return keras.Model(points, keras.layers.Dense(width)(summary))
    kept = keras.Input((d_a,))
    both = keras.layers.Concatenate()([kept, summary])
    return keras.Model([kept, points], keras.layers.Dense(width)(both))


@keras.saving.register_keras_serializable("test_cases_conditioner")
class MaskedBySet(gf.MaskedMLPConditioner):
    "A masked network whose context is the mean of a set."

    def build(self, input_shape):
        x, points = input_shape
        super().build([x, (points[0], points[2])])

    def call(self, inputs, training=None):
        x, points = inputs
        return super().call([x, ops.mean(points, axis=1)], training=training)

    def compute_output_shape(self, input_shape):
        x, points = input_shape
        return super().compute_output_shape([x, (points[0], points[2])])


OF_SETS = {
    "coupling": lambda: gf.AffineCoupling([True, False], summary_network(1, 2)),
    "marginal": lambda: gf.Marginal(gf.Affine(), summary_network(None, 4)),
    "autoregressive": lambda: gf.Autoregressive(MaskedBySet((1, 1), 2, 4), gf.Affine()),
}


@contract
@pytest.mark.parametrize("kind", OF_SETS)
def test_case_23_networks_are_built_for_sets_of_any_size_and_answer_for_each(kind):
    "At the network: an axis of unknown size, `check_autoregressive` included."
    layer = OF_SETS[kind]()
    layer.context_shape = (None, None, 2)
    layer.build((None, 2))
    scatter_weights(layer)
    generator = np.random.default_rng(0)
    for size in (5, 7):
        points = generator.normal(size=(64, size, 2)).astype("float32")
        kept = {
            "coupling": [X[:, :1], points],
            "marginal": points,
            "autoregressive": [X, points],
        }
        params = layer.emitted(kept[kind])
        assert {name: value.shape[0] for name, value in params.items()} == {
            "shift": 64,
            "log_scale": 64,
        }
        assert not np.allclose(*numpy(params["shift"][0], params["shift"][1]))


@contract
@pytest.mark.parametrize("kind", OF_SETS)
def test_case_23_layers_take_sets_of_any_size(kind):
    layer = OF_SETS[kind]()
    layer.context_shape = (None, None, 2)
    layer.build((None, 2))
    scatter_weights(layer)
    generator = np.random.default_rng(0)
    for size in (5, 7):
        points = generator.normal(size=(64, size, 2)).astype("float32")
        z, log_det = layer.forward_and_log_det(X, context=points)
        back, inverse_log_det = layer.inverse_and_log_det(z, context=points)
        np.testing.assert_allclose(numpy(back), X, atol=1e-5)
        np.testing.assert_allclose(numpy(inverse_log_det), -numpy(log_det), atol=1e-5)
        order = generator.permutation(size)  # a set has no order
        again, _ = layer.forward_and_log_det(X, context=points[:, order])
        np.testing.assert_allclose(*numpy(again, z), atol=1e-5)


def test_case_23_our_networks_refuse_a_set_by_its_shape():
    with pytest.raises(
        ValueError, match=r"shape \(batch, c\) .* received \(None, None, 2\)"
    ):
        build_conditioner(gf.MLPConditioner(2), (1,), (None, None, 2))
