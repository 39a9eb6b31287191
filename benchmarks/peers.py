"""Coupling flows here and in a PyTorch library, alike in all but the library.

Held-out likelihood, and times as ratios.

`python -m benchmarks.run peers --data DIR --peer-python PATH` starts `peer_worker.py`
under PATH, whose environment has zuko and nflows, and asks it for each fit, log-density
and draw; README.md says how to make that environment.
"""

import json
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from scipy import special

from benchmarks.measure import (
    StepClock,
    about,
    ratio,
    seconds,
    summary,
    take_turns,
    write_json,
)
from gaussflow import make_coupling_flow
from gaussflow.densities import Density, in_blocks, toy_data
from gaussflow.events import check_count
from gaussflow.flow import restart
from gaussflow.mixture import MixtureCDF
from gaussflow.scalar import Affine
from gaussflow.spline import RationalQuadraticSpline

DATASETS = ("two moons", "ten Gaussians", "power plant", "kin8nm")
PILOT = ("two moons", "power plant")
LAWS = ("affine", "spline", "mixture")  # the peers have no mixture
# The better of the two over the pilot (`--only pilot`); nflows' affine coupling can
# hardly stretch: it multiplies by at most 1.001.
PEER = {"affine": "zuko", "spline": "zuko"}
TABLES = {"power plant": "power-plant.txt", "kin8nm": "kin8nm.txt"}
NATS = 0.02  # how much worse ours may be, at most
SETTINGS = {
    "couplings": 8,  # the first keeps the first half, the next the other, in turn
    "hidden": [64, 64],
    "bins": 8,
    "bound": 5.0,  # of the splines, the default of both libraries
    "components": 8,
    "steps": 2_000,
    "batch_size": 256,
    "learning_rate": 5e-3,  # falls as a cosine to 0, in Adam; tuned for none
    "epsilon": 1e-7,
    "seeds": [0, 1, 2],
    "train_points": {"two moons": 20_000, "ten Gaussians": 50_000},
    "checks": 20,  # even looks at the points of choice; the best weights are kept
    "choice_points": 2_000,
    "fresh_points": 10_000,
}


class TenGaussians(Density):
    """Equally likely Gaussians: means are normal draws, axes are turned at random."""

    def __init__(self, dim=64, parts=10, narrow=0.3, seed=0):
        rng = np.random.default_rng(seed)
        self.dim, self.parts = dim, parts
        self.scales = np.geomspace(
            narrow, 1.0, dim
        )  # standard deviations along the axes
        self.means = rng.normal(size=(parts, dim))
        self.axes = np.stack(
            [np.linalg.qr(rng.normal(size=(dim, dim)))[0] for _ in range(parts)]
        )

    def log_parts(self, x):
        """Return the log-density of each part times its share, `(n, parts)`."""
        along = np.matmul(x - self.means[:, None], self.axes) / self.scales
        constant = (
            np.log(self.parts)
            + np.sum(np.log(self.scales))
            + 0.5 * self.dim * np.log(2 * np.pi)
        )
        return -0.5 * np.sum(along**2, axis=2).T - constant

    def log_prob(self, x):
        return in_blocks(
            lambda part: special.logsumexp(self.log_parts(part), axis=1), x, self.dim
        )

    def draw(self, n, seed=None):
        """Return draws, and the part that each came from."""
        rng = np.random.default_rng(seed)
        part = rng.integers(self.parts, size=check_count("n", n))
        x = self.scales * rng.normal(size=(n, self.dim))
        for k in range(self.parts):
            x[part == k] = self.means[k] + x[part == k] @ self.axes[k].T
        return x, part

    def sample(self, n, seed=None):
        return self.draw(n, seed)[0]

    def entropy(self):
        """Return the entropy and three standard errors of it.

        It is that of a part and of the die, in closed form, less what a point leaves
        unknown of the die: the mean of `-log P(part | x)`, over 20,000 draws, which is
        all that is estimated.
        """
        x, part = self.draw(20_000, seed=12_345)
        logs = np.concatenate(
            [self.log_parts(x[i : i + 1_000]) for i in range(0, len(x), 1_000)]
        )
        unknown = special.logsumexp(logs, axis=1) - logs[np.arange(len(x)), part]
        one_part = 0.5 * self.dim * np.log(2 * np.pi * np.e) + np.sum(
            np.log(self.scales)
        )
        return float(one_part + np.log(self.parts) - unknown.mean()), float(
            3 * unknown.std() / np.sqrt(len(x)) + 1e-12
        )


class Data(NamedTuple):
    """Points for training, for choosing when to stop, and held out.

    And their density, `None` where nobody knows it.
    """

    train: np.ndarray
    choice: np.ndarray
    fresh: np.ndarray
    density: Density | None = None


def split_table(x, seed=0):
    """Return 80, 10 and 10 of 100 shuffled rows, standardised by the 80."""
    x = x[np.random.default_rng(seed).permutation(len(x))]
    parts = np.split(x, [len(x) * 8 // 10, len(x) * 9 // 10])
    mean, scale = parts[0].mean(axis=0), parts[0].std(axis=0)
    return Data(*(((part - mean) / scale).astype("float32") for part in parts))


def load_data(name, folder, settings):
    """Return a table of `folder`, or draws from a known density.

    **Raises** `ValueError` for a table without a folder.
    """
    if name in TABLES:
        if folder is None:
            raise ValueError(
                f"Expected --data with the folder that holds {TABLES[name]}, "
                "received none"
            )
        return split_table(np.loadtxt(Path(folder) / TABLES[name]))
    density = TenGaussians() if name == "ten Gaussians" else name
    train, fresh, density = toy_data(
        density, settings["train_points"][name], num_fresh=settings["fresh_points"]
    )
    return Data(
        train,
        density.sample(settings["choice_points"], seed=2).astype("float32"),
        fresh,
        density,
    )


class Peer:
    """A worker process under another Python.

    `ask` sends it one request and returns its answer.
    """

    def __init__(self, python, *arguments, script="peer_worker.py"):
        self.start(str(python), str(Path(__file__).with_name(script)), *arguments)

    def start(self, *command, **options):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )

    def ask(self, do, **request):
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"Expected an answer to {do!r} from the peer's process, "
                "received none: see what it wrote above"
            )
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


class Exchange(tempfile.TemporaryDirectory):
    """A folder of .npz files that both processes read and write."""

    def __enter__(self):
        self.folder = Path(super().__enter__())
        return self

    def path(self, name):
        return str(self.folder / f"{name}.npz")

    def save(self, name, **arrays):
        np.savez(self.path(name), **arrays)
        return self.path(name)


def make_ours(law, d, settings, seed):
    """Return a built flow of ours with the couplings and widths of `settings`."""
    keras.utils.set_random_seed(seed)
    scalar = {
        "affine": lambda: Affine(),
        "spline": lambda: RationalQuadraticSpline(settings["bins"], settings["bound"]),
        "mixture": lambda: MixtureCDF(settings["components"]),
    }[law]()
    blocks, hidden = settings["couplings"] // 2, settings["hidden"]
    flow = make_coupling_flow(
        d, blocks, hidden=hidden, include_rotation=False, scalar=scalar
    )
    flow.build((None, d))
    return flow


def compile_ours(flow, settings):
    rate = keras.optimizers.schedules.CosineDecay(
        settings["learning_rate"], settings["steps"]
    )
    flow.compile(optimizer=keras.optimizers.Adam(rate, epsilon=settings["epsilon"]))


def train_ours(flow, x, order, settings):
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


def make_order(num, steps, settings, seed):
    """Return the rows of all batches, one after another.

    A new permutation for each pass over the data.
    """
    rng, wanted = np.random.default_rng(seed), steps * settings["batch_size"]
    passes = [rng.permutation(num) for _ in range(-(-wanted // num))]
    return np.concatenate(passes)[:wanted]


def start_peer(peer, law, d, settings, seed):
    """Have the peer make a flow.

    **Raises** `ValueError` unless it trains as many numbers as ours.
    """
    names = (
        "couplings",
        "hidden",
        "bins",
        "bound",
        "steps",
        "learning_rate",
        "epsilon",
    )
    request = {
        "law": law,
        "d": d,
        "seed": seed,
        **{name: settings[name] for name in names},
    }
    theirs = peer.ask("make", **request)["parameters"]
    ours = sum(
        int(np.prod(w.shape))
        for w in make_ours(law, d, settings, seed).trainable_variables
    )
    if theirs != ours:
        raise ValueError(
            f"Expected a peer with {ours} parameters, as ours, "
            f"received one with {theirs}"
        )


def judge(ours, theirs, known=None):
    """Return the figures of one comparison.

    `ours` and `theirs` are NLL in nats, `(seeds, points)`; `theirs` may be `None`, and
    `known`, the true density's, too. A point's difference is its mean over the seeds;
    `allowed` is `NATS` or one standard error of the mean of those.
    """
    figures = {}
    for who, nll in (("ours", ours), ("peer", theirs)):
        if nll is None:
            continue
        if not np.isfinite(nll).all():
            raise ValueError(
                f"Expected finite log-densities of {who}, "
                f"received {(~np.isfinite(nll)).sum()} others"
            )
        figures |= {
            who: round(float(nll.mean()), 5),
            f"{who}_seeds": summary(nll.mean(axis=1)),
        }
        if known is not None:
            figures[f"{who}_gap"] = round(float((nll - known).mean()), 5)
    if theirs is not None:
        by_point, by_seed = (ours - theirs).mean(axis=0), (ours - theirs).mean(axis=1)
        error, allowed = standard_error(by_point), min(NATS, standard_error(by_point))
        figures |= {
            "difference": round(float(by_point.mean()), 5),
            "difference_se": round(error, 5),
            "allowed": round(allowed, 5),
        }
        figures |= {
            "met": bool(by_point.mean() <= allowed),
            "seeds_se": round(standard_error(by_seed), 5),
        }
    return figures


def standard_error(values):
    """Return the standard error of a mean; 0 for one value, which has none."""
    return (
        float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    )


def fit(train, nll_of_choice, keep, order, settings):
    """Train through `order`, and `keep` the weights that did best.

    That is at the look at the points of choice with the lowest NLL.
    """
    best = np.inf
    for rows in np.split(order, settings["checks"]):
        train(rows)
        value = nll_of_choice()
        if value < best:
            best = value
            keep()


def fit_ours(law, data, settings):
    """Fit one flow for each seed, compiled once.

    Return the NLL of the held-out points, `(seeds, points)`.
    """
    flow, rows, kept = make_ours(law, data.train.shape[1], settings, 0), [], {}
    compile_ours(flow, settings)

    def nll(x):
        return -ops.convert_to_numpy(flow.log_prob(x)).astype("float64")

    for seed in settings["seeds"]:
        restart(flow, make_ours(law, data.train.shape[1], settings, seed))
        order = make_order(len(data.train), settings["steps"], settings, seed)
        fit(
            lambda rows: train_ours(flow, data.train, rows, settings),
            lambda: nll(data.choice).mean(),
            lambda: kept.update(weights=flow.get_weights()),
            order,
            settings,
        )
        flow.set_weights(kept["weights"])
        rows.append(nll(data.fresh))
    return np.stack(rows)


def fit_peer(law, data, settings, peer):
    """Fit one flow of the peer for each seed, on the batches that ours sees.

    Return the same.
    """
    batch_size, results = settings["batch_size"], []
    with Exchange() as files:
        for name in ("choice", "fresh"):
            files.save(name, x=getattr(data, name))

        def nll(name):
            peer.ask("log_prob", file=files.path(name), out=files.path("out"))
            return -np.load(files.path("out"))["log_prob"].astype("float64")

        for seed in settings["seeds"]:
            start_peer(peer, law, data.train.shape[1], settings, seed)
            order = make_order(len(data.train), settings["steps"], settings, seed)
            fit(
                lambda rows: peer.ask(
                    "train",
                    file=files.save("train", x=data.train, order=rows),
                    batch_size=batch_size,
                ),
                lambda: nll("choice").mean(),
                lambda: peer.ask("keep"),
                order,
                settings,
            )
            peer.ask("restore")
            results.append(nll("fresh"))
    return np.stack(results)


def measure_pilot(law, data, settings, peers):
    """Return each library's held-out NLL, one seed, in nats."""
    settings = settings | {"seeds": settings["seeds"][:1]}
    return {
        library: round(float(fit_peer(law, data, settings, peer).mean()), 5)
        for library, peer in peers.items()
    }


def measure_nll(law, data, settings, peer=None):
    """Return the held-out NLL of ours and the peer, all seeds, and how they compare."""
    theirs = None if peer is None else fit_peer(law, data, settings, peer)
    known = None if data.density is None else -data.density.log_prob(data.fresh)
    return judge(fit_ours(law, data, settings), theirs, known)


def faster_threads(peer, call, most):
    """Set the peer to one thread or to `most`, and return the number.

    Whichever makes `call`, the best of three, shorter.
    """
    times = {}
    for num in sorted({1, most}):
        peer.ask("threads", num=num)
        times[num] = min(call() for _ in range(3))
    num = min(times, key=times.get)
    peer.ask("threads", num=num)
    return num


def measure_times(law, data, settings, peer=None):
    """Return ms of a training step and of `log_prob` and `sample` of many rows.

    Ours, the peer's and the ratio.
    """
    flow, rng, num = (
        make_ours(law, data.train.shape[1], settings, 0),
        np.random.default_rng(0),
        settings["fresh_points"],
    )
    compile_ours(flow, settings)
    order = make_order(len(data.train), settings["speed_steps"], settings, 0)
    points = data.train[rng.integers(len(data.train), size=num)]
    ours = {
        "step": lambda: train_ours(flow, data.train, order, settings).step_seconds,
        "log_prob": lambda: seconds(
            lambda: ops.convert_to_numpy(flow.log_prob(points))
        ),
        "sample": lambda: seconds(
            lambda: ops.convert_to_numpy(flow.sample(num, seed=0))
        ),
    }
    with Exchange() as files:
        theirs = {}
        if peer is not None:
            start_peer(peer, law, data.train.shape[1], settings, 0)
            most = peer.ask("about")["threads"]
            train = {
                "file": files.save("train", x=data.train, order=order),
                "batch_size": settings["batch_size"],
            }
            drawn = {"file": files.save("points", x=points)}
            theirs = {
                "step": lambda: peer.ask("train", **train)["step_seconds"],
                "log_prob": lambda: peer.ask("log_prob", **drawn)["seconds"],
                "sample": lambda: peer.ask("sample", num=num)["seconds"],
            }
        figures = {}
        for what, call in ours.items():
            # Trace and compile; the first epoch also moves the weights.
            call()
            contenders = {"ours": call}
            if peer is not None:
                figures[f"{what}_peer_threads"] = faster_threads(
                    peer, theirs[what], most
                )
                contenders["peer"] = theirs[what]
            times = take_turns(contenders, settings["repeats"], settings["max_seconds"])
            figures |= {
                f"{what}_{who}_ms": summary(np.multiply(1e3, values))
                for who, values in times.items()
            }
            if peer is not None:
                figures[f"{what}_ratio"] = ratio(times["ours"], times["peer"])
                peer.ask("threads", num=most)
    return figures


MEASURES = {"pilot": measure_pilot, "nll": measure_nll, "speed": measure_times}


def read_results(path):
    """Return `figures`, `settings` and `about` of the stored run, the last two by part.

    Empty where there is none.
    """
    stored = json.loads(path.read_text()) if path.exists() else {}
    return [stored.get(name, {}) for name in ("figures", "settings", "about")]


def turns(args):
    return {"repeats": args.repeats, "max_seconds": args.max_seconds}


def still_valid(figures, part, same_settings):
    """Return stored figures without those of a part measured under other settings."""
    return {
        key: value
        for key, value in figures.items()
        if same_settings or not key.startswith(f"{part}_")
    }


def plan(part, datasets, laws):
    """Yield the names and the laws of a part, in the order of measurement."""
    for name in datasets:
        for law in laws:
            if part != "pilot" or (name in PILOT and law in PEER):
                yield name, law


def measure_part(part, args, path):
    """Measure a part, and write each result at `path` as soon as it is there.

    What else is stored there stays.

    Figures of the same part that were measured under other settings are removed.
    """
    for option, named, known in (
        ("--datasets", args.datasets, DATASETS),
        ("--laws", args.laws, LAWS),
    ):
        unknown = sorted(set(named or ()) - set(known))
        if unknown:
            raise ValueError(
                f"Expected {option} among {', '.join(known)}, "
                f"received {', '.join(unknown)}"
            )
    figures, settings, machines = read_results(path)
    chosen = SETTINGS | {"peer": PEER}
    if part == "speed":
        chosen |= {"speed_steps": args.steps} | turns(args)
    figures = still_valid(figures, part, settings.get(part) == chosen)
    libraries = ("zuko", "nflows") if part == "pilot" else sorted(set(PEER.values()))
    with ExitStack() as stack:
        peers = {
            library: stack.enter_context(Peer(args.peer_python, library))
            for library in libraries
        }
        settings[part] = chosen
        machines[part] = about() | {
            "peers": [peer.ask("about") for peer in peers.values()]
        }
        for name, law in plan(part, args.datasets or DATASETS, args.laws or LAWS):
            peer = peers if part == "pilot" else peers.get(PEER.get(law))
            found = MEASURES[part](
                law, load_data(name, args.data, SETTINGS), chosen, peer
            )
            figures |= {
                f"{part}_{name.replace(' ', '_')}_{law}_{key}": value
                for key, value in found.items()
            }
            write_json(path, figures, settings, machines)
            print(f"  {part}: {name}, {law}: {found}", flush=True)
    return figures, settings, machines
