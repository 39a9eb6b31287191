"""Mutual information on the tasks of benchmark-mi: ours beside its estimators.

`python -m benchmarks.run information --peer-python PATH` starts
`information_worker.py` under PATH, whose environment has benchmark-mi, and asks it for
tasks, draws and its own estimates. Every estimate is written as soon as it is there,
and one that stands in the file is not made again: a run that was ended goes on.
"""

import datetime
import json
import time
import warnings

import numpy as np

from benchmarks.measure import about, write_json
from benchmarks.peers import Exchange, Peer
from gaussflow.information import mutual_information

PARTS = ("tasks", "seeds", "small", "neural", "independence")
TEN = (  # those of one file of data, from every kind of task
    "spiral-multinormal-sparse-5-5-2-2.0",
    "asinh-student-identity-3-3-2",
    "student-identity-2-2-1",
    "1v1-additive-0.75",
    "multinormal-sparse-25-25-2-2.0",
    "wiggly-1v1-normal-0.75",
    "half_cube-multinormal-sparse-3-3-2-2.0",
    "1v1-normal-0.75",
    "half_cube-1v1-normal-0.75",
    "multinormal-sparse-3-3-2-2.0",
)
TARGETS = (  # to be met within 10 %
    "spiral-multinormal-sparse-3-3-2-2.0",
    "spiral-multinormal-sparse-5-5-2-2.0",
    "student-identity-5-5-2",
    "half_cube-multinormal-sparse-25-25-2-2.0",
)
CLASSICAL, NEURAL = ("cca", "ksg"), ("mine", "infonce", "nwj", "donsker-varadhan")
DRAWS, DIMS, ROWS, SMALL = 20, (1, 2, 5), 10_000, 1_000


def plan(part, names):
    """Return what a part estimates: `(task, rows, seed, estimator)`, in order."""
    first = list(dict.fromkeys([*TEN, *TARGETS]))
    order = [name for name in [*first, *names] if name in names]
    order = list(dict.fromkeys(order))
    ten = [name for name in TEN if name in names]
    everyone = ("gaussflow", *CLASSICAL)
    if part == "tasks":
        return [(t, ROWS, 0, e) for t in order for e in everyone]
    if part == "seeds":
        return [(t, ROWS, seed, e) for seed in (1, 2) for t in ten for e in everyone]
    if part == "small":
        return [(t, SMALL, 0, e) for t in ten for e in everyone]
    if part == "neural":
        return [(t, ROWS, 0, e) for t in ten for e in NEURAL]
    draws = [(d, draw) for draw in range(DRAWS) for d in DIMS]
    return [(f"independent-{d}-{d}", ROWS, draw, "gaussflow") for d, draw in draws]


def ours(x, y):
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = mutual_information(x, y, random_state=0)
    return {
        "value": found.value,
        "error": found.error,
        "directions": found.directions,
        "notes": list(found.notes),
        "warned": len(said),
        "seconds": round(time.perf_counter() - start, 2),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def independent(d, seed):
    rng = np.random.default_rng([seed, d])
    return rng.normal(size=(ROWS, d)), rng.normal(size=(ROWS, d))


def errors_by_estimator(figures, truths, rows, seeds):
    """Return estimate less truth, by estimator and then by task and seed.

    KSG is taken at the number of neighbours that is best over these tasks.
    """
    errors = {}
    for key, found in figures.items():
        task, n, seed, estimator = key.split("|")
        if task not in truths or int(n) != rows or int(seed) not in seeds:
            continue
        values = {estimator: found["value"]}
        if estimator == "ksg":
            values = {f"ksg, {k} neighbours": v for k, v in found["value"].items()}
        for name, value in values.items():
            errors.setdefault(name, {})[f"{task}|{seed}"] = value - truths[task]
    by_k = [name for name in errors if name.startswith("ksg")]
    best = min(by_k, key=lambda name: mean_absolute(errors[name]), default=None)
    order = ["gaussflow", "cca", best, *NEURAL]
    return {name: errors[name] for name in order if name in errors}


def mean_absolute(errors):
    return float(np.mean(np.abs(list(errors.values()))))


def summarise(figures, truths, rows=ROWS, seeds=(0,)):
    "Return the errors of each estimator over the tasks that all of it has run on."
    return {
        name: {
            "tasks": len(found),
            "mean_absolute_error": mean_absolute(found),
            "worst": float(np.max(np.abs(list(found.values())))),
        }
        for name, found in errors_by_estimator(figures, truths, rows, seeds).items()
    }


def independence(figures):
    "Return how many pairs that share nothing were drawn, and what was said of them."
    draws = [v for k, v in figures.items() if k.startswith("independent-")]
    if not draws:
        return {}
    values = np.array([[found["value"], found["error"]] for found in draws])
    return {
        "draws": len(draws),
        "largest": float(values[:, 0].max()),
        "covered": int((np.abs(values[:, 0]) <= 2 * values[:, 1]).sum()),
    }


def content(figures, truths):
    "Return all that is stored: the estimates, and their errors part by part."
    summary = summarise(figures, truths)
    if zero := independence(figures):
        summary["independence"] = zero
    ten = {name: truths[name] for name in TEN if name in truths}
    return {
        "truth": truths,
        "estimates": figures,
        "summary": summary,
        "ten": summarise(figures, ten),
        "seeds": summarise(figures, ten, seeds=(1, 2)),
        "small": summarise(figures, ten, rows=SMALL),
    }


def measure(parts, args, path, peer_class=Peer):
    """Run what `path` does not hold yet. Return its content."""
    stored = json.loads(path.read_text()) if path.exists() else {}
    figures = stored.get("figures", {}).get("estimates", {})
    machines = stored.get("about", {})
    worker = peer_class(args.peer_python, script="information_worker.py")
    with worker as peer, Exchange() as exchange:
        tasks = peer.ask("tasks")
        truths = {name: task["truth"] for name, task in tasks.items()}
        known = about() | {"peer": peer.ask("about")}
        for part in parts:
            for task, rows, seed, estimator in plan(part, list(tasks)):
                key = f"{task}|{rows}|{seed}|{estimator}"
                if key in figures or (args.tasks and task not in args.tasks):
                    continue
                file = exchange.path("draw")
                if task in tasks:
                    peer.ask("draw", task=task, rows=rows, seed=seed, file=file)
                else:
                    x, y = independent(int(task.split("-")[1]), seed)
                    exchange.save("draw", x=x, y=y)
                if estimator == "gaussflow":
                    with np.load(file) as arrays:
                        figures[key] = ours(
                            arrays["x"].astype("float64"), arrays["y"].astype("float64")
                        )
                else:
                    figures[key] = peer.ask("estimate", estimator=estimator, file=file)
                machines[part] = known
                found = content(figures, truths)
                write_json(path, found, {"rows": ROWS, "ten": list(TEN)}, machines)
                truth = truths.get(task, 0.0)
                print(f"  {key}: {figures[key]['value']} of {truth:.3f}", flush=True)
    return content(figures, truths), machines
