"""What XLA costs and brings to our training step, on the backend of this process.

The case for `jit_compile="auto"`.

`python -m benchmarks.run jit` starts this once per installed backend; it prints one
JSON object.
"""

import argparse
import json

import keras

from benchmarks.measure import about, ratio, seconds, summary, take_turns, train_epoch
from benchmarks.naive import make_data
from benchmarks.speed import make_our_flow

NAMES = {False: "off", True: "on"}


def measure_jit(d, steps, repeats):
    "Return ms per step with XLA off and on, and seconds of the first call."
    data = make_data(512 * steps, d)
    flows = {NAMES[jit]: make_our_flow(d, jit_compile=jit) for jit in (False, True)}
    figures = {}
    for name, flow in flows.items():
        figures[f"{name}_first_call_s"] = round(
            seconds(lambda flow=flow: train_epoch(flow, (data[:512],))), 3
        )
        train_epoch(flow, (data,))
    clocked = {
        name: lambda flow=flow: 1e3 * train_epoch(flow, (data,)).step_seconds
        for name, flow in flows.items()
    }
    times = take_turns(clocked, repeats, max_seconds=60)
    figures |= {f"{name}_ms": summary(values) for name, values in times.items()}
    figures["ratio_on_off"] = ratio(times["on"], times["off"])
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 64])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    machine = about()
    where = "gpu" if machine["device"] != ["cpu"] else "cpu"
    figures = {
        f"{keras.backend.backend()}_{where}_d{d}_{key}": value
        for d in args.dims
        for key, value in measure_jit(d, args.steps, args.repeats).items()
    }
    print(json.dumps({"about": machine, "figures": figures}))


if __name__ == "__main__":
    main()
