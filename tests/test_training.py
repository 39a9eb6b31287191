"Training as Keras users expect it: callbacks, weights, data sets, regularisers, and one objective throughout."

import warnings

import keras
import numpy as np
import pytest
from keras import ops
from user_layers import scatter

import gaussflow as gf

X = (np.random.default_rng(0).normal(size=(400, 2)) * [1.0, 2.0] + [0.0, 1.0]).astype(
    "float32"
)
W = np.random.default_rng(1).uniform(0.1, 2.0, 400).astype("float32")


def make(optimizer=None, conditioner=None, seed=0, build=True, **options):
    "A small affine flow, compiled; equal seeds give equal flows, whose weights are drawn when they are built."
    keras.utils.set_random_seed(seed)
    layers = [
        gf.Householder(2),
        gf.AffineCoupling([True, False], conditioner or gf.MLPConditioner(2, (8,))),
    ]
    flow = gf.GaussianizationFlow(layers, input_dim=2)
    flow.compile(
        optimizer or keras.optimizers.Adam(0.01), **{"jit_compile": False, **options}
    )
    if build:
        flow.build((None, 2))
    return flow


def losses(flow, x=X, y=None, epochs=2, **options):
    return flow.fit(
        x,
        y,
        epochs=epochs,
        **{"batch_size": 100, "shuffle": False, "verbose": 0, **options},
    ).history["loss"]


def nll(flow, x=X):
    return -ops.convert_to_numpy(flow.log_prob(x)).astype("float64")


def test_the_loss_is_the_mean_of_minus_log_prob():
    flow = make(keras.optimizers.SGD(0.0))
    scatter(flow)
    assert losses(flow, batch_size=400, epochs=1)[0] == pytest.approx(
        nll(flow).mean(), rel=1e-5
    )
    assert flow.evaluate(X, verbose=0) == pytest.approx(nll(flow).mean(), rel=1e-5)


def test_both_ways_of_compiling_train_the_same_thing():
    "To the bit, in the default mode of compiling."
    flow, other = (
        make(jit_compile="auto"),
        make(jit_compile="auto", loss=gf.base_nll_loss),
    )
    found = losses(flow, shuffle=True), losses(other, y=X, shuffle=True)
    np.testing.assert_array_equal(*found)
    assert found[0][1] < found[0][0]


def test_fit_takes_batch_size_and_epochs_by_position():
    flow, other = make(), make()
    assert flow.fit(X, X, 100, 2, verbose=0, shuffle=False).history["loss"] == losses(
        other
    )


@pytest.mark.parametrize(
    "loss", ["mse", keras.losses.MeanSquaredError(), lambda y, z: 0.0]
)
def test_another_loss_is_refused(loss):
    with pytest.raises(ValueError, match="Expected loss to be None or base_nll_loss"):
        make().compile("adam", loss=loss)


def test_jit_compile_is_checked_and_eager_runs_need_no_words():
    with pytest.raises(
        ValueError,
        match="Expected jit_compile to be True, False or 'auto', received 'yes'",
    ):
        make(jit_compile="yes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow = make(jit_compile="auto", run_eagerly=True)
        assert losses(flow, X[:200], epochs=1) == pytest.approx(
            losses(make(), X[:200], epochs=1), rel=1e-5
        )


def test_early_stopping_restores_the_best_weights():
    flow = make(keras.optimizers.SGD(0.3))
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=2, restore_best_weights=True
    )
    history = flow.fit(
        X[:300],
        epochs=60,
        batch_size=50,
        validation_data=(X[300:], None),
        callbacks=[stop],
        verbose=0,
    ).history
    assert len(history["loss"]) < 60
    assert nll(flow, X[300:]).mean() == pytest.approx(
        min(history["val_loss"]), rel=1e-4
    )


def test_model_checkpoint_keeps_the_best_model(tmp_path):
    flow = make()
    whole = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_loss", save_best_only=True
    )
    weights = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch:02d}.weights.h5", save_weights_only=True
    )
    history = flow.fit(
        X, epochs=3, validation_split=0.25, callbacks=[whole, weights], verbose=0
    ).history
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert nll(best, X[300:]).mean() == pytest.approx(
        min(history["val_loss"]), rel=1e-4
    )
    last = make(seed=9)
    last.load_weights(tmp_path / "03.weights.h5")
    np.testing.assert_array_equal(last.log_prob(X), flow.log_prob(X))


def test_backup_and_restore_goes_on_where_it_was_interrupted(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    whole = make()
    expected = losses(whole, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        losses(
            make(),
            epochs=4,
            callbacks=[
                keras.callbacks.BackupAndRestore(tmp_path / "backup"),
                Interrupt(),
            ],
        )
    resumed = make(seed=5)
    rest = losses(
        resumed,
        epochs=4,
        callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")],
    )
    np.testing.assert_allclose(rest, expected[-len(rest) :], rtol=1e-6)
    assert len(rest) < 4
    np.testing.assert_array_equal(resumed.log_prob(X), whole.log_prob(X))
    assert int(resumed.optimizer.iterations) == 16


def test_the_default_progress_bar_shows_the_loss(capsys):
    flow = make()
    history = flow.fit(X, epochs=2, validation_split=0.25).history
    printed = capsys.readouterr().out
    assert (
        "Epoch 2/2" in printed
        and f"loss: {history['loss'][1]:.4f}" in printed
        and f"val_loss: {history['val_loss'][1]:.4f}" in printed
    )
    flow.evaluate(X)
    assert "loss: " in capsys.readouterr().out


def test_other_callbacks_of_keras_work(tmp_path):
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    rate = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", patience=0, min_delta=100.0
    )
    losses(make(), epochs=3, callbacks=[logger, rate, keras.callbacks.TerminateOnNaN()])
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_sample_weight_is_honoured_without_y():
    "Keras drops weights that come without y; a flow must not."
    flow = make(keras.optimizers.SGD(0.0))
    scatter(flow)
    expected = np.sum(W * nll(flow)) / 400
    assert losses(flow, sample_weight=W, batch_size=400, epochs=1)[0] == pytest.approx(
        expected, rel=1e-5
    )
    assert flow.evaluate(X, sample_weight=W, verbose=0) == pytest.approx(
        expected, rel=1e-5
    )
    assert flow.evaluate(
        X, X, sample_weight=W, batch_size=70, verbose=0
    ) == pytest.approx(expected, rel=1e-5)


def test_weights_of_nought_and_one_train_as_the_subset_does():
    # By plain descent: Adam makes a whole step of a gradient that is but rounding.
    subset, weighted = (make(keras.optimizers.SGD(0.01)) for _ in range(2))
    mixed, weight = np.full((800, 2), 30.0, "float32"), np.zeros(800, "float32")
    mixed[::2], weight[::2] = (
        X,
        2.0,
    )  # every other row counts double, the others not at all
    np.testing.assert_allclose(
        losses(weighted, mixed, sample_weight=weight, batch_size=200),
        losses(subset),
        rtol=1e-4,
    )
    np.testing.assert_allclose(weighted.log_prob(X), subset.log_prob(X), atol=1e-4)


@pytest.mark.parametrize("form", ["pair", "triple", "triple without y", "array"])
def test_validation_data_in_every_form(form):
    flow, weight = make(keras.optimizers.SGD(0.0)), W[:100]
    data = {
        "pair": (X[:100], X[:100]),
        "triple": (X[:100], X[:100], weight),
        "triple without y": (X[:100], None, weight),
        "array": X[:100],
    }
    found = flow.fit(X, validation_data=data[form], verbose=0).history["val_loss"][0]
    each = nll(flow, X[:100])
    assert found == pytest.approx(
        np.mean(weight * each if "triple" in form else each), rel=1e-5
    )


def test_validation_split_takes_the_last_rows_and_their_weights():
    flow = make(keras.optimizers.SGD(0.0))
    found = flow.fit(X, sample_weight=W, validation_split=0.25, verbose=0).history[
        "val_loss"
    ][0]
    assert found == pytest.approx(np.mean(W[300:] * nll(flow, X[300:])), rel=1e-5)


def test_data_sets_and_generators():
    tf = pytest.importorskip("tensorflow")
    expected = losses(make())
    plain = tf.data.Dataset.from_tensor_slices(X).batch(100)
    with_y = tf.data.Dataset.from_tensor_slices((X, X)).batch(100)
    np.testing.assert_allclose(
        make().fit(plain, epochs=2, verbose=0).history["loss"], expected, rtol=1e-5
    )
    np.testing.assert_allclose(
        make().fit(with_y, epochs=2, verbose=0).history["loss"], expected, rtol=1e-5
    )
    weighted = tf.data.Dataset.from_tensor_slices((X, X, W)).batch(100)
    found = make().fit(weighted, epochs=2, verbose=0, validation_data=plain).history
    np.testing.assert_allclose(
        found["loss"], losses(make(), sample_weight=W), rtol=1e-5
    )
    flow = make()
    flow.fit(
        ((X[i : i + 100],) for i in range(0, 400, 100)), steps_per_epoch=4, verbose=0
    )
    assert flow.evaluate(plain, verbose=0) == pytest.approx(nll(flow).mean(), rel=1e-5)


def test_a_nan_in_a_data_set_stops_at_the_callback():
    tf = pytest.importorskip("tensorflow")
    bad = np.where(np.arange(800).reshape(400, 2) == 500, np.nan, X)
    data = tf.data.Dataset.from_tensor_slices(bad.astype("float32")).batch(100)
    history = (
        make()
        .fit(data, epochs=5, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])
        .history
    )
    assert len(history["loss"]) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite_are_named_before_the_first_step(value):
    flow = make()
    bad = X.copy()
    bad[17, 1] = value
    for call in (
        lambda: flow.fit(bad),
        lambda: flow.fit(X, validation_data=(bad, None)),
        lambda: flow.adapt(bad),
    ):
        with pytest.raises(
            ValueError,
            match=r"Expected finite training data, received -?(nan|inf) in \w+ at row 17, column 1",
        ):
            call()
    with pytest.raises(ValueError, match=r"in x\['context'\] at row 17, column 1"):
        make(build=False).fit({"x": X, "context": bad})
    assert flow.optimizer.iterations == 0


def test_a_wrong_event_size_is_named_before_the_first_step():
    for call in (make().fit, make().evaluate, make().log_prob):
        with pytest.raises(
            ValueError,
            match=r"Expected events of shape \(2,\) \(input_dim\), received shape \(400, 3\)",
        ):
            call(np.zeros((400, 3), "float32"))


def test_lists_train_and_are_evaluated_as_arrays_are():
    flow, same = make(), make()
    assert losses(flow, X.tolist()) == losses(same, X)
    assert flow.evaluate(X.tolist(), verbose=0) == same.evaluate(X, verbose=0)
    np.testing.assert_array_equal(flow.log_prob(X.tolist()), same.log_prob(X))
    with pytest.raises(
        ValueError,
        match=r"received shape \(2,\); a batch of events has shape \(batch, 2\)",
    ):
        flow.log_prob(np.zeros(2))
    with pytest.raises(ValueError, match=r"received shape \(1, 3\)"):
        flow.log_prob([[0.0, 0.0, 0.0]])


@pytest.mark.parametrize("bad", [-1, 2.5, "5", True, None])
def test_a_number_of_samples_is_a_whole_number(bad):
    with pytest.raises(ValueError, match="Expected num_samples >= 0"):
        make().sample(bad)
    np.testing.assert_array_equal(
        make().sample(np.int64(3), seed=np.int64(3)), make().sample(3, seed=3)
    )


def test_the_settings_of_compile_survive_a_file(tmp_path):
    flow = make(steps_per_execution=2, weighted_metrics=[])
    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    assert (again.steps_per_execution, again.requested_jit_compile) == (2, False)


def test_a_regulariser_counts_once():
    penalty = keras.regularizers.L2(0.1)
    flow = make(
        keras.optimizers.SGD(0.0), keras.layers.Dense(2, kernel_regularizer=penalty)
    )
    scatter(flow)
    kernel = ops.convert_to_numpy(flow.bijectors[1].conditioner.kernel)
    expected = nll(flow).mean() + 0.1 * np.sum(kernel**2)
    assert flow.evaluate(X, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert losses(flow, epochs=1)[0] == pytest.approx(expected, rel=1e-5)


def test_dropout_is_on_in_training_and_off_in_questions():
    network = keras.Sequential(
        [keras.layers.Dense(16), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    )
    flow = make(keras.optimizers.SGD(0.0), network)
    first, second = losses(flow, batch_size=400)
    assert first != second
    np.testing.assert_array_equal(flow.log_prob(X), flow.log_prob(X))
    assert flow.evaluate(X, verbose=0) == pytest.approx(nll(flow).mean(), rel=1e-5)


def test_mixed_precision_reaches_the_networks_only():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        flow = make()
        found = losses(flow, epochs=3)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found[-1] < found[0]
    assert keras.backend.standardize_dtype(flow.log_prob(X).dtype) == "float32"
    # Both ways plainly: a compiler may fuse the network's half-precision sums, so that compiled and plain answers differ.
    np.testing.assert_allclose(flow.inverse_and_log_det(flow(X))[0], X, atol=1e-4)


def test_context_trains_and_validates():
    context = X[:, :1] * 0.5
    flow = make(build=False)
    given = {"x": X, "context": context}
    history = flow.fit(
        given,
        epochs=3,
        sample_weight=W,
        validation_data=({"x": X[:50], "context": context[:50]}, None),
        verbose=0,
    ).history
    assert history["loss"][-1] < history["loss"][0]
    each = -ops.convert_to_numpy(flow.log_prob(X, context=context))
    assert flow.evaluate(given, sample_weight=W, verbose=0) == pytest.approx(
        np.mean(W * each), rel=1e-5
    )


def test_predict_gives_latents():
    flow = make()
    np.testing.assert_allclose(
        flow.predict(X, verbose=0), ops.convert_to_numpy(flow(X)), atol=1e-5
    )


def test_chunks_change_nothing():
    "More rows than a chunk holds, with a rest: as the plain computation, and as any part of it."
    flow = make()
    scatter(flow)
    x = np.random.default_rng(3).normal(size=(70_001, 2)).astype("float32")
    z, log_det = flow.forward_and_log_det(x)
    np.testing.assert_allclose(
        flow.log_prob(x),
        ops.convert_to_numpy(flow.base.log_prob(z) + log_det),
        atol=1e-4,
    )
    np.testing.assert_allclose(
        flow.log_prob(x)[69_990:], flow.log_prob(x[69_990:]), atol=1e-5
    )
    np.testing.assert_allclose(flow.invert(z), x, atol=1e-4)
    assert flow.log_prob(x[:0]).shape == (0,) and flow.sample(0).shape == (0, 2)


class Batches(keras.utils.PyDataset):
    "Four batches; Keras builds the flow from their shapes alone."

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return (X[100 * i : 100 * (i + 1)],)


def test_the_start_survives_a_data_set():
    "Tables, bases, permutations and matrices are what they are when the flow is built beforehand."
    mixture = gf.MixtureCDF(3)

    def stack():
        keras.utils.set_random_seed(0)
        layers = [
            gf.LinearLU("rotation", seed=1),
            gf.MixtureCDFCoupling([True, False], gf.MLPConditioner(9, (4,)), 3),
            gf.Marginal(mixture),
        ]
        flow = gf.NormalizingFlow(
            [
                *layers,
                gf.Autoregressive(gf.MaskedMLPConditioner([3, 3, 3], 2, (4,)), mixture),
            ],
            2,
        )
        flow.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        return flow

    late, early = stack(), stack()
    keras.utils.set_random_seed(1)  # hidden layers draw when they are built
    early.build((None, 2))
    keras.utils.set_random_seed(1)
    late.fit(Batches(), epochs=1, verbose=0)
    for ours, theirs in zip(late.weights, early.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for layer in late.bijector_layers[1:]:
        for name, start in mixture.identity_params().items():
            np.testing.assert_allclose(
                layer.table()[name],
                np.broadcast_to(start, (layer.num_moved, 3)),
                rtol=1e-6,
            )
