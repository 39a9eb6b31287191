"""Peak resident memory of one call on many points, in a fresh process.

Linux only: it reads /proc/self/status.

`python -m benchmarks.run memory` starts this once per call; it prints one JSON object,
in MiB.
"""

import argparse
import contextlib
import ctypes
import json
from pathlib import Path

import numpy as np
from keras import ops

MIB = 2**20


def resident(field):
    """Return VmRSS (now) or VmHWM (the peak so far) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(
        f"Expected {field} in /proc/self/status, received none: "
        "this benchmark needs Linux"
    )


def forget_peak():
    """Give freed memory back and restart the peak at the present size.

    So no earlier peak is counted.
    """
    with contextlib.suppress(
        AttributeError, OSError
    ):  # another C library: what it keeps counts as baseline
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(
        OSError
    ):  # not allowed here: an earlier, higher peak then counts against us
        Path("/proc/self/clear_refs").write_text("5")


def make_stirred_flow(d=2):
    """Return our flow with its weights stirred.

    So inversion has work to do, and nothing is trained first.
    """
    from benchmarks.speed import make_our_flow

    flow, rng = make_our_flow(d), np.random.default_rng(0)
    flow(np.zeros((1, d), "float32"))  # build, and compile nothing yet
    for weight in flow.trainable_variables:
        weight.assign(
            weight + rng.normal(scale=0.05, size=weight.shape).astype("float32")
        )
    return flow


def measure_memory(what, num, flow, d=2):
    """Return the peak above the baseline and above the output, in MiB.

    Of `log_prob`, `invert` or `sample`.
    """
    x = (
        None
        if what == "sample"
        else np.random.default_rng(1).standard_normal((num, d), dtype="float32")
    )

    def call(n):
        result = (
            flow.sample(n, seed=0) if what == "sample" else getattr(flow, what)(x[:n])
        )
        return ops.convert_to_numpy(result)

    forget_peak()
    cold = resident("VmRSS")
    call(1_000)
    forget_peak()
    warm = resident("VmRSS")
    output = call(num)
    peak = resident("VmHWM")
    if not np.isfinite(output).all():
        raise ValueError(
            f"Expected finite results of {what}, "
            f"received {(~np.isfinite(output)).sum()} others"
        )
    return {
        "output_mib": round(output.nbytes / MIB, 1),
        "peak_above_output_mib": round((peak - warm - output.nbytes) / MIB, 1),
        "peak_above_output_with_compiling_mib": round(
            (peak - cold - output.nbytes) / MIB, 1
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["log_prob", "invert", "sample"])
    parser.add_argument("--points", type=int, default=10_000_000)
    args = parser.parse_args()
    print(json.dumps(measure_memory(args.what, args.points, make_stirred_flow())))


if __name__ == "__main__":
    main()
