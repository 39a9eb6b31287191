"""The other side of `whole_job.py`: FlowJAX, in the environment that has it.

`PYTHON benchmarks/flowjax_worker.py` answers requests as `worker.py` says; arrays travel
as .npz files. It imports nothing of this project.
"""

import time
from importlib.metadata import version

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow
from flowjax.train.losses import MaximumLikelihoodLoss
from flowjax.train.train_utils import get_batches, step
from worker import serve


class Worker:
    """Holds one flow at a time and does what is asked of it."""

    def about(self, request):
        names = ("flowjax", "jax", "equinox", "optax", "numpy")
        return {"peer": "flowjax", **{name: version(name) for name in names}}

    def make(self, request):
        """Make a flow and its optimizer.

        Couplings are affine unless a transformer is named, so the spline is; conditioners
        are as wide and as deep as ours.
        """
        flow = coupling_flow(
            jax.random.key(request["seed"]),
            base_dist=StandardNormal((request["d"],)),
            transformer=RationalQuadraticSpline(
                knots=request["bins"], interval=request["bound"]
            ),
            flow_layers=request["couplings"],
            nn_width=request["hidden"][0],
            nn_depth=len(request["hidden"]),
        )
        rate = optax.cosine_decay_schedule(request["learning_rate"], request["steps"])
        self.optimizer = optax.adam(rate, eps=request["epsilon"])
        self.params, self.static = eqx.partition(
            flow,
            eqx.is_inexact_array,
            is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
        )
        self.state, self.loss = (
            self.optimizer.init(self.params),
            MaximumLikelihoodLoss(),
        )
        leaves = jax.tree.leaves(eqx.filter(self.params, eqx.is_inexact_array))
        return {"parameters": int(sum(leaf.size for leaf in leaves))}

    def train(self, request):
        """Take a step for each batch of `order` by the library's own `step`."""
        with np.load(request["file"]) as file:
            x = jnp.asarray(file["x"][file["order"]])
        key = jax.random.key(0)  # which likelihoods leave alone
        start, losses = time.perf_counter(), []
        for batch in zip(*get_batches((x,), request["batch_size"]), strict=True):
            self.params, self.state, loss = step(
                self.params,
                self.static,
                *batch,
                key=key,
                optimizer=self.optimizer,
                opt_state=self.state,
                loss_fn=self.loss,
            )
            losses.append(loss)
        loss = float(jnp.mean(jnp.stack(losses)))
        return {
            "step_seconds": (time.perf_counter() - start) / len(losses),
            "loss": loss,
        }

    def log_prob(self, request):
        """Return the seconds that the log-densities of the points in `file` take."""
        with np.load(request["file"]) as file:
            x = file["x"]
        start = time.perf_counter()
        values = np.asarray(log_density(self.params, self.static, jnp.asarray(x)))
        taken = time.perf_counter() - start
        if "out" in request:
            np.savez(request["out"], log_prob=values)
        return {"seconds": taken}

    def sample(self, request):
        start = time.perf_counter()
        np.asarray(draw(self.params, self.static, jax.random.key(0), (request["num"],)))
        return {"seconds": time.perf_counter() - start}


@eqx.filter_jit
def log_density(params, static, x):
    return paramax.unwrap(eqx.combine(params, static)).log_prob(x)


@eqx.filter_jit
def draw(params, static, key, shape):
    return paramax.unwrap(eqx.combine(params, static)).sample(key, shape)


if __name__ == "__main__":
    serve(Worker())
