"""The other side of `peers.py`: coupling flows of zuko or nflows, in the environment that has them.

`PYTHON benchmarks/peer_worker.py zuko` answers each JSON request, a line of its input, by one JSON line; arrays travel
as .npz files. It imports nothing of this project, which that environment need not have.
"""

import json
import math
import sys
import time
from functools import partial
from importlib.metadata import version

import numpy as np
import torch


def masks(request):
    """Return the boolean masks, True = kept: the first half, then the other, in turn."""
    first = torch.arange(request["d"]) < request["d"] // 2
    return [first if i % 2 == 0 else ~first for i in range(request["couplings"])]


def make_zuko(request):
    """Return the flow, and its log-density and its sampler as functions."""
    from zuko.distributions import DiagNormal
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.lazy import Flow, UnconditionalDistribution
    from zuko.transforms import MonotonicRQSTransform

    law, bins = {}, request["bins"]
    if request["law"] == "spline":
        law = {"univariate": partial(MonotonicRQSTransform, bound=request["bound"]), "shapes": [(bins,), (bins,), (bins - 1,)]}
    layers = [GeneralCouplingTransform(request["d"], mask=mask, hidden_features=request["hidden"], **law) for mask in masks(request)]
    base = UnconditionalDistribution(DiagNormal, torch.zeros(request["d"]), torch.ones(request["d"]), buffer=True)
    flow = Flow(layers, base)
    return flow, lambda x: flow().log_prob(x), lambda num: flow().sample((num,))


def make_nflows(request):
    """Return the flow, and its log-density and its sampler as functions."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import MLP
    from nflows.transforms import AffineCouplingTransform, CompositeTransform, PiecewiseRationalQuadraticCouplingTransform

    class Network(MLP):
        hidden_features = request["hidden"][-1]  # by which nflows scales what enters a softmax

        def forward(self, inputs, context=None):
            return super().forward(inputs)

    def network(num_kept, width):
        return Network((num_kept,), (width,), request["hidden"])

    layer = AffineCouplingTransform
    if request["law"] == "spline":
        layer = partial(PiecewiseRationalQuadraticCouplingTransform, num_bins=request["bins"], tails="linear", tail_bound=request["bound"])
    layers = [layer(mask=(~mask).int(), transform_net_create_fn=network) for mask in masks(request)]
    flow = Flow(CompositeTransform(layers), StandardNormal([request["d"]]))
    return flow, flow.log_prob, flow.sample


class Worker:
    """Holds one flow at a time and does what is asked of it."""

    def __init__(self, library):
        self.library, self.make_flow = library, {"zuko": make_zuko, "nflows": make_nflows}[library]

    def about(self, request):
        found = {name: version(name) for name in (self.library, "torch", "numpy")}
        return {"peer": self.library, "threads": torch.get_num_threads(), **found}

    def threads(self, request):
        torch.set_num_threads(request["num"])
        return {}

    def make(self, request):
        """Make a flow and its optimizer, and return how many parameters it trains."""
        torch.manual_seed(request["seed"])
        self.flow, self.log_density, self.sampler = self.make_flow(request)
        total = request["steps"]
        self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=request["learning_rate"], eps=request["epsilon"])
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / total, 1))))
        return {"parameters": sum(p.numel() for p in self.flow.parameters() if p.requires_grad)}

    def train(self, request):
        """Take a step for each batch of `order`; return the median step in seconds and the mean loss."""
        with np.load(request["file"]) as file:
            x, order = torch.from_numpy(file["x"]), torch.from_numpy(file["order"])
        ends, losses = [time.perf_counter()], []
        for rows in order.split(request["batch_size"]):
            loss = -self.log_density(x[rows]).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            losses.append(float(loss.detach()))
            ends.append(time.perf_counter())
        return {"step_seconds": float(np.median(np.diff(ends)[1:])), "loss": float(np.mean(losses))}

    def keep(self, request):
        """Remember the weights; `restore` brings them back."""
        self.kept = {name: value.clone() for name, value in self.flow.state_dict().items()}
        return {}

    def restore(self, request):
        self.flow.load_state_dict(self.kept)
        return {}

    @torch.no_grad()
    def log_prob(self, request):
        """Write the log-densities of the points in `file` to `out`, where one is named; return the seconds taken."""
        with np.load(request["file"]) as file:
            x = file["x"]
        start = time.perf_counter()
        values = self.log_density(torch.from_numpy(x)).numpy()
        taken = time.perf_counter() - start
        if "out" in request:
            np.savez(request["out"], log_prob=values)
        return {"seconds": taken}

    @torch.no_grad()
    def sample(self, request):
        start = time.perf_counter()
        values = self.sampler(request["num"]).numpy()
        return {"seconds": time.perf_counter() - start, "finite": bool(np.isfinite(values).all())}


def main():
    worker, answers = Worker(sys.argv[1]), sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(worker, request["do"])(request)), file=answers, flush=True)


if __name__ == "__main__":
    main()
