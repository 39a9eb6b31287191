"""The other side of `tables.py`: one fit of a library by its own defaults.

`PYTHON benchmarks/table_worker.py LIBRARY IN.npz OUT.npz SEED`, in an environment that has
the library, fits `train` of IN, standardised rows, and writes the log-densities of
`test` to OUT. The last line it prints is JSON: seconds of the fit, versions, settings.
It imports nothing of this project.
"""

import json
import sys
import time
from importlib.metadata import version

import numpy as np


def fit_pzflow(train, seed):
    """Train pzflow's default flow, a rolling spline coupling, as `Flow.train` does."""
    import pandas as pd
    from pzflow import Flow

    names = [f"c{i}" for i in range(train.shape[1])]
    flow = Flow(names, seed=seed)
    flow.train(pd.DataFrame(train, columns=names), seed=seed)
    log_prob = lambda x: flow.log_prob(pd.DataFrame(x, columns=names))
    return log_prob, {"epochs": 100, "batch_size": 1024}


def fit_denmarf(train, seed):
    """Train denmarf's default autoregressive flow of 32 affine blocks."""
    from denmarf import DensityEstimate

    model = DensityEstimate(seed=seed, use_cuda=False)
    model.fit(train, verbose=False)
    return model.score_samples, {"epochs": 1000, "blocks": 32}


def fit_margarine(train, seed):
    """Train margarine's RealNVP as `RealNVP.train` does."""
    import jax
    from flax import nnx
    from margarine.estimators.realnvp import RealNVP

    model = RealNVP(
        jax.numpy.asarray(train), in_size=train.shape[1], nnx_rngs=nnx.Rngs(seed)
    )
    model.train(jax.random.PRNGKey(seed))
    log_prob = lambda x: model.log_prob(jax.numpy.asarray(x))
    return log_prob, {"epochs": 1000, "patience": 50, "batch_size": 256}


def fit_zuko(train, seed):
    """Train zuko's NSF with its defaults; the loop is ours, since zuko has none.

    Adam at 1e-3, batches of 256, at most 100 epochs; the weights that do best on a
    tenth held back are kept, and 20 epochs without a gain end it.
    """
    import copy

    import torch
    import zuko

    torch.manual_seed(seed)
    rows = torch.from_numpy(train.astype("float32"))
    rows = rows[torch.randperm(len(rows))]
    held, rows = rows[: len(rows) // 10], rows[len(rows) // 10 :]
    flow = zuko.flows.NSF(features=train.shape[1])
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    best, kept, since, epoch = np.inf, None, 0, 0
    while epoch < 100 and since < 20:
        epoch += 1
        for batch in rows[torch.randperm(len(rows))].split(256):
            loss = -flow().log_prob(batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            value = -float(flow().log_prob(held).mean())
        since += 1
        if value < best:
            best, kept, since = value, copy.deepcopy(flow.state_dict()), 0
    flow.load_state_dict(kept)

    def log_prob(x):
        with torch.no_grad():
            return flow().log_prob(torch.from_numpy(x.astype("float32"))).numpy()

    return log_prob, {"epochs": epoch, "batch_size": 256, "learning_rate": 1e-3}


FITS = {
    "pzflow": fit_pzflow,
    "denmarf": fit_denmarf,
    "margarine": fit_margarine,
    "zuko": fit_zuko,
}


def main(library, source, target, seed):
    with np.load(source) as file:
        train, test = file["train"], file["test"]
    start = time.perf_counter()
    log_prob, settings = FITS[library](train, int(seed))
    seconds = time.perf_counter() - start
    np.savez(target, log_prob=np.asarray(log_prob(test), "float64"))
    found = {"seconds": seconds, "version": version(library), "settings": settings}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
