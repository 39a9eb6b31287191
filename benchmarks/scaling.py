"""Time and memory of one mixture coupling flow, one size changed at a time; rotations in one block against one by one.

`python -m benchmarks.scaling --d 8 --rows 20000` measures one size in a fresh process and prints a line of JSON.
"""

import argparse
import json
import subprocess
import sys
import time

import keras
import numpy as np
from keras import ops

from benchmarks.measure import about
from benchmarks.memory import forget_peak, resident

# What everything else is compared with, and the values of each size.
MIDDLE = {"rows": 20_000, "d": 8, "components": 8, "blocks": 2, "width": 64}
AXES = {
    "rows": (5_000, 20_000, 80_000),
    "d": (2, 8, 32),
    "components": (2, 8, 32),
    "blocks": (1, 2, 4),
    "width": (16, 64, 256),
}
REFLECTED = (8, 32, 128, 512)
BATCHES = (32, 128, 512, 2048, 8192)  # rows of a training step


def sizes():
    "Every size that is measured: the middle, and one value changed at a time."
    found = [dict(MIDDLE)]
    for name, values in AXES.items():
        found += [MIDDLE | {name: v} for v in values if v != MIDDLE[name]]
    return found


def label(size):
    return "_".join(f"{name}{size[name]}" for name in MIDDLE)


def seconds(function):
    """Run once and return the processor's seconds.

    Those of all threads: other processes of a shared machine do not count.
    """
    start = time.process_time()
    function()
    return time.process_time() - start


def best(function, repeats=3):
    "The shortest of some readings, in s."
    return min(seconds(function) for _ in range(repeats))


def make(size):
    "The flow of a size and its rows."
    import gaussflow as gf

    keras.utils.set_random_seed(0)
    d, hidden = size["d"], (size["width"], size["width"])
    flow = gf.make_coupling_flow(
        d, size["blocks"], num_components=size["components"], hidden=hidden
    )
    x = np.random.default_rng(0).normal(size=(size["rows"], d)).astype("float32")
    return flow, x


def start(size):
    "Processor's seconds of this process until its first answer is there: imports, the flow, compilers and that answer."
    flow, x = make(size)
    ops.convert_to_numpy(flow.log_prob(x))
    return {"start_s": round(time.process_time(), 6)}


def measure(size):
    "Processor's seconds of the first answer, of `log_prob`, `sample` and a training step, and peak memory (MB) of each."
    flow, x = make(size)
    flow.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    numpy = ops.convert_to_numpy
    figures = {"weights": 0}
    flow.log_prob(x[:10])
    forget_peak()
    start = resident("VmRSS")
    figures["first_s"] = seconds(lambda: numpy(flow.log_prob(x)))
    figures["log_prob_s"] = best(lambda: numpy(flow.log_prob(x)))
    figures["log_prob_mb"] = (resident("VmHWM") - start) / 2**20
    figures["sample_s"] = best(lambda: numpy(flow.sample(size["rows"], seed=1)), 2)
    batch = np.tile(x, (-(-5120 // len(x)), 1))[:5120]
    options = {"batch_size": 512, "epochs": 1, "verbose": 0}
    figures["first_fit_s"] = seconds(lambda: flow.fit(batch, **options))
    figures["step_s"] = best(lambda: flow.fit(batch, **options)) / 10
    figures["weights"] = int(flow.count_params())
    return {name: round(value, 6) for name, value in figures.items()}


def batches(steps=10):
    "Processor's seconds of a training step of the middle flow, by the rows of its batch."
    import gaussflow as gf

    size, figures = MIDDLE, {}
    hidden = (size["width"], size["width"])
    for rows in BATCHES:
        keras.utils.set_random_seed(0)
        flow = gf.make_coupling_flow(
            size["d"],
            size["blocks"],
            num_components=size["components"],
            hidden=hidden,
        )
        flow.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
        x = np.random.default_rng(0).normal(size=(steps * rows, size["d"]))
        options = {"batch_size": rows, "epochs": 1, "verbose": 0}
        flow.fit(x, **options)
        found = best(lambda f=flow, x=x, o=options: f.fit(x, **o), 5) / steps
        figures[f"batch{rows}_step_s"] = round(found, 6)
    return figures


def one_by_one(v, y):
    "Reflections one after another, as the formula says."

    def reflect(i, y):
        row = v[i] / ops.sqrt(ops.sum(v[i] ** 2))
        return y - 2 * ops.matmul(y, row[:, None]) * row

    return ops.fori_loop(0, v.shape[0], reflect, y)


def reflections(d, rows=2000):
    "Seconds of `d` reflections of `rows` events, in one block and one by one."
    from gaussflow import apply_reflectors
    from gaussflow.backend import compile_method

    rng = np.random.default_rng(0)
    v, y = (rng.normal(size=(n, d)).astype("float32") for n in (d, rows))
    ways = {
        name: compile_method(None, way, jit_compile=False)
        for name, way in (("block", apply_reflectors), ("one_by_one", one_by_one))
    }
    answers = [ops.convert_to_numpy(way(v, y)) for way in ways.values()]
    np.testing.assert_allclose(*answers, rtol=1e-2, atol=1e-3)
    return {
        f"reflect_d{d}_{name}_s": round(
            best(lambda w=way: ops.convert_to_numpy(w(v, y)), 5), 6
        )
        for name, way in ways.items()
    }


def in_fresh_process(size, *options):
    "What this module prints of a size, in a process of its own, by the names of figures."
    given = [f"--{name}={value}" for name, value in size.items()]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *given, *options],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(label(size), found, flush=True)
    return {f"{label(size)}_{key}": value for key, value in found.items()}


def measure_sizes():
    "All figures but those of the start."
    figures = {}
    for size in sizes():
        figures |= in_fresh_process(size)
    figures |= batches()
    for d in REFLECTED:
        figures |= reflections(d)
    return figures


def measure_starts(repeats=3):
    "How long a worker takes to its first answer, by dimensions: the shortest of some processes."
    figures = {}
    for d in AXES["d"]:
        found = [in_fresh_process(MIDDLE | {"d": d}, "--start") for _ in range(repeats)]
        figures |= min(found, key=lambda one: next(iter(one.values())))
    return figures


PARTS = {"sizes": measure_sizes, "start": measure_starts}


def measure_parts(parts, path):
    "Measure some parts; what else is stored at `path` stays, each part with its machine."
    stored = json.loads(path.read_text()) if path.exists() else {}
    figures, machines = stored.get("figures", {}), stored.get("about", {})
    for part in parts:
        machines[part] = about()
        figures |= PARTS[part]()
    return figures, machines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in MIDDLE.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--start", action="store_true", help="until the first answer")
    size = vars(parser.parse_args())
    print(json.dumps((start if size.pop("start") else measure)(size)))


if __name__ == "__main__":
    main()
