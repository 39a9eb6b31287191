"""The other side of `peers.py`.

Coupling flows of zuko or nflows, and Glow of normflows, in the environment that has
them.

`PYTHON benchmarks/peer_worker.py zuko` answers each JSON request, a line of its input,
by one JSON line; arrays travel as .npz files. It imports nothing of this project, which
that environment need not have.
"""

import math
import sys
import time
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from worker import serve


def masks(request):
    """Return the boolean masks, True = kept.

    The first half, then the other, in turn.
    """
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
        law = {
            "univariate": partial(MonotonicRQSTransform, bound=request["bound"]),
            "shapes": [(bins,), (bins,), (bins - 1,)],
        }
    layers = [
        GeneralCouplingTransform(
            request["d"], mask=mask, hidden_features=request["hidden"], **law
        )
        for mask in masks(request)
    ]
    base = UnconditionalDistribution(
        DiagNormal, torch.zeros(request["d"]), torch.ones(request["d"]), buffer=True
    )
    flow = Flow(layers, base)
    return flow, lambda x: flow().log_prob(x), lambda num: flow().sample((num,))


def make_nflows(request):
    """Return the flow, and its log-density and its sampler as functions."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import MLP
    from nflows.transforms import (
        AffineCouplingTransform,
        CompositeTransform,
        PiecewiseRationalQuadraticCouplingTransform,
    )

    class Network(MLP):
        hidden_features = request["hidden"][
            -1
        ]  # by which nflows scales what enters a softmax

        def forward(self, inputs, context=None):
            return super().forward(inputs)

    def network(num_kept, width):
        return Network((num_kept,), (width,), request["hidden"])

    layer = AffineCouplingTransform
    if request["law"] == "spline":
        layer = partial(
            PiecewiseRationalQuadraticCouplingTransform,
            num_bins=request["bins"],
            tails="linear",
            tail_bound=request["bound"],
        )
    layers = [
        layer(mask=(~mask).int(), transform_net_create_fn=network)
        for mask in masks(request)
    ]
    flow = Flow(CompositeTransform(layers), StandardNormal([request["d"]]))
    return flow, flow.log_prob, flow.sample


def make_normflows(request):
    """Return a Glow, and its log-density and its sampler as functions.

    On images `(n, height, width, channels)` in [0, 1]. `levels` times: a squeeze,
    `blocks` steps (ActNorm, 1x1 convolution, coupling) and, but at the last, half of
    the channels to the base. `prior` is "pixel", a mean and a scale for each number, or
    "channel", for each channel, as Glow's deepest is. With `alpha` the images pass
    through a logit of `alpha + (1 - 2 alpha) x`, without it through `x - 1/2`.
    """
    from normflows import MultiscaleFlow
    from normflows.distributions import DiagGaussian, GlowBase
    from normflows.flows import GlowBlock, Merge, Squeeze
    from normflows.transforms import Logit

    (height, width, channels), levels, alpha = (
        request["event"],
        request["levels"],
        request.get("alpha"),
    )
    if height % 2**levels or width % 2**levels:
        raise ValueError(
            f"Expected a height and a width that {levels} squeezes divide, "
            f"received {height} and {width}"
        )
    base, bases, flows = (
        {"pixel": DiagGaussian, "channel": GlowBase}[request["prior"]],
        [],
        [],
    )
    for depth in range(
        levels, 0, -1
    ):  # normflows counts from the base: the deepest level first
        inner, side = channels * 2 ** (depth + 1), 2**depth
        options = {"scale_map": request.get("scale_map", "sigmoid")}
        flows.append(
            [
                *(
                    GlowBlock(inner, request["hidden"], **options)
                    for _ in range(request["blocks"])
                ),
                Squeeze(),
            ]
        )
        bases.append(
            base(
                (
                    inner if depth == levels else inner // 2,
                    height // side,
                    width // side,
                )
            )
        )
    transform = None if alpha is None else Logit(alpha)
    flow = MultiscaleFlow(
        bases, flows, [Merge() for _ in bases[1:]], transform, class_cond=False
    )
    shift = (
        0.5 if alpha is None else 0.0
    )  # normflows' own Shift would move the caller's array, too

    def sample(num, temperature=None):
        return flow.sample(num, temperature=temperature)[0].permute(0, 2, 3, 1) + shift

    return (
        flow,
        lambda x: flow.log_prob((x - shift).permute(0, 3, 1, 2).contiguous(), None),
        sample,
    )


MAKERS = {"zuko": make_zuko, "nflows": make_nflows, "normflows": make_normflows}


def count_parameters(flow):
    """Return how many numbers are trained.

    Of its square L and U normflows reads a triangle each, the rest never moves.
    """
    unread = sum(
        m.L.numel() + m.num_channels for m in flow.modules() if hasattr(m, "log_S")
    )
    return sum(p.numel() for p in flow.parameters() if p.requires_grad) - unread


def dequantize(x, values=256):
    """Return integers with uniform noise, in [0, 1].

    Numbers with fractions stay as they are.
    """
    return x if x.is_floating_point() else (x + torch.rand(x.shape)) / values


class Worker:
    """Holds one flow at a time and does what is asked of it."""

    def __init__(self, library):
        self.library, self.make_flow = library, MAKERS[library]

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
        self.optimizer = torch.optim.Adam(
            self.flow.parameters(), lr=request["learning_rate"], eps=request["epsilon"]
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: 0.5 * (1 + math.cos(math.pi * min(step / total, 1))),
        )
        return {"parameters": count_parameters(self.flow)}

    @torch.no_grad()
    def adapt(self, request):
        """Let the layers that set themselves by a first batch see that in `file`."""
        with np.load(request["file"]) as file:
            x = dequantize(torch.from_numpy(file["x"]))
        return {"loss": -float(self.log_density(x).mean())}

    def train(self, request):
        """Take a step for each batch of `order`.

        Return the median step in seconds and the mean loss.

        Bytes get fresh noise in every batch.
        """
        with np.load(request["file"]) as file:
            x, order = torch.from_numpy(file["x"]), torch.from_numpy(file["order"])
        ends, losses = [time.perf_counter()], []
        for rows in order.split(request["batch_size"]):
            loss = -self.log_density(dequantize(x[rows])).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            losses.append(float(loss.detach()))
            ends.append(time.perf_counter())
        return {
            "step_seconds": float(np.median(np.diff(ends)[1:])),
            "loss": float(np.mean(losses)),
        }

    def keep(self, request):
        """Remember the weights; `restore` brings them back."""
        self.kept = {
            name: value.clone() for name, value in self.flow.state_dict().items()
        }
        return {}

    def restore(self, request):
        self.flow.load_state_dict(self.kept)
        return {}

    @torch.no_grad()
    def log_prob(self, request):
        """Write the log-densities of the points in `file` to `out`, where one is named.

        Return the seconds taken.

        `rows` is how many are looked at together: all when left out, which for images
        can be much memory. Images come with their noise, so that two libraries can be
        asked about the same numbers.
        """
        with np.load(request["file"]) as file:
            x = torch.from_numpy(file["x"])
        if not x.is_floating_point():
            raise ValueError(
                "Expected numbers with fractions, images with their noise, "
                f"received {x.dtype}"
            )
        start = time.perf_counter()
        values = torch.cat(
            [self.log_density(part) for part in x.split(request.get("rows", len(x)))]
        ).numpy()
        taken = time.perf_counter() - start
        if "out" in request:
            np.savez(request["out"], log_prob=values)
        return {"seconds": taken}

    @torch.no_grad()
    def sample(self, request):
        """Draw `num` points, with `temperature` where it is named.

        Written to `out`, where that is named.
        """
        start = time.perf_counter()
        options = {name: request[name] for name in ("temperature",) if name in request}
        values = self.sampler(request["num"], **options).numpy()
        taken = time.perf_counter() - start
        share = float(np.isfinite(values).reshape(len(values), -1).all(axis=1).mean())
        if "out" in request:
            np.savez(request["out"], x=values)
        return {
            "seconds": taken,
            "finite": bool(np.isfinite(values).all()),
            "finite_share": share,
        }


if __name__ == "__main__":
    serve(Worker(sys.argv[1]))
