"""The source notebook's coupling flow, written plainly.

The yardstick of every benchmark here.

It does what the source notebook describes, in the straightforward way: the mixture CDF
is clipped before the normal quantile, the log-slope is `log f - log phi`, reflectors
are applied one after another, the inverse is 40 bisections in [-50, 50], each layer
adds its own log-det loss, and XLA is left to Keras. Nothing in it is slowed down on
purpose.
"""

import math

import keras
import numpy as np
from keras import ops

LOG_2PI = math.log(2 * math.pi)
CLIP = 1e-6  # the CDF is kept in [CLIP, 1 - CLIP]: |z| never exceeds 4.75
BISECTIONS = 40
SEARCH = 50.0  # bisection starts from [-SEARCH, SEARCH]


def normal_cdf(x):
    return 0.5 * (1.0 + ops.erf(x / math.sqrt(2.0)))


def normal_quantile(p):
    return math.sqrt(2.0) * ops.erfinv(2.0 * p - 1.0)


def normal_log_pdf(x):
    return -0.5 * (ops.square(x) + LOG_2PI)


def mixture_cdf(x, logits, means, log_scales):
    """Return the mixture's CDF.

    **Shapes** `x`: `(..., d)`; parameters: `(..., d, K)`.
    """
    t = (x[..., None] - means) * ops.exp(-log_scales)
    return ops.sum(ops.softmax(logits, axis=-1) * normal_cdf(t), axis=-1)


def mixture_log_pdf(x, logits, means, log_scales):
    t = (x[..., None] - means) * ops.exp(-log_scales)
    return ops.logsumexp(
        ops.log_softmax(logits, axis=-1) + normal_log_pdf(t) - log_scales, axis=-1
    )


def gaussianize(x, logits, means, log_scales):
    """Return `z = Phi^-1(clip(F(x)))` and its log-slope, by the textbook formulas."""
    z = normal_quantile(
        ops.clip(mixture_cdf(x, logits, means, log_scales), CLIP, 1.0 - CLIP)
    )
    return z, mixture_log_pdf(x, logits, means, log_scales) - normal_log_pdf(z)


def gaussianize_inverse(z, logits, means, log_scales):
    """Return the x at which `F(x) = Phi(z)`, by bisection in a fixed interval."""
    target = normal_cdf(z)

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        below = mixture_cdf(middle, logits, means, log_scales) < target
        return ops.where(below, middle, low), ops.where(below, high, middle)

    bounds = (ops.full_like(z, -SEARCH), ops.full_like(z, SEARCH))
    low, high = ops.fori_loop(0, BISECTIONS, halve, bounds)
    return 0.5 * (low + high)


class NaiveHouseholder(keras.layers.Layer):
    """Rotate by d reflectors, one after another."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def build(self, shape):
        init = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        self.v = self.add_weight(
            shape=(shape[-1], shape[-1]), initializer=init, name="v"
        )

    def reflect(self, y, order):
        for i in order:
            v = self.v[i]
            y = y - ops.sum(y * v, axis=-1, keepdims=True) * (2.0 / ops.sum(v * v)) * v
        return y

    def forward_and_log_det(self, x):
        return self.reflect(x, range(self.v.shape[0])), ops.zeros_like(x[:, 0])

    def inverse(self, z):
        return self.reflect(z, reversed(range(self.v.shape[0])))

    def call(self, x):
        return self.forward_and_log_det(x)[0]


class NaiveCoupling(keras.layers.Layer):
    """Gaussianize one half of the dimensions, given the other half."""

    def __init__(self, move_first, num_components, hidden, seed):
        super().__init__()
        self.move_first, self.num_components, self.hidden, self.seed = (
            move_first,
            num_components,
            hidden,
            seed,
        )

    def build(self, shape):
        d, half = shape[-1], shape[-1] // 2
        self.moved_size = half if self.move_first else d - half
        self.half = half
        dense = [
            keras.layers.Dense(
                h,
                "relu",
                kernel_initializer=keras.initializers.GlorotUniform(self.seed + i),
            )
            for i, h in enumerate(self.hidden)
        ]
        head = keras.layers.Dense(
            3 * self.moved_size * self.num_components, kernel_initializer="zeros"
        )
        self.conditioner = keras.Sequential([*dense, head])
        self.conditioner.build((None, d - self.moved_size))

    def split(self, x):
        first, second = x[:, : self.half], x[:, self.half :]
        return (second, first) if self.move_first else (first, second)

    def join(self, kept, moved):
        return ops.concatenate(
            [moved, kept] if self.move_first else [kept, moved], axis=-1
        )

    def mixture(self, kept):
        raw = ops.reshape(
            self.conditioner(kept), (-1, 3, self.moved_size, self.num_components)
        )
        return raw[:, 0], raw[:, 1], 3.0 * ops.tanh(raw[:, 2] / 3.0)

    def forward_and_log_det(self, x):
        kept, moved = self.split(x)
        z, log_slope = gaussianize(moved, *self.mixture(kept))
        return self.join(kept, z), ops.sum(log_slope, axis=-1)

    def inverse(self, z):
        kept, moved = self.split(z)
        return self.join(kept, gaussianize_inverse(moved, *self.mixture(kept)))

    def call(self, x):
        z, log_det = self.forward_and_log_det(x)
        self.add_loss(-ops.mean(log_det))
        return z


class NaiveFlow(keras.Model):
    """The source notebook's flow.

    Blocks of a rotation and two couplings with swapped halves.
    """

    def __init__(self, d, num_blocks=4, num_components=8, hidden=(64, 64), seed=0):
        super().__init__()
        self.d = d
        self.bijectors = []
        for block in range(num_blocks):
            start = seed + 100 * block
            self.bijectors.append(NaiveHouseholder(start))
            self.bijectors.append(
                NaiveCoupling(False, num_components, hidden, start + 10)
            )
            self.bijectors.append(
                NaiveCoupling(True, num_components, hidden, start + 20)
            )

    def build(self, shape=None):
        for bijector in self.bijectors:
            bijector.build((None, self.d))
            bijector.built = True
        self.built = True

    def call(self, x):
        for bijector in self.bijectors:
            x = bijector(x)
        return x

    def log_prob(self, x):
        x, total = ops.convert_to_tensor(x), 0.0
        for bijector in self.bijectors:
            x, log_det = bijector.forward_and_log_det(x)
            total = total + log_det
        return total + ops.sum(normal_log_pdf(x), axis=-1)

    def invert(self, z):
        z = ops.convert_to_tensor(z)
        for bijector in reversed(self.bijectors):
            z = bijector.inverse(z)
        return z

    def sample(self, num_samples, seed=None):
        return self.invert(keras.random.normal((num_samples, self.d), seed=seed))


def nll_loss(_, z):
    """The latent's half of the negative log-likelihood.

    The layers add theirs with `add_loss`.
    """
    return -ops.sum(normal_log_pdf(z), axis=-1)


def compile_function(function, xla=False):
    """Compile an eager method of the flow for the backend in use.

    For a fair "the same thing, compiled".
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=xla)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def make_naive_flow(d, num_blocks=4, seed=0):
    """Return a built and compiled flow as the source notebook trains it.

    That is by `flow.fit(x, x, batch_size=512)`.
    """
    flow = NaiveFlow(d, num_blocks, seed=seed)
    flow.build()
    flow.compile(optimizer=keras.optimizers.Adam(3e-3), loss=nll_loss)
    return flow


def make_data(num, d, seed=0):
    """Return two moons in d = 2.

    For larger even d, d / 2 independent pairs of moons, rotated together.
    """
    from sklearn.datasets import make_moons

    pairs = [
        make_moons(num, noise=0.05, random_state=seed + i)[0] for i in range(d // 2)
    ]
    x = np.concatenate([(p - p.mean(axis=0)) / p.std(axis=0) for p in pairs], axis=1)
    if d > 2:
        x = x @ np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    return x.astype("float32")
