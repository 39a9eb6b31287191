"""The mixture-CDF transform alone, forward and gradient.

Exact tails against the clipped textbook formulas.
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
