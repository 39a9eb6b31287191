"What compiles, when, and for whom: few rows without a compiler, equal structures once, one trace of a step."

import keras
import numpy as np
import pytest

import gaussflow as gf
from gaussflow.backend import BLOCKS_TO_COMPILE, SHARED
from gaussflow.flow import STEPS_FOR_XLA

X = np.random.default_rng(0).normal(size=(3000, 4)).astype("float32")
MANY = np.concatenate([X] * (1000 * BLOCKS_TO_COMPILE // len(X) + 1))
compiles = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch runs eagerly"
)


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    "Flows of other tests may live on, and share what they compiled."
    SHARED.clear()


def make(kind=gf.make_real_nvp, **options):
    keras.utils.set_random_seed(0)
    flow = kind(4, num_blocks=1, **options)
    flow.build((None, 4))
    return flow


def functions(flow):
    "What the whole flow has compiled, at first and for long use."
    return [one for tiers in flow.run.compiled.values() for one in tiers if one.ready]


def compiled(flow):
    "How many of them there are, each size counted."
    return sum(len(one.ready) for one in functions(flow))


def traces(flow):
    return sum(len(one.traces) for one in functions(flow))


@compiles
def test_few_rows_compile_nothing_and_many_do():
    flow = make(gf.make_coupling_flow, num_components=3)
    few = {n: np.asarray(flow.log_prob(X[:n])) for n in (1, 3, 100, 1000)}
    flow.sample(7, seed=0), flow.sample_and_log_prob(11, seed=0)
    assert compiled(flow) == traces(flow) == 0
    whole = np.asarray(flow.log_prob(MANY))
    assert compiled(flow) > 0
    for n, answer in few.items():  # a row's answer does not depend on its company
        np.testing.assert_allclose(answer, whole[:n], rtol=1e-5, atol=1e-5)


SPLINES = {
    "spline": lambda: make(
        gf.make_coupling_flow, scalar=gf.RationalQuadraticSpline(), hidden=(8,)
    ),
    "circle": lambda: make_circle(gf.CircularSpline()),
}


def make_circle(scalar):
    keras.utils.set_random_seed(0)
    flow = gf.NormalizingFlow(
        [gf.Marginal(scalar, context_hidden=None)], 4, base=gf.UniformAngles(range(4))
    )
    flow.build((None, 4))
    for weight in flow.trainable_variables:
        weight.assign_add(0.3 * keras.random.normal(weight.shape, seed=1))
    return flow


@pytest.mark.contract
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX has a quicker way")
@pytest.mark.parametrize("kind", SPLINES)
@pytest.mark.parametrize("at_once", [False, True])
def test_splines_in_long_use_are_compiled_by_their_quicker_way(
    monkeypatch, at_once, kind
):
    asked, x, many = [], 3.1 * np.tanh(X), 3.1 * np.tanh(MANY)
    noting = noted(gf.spline.spline_slopes, asked)
    for module in (gf.spline, gf.circular):
        monkeypatch.setattr(module, "spline_slopes", noting)
    enough = 1 if at_once else 3 * MANY.size
    monkeypatch.setattr(gf.backend, "NUMBERS_OF_LONG_USE", enough)
    flow = SPLINES[kind]()
    few = {n: np.asarray(flow.log_prob(x[:n])) for n in (1, 1000)}
    answers = [np.asarray(flow.log_prob(many)) for _ in range(4)]
    for answer in answers:
        np.testing.assert_allclose(answer, answers[0], rtol=1e-5, atol=1e-5)
        for n, start in few.items():
            np.testing.assert_allclose(answer[:n], start, rtol=1e-5, atol=1e-5)
    # One by one at once, or in the third request.
    assert any(isinstance(raw, list) for raw in asked)
    assert compiled(flow) == (1 if at_once else 2)
    asked.clear()
    copy = SPLINES[kind]()
    np.testing.assert_allclose(copy.log_prob(many), answers[0], rtol=1e-5, atol=1e-5)
    assert not asked  # a copy compiles nothing
    flow.compile("sgd")
    flow.fit(x[:100], verbose=0)
    assert asked and not any(isinstance(raw, list) for raw in asked)


@pytest.mark.contract
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX has a quicker way")
def test_what_has_no_quicker_way_is_compiled_once(monkeypatch):
    monkeypatch.setattr(gf.backend, "NUMBERS_OF_LONG_USE", 3 * MANY.size)
    many_bins = gf.RationalQuadraticSpline(num_bins=17)
    for flow in (make(), make(gf.make_coupling_flow, scalar=many_bins)):
        for _ in range(4):
            flow.log_prob(MANY)
        assert compiled(flow) == 1


def noted(function, calls):
    "The function, its first arguments kept."

    def call(first, *others, **options):
        calls.append(first)
        return function(first, *others, **options)

    return call


def test_a_row_s_answer_does_not_depend_on_its_company():
    flow = make(gf.make_coupling_flow, num_components=3)
    whole = np.asarray(flow.log_prob(X[:600]))
    for n in (1, 7, 100):
        np.testing.assert_array_equal(flow.log_prob(X[:n]), whole[:n])


@compiles
def test_a_question_asked_often_is_compiled():
    flow = make()
    answers = [np.asarray(flow.log_prob(X[:2])) for _ in range(BLOCKS_TO_COMPILE)]
    assert compiled(flow) == 1
    np.testing.assert_allclose(answers[0], answers[-1], rtol=1e-5, atol=1e-5)


@compiles
@pytest.mark.parametrize(
    "kind",
    [
        gf.make_coupling_flow,
        gf.make_gaussianization_flow,
        gf.make_real_nvp,
        gf.make_maf,
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_copy_compiles_nothing_again(kind, tmp_path):
    flow = make(kind=kind)
    flow.log_prob(MANY)
    before = traces(flow)
    flow.save(tmp_path / "flow.keras")
    for copy in (
        make(kind=kind),
        keras.models.clone_model(flow),
        keras.saving.load_model(tmp_path / "flow.keras"),
    ):
        copy.build((None, 4))
        copy.set_weights([w + 0.01 for w in flow.get_weights()])
        asked = np.asarray(copy.log_prob(MANY))
        assert traces(copy) == before
        plain = np.asarray(copy.compute_log_prob(X[:50]))
        np.testing.assert_allclose(asked[:50], plain, rtol=1e-4, atol=1e-4)
    assert np.abs(asked - np.asarray(flow.log_prob(MANY))).max() > 1e-4


@compiles
def test_training_between_two_questions_is_seen():
    flow = make()
    before = np.asarray(flow.log_prob(MANY))
    flow.compile(keras.optimizers.Adam(0.01))
    flow.fit(X, batch_size=500, epochs=2, verbose=0)
    number = traces(flow)
    after = np.asarray(flow.log_prob(MANY))
    assert traces(flow) == number and np.abs(after - before).max() > 1e-2
    plain = np.asarray(flow.compute_log_prob(X[:50]))
    np.testing.assert_allclose(after[:50], plain, rtol=1e-4, atol=1e-4)


@compiles
def test_what_differs_is_not_shared():
    flows = [
        make(),
        make(hidden=(8,)),
        make(activation="tanh"),
        make(base=gf.StudentT(3.0)),
        make(standardize=True),
    ]

    class Halved(gf.NormalizingFlow):
        "A user's own, with a number that no configuration holds."

        factor = 0.5

        def compute_log_prob(self, x, context=None, centered=()):
            return self.factor * super().compute_log_prob(x, context, centered)

    own = [Halved(make().bijectors, 4) for _ in range(2)]
    own[1].factor = 0.25
    for flow in own:
        flow.build((None, 4))
    for flow in (*flows, *own):
        answer = np.asarray(flow.log_prob(MANY))[:20]
        plain = np.asarray(flow.compute_log_prob(X[:20]))
        np.testing.assert_allclose(answer, plain, rtol=1e-4, atol=1e-4)
    found = {id(one) for flow in (*flows, *own) for one in functions(flow)}
    assert len(found) == len(flows) + len(own)


def test_a_layer_written_anew_is_not_taken_for_the_old_one():
    "A class of the same name with other code, as when a notebook's cell is run again."

    def written(factor):
        class Times(gf.Bijector):
            def forward_and_log_det(self, x, context=None, training=None):
                x = self.prepare(x, context)
                log_det = 4 * np.log(factor) * keras.ops.ones_like(x[:, 0])
                return factor * x, log_det

        flow = gf.NormalizingFlow([Times()], 4)
        flow.build((None, 4))
        return flow

    for factor in (2.0, 3.0):
        flow = written(factor)
        for rows in (X[:5], MANY):  # by layer, and as a whole
            z = factor * rows[:5]
            expected = -0.5 * (z**2).sum(axis=1) - 2 * np.log(2 * np.pi)
            found = np.asarray(flow.log_prob(rows))[:5]
            np.testing.assert_allclose(found, expected + 4 * np.log(factor), rtol=1e-4)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="JAX compiles in any case"
)
def test_a_step_is_traced_once_and_xla_comes_with_many_steps():
    flow = make()
    flow.compile("adam")
    times, call = [], flow.states
    flow.states = lambda *args, **kwargs: times.append(1) or call(*args, **kwargs)
    flow.fit(X[:6], batch_size=3, epochs=2, verbose=0)
    assert len(times) == 1 and not flow.jit_compile
    flow.fit(X[: 3 * STEPS_FOR_XLA - 12], batch_size=3, verbose=0)
    assert flow.jit_compile and int(flow.optimizer.iterations) == STEPS_FOR_XLA


def test_training_before_compile_is_refused_by_keras():
    for train in ("fit", "train_on_batch"):
        with pytest.raises(ValueError, match=r"compile\(\)"):
            getattr(make(), train)(X[:64])


@compiles
@pytest.mark.parametrize(
    "use, what",
    [
        (lambda flow: flow.fit(X, batch_size=500, verbose=0), "training"),
        (lambda flow: flow.train_on_batch(X[:64]), "training"),
        (lambda flow: flow.evaluate(X, verbose=0), "evaluation"),
        (lambda flow: flow.test_on_batch(X[:64]), "evaluation"),
        (lambda flow: flow.predict(X, verbose=0), "prediction"),
    ],
    ids=["fit", "train_on_batch", "evaluate", "test_on_batch", "predict"],
)
def test_a_long_wait_is_announced_once(use, what, monkeypatch, capfd):
    flow = make()
    flow.compile("adam")
    monkeypatch.setenv("GAUSSFLOW_ANNOUNCE_AFTER", "0.001")
    use(flow)
    assert capfd.readouterr().err.count(f"compiling the {what} step") == 1
    use(flow)
    assert f"the {what} step" not in capfd.readouterr().err
