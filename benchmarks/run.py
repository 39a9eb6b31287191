"""Measure gaussflow against its yardstick.

Start it by `python -m benchmarks.run` from the repository's root.

Parts: `first` (what first answers wait for, per backend), `speed` (training step,
log_prob, sample), `jit` (XLA on and off, per backend),
`memory` (10 million points), `transform` (the scalar transform alone), `peers` and
`images` (against PyTorch libraries; only where they are named, since they need an
environment of their own), `gallery` (the long runs that a tutorial draws) and `tables`
(estimators on tables) and `information` (mutual information), likewise. Each writes `benchmarks/results/PART.json`.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import RESULTS, about, write_json

ROOT = Path(__file__).parents[1]
PARTS = ("first", "speed", "transform", "jit", "memory")
NAMED_ONLY = ("peers", "images", "gallery", "tables", "scaling", "information")
OTHER_OPTIONS = (
    "out",
    "parts",
    "data",
    "peer_python",
    "only",
    "datasets",
    "laws",
    "families",
    "tasks",
)  # paths and choices, no settings


def in_fresh_process(module, *arguments, backend=None):
    """Run a module of ours in a new process; return the JSON object it prints last."""
    environment = dict(os.environ, **({"KERAS_BACKEND": backend} if backend else {}))
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_speed(args, settings):
    from benchmarks.speed import measure_speed

    machine, figures = about(), {}
    for d in args.dims:
        points = settings[f"points_d{d}"] = max(
            settings["points"] * 2 // d, 1_000
        )  # as many numbers as in d = 2
        figures |= measure_speed(d, settings | {"points": points})
    return figures, machine


def run_transform(args, settings):
    from benchmarks.transform import measure_bins, measure_transform

    machine, figures = about(), {}
    for d in args.dims:
        moved = max(d // 2, 1)
        figures |= measure_transform(moved, settings) | measure_bins(moved, settings)
    return figures, machine


def run_jit(args, settings):
    figures, machines = {}, []
    settings.update(
        steps=min(args.steps, 10), repeats=min(args.repeats, 5)
    )  # without XLA a JAX step takes seconds
    options = (
        "--dims",
        *args.dims,
        "--steps",
        settings["steps"],
        "--repeats",
        settings["repeats"],
    )
    for backend in args.backends:
        result = in_fresh_process("benchmarks.jit", *options, backend=backend)
        figures |= result["figures"]
        machines.append(result["about"])
    return figures, machines


def run_first(args, settings):
    figures, machines = {}, []
    for backend in args.backends:
        for d in args.dims:
            options = ("--dim", d, "--points", args.points)
            result = in_fresh_process("benchmarks.first", *options, backend=backend)
            figures |= result["figures"]
        machines.append(result["about"])
    return figures, machines


def run_memory(args, settings):
    machine, figures = about(), {}
    for what in ("log_prob", "invert", "sample"):
        result = in_fresh_process(
            "benchmarks.memory", what, "--points", args.memory_points
        )
        figures |= {f"memory_{what}_{key}": value for key, value in result.items()}
    return figures, machine


def run_peers(args, settings):
    from benchmarks import peers, whole_job

    settings.clear()
    for part in args.only or peers.MEASURES:
        module = whole_job if part in whole_job.MEASURES else peers
        figures, found, machines = module.measure_part(
            part, args, args.out / "peers.json"
        )
    settings.update(found)
    return figures, machines


def run_images(args, settings):
    from benchmarks.images import measure_part

    settings.clear()
    for part in args.only or ("families", "glow", "speed"):
        figures, found, machines = measure_part(part, args, args.out / "images.json")
    settings.update(found)
    return figures, machines


def run_gallery(args, settings):
    from benchmarks.gallery import measure_gallery

    settings.clear()
    figures, found, machine = measure_gallery(args.out)
    settings.update(found)
    return figures, machine


def run_tables(args, settings):
    from benchmarks.tables import measure_part

    settings.clear()
    figures, found, machines = measure_part(args, args.out / "tables.json")
    settings.update(found)
    return figures, machines


def run_scaling(args, settings):
    from benchmarks.scaling import AXES, BATCHES, MIDDLE, REFLECTED, measure_parts

    settings.clear()
    settings.update(middle=MIDDLE, axes=AXES, reflected=REFLECTED, batches=BATCHES)
    return measure_parts(args.only or ("sizes", "start"), args.out / "scaling.json")


def run_information(args, settings):
    from benchmarks.information import PARTS as ALL
    from benchmarks.information import ROWS, TEN, measure

    settings.clear()
    settings.update(rows=ROWS, ten=list(TEN))
    return measure(args.only or ALL, args, args.out / "information.json")


def parse(argv=None):
    installed = [
        name for name in ("tensorflow", "jax") if importlib.util.find_spec(name)
    ]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__
    )
    parser.add_argument(
        "parts",
        nargs="*",
        help=f"any of {', '.join(PARTS + NAMED_ONLY)}; "
        f"{', '.join(PARTS)} when none is named",
    )
    parser.add_argument(
        "--dims", type=int, nargs="+", default=[2, 64], help="dimensions (even)"
    )
    parser.add_argument(
        "--repeats", type=int, default=7, help="rounds, contenders in turn"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=50,
        help="training steps per reading, batches of 512",
    )
    parser.add_argument(
        "--warm-epochs", type=int, default=20, help="epochs trained before the readings"
    )
    parser.add_argument(
        "--points",
        type=int,
        default=50_000,
        help="points of log_prob and sample in d = 2; for other d as many numbers",
    )
    parser.add_argument(
        "--memory-points",
        type=int,
        default=10_000_000,
        help="points of the memory part",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=180,
        help="end a comparison after this, from round 3 on",
    )
    parser.add_argument(
        "--backends", nargs="+", default=installed, help="backends of the jit part"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder of the JSON files"
    )
    peers = parser.add_argument_group("peers, images and information")
    peers.add_argument(
        "--data",
        type=Path,
        help="folder with power-plant.txt, kin8nm.txt and concrete.txt, or with "
        "mnist10k.npz",
    )
    peers.add_argument(
        "--peer-python",
        default=sys.executable,
        help="Python of the environment that has zuko, nflows and normflows, or "
        "benchmark-mi",
    )
    peers.add_argument(
        "--only",
        nargs="+",
        help="parts: of peers pilot, nll, speed (PyTorch), job, times (FlowJAX); "
        "of images families, glow, speed; "
        "of tables contenders, such as ours or zuko; "
        "of information tasks, seeds, small, neural, independence; "
        "of scaling sizes, start; the others stay",
    )
    peers.add_argument(
        "--families",
        nargs="+",
        help="families of images, such as 'glow mixture'; the others stay as stored",
    )
    peers.add_argument(
        "--datasets",
        nargs="+",
        help="data of peers and tables, such as 'kin8nm'; the others stay as stored",
    )
    peers.add_argument(
        "--tasks", nargs="+", help="tasks of information; the others stay as stored"
    )
    peers.add_argument(
        "--laws",
        nargs="+",
        help="laws of peers, such as spline; the others stay as stored",
    )
    args = parser.parse_args(argv)
    unknown = sorted(set(args.parts) - set(PARTS + NAMED_ONLY))
    if unknown:
        parser.error(
            f"expected parts among {', '.join(PARTS + NAMED_ONLY)}, "
            f"received {', '.join(unknown)}"
        )
    known = {
        "peers": {"pilot", "nll", "speed", "job", "times"},
        "images": {"families", "glow", "speed"},
        "information": {"tasks", "seeds", "small", "neural", "independence"},
        "scaling": {"sizes", "start"},
    }
    for part in set(args.parts) & set(known):
        if set(args.only or ()) - known[part]:
            parser.error(
                f"expected --only among {', '.join(sorted(known[part]))} for {part}, "
                f"received {' '.join(args.only)}"
            )
    return args


def main(argv=None):
    args = parse(argv)
    for part in args.parts or PARTS:
        settings = {
            name: value
            for name, value in vars(args).items()
            if name not in OTHER_OPTIONS
        }
        figures, machine = globals()[f"run_{part}"](args, settings)
        path = write_json(args.out / f"{part}.json", figures, settings, machine)
        print(f"{path.name}: {len(figures)} figures")
        for name, value in figures.items():
            if isinstance(value, dict) and "median" in value:
                spread = f"{value['min']:g} to {value['max']:g}"
                value = f"{value['median']:g} ({spread}, {value['rounds']} rounds)"
            elif isinstance(value, dict):
                value = f"{len(value)} of them"
            print(f"  {name:48} {value}")


if __name__ == "__main__":
    main()
