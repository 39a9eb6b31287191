"""What users ran into, case by case: reading, refusing, scaling, contexts, building, files.

The numbers are those of the list of cases that the project keeps; each test holds a kind.
"""

import copy
import pickle
import re
import threading
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import gaussflow as gf

BACKEND = keras.backend.backend()
numpy = keras.ops.convert_to_numpy
contract = pytest.mark.contract
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own")


def small(d=2, **kwargs):
    "A flow that is quick to build and to train plainly."
    keras.utils.set_random_seed(0)
    flow = gf.make_real_nvp(d, 2, hidden=(8,), **kwargs)
    flow.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    return flow


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def conditional(rows=64):
    flow = small()
    flow.fit({"x": normal(rows, 2), "context": normal(rows, 1, seed=1)}, verbose=0)
    return flow


# Scaling


@contract
def test_case_02_a_mean_far_beyond_float32_is_removed_before_the_cast():
    x = 1.7e9 + 30 * normal(4000, 1)
    flow = gf.NormalizingFlow([gf.Standardize(), gf.Marginal(gf.Affine())], 1)
    flow.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    flow.fit(x, verbose=0)
    exact = stats.norm(x.mean(), x.std()).logpdf(x[:, 0])
    np.testing.assert_allclose(numpy(flow.log_prob(x)), exact, atol=1e-3)
    np.testing.assert_allclose(flow.evaluate(x, verbose=0), -exact.mean(), atol=0.01)
    samples = numpy(flow.sample(2000, seed=0))
    assert len(np.unique(samples)) > 1990 and samples.dtype == np.float64
    assert stats.kstest(samples[:, 0], stats.norm(x.mean(), x.std()).cdf).pvalue > 1e-3
    latent = flow.predict(x, verbose=0)
    np.testing.assert_allclose(latent[:, 0], (x[:, 0] - x.mean()) / x.std(), atol=1e-3)
    with pytest.raises(
        ValueError, match="Expected x in float64, received float32: at column 0"
    ):
        flow.log_prob(x.astype("float32"))


@contract
def test_case_02_plain_routes_keep_the_digits_or_refuse():
    x = 1.7e9 + 30 * normal(200, 1)
    flow = gf.NormalizingFlow([gf.Standardize(), gf.Marginal(gf.Affine())], 1)
    flow.adapt(x)
    z = (x[:4] - x.mean()) / x.std()
    for answer in (
        flow(x[:4]),
        flow.forward_and_log_det(x[:4])[0],
        flow.forward_with_intermediates(x[:4])[-1],
    ):
        np.testing.assert_allclose(numpy(answer), z, atol=1e-4)
    np.testing.assert_allclose(
        numpy(flow.compute_log_prob(x[:4])),
        stats.norm(x.mean(), x.std()).logpdf(x[:4, 0]),
        atol=1e-4,
    )
    with pytest.raises(ValueError, match="Expected x in float64"):
        flow(x[:4].astype("float32"))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            at = tf.constant(x[:4])
            tape.watch(at)
            density = flow.log_prob(at)
        np.testing.assert_allclose(
            numpy(tape.gradient(density, at)), -z / x.std(), rtol=1e-3
        )
        np.testing.assert_allclose(tf.function(flow.log_prob)(at), density, rtol=1e-6)
    if BACKEND == "jax":
        import jax

        with pytest.raises(ValueError, match="Expected x in float64"):
            jax.jit(flow.log_prob)(x[:4])


@contract
def test_case_02_a_month_of_seconds_keeps_its_seconds():
    "There float32's numbers are 128 apart, a ten-thousandth of the spread."
    time = 1.7e9 + 30 * 86400 * np.random.default_rng(0).uniform(size=(400, 1))
    flow = gf.NormalizingFlow([gf.Standardize(), gf.Marginal(gf.Affine())], 1)
    flow.adapt(time)
    near = time.mean() + time.std() + 10 * np.arange(40.0)[:, None]
    z = (near[:, 0] - time.mean()) / time.std()
    exact = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - np.log(time.std())
    found = numpy(flow.log_prob(near))
    np.testing.assert_allclose(found, exact, atol=2e-5)
    assert (np.diff(found) < 0).all()
    samples = numpy(flow.sample(1000, seed=0))
    assert samples.dtype == np.float64 and len(np.unique(samples)) > 990


@contract
def test_case_02_whole_numbers_that_float32_holds_are_not_wide():
    years = np.repeat([2020.0, 2021.0, 2024.0], 20)[:, None]
    for dtype in ("float32", "float64", "int64"):
        flow = gf.NormalizingFlow([gf.Standardize(), gf.Marginal(gf.Affine())], 1)
        flow.adapt(years.astype(dtype))
        assert not flow.bijectors[0].wide
        assert np.isfinite(numpy(flow.log_prob(years.astype("float32")))).all()


@contract
def test_case_02_without_standardising_such_a_column_is_refused_by_name():
    table = pd.DataFrame(
        {"amount": normal(500), "time": 1.7e9 + 30 * normal(500, seed=1)}
    )
    with pytest.raises(ValueError, match="time.*standardize=True"):
        small().fit(table, verbose=0)


@contract
def test_case_02_a_wide_context_and_data_sets_in_float64():
    time = 1.7e9 + 30 * normal(256, 1)
    x = np.concatenate([0.05 * (time - 1.7e9), normal(256, 1, seed=1)], axis=1)
    flow = small(standardize=True)
    flow.fit({"x": x, "context": time}, verbose=0)
    a, b = (numpy(flow.log_prob(x[:4], context=time[:1] + shift)) for shift in (0, 30))
    assert np.abs(a - b).max() > 1e-6

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            rows = slice(64 * i, 64 * (i + 1))
            return ({"x": time[rows] + x[rows] * 0, "context": x[rows]},)

    wide = small(standardize=True)
    wide.fit(Batches(), verbose=0)
    arrays = {"x": time + x * 0, "context": x}
    np.testing.assert_allclose(
        wide.evaluate(Batches(), verbose=0), wide.evaluate(arrays, verbose=0), rtol=1e-4
    )


def test_case_03_questions_before_fit_say_that_nothing_was_learned():
    "The flow whose fit was refused, or forgotten: units of the data go in as they come."
    x = normal(40, 3) * [1e3, 1, 1]
    given = {"x": x, "context": 100 + normal(40, 1)}
    flow = gf.make_coupling_flow(3, 1, hidden=(4,), standardize=True)
    flow.compile("sgd", jit_compile=False)
    flow.build({"x": (None, 3), "context": (None, 1)})
    z, context = normal(2, 3), given["context"][:2]
    some = {"x": x[:2], "context": context}
    questions = (
        lambda: flow.log_prob(some),
        lambda: flow.sample(2, context=context),
        lambda: flow.sample_and_log_prob(2, context=context),
        lambda: flow.invert(z, context),
        lambda: flow.score(x[:2], context),
        lambda: flow.predict(some, verbose=0),
        lambda: flow(some),
        lambda: flow.evaluate(some, verbose=0),
        lambda: flow.test_on_batch(some),
        lambda: flow.forward_with_intermediates(x[:2], context),
    )
    with pytest.raises(ValueError, match="row 3"):
        flow.fit({**given, "x": np.where(np.arange(40)[:, None] == 3, np.nan, x)})
    for ask in questions:
        with pytest.warns(
            UserWarning, match="events and contexts have not been learned"
        ) as said:
            ask()
        mine = [w.filename for w in said if "mean and spread" in str(w.message)]
        assert mine == [__file__]  # once, at the user's line
    flow.adapt(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for ask in questions:
            ask()


def test_case_03_a_standardising_layer_further_back_says_so_too():
    late = gf.NormalizingFlow([gf.Bounded([0, None]), gf.Standardize()], 2)
    late.compile("sgd", jit_compile=False)
    x = np.abs(normal(40, 2)) + 0.1
    with pytest.warns(UserWarning, match="spread of the events have not been") as said:
        late.log_prob(x)
    mine = [w.filename for w in said if "mean and spread" in str(w.message)]
    assert mine == [__file__]  # the user's line
    late.fit(x, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        late.log_prob(x)


@pytest.mark.parametrize(
    "make",
    [
        gf.make_coupling_flow,
        gf.make_gaussianization_flow,
        gf.make_real_nvp,
        gf.make_maf,
        gf.make_iaf,
        gf.make_nice,
        gf.make_glow,
    ],
)
def test_case_03_every_factory_standardises(make, tmp_path):
    x = normal(200, 3) * [1e3, 1e-4, 1.0] + [5e3, 0, 7]
    flow = make(3, standardize=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        flow.compile(keras.optimizers.SGD(0.0), jit_compile=False, run_eagerly=True)
        flow.fit(x, batch_size=200, verbose=0)
    first = flow.bijectors[0]
    np.testing.assert_allclose(
        numpy(first.mean), x.mean(0), rtol=1e-5, atol=1e-4 * x.std(0).min()
    )
    np.testing.assert_allclose(numpy(first.scale), x.std(0), rtol=1e-5)
    plain = flow.compute_log_prob(x[:5])  # nothing compiled
    z, log_det = flow.forward_and_log_det(x[:5])
    np.testing.assert_allclose(
        plain, numpy(flow.base.log_prob(z)) + numpy(log_det), rtol=1e-5
    )
    assert (
        len(flow.trainable_variables) == len(make(3).trainable_variables)
        or not make(3).built
    )
    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(again.compute_log_prob(x[:5]), plain)


def test_case_03_image_flows_standardise_by_channel_unless_they_have_grey_values():
    x = normal(50, 4, 4, 2) * [1e-3, 10.0] + [0, 300.0]
    flow = gf.make_real_nvp((4, 4, 2), 1, hidden=(4, 4), num_levels=1, standardize=True)
    flow.adapt(x)
    np.testing.assert_allclose(
        numpy(flow.bijectors[0].scale), x.std(axis=(0, 1, 2)), rtol=1e-5
    )
    with pytest.raises(ValueError, match="num_values"):
        gf.make_glow((4, 4, 2), num_values=8, standardize=True)


@contract
def test_case_03_raw_units_are_named_once():
    table = pd.DataFrame(
        {"price": 5e3 + 1e3 * normal(300), "score": normal(300, seed=1)}
    )
    flow = small()
    with pytest.warns(UserWarning, match="price.*standardize=True") as caught:
        flow.fit(table, verbose=0)
    assert "score" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        flow.fit(table, verbose=0)
        small(standardize=True).fit(table, verbose=0)


@contract
@pytest.mark.parametrize("kind", ["array", "reread", "one-shot"])
def test_case_03_all_rows_count_and_a_generator_loses_none(kind):
    x = np.sort(
        normal(640, 2) * 50, axis=0
    )  # sorted: the first batch is not like the rest
    seen = []

    def batches():
        for part in np.split(x, 10):
            seen.append(len(part))
            yield (part,)

    class Again(keras.utils.PyDataset):
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return (np.split(x, 10)[i],)

    flow = small(standardize=True)
    data = {"array": x, "reread": Again(), "one-shot": batches()}[kind]
    flow.fit(data, verbose=0)
    np.testing.assert_allclose(
        numpy(flow.bijectors[0].mean), x.mean(0), rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(numpy(flow.bijectors[0].scale), x.std(0), rtol=1e-5)
    steps = {"array": {20}, "reread": {10}, "one-shot": {10, 11}}[kind]
    assert (
        int(flow.optimizer.iterations) in steps
    )  # Keras counts the end of a generator, too
    assert sum(seen) == (640 if kind == "one-shot" else 0)


@contract
def test_case_03_numeric_contexts_are_standardised_and_indicators_left_alone():
    c = np.stack([2e4 + 1e3 * normal(300), np.arange(300) % 2], axis=1)
    flow = small(standardize=True)
    flow.fit({"x": normal(300, 2), "context": c}, verbose=0)
    given = numpy(flow.given(c, 300))
    np.testing.assert_allclose(
        given[:, 0], (c[:, 0] - c[:, 0].mean()) / c[:, 0].std(), atol=1e-3
    )
    np.testing.assert_array_equal(given[:, 1], c[:, 1])


@contract
def test_case_04_glow_trains_alike_in_every_unit():
    def curve(unit):
        keras.utils.set_random_seed(0)
        flow = gf.make_glow(3, num_blocks=1, hidden=(8,))
        flow.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        x = normal(200, 3) * unit
        losses = flow.fit(x, batch_size=50, epochs=2, shuffle=False, verbose=0).history[
            "loss"
        ]
        return np.array(losses) - 3 * np.log(unit)

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        curves = [curve(unit) for unit in (1.0, 1e-6, 1e-4, 1e6)]
    np.testing.assert_allclose(curves, [curves[0]] * 4, atol=2e-3)
    assert abs(curves[0][0] - 3 * stats.norm.entropy()) < 0.3


# Contexts


@contract
def test_case_05_a_conditional_flow_in_one_dimension_works_by_default():
    c = normal(400, 1)
    y = c + 0.1 * normal(400, 1, seed=1)
    keras.utils.set_random_seed(0)
    flow = gf.make_gaussianization_flow(1, num_blocks=1)
    flow.compile(keras.optimizers.Adam(2e-2), jit_compile=False)
    flow.fit({"x": y, "context": c}, batch_size=100, epochs=8, verbose=0)
    near, far = (
        np.mean(numpy(flow.log_prob(y, context=c + shift))) for shift in (0.0, 1.0)
    )
    assert near > far + 0.5
    with pytest.raises(ValueError, match="make_gaussianization_flow"):
        gf.make_coupling_flow(1)


@contract
def test_case_05_a_context_that_no_part_uses_is_refused():
    flow = gf.NormalizingFlow([gf.Householder(), gf.Marginal(gf.Affine())], 2)
    flow.compile("adam")
    with pytest.raises(
        ValueError, match="no part of this NormalizingFlow uses one.*context_hidden"
    ):
        flow.fit({"x": normal(8, 2), "context": normal(8, 1)}, verbose=0)
    assert not flow.built
    with pytest.raises(ValueError, match="no part of this"):
        gf.make_gaussianization_flow(2, context_hidden=None).log_prob(
            normal(8, 2), context=normal(8, 1)
        )


@contract
def test_case_06_second_parts_are_refused():
    x, labels = normal(64, 2), np.arange(64) % 3
    flow = small()
    for call in (flow.fit, flow.evaluate, flow.train_on_batch):
        with pytest.raises(ValueError, match=re.escape('{"x": x, "context": c}')):
            call(x, labels)
    with pytest.raises(ValueError, match=re.escape('{"x": x, "context": c}')):
        flow.fit(x, validation_data=(x, labels), verbose=0)
    with pytest.raises(ValueError, match=re.escape('{"x": x, "context": c}')):
        flow.fit(
            ((x[i : i + 8], labels[i : i + 8]) for i in range(0, 64, 8)), verbose=0
        )
    flow.fit(x, x, validation_data=(x, x), verbose=0)
    flow.fit(((x[i : i + 8], x[i : i + 8]) for i in range(0, 64, 8)), verbose=0)


@contract
def test_case_07_inside_another_model_the_log_determinant_counts():
    x = (2.0 * normal(256, 2)).astype("float32")
    models, truth = [], small()
    truth.started = True
    for inner in (truth, gf.Chain(small().bijectors)):
        symbol = keras.Input((2,))
        outer = keras.Model(symbol, inner(symbol))
        outer.compile(
            keras.optimizers.SGD(1e-2), loss=gf.base_nll_loss, jit_compile=False
        )
        models.append(outer)
    for outer in models:
        outer.evaluate(x, x, verbose=0)
    np.testing.assert_allclose(
        models[0].evaluate(x, x, verbose=0), truth.evaluate(x, verbose=0), rtol=1e-5
    )
    alone = small()
    alone.started = True
    alone.compile(keras.optimizers.SGD(1e-2), jit_compile=False)
    alone.build({"x": (None, 2)})
    alone.set_weights(truth.get_weights())
    options = {"batch_size": 64, "epochs": 2, "shuffle": False, "verbose": 0}
    np.testing.assert_allclose(
        models[0].fit(x, x, **options).history["loss"],
        alone.fit(x, **options).history["loss"],
        rtol=1e-4,
    )


@contract
def test_case_08_a_nan_in_a_context_is_never_a_number():
    flow = conditional()
    x, c = normal(6, 2), normal(6, 1, seed=1)
    c[2] = np.nan
    for answer in (
        flow.log_prob(x, context=c),
        flow.compute_log_prob(x, c),
        flow.invert(x, context=c)[:, 0],
    ):
        assert np.flatnonzero(np.isnan(numpy(answer))).tolist() == [2]
    with pytest.raises(ValueError, match="context.* row 2"):
        flow.fit({"x": x, "context": c}, verbose=0)
    with pytest.raises(ValueError, match="context at row 2"):
        flow.sample(6, context=c)
    loss = flow.evaluate(
        ({"x": x[i : i + 3], "context": c[i : i + 3]} for i in (3, 0)),
        steps=2,
        verbose=0,
    )
    assert np.isnan(loss)
    x[1] = np.nan
    assert np.flatnonzero(np.isnan(numpy(flow.log_prob(x, context=c)))).tolist() == [
        1,
        2,
    ]


# Tables and weights


@contract
def test_case_09_fit_warns_of_columns_without_a_density():
    n = 400
    table = pd.DataFrame(
        {"size": normal(n), "member": np.arange(n) % 2, "site": np.full(n, 3.0)}
    )
    with pytest.warns(UserWarning, match="no bound") as caught:
        small(3).fit(table, verbose=0)
    text = str(caught[0].message)
    assert "member" in text and "site" in text and "'size'" not in text


@contract
def test_case_09_layers_of_another_trained_flow_are_named():
    def flow_of(*layers):
        flow = gf.NormalizingFlow(layers, 2)
        flow.compile("adam", jit_compile=False)
        return flow

    first, x = flow_of(gf.Standardize(), gf.Marginal(gf.Affine())), normal(64, 2)
    second = flow_of(*first.bijectors)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        first.fit(x, verbose=0)  # the other one has seen no data
    with pytest.warns(
        UserWarning,
        match="Standardize, Marginal of this flow are layers of another flow",
    ):
        second.fit(x, verbose=0)
    third = flow_of(gf.Standardize(), gf.Marginal(gf.Affine()))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        third.fit(x, verbose=0)
    for begin in (
        lambda flow: flow.train_on_batch(x),
        lambda flow: flow.adapt(x),
        lambda flow: gf.initialize_flow_from_ig(flow, x),
    ):
        again = flow_of(*first.bijectors)
        again.ensure_built()
        with pytest.warns(UserWarning, match="layers of another flow"):
            begin(again)


@contract
def test_case_10_weights_are_checked_and_a_weight_of_zero_means_absent():
    x, flow = normal(64, 2), small()
    for wrong, word in ((-1.0, "-1.0 in row 5"), (np.nan, "nan in row 5")):
        weights = np.ones(64)
        weights[5] = wrong
        for call in (flow.fit, flow.evaluate):
            with pytest.raises(ValueError, match=f"Expected sample_weight.*{word}"):
                call(x, sample_weight=weights)
    weights = np.ones(64)
    weights[5] = 0.0
    far, kept = x.copy(), np.delete(x, 5, axis=0)
    far[5] = 1e20
    flow.fit(kept, verbose=0)
    expected = -numpy(flow.log_prob(kept)).sum() / 64
    np.testing.assert_allclose(
        flow.evaluate(far, sample_weight=weights, verbose=0), expected, rtol=1e-5
    )
    far[5] = np.nan
    np.testing.assert_allclose(
        flow.evaluate(far, sample_weight=weights, verbose=0), expected, rtol=1e-5
    )
    batch = (far.astype("float32"), np.zeros(64), weights.astype("float32"))
    before = [w.copy() for w in flow.get_weights()]
    flow.fit((b for b in [batch]), verbose=0)
    assert all(np.isfinite(w).all() for w in flow.get_weights())
    assert any(np.any(a != b) for a, b in zip(before, flow.get_weights()))


@contract
def test_case_11_masked_rows_are_refused():
    x = np.ma.masked_array(normal(20, 2), mask=False)
    small().fit(x, verbose=0)
    x[7, 1] = np.ma.masked
    for call in (small().fit, small().log_prob, small().evaluate):
        with pytest.raises(ValueError, match="masked.*row 7"):
            call(x)


# What was accepted without a word


def test_case_12_images_outside_the_grey_values_are_refused_under_a_tape_too():
    tf = (
        pytest.importorskip("tensorflow")
        if BACKEND == "tensorflow"
        else pytest.skip("TensorFlow's own")
    )
    flow = gf.NormalizingFlow(
        [gf.UniformDequantization(4), gf.Flatten(), gf.Marginal(gf.Affine())], (2, 2, 1)
    )
    with tf.GradientTape(), pytest.raises(ValueError, match="from 0 to 3"):
        flow.log_prob(tf.fill((3, 2, 2, 1), 9.0))


def test_case_12_zero_reflectors_are_refused():
    for make in (gf.make_coupling_flow, gf.make_gaussianization_flow):
        with pytest.raises(ValueError, match="Expected num_reflectors >= 1"):
            make(2, num_reflectors=0)


def test_case_12_a_policy_of_double_precision_is_refused():
    keras.config.set_dtype_policy("float64")
    try:
        with pytest.raises(ValueError, match="set_floatx"):
            gf.make_real_nvp(2)
    finally:
        keras.config.set_dtype_policy("float32")
    gf.make_real_nvp(2)


@contract
def test_case_12_weights_of_another_structure_are_refused(tmp_path):
    def build(mask=(True, False), base=None, activation="relu"):
        flow = gf.make_real_nvp(
            2, 2, hidden=(4,), mask=mask, base=base, activation=activation
        )
        flow.build((None, 2))
        return flow

    build().save_weights(tmp_path / "a.weights.h5")
    build().load_weights(tmp_path / "a.weights.h5")
    for other in (
        build(mask=(False, True)),
        build(base=gf.StandardLogistic()),
        build(activation="tanh"),
    ):
        with pytest.raises(
            ValueError, match="weights saved with|could not be loaded|base"
        ):
            other.load_weights(tmp_path / "a.weights.h5")


# Building


@contract
def test_case_14_an_unbuilt_flow_can_be_copied_pickled_and_saved(tmp_path):
    x = normal(5, 2).astype("float32")
    for make in (
        lambda: gf.make_maf(2, 2, hidden=(4,)),
        lambda: gf.make_glow(2, num_blocks=1, hidden=(4,)),
        lambda: small(standardize=True),
    ):
        flow = make()
        flow.save(tmp_path / "unbuilt.keras")
        loaded = keras.saving.load_model(tmp_path / "unbuilt.keras")
        for other in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), loaded):
            assert not other.built
            assert np.isfinite(
                numpy(
                    other.compute_log_prob(x) if other.ensure_built() is None else None
                )
            ).all()
            assert len(other.weights) > 0


@contract
def test_case_14_threads_build_once():
    flow, errors, answers = gf.make_real_nvp(3, 2, hidden=(4,)), [], []
    start = threading.Barrier(6)

    def ask():
        start.wait()
        try:
            answers.append(numpy(flow.forward_with_intermediates(normal(4, 3))[-1]))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors and len(flow.trainable_variables) == 2 * 4
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])


@contract
def test_case_14_first_called_inside_a_trace():
    x = normal(5, 2).astype("float32")
    flow = gf.make_coupling_flow(2, 1, num_components=2, hidden=(4,))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        inside = tf.function(lambda x: flow.log_prob(x))(x)
    elif BACKEND == "jax":
        import jax

        inside = jax.jit(lambda x: flow.log_prob(x))(x)
    else:
        inside = flow.log_prob(x)
    np.testing.assert_allclose(
        numpy(inside), numpy(flow.compute_log_prob(x)), rtol=1e-5
    )
    copy.deepcopy(flow)  # all weights can be read outside


@on_tensorflow
def test_case_16_compiled_in_a_strategys_scope_and_fitted_outside():
    import subprocess
    import sys

    code = """
import numpy as np, tensorflow as tf, keras, gaussflow as gf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
def train(scope):
    keras.utils.set_random_seed(0)
    with scope:
        flow = gf.make_glow(2, num_blocks=1, hidden=(8,))
        flow.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return flow.fit(x, batch_size=32, epochs=2, shuffle=False, verbose=0).history["loss"]
import contextlib
ops = tf.distribute.ReductionToOneDevice()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=ops)
a, b = train(contextlib.nullcontext()), train(two.scope())
np.testing.assert_allclose(a, b, rtol=1e-4)
print("equal")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]


@contract
def test_case_17_a_shared_conditioner_is_refused_at_once():
    network = gf.MLPConditioner(2, (4,))
    layers = [
        gf.AffineCoupling([True, False], network),
        gf.AffineCoupling([False, True], network),
    ]
    with pytest.raises(ValueError, match="Expected distinct conditioners"):
        gf.NormalizingFlow(layers, 2)
    head = gf.MLPConditioner(4, (4,))
    with pytest.raises(ValueError, match="Expected distinct conditioners"):
        gf.NormalizingFlow(
            [gf.Chain([gf.Marginal(gf.Affine(), head)])],
            2,
            base=gf.DiagonalNormal(head),
        )


@contract
def test_case_18_queries_of_symbolic_tensors_are_layers(tmp_path):
    flow, x = small(), normal(20, 2).astype("float32")
    flow.build((None, 2))
    symbol = keras.Input((2,))
    for query in ("log_prob", "invert"):
        model = keras.Model(symbol, getattr(flow, query)(symbol))
        expected = numpy(getattr(flow, f"compute_{query}")(x))
        np.testing.assert_allclose(
            model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6
        )
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6
    )


@on_tensorflow
@pytest.mark.parametrize("with_context", [False, True])
def test_case_19_an_exported_flow_serves_its_density(tmp_path, with_context):
    import tensorflow as tf

    flow, x, c = (
        (conditional(), normal(7, 2).astype("float32"), normal(7, 1).astype("float32"))
        if with_context
        else (small(), normal(7, 2).astype("float32"), None)
    )
    flow.ensure_built(c)
    flow.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    given = [] if c is None else [c]
    expected = numpy(flow.compute_log_prob(x, *given))
    for rows in (1, 7):
        some = [g[:rows] for g in given]
        np.testing.assert_allclose(
            served.serve(x[:rows], *some), expected[:rows], rtol=1e-5
        )
    np.testing.assert_allclose(
        served.invert(served.forward(x, *given), *given), x, atol=1e-4
    )


# Reading


@contract
def test_case_22_labels_one_row_and_many_samples_per_row():
    x, labels = normal(64, 2), np.arange(64) % 3
    flow = small()
    flow.fit({"x": x, "context": labels}, verbose=0)
    np.testing.assert_array_equal(
        numpy(flow.log_prob(x, context=labels)),
        numpy(flow.log_prob(x, context=labels[:, None])),
    )
    one = numpy(flow.log_prob(x, context=[[2.0]]))
    np.testing.assert_allclose(
        one, numpy(flow.log_prob(x, context=np.full(64, 2.0))), rtol=1e-6
    )
    np.testing.assert_allclose(numpy(flow.compute_log_prob(x, [[2.0]])), one, rtol=1e-5)
    samples = numpy(flow.sample(5, seed=0, context=[0, 1, 2], per_row=True))
    assert samples.shape == (3, 5, 2)
    pairs = flow.sample_and_log_prob(5, seed=0, context=[0, 1, 2], per_row=True)
    np.testing.assert_array_equal(numpy(pairs[0]), samples)
    for i in range(3):
        np.testing.assert_allclose(
            numpy(pairs[1])[i],
            numpy(flow.log_prob(samples[i], context=[[i]])),
            rtol=1e-3,
            atol=1e-4,
        )
    assert flow.invert(x, context=[[1.0]]).shape == (64, 2)
    flow.fit({"x": x, "context": [[1.0]]}, verbose=0)
    batches = [
        ({"x": x[:32], "context": labels[:32]},),
        ({"x": x[32:], "context": labels[32:]},),
    ]
    flow.fit(iter(batches), verbose=0)


@contract
def test_case_23_contexts_of_another_length_or_width_get_one_sentence():
    flow = conditional()
    x = normal(8, 2)
    for context, came in ((normal(5, 1), r"\(5, 1\)"), (normal(8, 3), r"\(8, 3\)")):
        for call in (
            lambda c: flow.fit({"x": x, "context": c}, verbose=0),
            lambda c: flow.evaluate({"x": x, "context": c}, verbose=0),
            lambda c: flow.log_prob(x, context=c),
            lambda c: flow.invert(x, context=c),
            lambda c: flow.predict({"x": x, "context": c}, verbose=0),
            lambda c: flow.fit(iter([({"x": x, "context": c},)]), verbose=0),
            lambda c: flow(x, context=c),
        ):
            with pytest.raises(
                ValueError,
                match=rf"Expected context of shape \(8, 1\).*received shape {came}",
            ):
                call(context)
    for call in (flow.log_prob, flow.invert, flow.fit, flow.evaluate):
        with pytest.raises(
            ValueError, match="Expected context of shape .*received none"
        ):
            call(x)


@contract
def test_case_23_sets_of_any_size_with_a_summary_network():
    @keras.saving.register_keras_serializable("test_cases")
    class Summary(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner, self.head = (
                keras.layers.Dense(4, "relu"),
                keras.layers.Dense(2, kernel_initializer="zeros"),
            )

        def build(self, shapes):
            self.inner.build((None, None, 2))
            self.head.build((None, 5))
            self.built = True

        def call(self, inputs, training=None):
            kept, points = inputs
            return self.head(
                keras.ops.concatenate(
                    [kept, keras.ops.mean(self.inner(points), axis=1)], axis=-1
                )
            )

        def compute_output_shape(self, shapes):
            return (shapes[0][0], 2)

    flow = gf.NormalizingFlow([gf.AffineCoupling([True, False], Summary())], 2)
    flow.compile("adam", jit_compile=False)
    flow.build({"x": (None, 2), "context": (None, None, 2)})
    for size in (5, 7):
        sets = normal(16, size, 2)
        flow.fit({"x": normal(16, 2), "context": sets}, verbose=0)
        assert flow.compute_log_prob(normal(16, 2), sets).shape == (16,)
    with pytest.raises(ValueError, match=r"received shape \(16, 5, 3\)"):
        flow.fit({"x": normal(16, 2), "context": normal(16, 5, 3)}, verbose=0)


@contract
def test_case_24_frames_are_read_by_name():
    n = 60
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"a": normal(n), "b": pd.array(rng.integers(0, 1000, n) / 250, "Float64")}
    )
    flow = small()
    flow.fit(table, verbose=0)
    expected = numpy(flow.log_prob(table.to_numpy("float64")))
    np.testing.assert_array_equal(numpy(flow.log_prob(table[["b", "a"]])), expected)
    with pytest.raises(ValueError, match="missing columns .'b'.* unknown columns .'c'"):
        flow.log_prob(table.rename(columns={"b": "c"}))
    with pytest.raises(ValueError, match="column 'b'"):
        small().fit(table.assign(b="text"), verbose=0)
    table.loc[3, "b"] = pd.NA
    with pytest.raises(ValueError, match="row 3, column 'b'"):
        flow.fit(table, verbose=0)
    assert np.isnan(numpy(flow.log_prob(table))[3])
    context = pd.DataFrame({"member": rng.integers(0, 2, n).astype(bool)})
    flow = small()
    flow.fit({"x": normal(n, 2), "context": context}, verbose=0)
    assert flow.log_prob(normal(n, 2), context=context).shape == (n,)


@contract
def test_case_25_plain_meanings_are_taken():
    assert gf.make_coupling_flow((3,)).event_shape == (3,)
    assert gf.make_real_nvp(2.0).event_shape == (2,)
    assert gf.NormalizingFlow([gf.Householder()], np.int64(2)).event_shape == (2,)
    assert gf.make_real_nvp(2, hidden=64).bijectors[0].conditioner.hidden == (64,)
    flow = small()
    x = normal(5, 2)
    flow.fit(x, verbose=0)
    np.testing.assert_allclose(
        flow.predict(x.tolist(), verbose=0), numpy(flow(x)), rtol=1e-5, atol=1e-6
    )
    draws = [
        numpy(flow.sample(3, seed=seed))
        for seed in (3, np.int64(3), 2**63, np.random.default_rng(0))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    given = conditional()
    z = given(x, context=normal(5, 1))
    assert z.shape == (5, 2)


@contract
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f: f.fit(None),
            "Expected x as an array, a frame or a data set, received None",
        ),
        (lambda f: f.fit(np.zeros((0, 2))), "Expected x with at least one row"),
        (
            lambda f: f.log_prob(None),
            "Expected x as an array, a frame or a data set, received None",
        ),
        (lambda f: f.log_prob("x"), "received 'x'"),
        (lambda f: f.log_prob(iter([normal(2, 2)])), "Expected x as an array"),
        (lambda f: f.log_prob(3.0), "one row per event"),
        (
            lambda f: f.invert(np.zeros((5, 3))),
            r"Expected latents of shape \('batch', 2\), received shape \(5, 3\)",
        ),
        (lambda f: f.sample(2.5), "Expected num_samples >= 0"),
        (lambda f: f.sample("3"), "Expected num_samples >= 0"),
        (lambda f: f.sample(3, seed="a"), "Expected seed >= 0"),
        (lambda f: f.sample(3, seed=-1), "Expected seed >= 0"),
        (lambda f: f.sample(3, temperature=-1), "Expected temperature >= 0"),
        (lambda f: f.sample(3, per_row=True), "Expected a context with per_row=True"),
        (lambda f: gf.make_real_nvp(2.5), "Expected event_shape >= 1"),
        (lambda f: gf.make_coupling_flow("2"), "Expected input_dim"),
        (lambda f: gf.make_coupling_flow(None), "Expected input_dim"),
        (lambda f: gf.make_maf(2, hidden="64"), "hidden"),
        (lambda f: gf.make_coupling_flow(2, num_blocks=0), "Expected num_blocks >= 1"),
    ],
)
def test_case_25_everything_else_gets_one_sentence(call, message):
    flow = small()
    flow.build((None, 2))
    with pytest.raises((ValueError, TypeError), match=message):
        call(flow)


@contract
@pytest.mark.parametrize(
    "make",
    [lambda: gf.make_coupling_flow(2, 1, hidden=(8,)), lambda: small(standardize=True)],
)
def test_a_rows_density_does_not_depend_on_its_company(make):
    flow, x = make(), 2 * normal(300, 2)
    flow.adapt(x) if flow.bijectors[0].awaits_data else flow.ensure_built()
    x[7] = 1e25  # company that overflows
    together = numpy(flow.log_prob(x))
    alone = numpy(flow.log_prob(x[:3]))
    plain = numpy(flow.compute_log_prob(x[:3]))
    np.testing.assert_allclose(together[:3], alone, rtol=1e-5)
    np.testing.assert_allclose(plain, alone, rtol=1e-5)


def test_tempered_draws_come_without_a_density_of_their_own():
    flow = gf.make_real_nvp(2, num_blocks=1, hidden=(4,))
    with pytest.raises(ValueError, match="Expected temperature=1 beside log-densities"):
        flow.sample_and_log_prob(3, temperature=0.5)
    x, log_prob = flow.sample_and_log_prob(3, seed=0, temperature=1.0)
    np.testing.assert_allclose(log_prob, flow.log_prob(x), rtol=1e-5)
