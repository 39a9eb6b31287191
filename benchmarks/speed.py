"""Training step, `log_prob` and `sample`.

Ours against the naive flow, in turn, in one process.
"""

import keras
from keras import ops

from benchmarks.measure import ratio, seconds, summary, take_turns, train_epoch
from benchmarks.naive import compile_function, make_data, make_naive_flow


def make_our_flow(d, num_blocks=4, seed=0, jit_compile=True):
    """Return the library's flow of the same size, compiled as the tutorials do."""
    from gaussflow import make_coupling_flow

    keras.utils.set_random_seed(seed)
    flow = make_coupling_flow(d, num_blocks=num_blocks)
    flow.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=jit_compile)
    return flow


def faster_compiled(function, argument):
    """Compile with and without XLA, and keep what is faster at a tenth of the size.

    Return which it was, too.
    """
    times = {}
    for xla in (False, True):
        compiled = compile_function(function, xla)
        readings = [
            seconds(lambda f=compiled: ops.convert_to_numpy(f(argument)))
            for _ in range(4)
        ]
        times[xla] = min(readings[1:])
    xla = times[True] < times[False]
    return compile_function(function, xla), xla


def compare_training(ours, naive, data, settings):
    """Return what one training step takes, in ms, and the first one, in s.

    The first builds, traces and compiles.
    """
    batch = data[:512]
    first = {"ours": seconds(lambda: train_epoch(ours, (batch,)))}
    first["naive"] = seconds(lambda: train_epoch(naive, (batch, batch)))
    trainers = {
        "ours": lambda: train_epoch(ours, (data,)),
        "naive": lambda: train_epoch(naive, (data, data)),
    }
    warm = take_turns(trainers, settings["warm_epochs"], settings["max_seconds"])
    epochs = take_turns(trainers, settings["repeats"], settings["max_seconds"])
    times = {
        name: [1e3 * clock.step_seconds for clock in clocks]
        for name, clocks in epochs.items()
    }
    figures = {f"{name}_ms": summary(values) for name, values in times.items()}
    figures["ratio"] = ratio(times["ours"], times["naive"])
    figures |= {
        f"{name}_first_call_s": round(value, 3) for name, value in first.items()
    }
    figures |= {
        f"{name}_last_loss": round(clocks[-1].loss, 4)
        for name, clocks in epochs.items()
    }
    figures["steps_before"] = 1 + len(warm["ours"]) * settings["steps"]
    return figures


def compare_calls(our_call, naive_function, argument, settings):
    """Return the figures of one call on all points, in s.

    Ours, the naive function eager, and compiled.
    """
    compiled, xla = faster_compiled(
        naive_function, argument[: max(len(argument) // 10, 1)]
    )
    contenders = {
        "ours": our_call,
        "naive_eager": lambda: ops.convert_to_numpy(naive_function(argument)),
        "naive_compiled": lambda: ops.convert_to_numpy(compiled(argument)),
    }
    first = {name: seconds(call) for name, call in contenders.items()}
    clocked = {
        name: lambda call=call: seconds(call) for name, call in contenders.items()
    }
    times = take_turns(clocked, settings["repeats"], settings["max_seconds"])
    figures = {f"{name}_s": summary(values) for name, values in times.items()}
    figures["ratio_eager"] = ratio(times["ours"], times["naive_eager"])
    figures["ratio_compiled"] = ratio(times["ours"], times["naive_compiled"])
    figures |= {
        f"{name}_first_call_s": round(value, 3) for name, value in first.items()
    }
    return figures | {"naive_compiled_with_xla": xla}


def measure_speed(d, settings, num_blocks=4):
    """Return all figures for dimension d, named `quantity_d2_contender_unit`."""
    ours, naive = make_our_flow(d, num_blocks), make_naive_flow(d, num_blocks)
    data = make_data(512 * settings["steps"], d)
    points = make_data(settings["points"], d, seed=100)
    noise = keras.random.normal(points.shape, seed=1)
    results = {"train_step": compare_training(ours, naive, data, settings)}

    def our_log_prob():
        return ops.convert_to_numpy(ours.log_prob(points))

    def our_sample():
        return ops.convert_to_numpy(ours.sample(len(points), seed=1))

    results["log_prob"] = compare_calls(
        our_log_prob, naive.log_prob, ops.convert_to_tensor(points), settings
    )
    results["sample"] = compare_calls(
        our_sample, naive.invert, noise, settings
    )  # the noise is a gift to naive
    return {
        f"{what}_d{d}_{key}": value
        for what, figures in results.items()
        for key, value in figures.items()
    }
