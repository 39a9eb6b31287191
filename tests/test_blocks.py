"Dask's workers: the flow is sent once to each, loaded once, and answers as here; and training sees data that are never held."

import os
import resource
import subprocess
import sys

import dask
import dask.array as da
import dask.dataframe as dd
import keras
import numpy as np
import pandas as pd
import pytest
from books import QUIET, ROOT

import gaussflow as gf
from gaussflow.testing import scatter_weights

X = np.random.default_rng(0).normal(size=(4000, 2)).astype("float32")
# A script, since workers are started from one that guards its entry.
CLUSTER = """
import sys
import dask.array as da, dask.dataframe as dd, numpy as np, pandas as pd
from dask.distributed import Client, LocalCluster


def state():
    import gaussflow.blocks as blocks
    flows = list(blocks.LOADED.values())
    return len(flows)


if __name__ == "__main__":
    import keras
    import gaussflow as gf

    folder = sys.argv[1]
    flow = keras.saving.load_model(f"{folder}/flow.keras")
    x = np.load(f"{folder}/x.npy")
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            scores = flow.log_prob(da.from_array(x, chunks=(100, 2))).compute()
            frame = dd.read_parquet(f"{folder}/table")
            by_name = flow.log_prob(frame).compute()
            draws = gf.sample_in_blocks(flow, 3000, seed=1, rows=250).compute()
            states = list(client.run(state).values())
    np.savez(f"{folder}/found.npz", scores=scores, by_name=by_name, draws=draws)
    assert states == [1, 1], states  # one flow in each process, of all that was asked
"""


@pytest.fixture(scope="module")
def flow():
    made = gf.make_coupling_flow(2, num_blocks=1, num_components=3, hidden=(8,))
    made.build((None, 2))
    return scatter_weights(made, 0.2) or made


@pytest.mark.slow
def test_two_worker_processes_answer_as_one(flow, tmp_path):
    table = pd.DataFrame(X, columns=["a", "b"])
    dd.from_pandas(table, npartitions=8).to_parquet(tmp_path / "table")
    flow.save(tmp_path / "flow.keras")
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "cluster.py").write_text(CLUSTER)
    env = os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "cluster.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        env=env,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = np.load(tmp_path / "found.npz")
    expected = keras.ops.convert_to_numpy(flow.log_prob(X))
    for name in ("scores", "by_name"):
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)
    with dask.config.set(scheduler="synchronous"):
        here = gf.sample_in_blocks(flow, 3000, seed=1, rows=250).compute()
    np.testing.assert_allclose(found["draws"], here, rtol=1e-5, atol=1e-5)


def test_images_and_other_axes_are_scored_whole():
    flow = gf.make_nice((4, 4, 1), 1, hidden=(4,))
    flow.build((None, 4, 4, 1))
    x = np.random.default_rng(0).uniform(size=(50, 4, 4, 1)).astype("float32")
    lazy = flow.log_prob(da.from_array(x, chunks=(20, 2, 2, 1)))
    with dask.config.set(scheduler="synchronous"):
        found = lazy.compute()
    expected = keras.ops.convert_to_numpy(flow.log_prob(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_fitted_density_scores_the_parts_of_a_frame():
    table = pd.DataFrame(X[:60], columns=["a", "b"])
    density = gf.FlowDensity(random_state=0).fit(table)  # few rows: quick
    ask = lambda part: pd.Series(density.score_samples(part), part.index)
    parts = dd.from_pandas(table, npartitions=3)
    lazy = parts.map_partitions(ask, meta=("nats", "float64"))
    with dask.config.set(scheduler="synchronous"):
        found = lazy.compute()
    np.testing.assert_allclose(found, density.score_samples(table), atol=1e-4)


class Passing(keras.utils.PyDataset):
    "Many rows, made when they are asked for."

    def __len__(self):
        return 150

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        return (rng.normal(size=(20_000, 20)).astype("float32") + 3.0,)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PyDataset", "tf.data"])
def test_training_data_pass_and_are_not_held(kind):
    "240 MB of rows pass, statistics of all of them included; half of that would show."
    tf = pytest.importorskip("tensorflow")
    data = passing = Passing()
    if kind == "tf.data":
        spec = tf.TensorSpec((20_000, 20), "float32")
        rows = lambda: (passing[i][0] for i in range(len(passing)))
        data = tf.data.Dataset.from_generator(rows, output_signature=spec)
    flow = gf.NormalizingFlow([gf.Standardize(), gf.Marginal(gf.Affine())], 20)
    flow.compile("adam", jit_compile=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    flow.fit(data, epochs=1, verbose=0, steps_per_epoch=150)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.testing.assert_allclose(flow.bijectors[0].mean, 3.0, atol=0.01)
    assert after - before < 230, (before, after)
