"""Clocks, contenders taken in turn, and results written with their machine."""

import datetime
import json
import os
import platform
import time
from pathlib import Path

import keras
import numpy as np

RESULTS = Path(__file__).parent / "results"


def seconds(function):
    """Run once and return the seconds taken.

    Functions return NumPy arrays, so nothing is still under way.
    """
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(contenders, repeats, max_seconds=float("inf")):
    """Run each contender once per round, A B C A B C; return a list per name.

    Neighbours in a round meet the same weather of a shared machine, so ratios are
    formed round by round. After three rounds, `max_seconds` ends the contest early.
    """
    readings, start = {name: [] for name in contenders}, time.perf_counter()
    for done in range(repeats):
        if done >= 3 and time.perf_counter() - start > max_seconds:
            break
        for name, contender in contenders.items():
            readings[name].append(contender())
    return readings


def summary(values, digits=5):
    """Return the median, smallest and largest value, and how many there were.

    To `digits` significant digits.
    """
    median, low, high = (
        float(f"{v:.{digits}g}")
        for v in (np.median(values), np.min(values), np.max(values))
    )
    return {"median": median, "min": low, "max": high, "rounds": len(values)}


def ratio(ours, theirs):
    """Summarise ours / theirs, formed round by round."""
    return summary(np.divide(ours, theirs))


class StepClock(keras.callbacks.Callback):
    """Read the clock at the end of each step, when Keras has its loss as a number.

    The step is then over.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self.ends = [time.perf_counter()]

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())
        self.loss = float(logs["loss"])

    @property
    def step_seconds(self):
        """The epoch's median step.

        The first, which sets up the input pipeline, is left out where there are more.
        """
        steps = np.diff(self.ends)
        return float(np.median(steps[1:] if len(steps) > 1 else steps))


def train_epoch(flow, data, batch_size=512):
    """Train one epoch with `fit`, as a user would, and return its clock.

    `step_seconds`, and `loss`, the epoch's mean.
    """
    clock = StepClock()
    flow.fit(*data, batch_size=batch_size, epochs=1, verbose=0, callbacks=[clock])
    return clock


def device_names():
    """Return what the backend computes on, 'cpu' or the name of each accelerator."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        names = [
            tf.config.experimental.get_device_details(g).get("device_name", g.name)
            for g in gpus
        ]
    elif keras.backend.backend() == "jax":
        import jax

        names = [d.device_kind for d in jax.devices() if d.platform != "cpu"]
    else:
        import torch

        names = [
            torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
        ]
    return names or ["cpu"]


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip()
            for line in lines
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def about():
    """Return versions and machine: without them a time means nothing."""
    backend = keras.backend.backend()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "keras": keras.__version__,
        "numpy": np.__version__,
        "backend": backend,
        "backend_version": __import__(backend).__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "device": device_names(),
        "load_average": [round(v, 2) for v in os.getloadavg()]
        if hasattr(os, "getloadavg")
        else None,
    }


def write_json(path, figures, settings, machine=None):
    """Write `{"about", "settings", "figures"}`.

    A figure is a number or `{"median", "min", "max", "rounds"}`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {"about": machine or about(), "settings": settings, "figures": figures}
    path.write_text(json.dumps(text, indent=1) + "\n")
    return path


def write_arrays(path, arrays):
    """Write named arrays, compressed, for pages to draw; they stay under 1 MB."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    if path.stat().st_size > 1_000_000:
        raise ValueError(
            f"Expected less than 1 MB in {path.name}, received {path.stat().st_size}"
        )
    return path
