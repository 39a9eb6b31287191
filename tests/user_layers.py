"What a user might bring: conditioners of their own, in a module that a second process can import."

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("user_layers")
class Fourier(keras.layers.Layer):
    "Sines and cosines of the kept part before a linear head; knows how to build itself."

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.head = keras.layers.Dense(width, name="head")

    def build(self, input_shape):
        self.head.build((*input_shape[:-1], 2 * input_shape[-1]))
        self.built = True

    def call(self, kept):
        return self.head(ops.concatenate([ops.sin(kept), ops.cos(kept)], axis=-1))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("user_layers")
class Plain(keras.layers.Layer):
    "Two layers and no `build` method: Keras builds them at the first call. Takes a context too."

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.hidden, self.head = (
            keras.layers.Dense(8, activation="tanh"),
            keras.layers.Dense(width),
        )

    def call(self, inputs, training=None):
        joined = (
            ops.concatenate(inputs, axis=-1)
            if isinstance(inputs, (list, tuple))
            else inputs
        )
        return self.head(self.hidden(joined))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def functional(d_a, width):
    "The source notebook's kind: a functional Keras model with a skip connection."
    kept = keras.Input((d_a,))
    h = keras.layers.Dense(8, activation="tanh")(kept)
    h = keras.layers.Dense(8, activation="tanh")(h) + h
    return keras.Model(kept, keras.layers.Dense(width)(h))


def scatter(layer, seed=0, spread=0.3):
    "Move every trained weight away from its start, so that a test sees more than the identity."
    generator = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(
            weight + spread * generator.normal(size=weight.shape).astype("float32")
        )
    return layer
