"""Flows of 28 x 28 digits in bits per dimension.

Families at one budget, and one Glow here and in normflows.

`python -m benchmarks.run images --data DIR --peer-python PATH` reads `mnist10k.npz` in
DIR, trains on its first 9,000 images and judges on the last 1,000. The peer is asked as
in `peers.py`.
"""

from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
from keras import ops

from benchmarks.measure import (
    StepClock,
    about,
    ratio,
    seconds,
    summary,
    take_turns,
    write_json,
)
from benchmarks.peers import (
    Exchange,
    Peer,
    faster_threads,
    make_order,
    read_results,
    standard_error,
)
from gaussflow.base import DiagonalNormal
from gaussflow.bijector import Chain
from gaussflow.bounded import Logit
from gaussflow.dequantization import UniformDequantization
from gaussflow.families import glow_steps, make_glow, make_nice, make_real_nvp
from gaussflow.flow import NormalizingFlow, restart
from gaussflow.images import IndependentPixels, load_images
from gaussflow.mixture import MixtureCDF
from gaussflow.multiscale import MultiScale, Squeeze
from gaussflow.scalar import Affine
from gaussflow.spline import RationalQuadraticSpline

EVENT = (28, 28, 1)
BITS = 0.02  # how much worse ours may be than the peer, at most
SETTINGS = {
    "file": "mnist10k.npz",
    "held_out": 1_000,  # the last ones
    "num_values": 256,
    "levels": 2,  # of Glow and Real NVP: 28, 14, 7 pixels
    "blocks": 4,  # steps of Glow a level
    "hidden": 32,  # channels of each network, two hidden layers
    "alpha": 0.05,  # of the logit
    "steps": 1_000,
    "batch_size": 64,
    "learning_rate": 2e-3,  # falls as a cosine to 0, in Adam
    "warmup_steps": 0,  # in which it rises beforehand
    "clipnorm": None,  # of the whole gradient
    "epsilon": 1e-7,
    "adapted_on": 512,  # images that the ActNorms see first
    "seeds": [0, 1, 2],
    "families": {
        "steps": 1_500,
        "learning_rate": 5e-3,
        "warmup_steps": 100,
        "clipnorm": 1_000.0,
    },  # one recipe for all of them
}


def load(folder, settings):
    """Return the images for training and the held-out ones.

    **Raises** `ValueError` without a folder.
    """
    if folder is None:
        raise ValueError(
            f"Expected --data with the folder that holds {settings['file']}, "
            "received none"
        )
    images = load_images(Path(folder) / settings["file"])
    return images[: -settings["held_out"]], images[-settings["held_out"] :]


def same_glow(settings):
    """Return Glow as normflows builds it.

    Its steps, half of the channels set aside, a trained diagonal normal as the base.
    """
    chains, channels = [], EVENT[-1]
    for _ in range(settings["levels"]):
        channels *= 4
        chains.append(
            Chain(
                [
                    Squeeze(),
                    *glow_steps(
                        channels,
                        settings["blocks"],
                        Affine(),
                        (settings["hidden"],) * 2,
                        "relu",
                    ),
                ]
            )
        )
        channels //= 2
    layers = [
        UniformDequantization(settings["num_values"]),
        Logit(alpha=settings["alpha"]),
        MultiScale(chains),
    ]
    return NormalizingFlow(layers, EVENT, DiagonalNormal())


def family(name, settings):
    """Return a flow by the factory of its name, for integers behind one logit.

    But NICE, whose paper has none.
    """
    common = {"hidden": (settings["hidden"],) * 2, "num_values": settings["num_values"]}
    glow = {
        "num_levels": settings["levels"],
        "num_blocks": settings["blocks"],
        "alpha": settings["alpha"],
    }
    return {
        "nice": lambda: make_nice(EVENT, **common | {"hidden": (512, 512)}),
        "real nvp": lambda: make_real_nvp(
            EVENT,
            num_levels=settings["levels"],
            alpha=settings["alpha"],
            **common | {"hidden": (16, 16)},
        ),
        "glow": lambda: make_glow(EVENT, **glow, **common),
        "glow mixture": lambda: make_glow(
            EVENT, scalar=MixtureCDF(4), **glow, **common
        ),
        "glow spline": lambda: make_glow(
            EVENT, scalar=RationalQuadraticSpline(8), **glow, **common
        ),
    }[name]()


FAMILIES = ("nice", "real nvp", "glow", "glow mixture", "glow spline")


def compiled(make, settings, seed):
    """Return a built flow of that seed, compiled with a falling rate."""
    keras.utils.set_random_seed(seed)
    flow = make()
    flow.build((None, *EVENT))
    peak, warmup = settings["learning_rate"], settings["warmup_steps"]
    rise = {"warmup_target": peak, "warmup_steps": warmup} if warmup else {}
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else peak, settings["steps"] - warmup, **rise
    )
    flow.compile(
        keras.optimizers.Adam(
            rate, epsilon=settings["epsilon"], global_clipnorm=settings["clipnorm"]
        )
    )
    return flow


def train(flow, x, order, settings):
    """Take a step for each batch of `order` by `fit`, and return its clock."""
    clock = StepClock()
    flow.fit(
        x[order],
        batch_size=settings["batch_size"],
        epochs=1,
        shuffle=False,
        verbose=0,
        callbacks=[clock],
    )
    return clock


def bits(log_prob):
    """Return bits per dimension of log-probabilities in nats."""
    return -ops.convert_to_numpy(log_prob).astype("float64") / (
        np.prod(EVENT) * np.log(2)
    )


def fit_all(make, data, settings):
    """Fit one flow for each seed, compiled once.

    Return bits of the held-out images `(seeds, images)`, its step and its parameters.
    """
    x, fresh = data
    flow, rows, clocks = compiled(make, settings, 0), [], []
    for seed in settings["seeds"]:
        restart(flow, compiled(make, settings, seed))
        flow.adapt(x[: settings["adapted_on"]], only_pending=True)
        clocks.append(
            train(
                flow, x, make_order(len(x), settings["steps"], settings, seed), settings
            )
        )
        rows.append(bits(flow.log_prob(fresh)))
    sizes = [int(np.prod(w.shape)) for w in flow.trainable_variables]
    return (
        np.stack(rows),
        1e3 * float(np.median([clock.step_seconds for clock in clocks])),
        sum(sizes),
    )


def request(settings, seed):
    """Return what the peer is asked to make."""
    names = ("levels", "blocks", "hidden", "alpha", "steps", "learning_rate", "epsilon")
    return {
        "event": list(EVENT),
        "prior": "pixel",
        "seed": seed,
        **{name: settings[name] for name in names},
    }


def make_theirs(peer, settings, seed, files, x):
    """Have the peer make its Glow and adapt it.

    **Raises** `ValueError` unless it trains as many numbers as ours.
    """
    theirs = peer.ask("make", **request(settings, seed))["parameters"]
    ours = sum(
        int(np.prod(w.shape))
        for w in compiled(
            lambda: same_glow(settings), settings, seed
        ).trainable_variables
    )
    if theirs != ours:
        raise ValueError(
            f"Expected a peer with {ours} parameters, as ours, "
            f"received one with {theirs}"
        )
    peer.ask("adapt", file=files.save("first", x=x[: settings["adapted_on"]]))


def fit_theirs(peer, data, settings):
    """Fit the peer's Glow for each seed on the batches that ours sees.

    Return bits of the images that ours is asked about.
    """
    x, fresh = data
    noise = UniformDequantization(settings["num_values"])
    floats, log_det = (
        ops.convert_to_numpy(part) for part in noise.forward_and_log_det(fresh)
    )
    rows, shares = [], []
    with Exchange() as files:
        held_out, out = files.save("fresh", x=floats), files.path("out")
        for seed in settings["seeds"]:
            make_theirs(peer, settings, seed, files, x)
            order = make_order(len(x), settings["steps"], settings, seed)
            peer.ask(
                "train",
                file=files.save("train", x=x, order=order),
                batch_size=settings["batch_size"],
            )
            peer.ask("log_prob", file=held_out, out=out, rows=250)
            rows.append(bits(np.load(out)["log_prob"] + log_det))
            shares.append(peer.ask("sample", num=500)["finite_share"])
    return np.stack(rows), shares


def measure_families(data, settings, names):
    """Yield results of each family, and of independent pixels, as they are ready."""
    x, fresh = data
    yield {
        "pixels_bits": round(
            IndependentPixels(settings["num_values"]).fit(x).bits_per_dim(fresh), 4
        )
    }
    settings = settings | settings["families"]
    for name in names or FAMILIES:
        rows, step, size = fit_all(
            lambda name=name: family(name, settings), data, settings
        )
        key = name.replace(" ", "_")
        yield {
            f"{key}_bits": summary(rows.mean(axis=1)),
            f"{key}_bits_mean": round(float(rows.mean()), 4),
            f"{key}_parameters": size,
        }
        yield {
            f"{key}_bits_se": round(standard_error(rows.mean(axis=0)), 4),
            f"{key}_step_ms": round(step, 1),
        }


def measure_glow(data, settings, peer):
    """Yield the held-out bits of one Glow in both libraries, and how they compare."""
    theirs, shares = fit_theirs(peer, data, settings)
    ours, _, size = fit_all(lambda: same_glow(settings), data, settings)
    by_image, by_seed = (ours - theirs).mean(axis=0), (ours - theirs).mean(axis=1)
    yield {
        "ours_bits": summary(ours.mean(axis=1)),
        "peer_bits": summary(theirs.mean(axis=1)),
        "parameters": size,
    }
    yield {
        "difference": round(float(by_image.mean()), 4),
        "difference_se": round(standard_error(by_image), 4),
        "allowed": BITS,
    }
    yield {
        "met": bool(by_image.mean() <= BITS),
        "seeds_se": round(standard_error(by_seed), 4),
        "peer_finite_draws": summary(shares),
    }


def measure_speed(data, settings, peer):
    """Yield ms of a training step, `log_prob` and 500 draws, and ratios ours / peer."""
    x, fresh = data
    flow, num = compiled(lambda: same_glow(settings), settings, 0), 500
    flow.adapt(x[: settings["adapted_on"]], only_pending=True)
    order = make_order(len(x), settings["speed_steps"], settings, 0)
    ours = {
        "step": lambda: train(flow, x, order, settings).step_seconds,
        "log_prob": lambda: seconds(
            lambda: ops.convert_to_numpy(flow.log_prob(fresh[:num]))
        ),
        "sample": lambda: seconds(
            lambda: ops.convert_to_numpy(flow.sample(num, seed=0))
        ),
    }
    with Exchange() as files:
        make_theirs(peer, settings, 0, files, x)
        batches = {
            "file": files.save("train", x=x, order=order),
            "batch_size": settings["batch_size"],
        }
        images = {
            "file": files.save(
                "points",
                x=((fresh[:num] + 0.5) / settings["num_values"]).astype("float32"),
            )
        }
        theirs = {
            "step": lambda: peer.ask("train", **batches)["step_seconds"],
            "log_prob": lambda: peer.ask("log_prob", **images)["seconds"],
            "sample": lambda: peer.ask("sample", num=num)["seconds"],
        }
        most = peer.ask("about")["threads"]
        for what, call in ours.items():
            call()  # trace and compile
            threads = faster_threads(peer, theirs[what], most)
            times = take_turns(
                {"ours": call, "peer": theirs[what]},
                settings["repeats"],
                settings["max_seconds"],
            )
            yield {
                f"{what}_{who}_ms": summary(np.multiply(1e3, values))
                for who, values in times.items()
            }
            yield {
                f"{what}_ratio": ratio(times["ours"], times["peer"]),
                f"{what}_peer_threads": threads,
            }


def measure_part(part, args, path):
    """Measure a part, and write each figure at `path` as soon as it is there.

    What else is stored there stays.

    Figures of the same part that were measured under other settings are removed.
    """
    unknown = sorted(set(args.families or ()) - set(FAMILIES))
    if unknown:
        raise ValueError(
            f"Expected --families among {', '.join(FAMILIES)}, "
            f"received {', '.join(unknown)}"
        )
    figures, settings, machines = read_results(path)
    chosen = dict(SETTINGS)
    if part == "speed":
        chosen |= {
            "speed_steps": args.steps,
            "repeats": args.repeats,
            "max_seconds": args.max_seconds,
        }
    if settings.get(part) != chosen:
        figures = {
            key: value for key, value in figures.items() if not key.startswith(part)
        }
    with ExitStack() as stack:
        peer = (
            None
            if part == "families"
            else stack.enter_context(Peer(args.peer_python, "normflows"))
        )
        settings[part], machines[part] = (
            chosen,
            about() | {"peers": [] if peer is None else [peer.ask("about")]},
        )
        data = load(args.data, chosen)
        found = {
            "families": lambda: measure_families(data, chosen, args.families),
            "glow": lambda: measure_glow(data, chosen, peer),
            "speed": lambda: measure_speed(data, chosen, peer),
        }[part]()
        for some in found:
            figures |= {f"{part}_{key}": value for key, value in some.items()}
            write_json(path, figures, settings, machines)
            print(f"  {part}: {some}", flush=True)
    return figures, settings, machines
