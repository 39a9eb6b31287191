"Two processes of one JAX program, each with rows of its own: what is learned from rows before training is the same."

import os
import socket
import subprocess
import sys

import numpy as np

CODE = """
import sys
import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[2], num_processes=2, process_id=int(sys.argv[1]))
import keras
import numpy as np
import gaussflow as gf

rows = np.load(sys.argv[3])[int(sys.argv[1]) :: 2]
keras.utils.set_random_seed(int(sys.argv[1]))
layers = [gf.Standardize(), gf.Householder(), gf.ActNorm(), gf.Marginal(gf.MixtureCDF(3))]
flow = gf.NormalizingFlow(layers, 2)
flow.adapt(rows)
weights = flow.get_weights()
np.savez(sys.argv[4], *weights)
"""


def test_case_04_processes_with_other_rows_start_alike(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.gamma(2.0, size=(2000, 2)) * [3.0, 1e-3] + [1e6, 0.0]
    rows[1::2] += [5.0, 0.01]  # the shares differ
    np.save(tmp_path / "rows.npy", rows)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                CODE,
                str(i),
                address,
                str(tmp_path / "rows.npy"),
                str(tmp_path / f"weights{i}.npz"),
            ],
            env={**os.environ, "KERAS_BACKEND": "jax"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (np.load(tmp_path / f"weights{i}.npz") for i in range(2))
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name])
    offset, mean, scale = (first[f"arr_{i}"].astype("float64") for i in range(3))
    np.testing.assert_allclose(offset + mean, rows.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(scale, rows.std(axis=0), rtol=1e-5)
