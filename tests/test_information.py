"Information measures: closed forms, invariance, bad input, repeatability."

import json
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.cross_decomposition import CCA

import gaussflow as gf
from benchmarks import information as bench
from benchmarks.run import main
from gaussflow.information import (
    InformationWarning,
    PairSides,
    held_out_ratio,
    learn_summaries,
    rank_scores,
)


def quiet(measure, *samples, **options):
    "A measure on few rows, without its warning of them."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InformationWarning)
        return measure(*samples, random_state=0, **options)


def correlated(rho=0.8, rows=150, d=1, seed=0):
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, rows, d))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize(
    "bend", [np.exp, np.cbrt, lambda y: 100 - 3 * y, lambda y: y**3 + y]
)
def test_information_is_the_same_after_any_monotone_map(bend):
    x, y = correlated()
    plain = quiet(gf.mutual_information, x, y).value
    assert quiet(gf.mutual_information, x, bend(y)).value == pytest.approx(plain)
    assert quiet(gf.mutual_information, bend(x), y).value == pytest.approx(plain)


def test_sides_can_change_places_and_be_turned():
    x, y = correlated(d=3)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    plain = quiet(gf.mutual_information, x, y)
    assert quiet(gf.mutual_information, y, x).normal == pytest.approx(plain.normal)
    turned = quiet(gf.mutual_information, x @ turn, y).normal
    assert turned == pytest.approx(plain.normal, abs=0.1)  # scores are of each column


def test_equal_seeds_give_equal_estimates():
    "But for rounding, which threads on a busy machine do in another order, and which long training amplifies."
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = np.abs(x) + 0.05 * rng.normal(size=400)
    first, again, other = (
        gf.mutual_information(x, y, folds=2, epochs=3, random_state=seed).value
        for seed in (3, 3, 4)
    )
    assert first == pytest.approx(again, abs=1e-5)
    assert abs(first - other) > 1e-3


class Drawing:
    "A trainer that only draws; its flow is the identity."

    def __init__(self, draws):
        self.draws, self.seen = draws, []

    def train(self, seen, left):
        self.seen.append([float(keras.random.normal(())) for _ in range(self.draws)])
        return self

    def log_prob(self, events, context):
        return -0.5 * (events**2 + np.log(2 * np.pi)).sum(axis=1)


def test_each_fold_trains_from_a_seed_of_its_own():
    x, y = correlated(rows=90)

    def starts(draws, seed=0):
        trainer, whole = Drawing(draws), np.full(90, True)
        rng = np.random.default_rng(seed)
        sides = PairSides(x, y, np.zeros((90, 0)), rng)
        fold = held_out_ratio(sides, [whole] * 3, 3, trainer, rng).fold
        return [fold_draws[0] for fold_draws in trainer.seen], fold.tolist()

    first, dealt = starts(1)
    assert len(set(first)) == 3
    assert starts(5) == (first, dealt)  # however much the folds before have drawn
    assert starts(1, seed=1) != (first, dealt)


def hidden_pair(rows=600):
    "Two sides whose second columns are correlated, and whose first ones are not."
    u, v = correlated(rho=0.9, rows=rows)
    noise = np.random.default_rng(1).normal(size=(2, rows, 1))
    return np.hstack([noise[0], u]), np.hstack([noise[1], v])


@pytest.mark.parametrize("ruin", [0.0, 1.0, np.nan])
def test_summaries_that_training_spoils_are_those_of_the_linear_start(
    monkeypatch, ruin
):
    def fit(self, *_, **__):
        self.set_weights([np.full_like(w, ruin) for w in self.get_weights()])

    monkeypatch.setattr(keras.Model, "fit", fit)
    sides, rows = hidden_pair(), np.arange(400)
    found = learn_summaries(sides, 1, rows)
    by_sklearn = CCA(n_components=1, scale=False).fit(*(side[rows] for side in sides))
    for summary, expected in zip(found, by_sklearn.transform(*sides)):
        assert abs(np.corrcoef(summary.ravel(), expected.ravel())[0, 1]) > 1 - 1e-6


def test_a_bend_alone_is_no_gain():
    "By plain covariance a logarithm gains here, by ranks nothing can."
    x, y = hidden_pair(rows=2400)
    x[:, 1], y[:, 1] = np.exp(x[:, 1]), np.exp(y[:, 1])
    keras.utils.set_random_seed(0)
    for side, summary in zip((x, y), learn_summaries((x, y), 1, np.arange(2000))):
        straight = np.linalg.lstsq(side, summary, rcond=None)[0]
        np.testing.assert_allclose(side @ straight, summary, rtol=1e-4, atol=1e-4)


def test_rows_that_only_teach_are_neither_judged_nor_stopped_by():
    x, y = correlated(rows=90)
    rng, trainer = np.random.default_rng(0), Drawing(1)
    trainer.train = lambda *parts: trainer.seen.append(parts) or trainer
    sides, taught = PairSides(x, y, np.zeros((90, 0)), rng), np.arange(90) < 50
    roles = np.full(90, True), np.full(90, True), ~taught
    found = held_out_ratio(sides, roles, 2, trainer, rng, taught=taught)
    assert set(found.fold) == {0, 1} and len(found.ratio) == 40
    for k, (seen, left) in enumerate(trainer.seen):
        assert len(seen["x"]) == 2 * 50  # above the line and below
        assert len(left["x"]) == 2 * (found.fold != k).sum()


def test_no_summaries_where_the_first_columns_are_as_good(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: None)
    x, y = (side[:, ::-1] for side in hidden_pair())
    assert learn_summaries((x, y), 1, np.arange(400)) is None


def test_a_flow_is_trained_where_rows_are_enough():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = np.abs(x) + 0.05 * rng.normal(size=400)
    first = gf.mutual_information(x, y, folds=2, random_state=3)
    assert first.normal < 0.05 < first.value - 5 * first.error
    assert len(first.flows) == 2 and first.log_ratio.shape == (400,)
    assert set(first.directions) == {"y given x", "x given y"}
    bits = first.to("bits")
    assert bits.value == pytest.approx(first.value / np.log(2))
    assert f"{bits.value:.2f}" in repr(bits) and "bits" in repr(bits)


def test_independent_sides_have_none():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1000, 2))
    found = gf.mutual_information(x, y, folds=2, epochs=5, random_state=0)
    assert abs(found.value) < max(2 * found.error, 0.02)


def test_the_smaller_side_is_the_event():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.normal(size=(300, 1))
    none = np.zeros((300, 0))
    assert PairSides(x, y, none, rng).names == ["y given x"] * 2
    assert PairSides(y, x, none, rng).names == ["x given y"] * 2
    sides = PairSides(x, y, none, rng)(np.arange(200), 0)
    assert sides.first.shape == sides.second.shape == (300, 1)


def test_a_side_may_lie_on_a_plane():
    x, y = correlated(d=2)
    flat = np.column_stack([x, x.sum(axis=1)])
    found = quiet(gf.mutual_information, flat, y)
    assert np.isfinite(found.value) and found.value > 0.3


def test_ties_are_broken_by_lot_and_said():
    x, y = correlated(rows=2000)
    whole = np.round(2 * x)
    scores = rank_scores(whole)
    assert len(np.unique(scores)) == 2000
    with pytest.warns(InformationWarning, match="1 of 2 columns repeat values"):
        gf.mutual_information(whole, y, folds=2, epochs=1, random_state=0)


MEASURES = [
    lambda x: gf.entropy(x),
    lambda x: gf.negentropy(x),
    lambda x: gf.total_correlation(x),
    lambda x: gf.mutual_information(x, x),
    lambda x: gf.conditional_mutual_information(x, x, x),
    lambda x: gf.kl_divergence(x, x),
    lambda x: gf.dependence_matrix(x),
    lambda x: gf.column_dependence(x),
]


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_tables_are_refused_by_name(measure):
    good = pd.DataFrame(
        np.random.default_rng(0).normal(size=(100, 2)), columns=["a", "b"]
    )
    for bad, text in (
        (good.assign(b=3.0), "constant column 'b'"),
        (good.mask(good > 1), "missing or infinite values"),
        (good.replace(good.iloc[0, 0], np.inf), "in column 'a'"),
    ):
        with pytest.raises(ValueError, match=text):
            measure(bad)


def test_unequal_lengths_and_hardly_any_rows_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="rows as x, 50, received 49"):
        gf.mutual_information(rng.normal(size=50), rng.normal(size=49))
    with pytest.raises(ValueError, match="34 rows or more for 24 columns, received 20"):
        gf.mutual_information(rng.normal(size=(20, 12)), rng.normal(size=(20, 12)))
    with pytest.warns(InformationWarning, match="too few for a flow of 24 columns"):
        gf.mutual_information(rng.normal(size=(60, 12)), rng.normal(size=(60, 12)))


def test_a_function_of_the_other_side_is_named():
    x = np.random.default_rng(0).normal(size=150)
    with pytest.warns(InformationWarning, match="nearly a function of the other"):
        gf.mutual_information(x, np.exp(x))


def test_entropy_moves_with_units_and_the_others_do_not():
    x, y = correlated(rows=180)
    rows = np.column_stack([x, y])
    entropies = [quiet(gf.entropy, rows * scale).value for scale in (1, 10)]
    assert entropies[1] - entropies[0] == pytest.approx(2 * np.log(10))
    for measure in (gf.negentropy, gf.total_correlation):
        values = [quiet(measure, rows * scale).value for scale in (1, 10)]
        assert values[0] == pytest.approx(values[1])


def test_divergence_sees_rows_beyond_the_other_sample():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(100, 1)), rng.uniform(-0.5, 0.5, (100, 1))
    with pytest.warns(InformationWarning, match="beyond all rows of q"):
        quiet_value = gf.kl_divergence(p, q).value
    assert quiet_value > quiet(gf.kl_divergence, q, p).value


def test_pairs_of_a_table_stand_above_chance():
    rng = np.random.default_rng(0)
    a = rng.normal(size=600)
    table = pd.DataFrame(
        {"a": a, "b": a**2 + rng.normal(size=600), "c": rng.random(600)}
    )
    found = gf.dependence_matrix(table, random_state=0)
    again = gf.dependence_matrix(np.exp(table), random_state=0)
    np.testing.assert_allclose(found.values, again.values)
    assert found.pairs()[0][:2] == ("a", "b")
    assert found.above_chance()[0, 1] == found.values[0, 1] > found.null[0, 1]
    assert np.isnan(found.values.diagonal()).all() and "'" not in repr(found)


class GivenTasks:
    "Answers like the worker, with two small tasks; it needs no other environment."

    def __init__(self, *_, **__):
        self.asked = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, do, **request):
        if do == "about":
            return {"benchmark-mi": "0"}
        if do == "tasks":
            return {
                name: {"dims": [1, 1], "truth": -0.5 * np.log(1 - 0.64)}
                for name in ("1v1-normal-0.75", "another")
            }
        if do == "draw":
            x, y = correlated(rows=60, seed=request["seed"])
            np.savez(request["file"], x=x, y=y)
            return {}
        value = {"3": 0.4, "5": 0.5} if request["estimator"] == "ksg" else 0.1
        return {"value": value, "seconds": 0.1}


def test_a_stored_run_goes_on_where_it_was_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "measure", bench.measure)
    monkeypatch.setattr(bench.measure, "__defaults__", (GivenTasks,))
    options = ["information", "--out", str(tmp_path), "--only"]
    main([*options, "tasks", "--tasks", "another"])
    path = tmp_path / "information.json"
    stored = json.loads(path.read_text())["figures"]
    assert list(stored["estimates"]) == [
        f"another|10000|0|{name}" for name in ("gaussflow", "cca", "ksg")
    ]
    monkeypatch.setattr(bench, "ours", lambda x, y: {"value": 9.0, "error": 1.0})
    main([*options, "tasks", "small", "neural"])
    figures = json.loads(path.read_text())["figures"]
    kept = "another|10000|0|gaussflow"
    assert figures["estimates"][kept] == stored["estimates"][kept]
    assert figures["estimates"]["1v1-normal-0.75|1000|0|gaussflow"]["value"] == 9.0
    assert figures["summary"]["ksg, 5 neighbours"]["tasks"] == 2
    assert figures["summary"]["mine"]["tasks"] == 1
    assert figures["ten"]["mine"]["tasks"] == figures["small"]["cca"]["tasks"] == 1
    assert figures["seeds"] == {}


def test_independent_pairs_are_counted_by_what_covers_zero():
    found = [(0.01, 0.006), (-0.01, 0.004), (0.03, 0.02)]
    figures = {
        f"independent-1-1|10000|{draw}|gaussflow": {"value": value, "error": error}
        for draw, (value, error) in enumerate(found)
    }
    zero = bench.content(figures, {})["summary"]["independence"]
    assert zero == {"draws": 3, "largest": 0.03, "covered": 2}
    assert "independence" not in bench.content({}, {})["summary"]


def test_every_task_is_planned_once():
    names = [*bench.TEN, *bench.TARGETS, "another"]
    wanted = bench.plan("tasks", names)
    assert len(wanted) == len(set(wanted)) == 3 * len(set(names))
    assert len(bench.plan("independence", names)) == 60
    assert bench.plan("neural", names)[0][0] == bench.TEN[0]
