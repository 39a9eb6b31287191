"""Estimators on tables keep scikit-learn's contracts, survive copies and files, and say what they did.

Small settings here; the defaults run in `make test-slow`.
"""

import copy
import json
import pickle
import warnings
import zipfile

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gaussflow as gf
from gaussflow.estimator import TablePlan


@keras.saving.register_keras_serializable("test-estimator")
def small_flow(d):
    "Two layers, which train in an instant."
    layers = [gf.Standardize(), gf.Marginal(gf.Affine(), context_hidden=(4,))]
    return gf.NormalizingFlow(layers, d, standardize_context=True)


class SmallFlow:
    "`small_flow` by a name without an address, for the names of tests."

    def __call__(self, d):
        return small_flow(d)

    def __repr__(self):
        return "small"


def said(density):
    "The report without line breaks."
    return " ".join(density.report_.split())


SMALL = {"flow": small_flow, "epochs": 2, "batch_size": 1000}
ONE_STEP = SMALL | {"epochs": 1, "random_state": 0}
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
WHY = "rows held back and batches differ where a weight stands for a repeated row"
CHECKED = SMALL | {"flow": SmallFlow(), "epochs": 1}


class NormalDensity(gf.FlowDensity):
    "A density that is not trained, as others with few rows: most of a fit's seconds."

    least_rows = 10**9


class LinearDensity(gf.ConditionalFlowDensity):
    "Likewise, given something."

    least_rows = 10**9


def expected(estimator):
    "Checks that may fail, with the reason."
    return {WEIGHTS: WHY}


# One is trained; the thin ones stand on a density that is not. The defaults train all.
@parametrize_with_checks(
    [
        gf.FlowDensity(**CHECKED),
        gf.FlowOutlierDetector(NormalDensity()),
        gf.FlowClassifier(NormalDensity()),
        gf.FlowRegressor(LinearDensity()),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learn_contract(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        gf.FlowDensity(),
        gf.FlowOutlierDetector(),
        gf.FlowClassifier(),
        gf.FlowRegressor(),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learn_contract_with_defaults(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def table(n=120, seed=0):
    "Three columns that depend on each other, one of them a count."
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    frame = {"a": a, "b": np.exp(a / 2 + rng.normal(size=n)), "c": rng.poisson(3, n)}
    return pd.DataFrame(frame)


def test_weights_are_close_to_repeats():
    "What the one failing check of scikit-learn amounts to: a fraction of a nat."
    x = table(80).to_numpy()
    weight = np.random.default_rng(1).integers(0, 3, len(x))
    by_weight = gf.FlowDensity(discrete={2: 1}, random_state=0)
    by_weight.fit(x, sample_weight=weight)
    repeated = clone(by_weight).fit(np.repeat(x, weight, axis=0))
    difference = by_weight.score_samples(x) - repeated.score_samples(x)
    assert np.abs(difference).mean() < 0.5, np.abs(difference).mean()


def test_copies_and_files_answer_alike(tmp_path):
    frame = table()
    density = gf.FlowDensity(**SMALL, bounds={"b": (0, None)}, random_state=0)
    density.fit(frame)
    want = density.score_samples(frame)
    density.save(tmp_path / "density.zip")
    joblib.dump(density, tmp_path / "density.joblib")
    again = [
        pickle.loads(pickle.dumps(density)),
        copy.deepcopy(density),
        joblib.load(tmp_path / "density.joblib"),
        gf.FlowDensity.load(tmp_path / "density.zip"),
        clone(density).fit(frame),
    ]
    for one in again:
        np.testing.assert_array_equal(one.score_samples(frame), want)
        pd.testing.assert_frame_equal(
            one.sample(5, random_state=1), density.sample(5, random_state=1)
        )
    with zipfile.ZipFile(tmp_path / "density.zip") as archive:
        assert sorted(archive.namelist()) == ["estimator.json", "flow-0.keras"]
        state = json.loads(archive.read("estimator.json"))
    assert state["params"]["flow"] == {"registered": "test-estimator>small_flow"}
    with pytest.raises(ValueError, match="Expected a ConditionalFlowDensity in form"):
        gf.ConditionalFlowDensity.load(tmp_path / "density.zip")
    unnamed = copy.copy(density).set_params(flow=lambda d: small_flow(d))
    with pytest.raises(ValueError, match="Expected flow as a function registered"):
        unnamed.save(tmp_path / "never.zip")


def test_conditional_files_answer_alike(tmp_path):
    frame = table()
    given = frame[["a"]].assign(kind=np.where(frame["c"] > 2, "many", "few"))
    density = gf.ConditionalFlowDensity(epochs=2, random_state=0)
    density.fit(given, frame["b"])
    density.save(tmp_path / "density.zip")
    again = gf.ConditionalFlowDensity.load(tmp_path / "density.zip")
    np.testing.assert_array_equal(
        again.log_prob(given, frame["b"]), density.log_prob(given, frame["b"])
    )
    with pytest.raises(ValueError, match="column 'kind' of X as one of .*'none'"):
        again.sample(given.assign(kind="none"))


def test_pipelines_and_searches():
    x = table().to_numpy()
    density = gf.FlowDensity(**SMALL, random_state=0)
    latent = make_pipeline(StandardScaler(), clone(density)).fit_transform(x)
    assert latent.shape == x.shape
    scores = cross_val_score(density, x, cv=3)
    assert np.isfinite(scores).all()
    search = GridSearchCV(
        gf.FlowOutlierDetector(density),
        {"density__epochs": [1, 2]},
        scoring=lambda model, x, y=None: model.density_.score(x),
        cv=2,
    )
    assert search.fit(x).best_params_["density__epochs"] in (1, 2)


@pytest.mark.slow
def test_a_search_in_two_processes():
    x = table().to_numpy()
    search = GridSearchCV(
        gf.FlowDensity(random_state=0), {"discrete": [None, {2: 1}]}, n_jobs=2, cv=2
    )
    assert np.isfinite(search.fit(x).best_score_)


def test_global_seeds_go_on():
    "A fit with a seed leaves NumPy's global stream as it was."
    np.random.seed(3)  # noqa: NPY002
    first = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    gf.FlowDensity(**SMALL, random_state=0).fit(table())
    assert np.random.rand() == first  # noqa: NPY002


# A step that spoils the flow, so that the start is as good.
SPOILED = {"epochs": 1, "batch_size": 5000, "learning_rate": 10.0, "random_state": 0}


@pytest.mark.parametrize(
    ("n", "related", "words"),
    [(30, 0.4, "too few to train on 13 columns"), (150, 0.1, "that one, of all rows")],
)
def test_few_rows_are_ledoit_and_wolfs_normal_of_all_rows(n, related, words):
    "13 columns: no row is held back from the density, trained beside it or not."
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(13, 13)) * related + np.eye(13)
    x, other = rng.normal(size=(n, 13)) @ mix, rng.normal(size=(500, 13)) @ mix
    options = {"random_state": 0} if n < 100 else SPOILED
    density = gf.FlowDensity(**options).fit(x)
    assert words in said(density)
    spread = x.std(axis=0)
    peer = LedoitWolf().fit(x / spread)
    covariance = peer.covariance_ * np.outer(spread, spread)
    normal = stats.multivariate_normal(x.mean(axis=0), covariance)
    np.testing.assert_allclose(
        density.score_samples(other), normal.logpdf(other), rtol=2e-4
    )


def test_weights_choose_the_map_of_a_half_line():
    "Rows that weigh nothing say nothing about it, given something or not."
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(50, 10, 300), np.exp(rng.normal(0, 3, 300))])
    y = y[:, None]
    x, weight = rng.normal(size=(600, 1)), np.repeat([1.0, 1e-6], 300)
    for fit in (
        lambda w: gf.FlowDensity(**SPOILED, bounds={0: (0, None)}).fit(
            y, sample_weight=w
        ),
        lambda w: gf.ConditionalFlowDensity(**SPOILED, bounds={0: (0, None)}).fit(
            x, y, sample_weight=w
        ),
    ):
        assert fit(None).plan_.bends[0] > 2 * y[:300].std()
        np.testing.assert_allclose(fit(weight).plan_.bends[0], y[:300].std(), rtol=1e-2)


def test_the_number_in_a_report_is_the_score_of_the_rows_held_back():
    "Bounds of both kinds, steps, a category and weights are counted."
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"age": rng.normal(45, 9, 300), "count": rng.poisson(4, 300)})
    x["price"] = rng.lognormal(3, 1, 300)
    x["curve"] = np.sin(x["age"] / 5) + 0.05 * rng.normal(size=300)
    x["kind"], weight = rng.choice(["a", "b"], 300), rng.integers(1, 4, 300)
    bounds = {"age": (0, None), "price": (0, None), "count": (0, None)}
    options = {"bounds": bounds, "categorical": ["kind"], "epochs": 30}
    density = gf.FlowDensity(**options, random_state=0).fit(x, sample_weight=weight)
    assert "nats more than" in density.report_  # the trained flow was kept
    bent = dict(zip(x, density.plan_.bends > 0))
    assert bent["age"] and not bent["price"]
    seed = np.random.RandomState(0).randint(2**31 - 1, size=1)[0]
    held = np.random.default_rng(seed).permutation(300)[:30]
    score = np.average(density.score_samples(x.iloc[held]), weights=weight[held])
    assert f"score of the 30 held back: {score:.4g} nats" in said(density)
    again = TablePlan.from_config(json.loads(json.dumps(density.plan_.get_config())))
    for plan in (density.plan_, again):
        inside = plan.enter(density.read(x[:9]))[1]
        np.testing.assert_array_equal(
            inside, density.plan_.enter(density.read(x[:9]))[1]
        )


def test_copies_of_rows_are_not_rows():
    "Four copies with noise of their own: the start is Ledoit and Wolf's of one."
    x = np.random.default_rng(0).normal(size=(400, 4)).round(1)
    plan, density = TablePlan.learn(x, list("abcd")), gf.FlowDensity()
    split = density.divide(plan, x, None, None, False, 0)
    assert (split.copies, len(split.once[0]), len(split.seen[0])) == (4, 360, 1440)
    flow = density.make_flow(plan, split.once, few=False, copies=4)
    rows = split.once[0]
    spread = rows.std(axis=0)
    peer = LedoitWolf().fit(rows / spread)
    covariance = peer.covariance_ * np.outer(spread, spread)
    normal = stats.multivariate_normal(rows.mean(axis=0), covariance)
    np.testing.assert_allclose(flow.log_prob(rows), normal.logpdf(rows), atol=2e-3)


@pytest.mark.slow
def test_500_columns_are_no_worse_than_ledoit_and_wolfs_normal():
    "5,000 rows that depend on each other by 40 factors; both see all of them."
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(40, 500)) / 6
    draw = lambda n: rng.normal(size=(n, 40)) @ factors + rng.normal(size=(n, 500))
    x, other = draw(5000), draw(2000)
    density = gf.FlowDensity(random_state=0).fit(x)
    peer = LedoitWolf().fit(x / x.std(axis=0))
    covariance = peer.covariance_ * np.outer(x.std(axis=0), x.std(axis=0))
    normal = stats.multivariate_normal(x.mean(axis=0), covariance)
    ours, theirs = density.score(other), normal.logpdf(other).mean()
    print(density.report_, f"held-out nats per row: {ours:.3f}, theirs {theirs:.3f}")
    assert ours > theirs - 0.01


def test_a_start_that_wins_is_that_of_all_rows():
    "Rows enough not to shrink: SciPy's normal, and scikit-learn's regression."
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2)) @ [[2, 1], [0, 0.5]] + [3, -1]
    weight = rng.integers(1, 4, 600)
    density = gf.FlowDensity(**SPOILED).fit(x, sample_weight=weight)
    assert "that one, of all rows" in said(density)
    covariance = np.cov(x.T, bias=True, aweights=weight)
    mean = np.average(x, axis=0, weights=weight)
    normal = stats.multivariate_normal(mean, covariance)
    np.testing.assert_allclose(
        density.score_samples(x), normal.logpdf(x), rtol=2e-4, atol=1e-3
    )
    given, y = x[:, :1], x[:, 1]
    conditional = gf.ConditionalFlowDensity(**SPOILED).fit(given, y)
    assert "that one, of all rows" in said(conditional)
    line = LinearRegression().fit(given, y)
    errors = y - line.predict(given)
    best = stats.norm(line.predict(given), errors.std()).logpdf(y)
    np.testing.assert_allclose(conditional.log_prob(given, y), best, atol=2e-3)


def test_one_column():
    x = np.random.default_rng(0).exponential(size=(400, 1))
    density = gf.FlowDensity(
        bounds={0: (0, None)}, epochs=10, batch_size=1000, random_state=0
    ).fit(x)
    grid = np.linspace(1e-4, 15, 3000)[:, None]
    area = np.trapezoid(np.exp(density.score_samples(grid)), grid[:, 0])
    np.testing.assert_allclose(area, 1.0, atol=0.02)
    assert (density.sample(100, random_state=0) > 0).all()


def test_mass_of_a_count_sums_to_one():
    x = np.random.default_rng(0).poisson(4.0, size=(400, 1)).astype(float)
    density = gf.FlowDensity(epochs=5, batch_size=2000, random_state=0).fit(x)
    values = np.arange(-10.0, 40.0)[:, None]
    mass = np.exp(density.score_samples(values)).sum()  # the step is 1
    np.testing.assert_allclose(mass, 1.0, atol=0.02)
    halves = clone(density).fit(x / 2)
    assert abs(halves.score(x / 2) - density.score(x) - np.log(2)) < 0.05


def days(n=150, seed=0):
    "An hour, a price that depends on it, and two columns of categories."
    rng = np.random.default_rng(seed)
    hour = (23 + 3 * rng.normal(size=n)) % 24
    price = np.cos(hour * np.pi / 12) + 0.3 * rng.normal(size=n)
    kind, late = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]), rng.random(n) < 0.4
    return pd.DataFrame({"hour": hour, "price": price, "kind": kind, "late": late})


FEW_STEPS = {"epochs": 2, "batch_size": 1000, "random_state": 0}


@pytest.mark.parametrize("period", [2 * np.pi, 24.0])
def test_an_angle_has_no_seam_and_a_density_of_one(period):
    x = days()[["hour"]] * period / 24 - period / 3
    circular = ["hour"] if period < 7 else {"hour": 24}
    density = gf.FlowDensity(circular=circular, **FEW_STEPS).fit(x)
    start = density.plan_.starts[0]
    grid = pd.DataFrame({"hour": start + np.linspace(0, period, 2001)})
    p = np.exp(density.score_samples(grid))
    np.testing.assert_allclose(np.trapezoid(p, grid["hour"]), 1.0, atol=2e-3)
    np.testing.assert_allclose(p[0], p[-1], rtol=1e-3)
    drawn = density.sample(500, random_state=0)["hour"]
    assert drawn.between(start, start + period, inclusive="left").all()
    z = density.transform(x)
    assert (np.abs(z) <= np.pi).all()
    back = density.inverse_transform(z)["hour"] - x["hour"]
    np.testing.assert_allclose((back + period / 2) % period, period / 2, atol=1e-3)


def test_hours_in_steps_sum_to_one_over_a_turn():
    x = days()[["hour"]].round() % 24
    density = gf.FlowDensity(circular={"hour": 24}, **FEW_STEPS).fit(x)
    assert density.plan_.steps.tolist() == [1.0]
    every = pd.DataFrame({"hour": np.arange(24.0)})
    np.testing.assert_allclose(np.exp(density.score_samples(every)).sum(), 1, atol=0.01)
    assert set(density.sample(300, random_state=0)["hour"]) <= set(every["hour"])


def test_few_rows_with_an_angle():
    density = gf.FlowDensity(circular={"hour": 24}, random_state=0)
    density.fit(days(60)[["hour", "price"]])
    assert "independent angles" in said(density)
    grid = np.stack(np.meshgrid(np.linspace(0, 24, 97), np.linspace(-4, 4, 97)), -1)
    grid = pd.DataFrame(grid.reshape(-1, 2), columns=["hour", "price"])
    p = np.exp(density.score_samples(grid)).reshape(97, 97)
    area = np.trapezoid(np.trapezoid(p, dx=24 / 96), dx=8 / 96)
    np.testing.assert_allclose(area, 1.0, atol=0.01)


def test_categories_are_a_factor_of_their_own():
    "Over all combinations and prices the density integrates to 1; words come back."
    x = days()[["price", "kind", "late"]]
    density = gf.FlowDensity(categorical=["kind", "late"], **FEW_STEPS).fit(x)
    grid, area = np.linspace(-6, 6, 801), 0.0
    for kind in "abc":
        for late in (False, True):
            rows = pd.DataFrame({"price": grid, "kind": kind, "late": late})
            area += np.trapezoid(np.exp(density.score_samples(rows)), grid)
    np.testing.assert_allclose(area, 1.0, atol=0.01)
    drawn = density.sample(400, random_state=0)
    assert drawn.columns.tolist() == x.columns.tolist()
    share = drawn["kind"].value_counts(normalize=True) - x["kind"].value_counts(True)
    assert share.abs().max() < 0.1
    values, chance = density.posterior(x[:4], "kind")
    assert values.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(chance.sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="'kind' of X as one of .*received 'd'"):
        density.score_samples(x.assign(kind="d"))
    with pytest.raises(ValueError, match="without categorical columns"):
        gf.FlowClassifier(density).fit(x, x["late"])
    odd = gf.FlowOutlierDetector(density, random_state=0).fit(x)
    assert (odd.predict(x) == -1).sum() == 15


def test_categories_of_an_array():
    x = np.column_stack([days()["price"], days()["late"] + 3.0])
    density = gf.FlowDensity(categorical=[1], **FEW_STEPS).fit(x)
    assert set(density.sample(50, random_state=0)[:, 1]) == {3.0, 4.0}
    with pytest.raises(ValueError, match="column 1 of X as one of .*received 5.0"):
        density.score_samples([[0.0, 5.0]])


def messy(n=160, seed=0):
    "An identifier, cents that are often 0, a share with both ends, counts, a flag."
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    spent = np.where(rng.random(n) < 0.13, 0.0, np.exp(a / 2 + rng.normal(size=n)))
    return pd.DataFrame(
        {
            "client": np.arange(n) + 1000,
            "spent": spent,
            "share": np.clip(a / 2 + 0.5 + 0.1 * rng.normal(size=n), 0, 1),
            "visits": pd.array(rng.poisson(3, n), dtype="Int64"),
            "small": rng.poisson(3, n).astype("uint8"),
            "member": rng.integers(0, 2, n),
            "price": rng.integers(1000, 9_000_000, n),
        }
    )


def advised(density):
    "The arguments that a report says to pass, as a user would copy them."
    start = "To follow all of this, pass "
    line = next(n for n in density.plan_.notes if n.startswith(start))
    assert " ".join(line.split()) in said(density)
    return eval(f"dict({line.removeprefix(start).removesuffix('.')})", {})


def test_advice_holds_what_was_passed_already():
    "Whatever was passed stays in the argument to pass; then nothing is left to say."
    x = messy().drop(columns="client")
    x["rate"] = np.random.default_rng(1).integers(0, 9, len(x)) / 100
    x["late"] = x["visits"] > 3
    given = {
        "bounds": {"price": (-0.5, np.inf), "small": (0, 255)},
        "discrete": {"visits": 1, "small": 1, "price": 1},
        "spikes": {"share": 1},
        "categorical": ["late"],
    }
    passed = advised(gf.FlowDensity(**given, **ONE_STEP).fit(x))
    assert passed["bounds"] == {
        "price": (-0.5, None),
        "small": (0, 255),
        "spent": (0, None),
        "share": (0, 1),
        "visits": (0, None),
        "rate": (0, 1),
    }
    assert passed["discrete"] == given["discrete"] | {"rate": 0.01}
    assert passed["spikes"] == {"share": (0, 1), "spent": 0}
    assert passed["categorical"] == ["late", "member"]
    report = said(gf.FlowDensity(**passed, **ONE_STEP).fit(x))
    assert "suspicious" not in report, report

    auto = gf.FlowDensity(bounds="auto", spikes="auto", **ONE_STEP)
    x = pd.DataFrame({"share": np.linspace(0, 1, 160) ** 2, "spent": x["spent"]})
    report = said(auto.fit(x))
    assert "bounds='auto' leaves out what stands on a bound" in report
    passed = advised(auto)
    assert passed == {"spikes": {"spent": 0, "share": (0, 1)}}
    report = said(auto.set_params(**passed).fit(x))
    assert "suspicious" not in report, report
    numbered = gf.FlowDensity(bounds={1: (0, None)}, spikes={1: 0}, **ONE_STEP)
    passed = advised(numbered.fit(x.to_numpy()))
    assert passed == {
        "spikes": {1: 0, 0: (0, 1)},
        "bounds": {1: (0, None), 0: (0, 1)},
    }
    frames = [
        pd.DataFrame({f"c{i}": x["spent"] + i for i in range(k)}) for k in (1, 20)
    ]
    rng = np.random.default_rng(0)
    for frame, bounds in zip(frames, ({"c0": (0, None)}, "auto")):
        frame[:] = rng.exponential(size=frame.shape) + 0.01
        density = gf.FlowDensity(**ONE_STEP).fit(frame)
        assert advised(density) == {"bounds": bounds}


def test_reports_count_one_as_one():
    x = messy()[["price", "spent"]]
    report = said(gf.FlowDensity(**ONE_STEP).fit(x[["price"]]))
    assert (
        report.startswith("160 rows, 1 column.")
        and "for 1 epoch, score of the 16" in report
    )
    given = gf.ConditionalFlowDensity(**ONE_STEP).fit(x, x["price"] + 0.5)
    assert "160 rows, 1 column given 2." in said(given)
    few = said(gf.FlowDensity(random_state=0).fit(x[["price"]][:50]))
    assert "50 rows are too few to train on 1 column" in few


def test_a_report_names_what_to_pass():
    "Each suspicious line names an argument; passed, the line is gone."
    x = messy()
    first = gf.FlowDensity(**ONE_STEP).fit(x)
    report = said(first)
    for line in (
        "'client' numbers the rows: leave it out",
        "where it has no density: name it in spikes",
        "'member' takes 2 values: name it in categorical",
        "columns 'spent', 'share', 'visits', 'small' and 'price' have no value below 0",
        "or outside 0 to 1, where samples may fall: if that is a bound, name them in "
        "bounds; what stands on it: name that in spikes",
    ):
        assert line in report, (line, report)
    passed = advised(first)
    options = {"spikes": {"spent": 0, "share": (0, 1)}, "categorical": ["member"]}
    bounds = {"spent": (0, None), "share": (0, 1), "visits": (0, None)}
    bounds |= {"small": (0, None), "price": (0, None)}
    assert passed == options | {"bounds": bounds}
    density = gf.FlowDensity(**passed, **ONE_STEP)
    density.fit(x.drop(columns="client"))
    assert "suspicious" not in density.report_, density.report_
    assert "pass" not in density.report_, density.report_
    assert "share' is 0 or 1 in" in said(density)
    auto = gf.FlowDensity(**options | {"spikes": "auto"}, bounds="auto", **ONE_STEP)
    auto.fit(x.drop(columns="client"))
    assert auto.plan_.get_config() == density.plan_.get_config()
    zeros = {"categorical": ["spent"]}  # each value a category, and no spike
    auto = gf.FlowDensity(**zeros, spikes="auto", epochs=1).fit(x[["spent", "price"]])
    assert not auto.plan_.spikes
    y = gf.ConditionalFlowDensity(epochs=1, random_state=0)
    report = said(y.fit(x[["price"]], x["spent"]))
    assert "fit the others, and a classifier for which these are" in report
    assert "spikes=" not in report and "categorical" not in report


def test_spikes_are_answered_filled_and_saved(tmp_path):
    x = messy()[["spent", "share", "member"]]
    density = gf.FlowDensity(
        spikes={"spent": 0, "share": (0, 1)},
        bounds={"spent": (0, None), "share": (0, 1)},
        categorical=["member"],
        **FEW_STEPS,
    ).fit(x)
    score = density.score_samples(x)
    assert np.isfinite(score).all()
    assert np.isneginf(density.score_samples(x[:1].assign(spent=-1.0))).all()
    drawn = density.sample(3000, random_state=0)
    for name, value in (("spent", 0), ("share", 0), ("share", 1)):
        often = (drawn[name] == value).mean(), (x[name] == value).mean()
        assert abs(often[0] - often[1]) < 0.05, (name, value, often)
    assert drawn["share"].between(0, 1).all() and (drawn["spent"] >= 0).all()
    density.save(tmp_path / "density.zip")
    again = gf.FlowDensity.load(tmp_path / "density.zip")
    np.testing.assert_array_equal(again.score_samples(x), score)
    grid, given = density.posterior(x[:4], "share")
    assert grid[:2].tolist() == [0, 1] and (np.diff(grid[2:]) > 0).all()
    area = given[:, :2].sum(axis=1) + np.trapezoid(given[:, 2:], grid[2:], axis=1)
    np.testing.assert_allclose(area, 1.0, rtol=1e-6)
    holed = x.astype({"member": "float64"}).assign(spent=np.nan, share=np.nan)
    filled = density.impute(pd.concat([holed] * 4), random_state=0, sweeps=2)
    assert 0.02 < (filled["spent"] == 0).mean() < 0.4
    density.transform(x)
    with pytest.raises(ValueError, match="inside its bounds .*FlowDensity.spikes="):
        gf.FlowDensity(bounds={"spent": (0, None)}).fit(x)


def test_a_spike_in_steps_is_a_mass_by_its_step():
    "Cents with a spike: over the spike and all cells the mass sums to 1."
    x = messy(300)[["spent"]].round(1)
    options = {"spikes": {"spent": 0}, "bounds": {"spent": (0, None)}}
    density = gf.FlowDensity(**options, **FEW_STEPS).fit(x)
    assert density.plan_.steps.tolist() == [0.1]
    cells = np.arange(0, 600)[:, None] / 10
    mass = np.exp(density.score_samples(pd.DataFrame(cells, columns=["spent"]))) * 0.1
    np.testing.assert_allclose(mass.sum(), 1.0, atol=0.01)
    share = (x["spent"] == 0).mean()
    np.testing.assert_allclose(mass[0], share, atol=0.01)


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_integers_come_back_as_integers(package):
    frame = messy()[["visits", "small", "price", "spent"]]
    x = frame
    if package == "polars":
        x = pytest.importorskip("polars").DataFrame(frame.to_dict("list"))
    density = gf.FlowDensity(**SMALL, bounds={"small": (0, None)}, random_state=0)
    density.fit(x)
    drawn = density.sample(50, random_state=0)
    back = density.inverse_transform(density.transform(x))
    assert list(drawn.dtypes) == list(x.dtypes) == list(back.dtypes)
    for name in ("visits", "small"):
        assert back[name].to_list() == x[name].to_list()
    if package == "pandas":
        holed = x.astype({"price": "Float64"})
        holed.loc[:9, "price"] = pd.NA
        full = density.impute(holed, random_state=0)
        assert full["price"].dtype == "int64"
        assert full["price"][10:].tolist() == frame["price"][10:].tolist()
    free = clone(density).set_params(discrete=None, bounds=None).fit(x).sample(5)
    assert str(free["visits"].dtype).lower() == "float64"


def test_files_of_ensembles_angles_and_categories(tmp_path):
    x = days()
    density = gf.FlowDensity(
        circular={"hour": 24}, categorical=["kind", "late"], ensemble=2, **FEW_STEPS
    ).fit(x)
    members = density.member_scores(x)
    assert members.shape == (2, 150)
    want = np.logaddexp(*members) - np.log(2)
    np.testing.assert_allclose(density.score_samples(x), want, atol=1e-9)
    density.save(tmp_path / "density.zip")
    again = gf.FlowDensity.load(tmp_path / "density.zip")
    np.testing.assert_array_equal(again.member_scores(x), members)
    pd.testing.assert_frame_equal(
        again.sample(9, random_state=0), density.sample(9, random_state=0)
    )
    assert again.histories_ == density.histories_
    with pytest.raises(ValueError, match="received an ensemble of 2"):
        again.transform(x)


def test_files_of_thin_estimators(tmp_path):
    x = days(60)
    numbers, label = x[["hour", "price"]], x["kind"].where(x["kind"] != "c", "b")
    models = {
        gf.FlowRegressor(random_state=0): (x[["hour", "kind"]], x["price"]),
        gf.FlowClassifier(random_state=0): (numbers, label),
        gf.FlowOutlierDetector(random_state=0): (numbers, None),
    }
    for model, (given, y) in models.items():
        model.fit(given, y)
        model.save(tmp_path / "model.zip")
        again = type(model).load(tmp_path / "model.zip")
        np.testing.assert_array_equal(again.predict(given), model.predict(given))
        assert getattr(again, "classes_", None) is None or again.classes_[0] == "a"
    with pytest.raises(ValueError, match="Expected a FlowRegressor in format"):
        gf.FlowRegressor.load(tmp_path / "model.zip")


def test_few_rows_given_something_are_a_linear_regression():
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(40, 3)), rng.normal(size=(500, 3))
    slope = [1.0, -2.0, 0.5]
    y, y_other = (v @ slope + 0.3 * rng.normal(size=len(v)) for v in (x, other))
    model = gf.FlowRegressor(random_state=0).fit(x, y)
    assert "a linear regression with normal errors" in said(model.density_)
    line = LinearRegression().fit(x, y)
    assert model.score(other, y_other) > line.score(other, y_other) - 0.01
    errors = np.std(y - line.predict(x), ddof=4)
    best = stats.norm(line.predict(other), errors).logpdf(y_other).mean()
    assert model.density_.log_prob(other, y_other).mean() > best - 0.15
