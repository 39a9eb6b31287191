"Several workers train what one does: the losses of one worker at the same global batch, and the same weights on all."

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from books import QUIET, ROOT

WORKER = Path(__file__).with_name("workers.py")
KINDS = {
    "tensorflow": ("tensorflow", 2),
    "devices": ("jax", 1),
    "processes": ("jax", 2),
}


def free_ports() -> int:
    "A port whose successor is free, too."
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def run(kind: str, backend: str, count: int, folder: Path) -> list:
    "What each of `count` processes has trained."
    env = os.environ | QUIET | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    env.pop("TF_CONFIG", None)
    port = str(free_ports())
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), kind, str(i), port, str(folder)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(count)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, outputs
    return [np.load(folder / f"{kind}{i}.npz") for i in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_workers_train_what_one_does(tmp_path, kind):
    backend, count = KINDS[kind]
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    alone = run("alone", backend, 1, tmp_path)[0]
    found = run(kind, backend, count, tmp_path)
    for worker in found:
        np.testing.assert_allclose(worker["losses"], alone["losses"], rtol=1e-3)
        np.testing.assert_allclose(worker["score"], alone["score"], rtol=1e-3)
        for name in found[0].files:  # the start included
            np.testing.assert_array_equal(worker[name], found[0][name])
    for i in range(3):  # of `Standardize`, learned from rows that differ by worker
        np.testing.assert_allclose(found[0][f"arr_{i}"], alone[f"arr_{i}"], rtol=1e-5)
