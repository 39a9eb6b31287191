"Every base in every kind of flow: trained, sampled, saved, loaded; with a context for the base, for the layers, and for both."

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

import gaussflow as gf
from gaussflow.base import BaseDistribution
from gaussflow.evaluation import (
    base_scores,
    gaussianity_by_layer,
    probability_integral_transform,
)
from gaussflow.marginal import sum_event

X = np.random.default_rng(0).normal(size=(200, 2)).astype("float32") * [1.0, 2.0] + [
    0.5,
    -1.0,
]
X = X.astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(200, 3)).astype("float32")


@keras.saving.register_keras_serializable("test_bases")
class Laplace(BaseDistribution):
    "A user's own base."

    def log_prob(self, z, context=None):
        return sum_event(-ops.abs(z) - np.log(2.0))

    def sample(self, shape, seed=None, context=None):
        draws = keras.random.gamma(
            (2, *shape), 1.0, dtype=self.compute_dtype, seed=seed
        )
        return draws[0] - draws[1]

    def to_normal(self, z, context=None):
        return stats.norm.ppf(stats.laplace.cdf(np.asarray(z, "float64")))


BASES = {
    "normal": gf.StandardNormal,
    "logistic": gf.StandardLogistic,
    "diagonal normal": gf.DiagonalNormal,
    "Student": lambda: gf.StudentT(2.5),
    "Laplace": Laplace,
}
MAKERS = {
    "coupling": lambda base: gf.make_coupling_flow(
        2, 1, hidden=(4,), scalar=gf.Affine(), base=base
    ),
    "marginal": lambda base: gf.make_gaussianization_flow(
        2, 1, num_components=3, base=base
    ),
}


def conditional():
    return gf.DiagonalNormal(gf.MLPConditioner(4, (4,), "tanh"))


def with_context(base):
    "A marginal flow whose layers take the context too."
    return gf.make_gaussianization_flow(
        2, 1, num_components=3, context_hidden=(4,), base=base
    )


CASES = {
    f"{maker}, {base}": (MAKERS[maker], BASES[base], False)
    for maker in MAKERS
    for base in BASES
}
CASES |= {
    f"{maker}, conditional": (MAKERS[maker], conditional, True) for maker in MAKERS
}
CASES |= {
    "context everywhere": (with_context, conditional, True),
    "context in layers only": (with_context, gf.DiagonalNormal, True),
}
ON_JAX = {"marginal, Student", "context everywhere"}


def marked(names):
    return [
        pytest.param(name, marks=pytest.mark.contract) if name in ON_JAX else name
        for name in names
    ]


def trained(flow, x, epochs=2, rate=0.02, batch_size=100):
    flow.compile(keras.optimizers.Adam(rate), jit_compile=False)
    losses = flow.fit(x, epochs=epochs, batch_size=batch_size, verbose=0).history[
        "loss"
    ]
    return flow, losses


@pytest.mark.parametrize("name", marked(CASES))
def test_a_base_lives_in_a_flow(name, tmp_path):
    make, base, has_context = CASES[name]
    keras.utils.set_random_seed(0)
    x = {"x": X, "context": CONTEXT} if has_context else X
    context = CONTEXT[:5] if has_context else None
    flow, losses = trained(make(base()), x)
    assert losses[-1] < losses[0]
    draws = ops.convert_to_numpy(flow.sample(5, seed=1, context=context))
    assert draws.shape == (5, 2) and np.isfinite(draws).all()
    drawn, log_prob = map(
        ops.convert_to_numpy, flow.sample_and_log_prob(5, seed=1, context=context)
    )
    np.testing.assert_allclose(drawn, draws, atol=1e-6)
    np.testing.assert_allclose(log_prob, flow.log_prob(drawn, context), atol=1e-3)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    assert type(loaded.base) is type(flow.base)
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded.sample(5, seed=1, context=context)), draws
    )
    for before, after in zip(
        flow.base.trainable_weights, loaded.base.trainable_weights, strict=True
    ):
        assert np.any(ops.convert_to_numpy(before) != 0), "trained"
        np.testing.assert_array_equal(
            ops.convert_to_numpy(before), ops.convert_to_numpy(after)
        )
    if has_context:
        told, other = (
            ops.convert_to_numpy(loaded.log_prob(X, context))
            for context in (CONTEXT, -CONTEXT)
        )
        assert np.max(np.abs(told - other)) > 1e-4
        with pytest.raises(ValueError, match="Expected context of shape"):
            loaded.log_prob(X)


def test_dropout_in_the_network_of_a_base_is_off():
    network = keras.Sequential([keras.layers.Dropout(0.5), keras.layers.Dense(4)])
    flow = gf.NormalizingFlow(
        [gf.Marginal(gf.Affine())], 2, base=gf.DiagonalNormal(network)
    )
    x = {"x": ops.convert_to_tensor(X), "context": ops.convert_to_tensor(CONTEXT)}
    flow.ensure_built(CONTEXT)
    losses = [float(flow.compute_loss(x=x, training=True)) for _ in range(2)]
    assert losses[0] == losses[1]
    np.testing.assert_allclose(
        losses[0], -np.mean(ops.convert_to_numpy(flow.log_prob(X, CONTEXT))), rtol=1e-5
    )


def affine_flow(base):
    "Nothing but a shift and a scale of each number."
    return gf.NormalizingFlow([gf.Marginal(gf.Affine())], 2, base=base)


def test_tails_of_a_flow_are_those_of_its_base():
    "Heavy-tailed data: with maps that end in straight lines, held-out likelihood is a matter of the base."
    generator = np.random.default_rng(2)
    x, held_out = (
        3.0 * generator.standard_t(2.0, size=(n, 2)).astype("float32")
        for n in (2000, 20000)
    )
    found = {}
    for base in (gf.StandardNormal(), gf.StandardLogistic(), gf.StudentT(2.0)):
        flow, _ = trained(
            affine_flow(base),
            np.resize(x, (60_000, 2)),
            epochs=1,
            rate=0.05,
            batch_size=200,
        )
        found[type(base).__name__] = -float(
            np.mean(ops.convert_to_numpy(flow.log_prob(held_out)))
        )
        if isinstance(base, gf.StudentT):
            far = (
                np.abs(ops.convert_to_numpy(flow.sample(20000, seed=1))) > 60
            )  # 20 scales
            expected = 40000 * 2 * stats.t.sf(20, 2.0)
            assert 0.6 * expected < far.sum() < 1.5 * expected
    truth = 2 * (stats.t(2.0).entropy() + np.log(3.0))
    normal, logistic, student = found.values()
    assert student < logistic < normal and abs(student - truth) < 0.05, (found, truth)


def moments(c):
    "Mean and standard deviation given `c`, `(n, 2)` each."
    return np.concatenate([2 * c, 1 - c], axis=1), np.exp(
        np.concatenate([0.5 * c, 0 * c - 0.7], axis=1)
    )


def right_flow(x, c):
    "A flow that knows `moments`: a rotation, and a base whose linear network says what they are (on log-scales that no clamp bends)."
    flow = gf.NormalizingFlow(
        [gf.FixedOrtho(np.eye(2)[::-1])],
        2,
        base=gf.DiagonalNormal(gf.MLPConditioner(4, ()), gf.tanh_log_scale_clamp(1e3)),
    )
    flow.ensure_built(c)
    flow.base.conditioner.head.kernel.assign([[-1.0, 2.0, 0.0, 0.5]])
    flow.base.mean.assign([1.0, 0.0])
    flow.base.log_scale.assign([-0.7, 0.0])
    return flow


def test_scores_of_a_right_conditional_flow_are_uniform():
    generator = np.random.default_rng(3)
    c = generator.uniform(-2, 2, size=(4000, 1)).astype("float32")
    mean, scale = moments(c)
    x = (mean + scale * generator.normal(size=mean.shape)).astype("float32")
    flow = right_flow(x, c)
    np.testing.assert_allclose(
        flow.log_prob(x, c), stats.norm(mean, scale).logpdf(x).sum(1), atol=1e-4
    )
    u = probability_integral_transform(flow, x, c)
    np.testing.assert_allclose(u, stats.norm(mean, scale).cdf(x)[:, ::-1], atol=1e-5)
    for column in u.T:
        assert stats.kstest(column, "uniform").statistic < 1.95 / np.sqrt(len(u))
    assert (
        max(
            stats.kstest(column, "uniform").statistic
            for column in probability_integral_transform(flow, x, -c).T
        )
        > 0.1
    )
    states = gaussianity_by_layer(
        flow, {"x": x, "context": c}, max_points=500, num_draws=50
    )
    assert states.values["kurtosis"][-1] <= 1.5 * states.band["kurtosis"][1]
    with pytest.raises(ValueError, match="Expected context of shape"):
        base_scores(flow.base, x)


def test_scores_of_a_normal_without_context():
    base = gf.DiagonalNormal()
    base.build((None, 2))
    base.mean.assign([1.0, -1.0])
    base.log_scale.assign(np.log([2.0, 4.0]))
    np.testing.assert_allclose(
        base_scores(base, X.astype("float64")),
        (X - [1.0, -1.0]) / [2.0, 4.0],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.contract
@pytest.mark.parametrize(
    "base",
    [
        gf.StandardNormal,
        gf.StandardLogistic,
        gf.DiagonalNormal,
        gf.StudentT,
        lambda: gf.StudentT(0.5),
    ],
)
def test_draws_and_densities_are_numbers(base):
    "No NaN for any finite latent, no infinite draw."
    base = base()
    z = np.float32([-1.6e38, -1e38, -1e20, -1.0, 0.0, 1e-38, 1e19, 1e38, 1.6e38])[
        :, None
    ]
    assert not np.any(np.isnan(ops.convert_to_numpy(base.log_prob(2.1 * z))))
    assert np.isfinite(gf.testing.gradient(base.log_prob, z)).all()
    assert np.isfinite(ops.convert_to_numpy(base.sample((200_000, 1), seed=0))).all()
    one, again, other = (
        ops.convert_to_numpy(base.sample((9, 1), seed=seed)) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)


@pytest.mark.contract
def test_draws_follow_the_density():
    "Student's t for few degrees, where gamma variables underflow, against SciPy."
    for degrees in (0.5, 1.0, 4.0):
        draws = ops.convert_to_numpy(gf.StudentT(degrees).sample((20_000,), seed=1))
        assert stats.kstest(draws, stats.t(degrees).cdf).statistic < 0.014


def test_a_users_base_is_calibrated_like_ours():
    flow, _ = trained(MAKERS["marginal"](Laplace()), X, epochs=30)
    draws = ops.convert_to_numpy(flow.sample(4000, seed=0))
    scores = ops.convert_to_numpy(
        base_scores(flow.base, flow.base.sample((4000, 2), seed=1))
    )
    assert stats.kstest(scores.ravel(), "norm").pvalue > 1e-3
    transform = probability_integral_transform(flow, draws)
    assert stats.kstest(np.ravel(transform), "uniform").pvalue > 1e-3
