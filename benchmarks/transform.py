"""The scalar transforms alone.

The mixture's, forward and gradient, with exact tails against the clipped textbook
formulas; and the spline's, with its bins as one tensor and one by one.
"""

import keras
import numpy as np
from keras import ops

from benchmarks.measure import ratio, seconds, summary, take_turns
from benchmarks.naive import gaussianize


def gradient_function(loss, xla):
    """Return a compiled function from `arguments` to the gradients of `loss` in them.

    These are NumPy arrays.
    """
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(jax.grad(lambda arguments: loss(*arguments)))
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=xla)
        def compiled(arguments):
            with tf.GradientTape() as tape:
                tape.watch(arguments)
                value = loss(*arguments)
            return tape.gradient(value, arguments)
    else:
        raise ValueError(
            f"Expected backend tensorflow or jax, received {keras.backend.backend()}"
        )
    return lambda arguments: [ops.convert_to_numpy(g) for g in compiled(arguments)]


def measure_transform(d, settings, num_components=8, batch=512):
    """Return ms per forward and gradient of d moved dimensions.

    With XLA and without; of JAX always with.
    """
    from gaussflow.mixture import MixtureCDF

    scalar, rng = MixtureCDF(num_components), np.random.default_rng(0)
    x = rng.normal(size=(batch, d))
    logits, means, log_scales = rng.normal(size=(3, batch, d, num_components)) * [
        [[[0.5]]],
        [[[1.0]]],
        [[[0.3]]],
    ]
    arguments = [
        ops.convert_to_tensor(a.astype("float32"))
        for a in (x, logits, means, log_scales - 0.5)
    ]

    def exact(x, logits, means, log_scales):
        return scalar.forward(
            x, {"logits": logits, "means": means, "log_scales": log_scales}
        )

    def loss_of(transform):
        def loss(*arguments):
            z, log_slope = transform(*arguments)
            return ops.sum(0.5 * ops.square(z) - log_slope)

        return loss

    figures = {}
    for xla in (False, True) if keras.backend.backend() == "tensorflow" else (True,):
        functions = {
            name: gradient_function(loss_of(f), xla)
            for name, f in (("ours", exact), ("naive", gaussianize))
        }
        suffix = "xla" if xla else "plain"
        for name, function in functions.items():
            figures[f"{name}_{suffix}_first_call_s"] = round(
                seconds(lambda f=function: f(arguments)), 3
            )
        clocked = {
            name: lambda f=function: (
                1e3 * min(seconds(lambda: f(arguments)) for _ in range(10))
            )
            for name, function in functions.items()
        }
        times = take_turns(clocked, settings["repeats"])
        figures |= {
            f"{name}_{suffix}_ms": summary(values) for name, values in times.items()
        }
        figures[f"ratio_{suffix}"] = ratio(times["ours"], times["naive"])
    return {f"transform_d{d}_{key}": value for key, value in figures.items()}


def measure_bins(d, settings, num_bins=8, batch=1600):
    """Return ms per forward map of a spline of d moved dimensions, compiled.

    Its bins are one tensor, or one tensor each, which is the quicker way of long use.
    """
    from gaussflow.backend import compile_method
    from gaussflow.spline import RationalQuadraticSpline, spline_forward

    scalar, rng = RationalQuadraticSpline(num_bins), np.random.default_rng(0)
    names = ("widths", "heights", "slopes")
    sizes = [scalar.param_sizes[name] for name in names]
    arrays = [2 * rng.normal(size=(batch, d))]
    arrays += [rng.normal(size=(batch, d, size)) for size in sizes]
    arrays = [a.astype("float32") for a in arrays]

    def as_one(x, *raw):
        return spline_forward(x, *scalar.knots(dict(zip(names, raw))))

    def one_by_one(x, *raw):
        return as_one(x, *(ops.unstack(r, axis=-1) for r in raw))

    figures, clocked = {}, {}
    for name, way in (("as_one", as_one), ("one_by_one", one_by_one)):
        compiled = compile_method(None, way, True)
        run = lambda c=compiled: [ops.convert_to_numpy(t) for t in c(*arrays)]
        figures[f"{name}_first_call_s"] = round(seconds(run), 3)
        clocked[name] = lambda r=run: 1e3 * min(seconds(r) for _ in range(10))
    times = take_turns(clocked, settings["repeats"])
    figures |= {f"{name}_ms": summary(values) for name, values in times.items()}
    figures["ratio"] = ratio(times["one_by_one"], times["as_one"])
    return {f"bins_d{d}_{key}": value for key, value in figures.items()}
