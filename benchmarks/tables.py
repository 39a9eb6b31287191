"""Densities of tables, ours by the defaults, beside what a table's owner would try.

`python -m benchmarks.run tables --data DIR --peer-python PATH` fits each contender to
each table with each seed, one after the other, and writes every result as soon as it
is there; what is stored is not measured again. README.md says how to make the
environment under PATH.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from benchmarks.measure import about, write_json
from benchmarks.peers import read_results
from gaussflow.estimator import FlowDensity, FlowRegressor

TABLES = {
    "kin8nm": "kin8nm.txt",
    "power plant": "power-plant.txt",
    "concrete": "concrete.txt",
}
PEERS = ("zuko", "pzflow", "margarine", "denmarf")
SETTINGS = {
    "split": "80 / 10 / 10, seed 0; the second part joined to the first",
    "seeds": [0, 1, 2],
    "components": [1, 2, 4, 8, 16, 32],
    "bandwidths": [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6],
    "folds": 3,
    "levels": [round(0.05 * i, 2) for i in range(1, 20)],
    "limit_seconds": 900,  # of a peer's fit
}


def split_rows(x):
    """Return rows to train on, nine tenths, and test rows, by the split of `peers`."""
    x = x[np.random.default_rng(0).permutation(len(x))]
    cut = len(x) * 9 // 10
    return x[:cut], x[cut:]


def searched(model, grid, settings):
    """Return how to fit a model of scikit-learn at its best by cross-validation."""

    def fit(train, seed):
        if "random_state" in model.get_params():
            model.set_params(random_state=seed)
        search = GridSearchCV(model, grid, cv=settings["folds"]).fit(train)
        return search.best_estimator_.score_samples, search.best_params_

    return fit


def ours(**options):
    """Return how to fit ours."""

    def fit(train, seed):
        density = FlowDensity(random_state=seed, **options).fit(train)
        report = density.report_.replace("\n  ", " ").splitlines()
        return density.score_samples, {"report": report[-2:]}

    return fit


def local_fits(settings):
    """Return what is fitted in this process, by name."""
    mixture = GaussianMixture(reg_covar=1e-4, max_iter=300)
    grids = (
        {"n_components": settings["components"]},
        {"bandwidth": settings["bandwidths"]},
    )
    return {
        "ours": ours(),
        "ours without steps": ours(discrete=None),
        "GaussianMixture": searched(mixture, grids[0], settings),
        "KernelDensity": searched(KernelDensity(rtol=1e-4), grids[1], settings),
    }


def measured(log_prob, scale):
    """Return the held-out NLL in both units, and how many rows have no density.

    `log_prob` is per standardised unit; the mean is over the rows that have one.
    """
    finite = np.isfinite(log_prob)
    nll = -float(log_prob[finite].mean()) if finite.any() else float("nan")
    return {
        "nll_standardised": round(nll, 4),
        "nll": round(nll + float(np.log(scale).sum()), 4),
        "rows": int(finite.sum()),
        "rows_without_density": int((~finite).sum()),
    }


def fit_peer(python, library, train, test, seed, limit):
    """Fit a library in its own environment.

    Return log-densities and what it said, or `None` and why there is no result.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, train=train, test=test)
        worker = Path(__file__).with_name("table_worker.py")
        command = [str(python), str(worker), library, source, target, str(seed)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return None, f"not done within {limit} seconds"
        if done.returncode:
            return None, (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
        with np.load(target) as file:
            return file["log_prob"], json.loads(done.stdout.strip().splitlines()[-1])


def pinball(y, quantiles, levels):
    """Return the mean CRPS by quantiles, twice the mean pinball loss over levels."""
    over = y[:, None] - quantiles
    return float(2 * np.maximum(levels * over, (levels - 1) * over).mean())


def measure_regression(train, test, seed, settings):
    """Return CRPS and coverage of 90 % intervals: ours, and gradient boosting."""
    levels, found = np.array(settings["levels"]), {}
    (x, y), (x_test, y_test) = ((rows[:, :-1], rows[:, -1]) for rows in (train, test))

    def boosted():
        models = [
            HistGradientBoostingRegressor(
                loss="quantile", quantile=q, random_state=seed
            ).fit(x, y)
            for q in levels
        ]
        return lambda x: np.stack([m.predict(x) for m in models], axis=1)

    def flow():
        model = FlowRegressor(random_state=seed).fit(x, y)
        return lambda x: model.predict_quantile(x, levels)

    for name, fit in (("ours", flow), ("boosting", boosted)):
        start = time.perf_counter()
        predict = fit()
        seconds = time.perf_counter() - start
        quantiles = predict(x_test)
        inside = (quantiles[:, 0] <= y_test) & (y_test <= quantiles[:, -1])
        found[name] = {
            "crps": round(pinball(y_test, quantiles, levels), 4),
            "coverage_90": round(float(inside.mean()), 4),
            "width_90": round(float((quantiles[:, -1] - quantiles[:, 0]).mean()), 4),
            "fit_seconds": round(seconds, 1),
        }
    return found


def plan(args, settings):
    """Yield seeds, tables and contenders, one seed of all before the next."""
    contenders = [*local_fits(settings), "regression", *PEERS]
    chosen = [c for c in contenders if not args.only or c in args.only]
    for seed in settings["seeds"]:
        for table in args.datasets or TABLES:
            for name in chosen:
                yield seed, table, name


def measure_part(args, path):
    """Measure what is not stored at `path` yet, and store it."""
    figures, settings, machines = read_results(path)
    if settings and settings != SETTINGS:
        figures = {}
    settings = dict(SETTINGS)
    for seed, table, name in plan(args, settings):
        key = f"{table} / {name} / seed {seed}"
        if key in figures:
            continue
        train, test = split_rows(np.loadtxt(Path(args.data) / TABLES[table]))
        mean, scale = train.mean(axis=0), train.std(axis=0)
        rows, held = (train - mean) / scale, (test - mean) / scale
        if name == "regression":
            found = measure_regression(train, test, seed, settings)
        elif name in PEERS:
            limit = settings["limit_seconds"]
            log_prob, said = fit_peer(args.peer_python, name, rows, held, seed, limit)
            found = {"no_result": said}
            if log_prob is not None:
                found = measured(log_prob, scale)
                found |= {"fit_seconds": round(said["seconds"], 1)}
                found |= {k: said[k] for k in ("version", "settings")}
        else:
            fit, start = local_fits(settings)[name], time.perf_counter()
            if name.startswith("ours"):  # which standardise by themselves
                log_prob, said = fit(train, seed)
                seconds = time.perf_counter() - start
                found = measured(log_prob(test) + np.log(scale).sum(), scale)
            else:
                log_prob, said = fit(rows, seed)
                seconds = time.perf_counter() - start
                found = measured(log_prob(held), scale)
            found |= {"fit_seconds": round(seconds, 1), "settings": said}
        figures[key] = found
        machines = about() | {"scikit-learn": sklearn.__version__}
        write_json(path, figures, settings, machines)
        print(f"  {key}: {found}", flush=True)
    return figures, settings, machines
