"""What a first answer waits for, on the backend of this process.

`python -m benchmarks.run first` starts this in a fresh process for each installed
backend and each dimension; it prints one JSON object.
"""

import argparse
import json

import keras

from benchmarks.measure import about, seconds, train_epoch
from benchmarks.naive import make_data
from benchmarks.speed import make_our_flow


def measure_first(d, points):
    """Return seconds of each first call, in the order in which a user makes them.

    A flow is made, asked about few rows, then about many, and copied; two more are
    trained for one step, without and with XLA where there is a choice.
    """
    data, flow = make_data(max(points, 1000), d), make_our_flow(d)
    copy = make_our_flow(d)
    calls = {
        "build": lambda: flow.build((None, d)),
        "log_prob_3": lambda: flow.log_prob(data[:3]),
        "sample_100": lambda: flow.sample(100, seed=0),
        "sample_1000": lambda: flow.sample(1000, seed=0),
        "log_prob_1000": lambda: flow.log_prob(data[:1000]),
        "log_prob_many": lambda: flow.log_prob(data[:points]),
        "sample_many": lambda: flow.sample(points, seed=0),
        "copy_build": lambda: copy.build((None, d)),
        "copy_sample_100": lambda: copy.sample(100, seed=0),
        "copy_log_prob_many": lambda: copy.log_prob(data[:points]),
        "copy_sample_many": lambda: copy.sample(points, seed=0),
    }
    figures = {f"{name}_s": round(seconds(call), 3) for name, call in calls.items()}
    for name, jit_compile in (("plain", "auto"), ("xla", True)):
        new = make_our_flow(d, jit_compile=jit_compile)
        step = seconds(lambda new=new: train_epoch(new, (data[:512],)))
        figures[f"step_{name}_s"] = round(step, 3)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=2)
    parser.add_argument("--points", type=int, default=50_000)
    args = parser.parse_args()
    prefix = f"{keras.backend.backend()}_d{args.dim}_"
    figures = {
        prefix + name: value
        for name, value in measure_first(args.dim, args.points).items()
    }
    print(json.dumps({"about": about(), "figures": figures}))


if __name__ == "__main__":
    main()
