"""A user's whole job here and in FlowJAX: make, train, score, draw.

`python -m benchmarks.run peers --only job times --peer-python PATH` starts
`flowjax_worker.py` under PATH, and `our_worker.py` once for each backend. Each makes
its own coupling flow of eight couplings by rational-quadratic splines with conditioners
of two hidden layers of 64; ours has a rotation before every second coupling, FlowJAX's a
permutation after each.
"""

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.measure import about, ratio, summary, take_turns, write_json
from benchmarks.peers import (
    Exchange,
    Peer,
    judge,
    load_data,
    make_order,
    read_results,
    standard_error,
    still_valid,
    turns,
)

ROOT = Path(__file__).parents[1]
JOBS = {"two moons": 2_000, "ten Gaussians": 600}  # steps of training
OURS = ("tensorflow", "jax")
# Calls before the clock runs. Ours compile a question once it has been asked some fifty
# blocks of rows, and on JAX again after two million numbers.
WARM = {"step": 2, "log_prob": 30, "sample": 30}
SETTINGS = {
    "couplings": 8,
    "hidden": [64, 64],
    "bins": 8,
    "bound": 4.0,  # of FlowJAX's splines; ours reach 5
    "batch_size": 512,
    "learning_rate": 5e-3,  # falls as a cosine to 0, in Adam; tuned for none
    "epsilon": 1e-7,
    "seeds": [0, 1, 2],
    "train_points": {"two moons": 20_000, "ten Gaussians": 50_000},
    "choice_points": 2,  # nothing is chosen
    "fresh_points": 10_000,
    "rows": 50_000,  # of log_prob and sample, d = 2; for other d as many numbers
    "xla": True,  # in the steps of `times`, as in a long fit
    "speed_steps": {"two moons": 100, "ten Gaussians": 20},
}


class Ours(Peer):
    """A process of ours on one backend."""

    def __init__(self, backend):
        environment = os.environ | {"KERAS_BACKEND": backend}
        self.start(
            sys.executable, "-m", "benchmarks.our_worker", cwd=ROOT, env=environment
        )


def start(name, peer_python):
    """Start the process of a contender: "flowjax" or a backend of ours."""
    if name == "flowjax":
        return Peer(peer_python, name, script="flowjax_worker.py")
    return Ours(name)


def make(contender, law, d, steps, settings, seed, jit_compile="auto"):
    names = ("couplings", "hidden", "bins", "bound", "learning_rate", "epsilon")
    request = {name: settings[name] for name in names} | {"jit_compile": jit_compile}
    return contender.ask("make", law=law, d=d, steps=steps, seed=seed, **request)


def do_job(contender, files, d, steps, settings, seed):
    """Return the seconds of a whole job in a process that has computed nothing yet.

    The library is imported already; what compiles, compiles here.
    """
    begin = time.perf_counter()
    make(contender, "spline", d, steps, settings, seed)
    contender.ask(
        "train", file=files.path(f"train{seed}"), batch_size=settings["batch_size"]
    )
    trained = time.perf_counter() - begin
    contender.ask("log_prob", file=files.path("fresh"), out=files.path("out"))
    contender.ask("sample", num=settings["fresh_points"])
    return trained, time.perf_counter() - begin


def measure_job(name, settings, peer_python):
    """Yield seconds and held-out NLL of a job by FlowJAX and by each backend of ours.

    Contenders take turns, a fresh process each time, one round for each seed; after each
    round the figures of the seeds so far.
    """
    data, steps = load_data(name, None, settings), JOBS[name]
    d = data.train.shape[1]
    found = {who: {"train": [], "all": [], "nll": []} for who in ("flowjax", *OURS)}
    with Exchange() as files:
        files.save("fresh", x=data.fresh)
        for seed in settings["seeds"]:
            rows = make_order(len(data.train), steps, settings, seed)
            files.save(f"train{seed}", x=data.train, order=rows)
            for who, kept in found.items():
                with start(who, peer_python) as contender:
                    contender.ask("about")
                    trained, whole = do_job(contender, files, d, steps, settings, seed)
                nll = -np.load(files.path("out"))["log_prob"].astype("float64")
                kept["train"].append(trained), kept["all"].append(whole)
                kept["nll"].append(nll)
            yield tell_job(found, -data.density.log_prob(data.fresh))


def tell_job(found, known):
    """Return the figures of the jobs, `{who: {"train", "all", "nll"}}`, by seed."""
    figures, peer = {}, found["flowjax"]
    for who, kept in found.items():
        nll = np.stack(kept["nll"])
        figures |= {
            f"{who}_train_s": summary(kept["train"]),
            f"{who}_s": summary(kept["all"]),
            f"{who}_nll": summary(nll.mean(axis=1)),
            f"{who}_gap": round(float((nll - known).mean()), 5),
        }
        if who != "flowjax":
            figures[f"{who}_ratio"] = ratio(kept["all"], peer["all"])
            compared = judge(nll, np.stack(peer["nll"]))
            for key in ("difference", "difference_se", "seeds_se"):
                figures[f"{who}_nll_{key}"] = compared[key]
            figures[f"{who}_nll_no_worse"] = no_worse(nll, np.stack(peer["nll"]))
    return figures


def no_worse(ours, theirs):
    """Return whether the mean NLL is above the peer's by no more than its error.

    The error is the standard error over seeds or over points, the larger.
    """
    by_seed, by_point = (ours - theirs).mean(axis=1), (ours - theirs).mean(axis=0)
    error = max(standard_error(by_seed), standard_error(by_point))
    return bool((ours - theirs).mean() <= error)


def measure_times(name, settings, peer_python):
    """Yield ms of a step, of `log_prob` and of `sample` of many rows, and ratios.

    For splines over FlowJAX's, and for our own mixtures JAX over TensorFlow.
    """
    data = load_data(name, None, settings)
    d, steps = data.train.shape[1], settings["speed_steps"][name]
    rows, rng = max(settings["rows"] * 2 // d, 1_000), np.random.default_rng(0)
    points = data.train[rng.integers(len(data.train), size=rows)]
    order = make_order(len(data.train), steps, settings, 0)
    with Exchange() as files, ExitStack() as stack:
        points = files.save("points", x=points)
        train = files.save("train", x=data.train, order=order)
        requests = {
            "step": {
                "do": "train",
                "file": train,
                "batch_size": settings["batch_size"],
            },
            "log_prob": {"do": "log_prob", "file": points},
            "sample": {"do": "sample", "num": rows},
        }
        for law, names in (("spline", ("flowjax", *OURS)), ("mixture", OURS)):
            teams = {who: stack.enter_context(start(who, peer_python)) for who in names}
            for contender in teams.values():
                make(contender, law, d, 10_000, settings, 0, settings["xla"])
            for what, request in requests.items():
                key = "step_seconds" if what == "step" else "seconds"
                calls = {
                    who: lambda c=c, request=request, key=key: c.ask(**request)[key]
                    for who, c in teams.items()
                }
                for call in calls.values():
                    for _ in range(WARM[what]):  # what compiles, compiles here
                        call()
                times = take_turns(calls, settings["repeats"], settings["max_seconds"])
                figures = {
                    f"{law}_{what}_{who}_ms": summary(np.multiply(1e3, values))
                    for who, values in times.items()
                }
                first = names[0]
                figures |= {
                    f"{law}_{what}_{who}_over_{first}": ratio(times[who], times[first])
                    for who in names[1:]
                }
                if law == "spline":
                    figures[f"{law}_{what}_tensorflow_over_jax"] = ratio(
                        times["tensorflow"], times["jax"]
                    )
                yield figures


MEASURES = {"job": measure_job, "times": measure_times}


def describe(peer_python):
    "Versions of all contenders, each asked in its own process."
    found = []
    for name in ("flowjax", *OURS):
        with start(name, peer_python) as contender:
            found.append(contender.ask("about"))
    return found


def measure_part(part, args, path):
    """Measure a part for each set of data, and write each figure as soon as it is there.

    What else is stored at `path` stays, but for figures under other settings.
    """
    unknown = sorted(set(args.datasets or ()) - set(JOBS))
    if unknown or args.laws:
        raise ValueError(
            f"Expected --datasets among {', '.join(JOBS)} and no --laws for {part}, "
            f"received {', '.join([*unknown, *(args.laws or ())])}"
        )
    figures, settings, machines = read_results(path)
    chosen = SETTINGS | {"steps": JOBS} | (turns(args) if part == "times" else {})
    figures = still_valid(figures, part, settings.get(part) == chosen)
    settings[part] = chosen
    machines[part] = about() | {"peers": describe(args.peer_python)}
    for name in [name for name in JOBS if name in (args.datasets or JOBS)]:
        for found in MEASURES[part](name, chosen, args.peer_python):
            prefix = f"{part}_{name.replace(' ', '_')}_"
            figures |= {prefix + key: value for key, value in found.items()}
            write_json(path, figures, settings, machines)
            print(f"  {part}: {name}: {found}", flush=True)
    return figures, settings, machines
