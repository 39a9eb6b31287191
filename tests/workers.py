"""One worker of a training run, alone or among several: what `test_workers.py` starts.

`workers.py KIND INDEX PORT FOLDER`: KIND is `alone`, `tensorflow`, `devices` (two devices of JAX) or `processes` (two of JAX).
Rows are dealt out so that two workers see the rows of one worker's batches between them.
"""

import contextlib
import json
import os
import sys

KIND, INDEX, PORT, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
STEPS, BATCH = 6, 100
if KIND == "tensorflow":
    cluster = {"worker": [f"127.0.0.1:{PORT + i}" for i in range(2)]}
    task = {"type": "worker", "index": INDEX}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
if KIND == "devices":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
strategy = None
if KIND == "tensorflow":
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
if KIND == "processes":
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import gaussflow as gf  # noqa: E402

if KIND == "processes":
    keras.distribution.initialize(f"127.0.0.1:{PORT}", 2, INDEX)
if KIND in ("devices", "processes"):
    whole = {"auto_shard_dataset": False} if KIND == "processes" else {}
    keras.distribution.set_distribution(keras.distribution.DataParallel(**whole))

rng = np.random.default_rng(0)
rows = (rng.gamma(2.0, size=(STEPS * BATCH, 2)) * [1.0, 0.1] + [0, 3]).astype("float32")
if KIND in ("tensorflow", "processes"):
    mine = rows.reshape(STEPS, 2, BATCH // 2, 2)[:, INDEX].reshape(-1, 2)
else:
    mine = rows


class Batches(keras.utils.PyDataset):
    "The rows of this process, in steps."

    def __len__(self):
        return STEPS

    def __getitem__(self, i):
        size = len(mine) // STEPS
        return (mine[i * size : (i + 1) * size],)


def data():
    "What `fit` is given."
    if KIND != "tensorflow":
        return Batches()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    # Keras divides the batches of a strategy by its workers, and counts them before.
    rows = tf.data.Dataset.from_tensor_slices(mine).batch(BATCH).repeat()
    return rows.with_options(options)


keras.utils.set_random_seed(0)
with strategy.scope() if strategy else contextlib.nullcontext():
    layers = [
        gf.Standardize(),
        gf.Householder(2, seed=0),
        gf.AffineCoupling([True, False], gf.MLPConditioner(2, (8,))),
        gf.Marginal(gf.MixtureCDF(2)),
    ]
    flow = gf.NormalizingFlow(layers, 2)
    flow.compile(keras.optimizers.Adam(0.01), jit_compile=False)
steps = {"steps_per_epoch": STEPS} if KIND == "tensorflow" else {}
losses = flow.fit(data(), epochs=4, shuffle=False, verbose=0, **steps).history["loss"]
score = flow.evaluate(data(), verbose=0, steps=STEPS)
weights = [keras.ops.convert_to_numpy(w) for w in flow.weights]
np.savez(f"{FOLDER}/{KIND}{INDEX}.npz", *weights, losses=losses, score=score)
