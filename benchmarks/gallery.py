"""Eight densities of the plane, learned by two kinds of flow from three seeds.

`python -m benchmarks.run gallery` writes what the page "Gallery" draws: numbers into
`gallery.json`, and into `gallery.npz` the density that each worst run has learned on
a grid, and what it loses at test points.
"""

import time

import keras
import numpy as np
from keras import ops

from benchmarks.measure import about, write_arrays, write_json
from gaussflow import densities, plot
from gaussflow.families import make_coupling_flow, make_gaussianization_flow
from gaussflow.flow import restart

MAKERS = {"coupling": make_coupling_flow, "marginal": make_gaussianization_flow}
SETTINGS = {
    "points": 50_000,  # for training, and as many for testing
    "batch_size": 500,
    "epochs": 16,
    "learning_rate": 5e-3,  # reached after a twelfth of the steps, then down to 0
    "seeds": [0, 1, 2],
    "grid": 100,  # points of a stored map in each direction
    "lost_points": 10_000,  # test points whose loss is stored
    "hard": ["rings", "checkerboard"],  # trained four times as long, too
}


class Study:
    "Flows compiled once, the data, and what has been measured so far."

    def __init__(self, settings):
        self.settings, self.figures, self.arrays = settings, {}, {}
        n = settings["points"]
        names = settings.get("densities") or list(densities.toy_densities())
        self.toys = {name: densities.toy_data(name, n, num_fresh=n) for name in names}
        self.began = time.perf_counter()

    def compiled(self, make, epochs, **options):
        "Build a flow and compile it for so many epochs."
        flow = make(2, **options)
        flow.build((None, 2))
        steps = epochs * self.settings["points"] // self.settings["batch_size"]
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            steps - steps // 12,
            warmup_target=self.settings["learning_rate"],
            warmup_steps=steps // 12,
        )
        flow.compile(keras.optimizers.Adam(rate), steps_per_execution=20)
        return flow

    def train(self, flow, make, name, seed, epochs, **options):
        "Train from a seed's start. **Returns** what it loses at test and training points."
        keras.utils.set_random_seed(seed)
        new = make(2, **options)
        new.build((None, 2))
        restart(flow, new)
        toy, batch = self.toys[name], self.settings["batch_size"]
        flow.fit(toy.train, batch_size=batch, epochs=epochs, verbose=0)
        return [
            toy.density.log_prob(x)
            - ops.convert_to_numpy(flow.log_prob(x)).astype("float64")
            for x in (toy.fresh, toy.train)
        ]

    def note(self, name, value):
        "Add a number to a list of the figures, one for each seed."
        self.figures.setdefault(name, []).append(float(f"{value:.5g}"))


def frame(toy):
    "Return the limits of a density's pictures."
    half = 1.15 * float(np.quantile(np.abs(toy.train), 0.995))
    return -half, half


def outside(toy, flow):
    "Return the share of a flow's probability where the true density is 0."
    half = 5.0 / toy.density.scale.min()
    true = plot.density_grid(toy.density, (-half, half), 400)[2]
    q = np.exp(plot.density_grid(flow, (-half, half), 400)[2])
    return float(q[np.isneginf(true)].sum() / q.sum())


def one_run(study, flow, kind, name, seed):
    "Train and measure once; keep the arrays if no run of this kind was worse."
    start, toy = time.perf_counter(), study.toys[name]
    lost, trained = study.train(
        flow, MAKERS[kind], name, seed, study.settings["epochs"]
    )
    key = f"{kind}_{name}"
    study.note(f"{key}_gap", lost.mean())
    study.note(f"{key}_gap_se", lost.std() / np.sqrt(len(lost)))
    study.note(f"{key}_gap_trained", trained.mean())
    study.note(f"{key}_seconds", time.perf_counter() - start)
    if name == "checkerboard" and kind == "coupling":
        study.note(f"{key}_outside", outside(toy, flow))
    if lost.mean() >= max(study.figures[f"{key}_gap"]) * (1 - 1e-4):
        grid = plot.density_grid(flow, frame(toy), study.settings["grid"])[2]
        study.arrays[f"{key}_map"] = np.maximum(grid, -30).astype("float16")
        if kind == "coupling":
            few = lost[: study.settings["lost_points"]]
            study.arrays[f"{key}_lost"] = few.astype("float16")


def other_budgets(study):
    "Train the hard densities four times as long, and rings with a deeper marginal flow."
    epochs, hard = study.settings["epochs"], study.settings["hard"]
    cases = [("marginal", 12, epochs, hard[:1]), ("coupling", 4, epochs * 4, hard)]
    for kind, blocks, used, names in cases:
        make, options = MAKERS[kind], {"num_blocks": blocks}
        flow = study.compiled(make, used, **options)
        for name in names:
            lost, _ = study.train(flow, make, name, 0, used, **options)
            study.note(f"{kind}_{name}_gap_{blocks}_blocks_{used}_epochs", lost.mean())
            print(f"{kind} {name}: {blocks} blocks, {used} epochs", flush=True)


def measure_gallery(out, settings=None):
    "Run the study, writing after each seed. **Returns** figures, settings, machine."
    settings, machine = SETTINGS | (settings or {}), about()
    study = Study(settings)
    flows = {kind: study.compiled(m, settings["epochs"]) for kind, m in MAKERS.items()}
    runs = [(s, k, n) for s in settings["seeds"] for k in flows for n in study.toys]

    def save():
        study.figures["seconds"] = round(time.perf_counter() - study.began)
        write_arrays(out / "gallery.npz", study.arrays)
        write_json(out / "gallery.json", study.figures, settings, machine)

    for done, (seed, kind, name) in enumerate(runs, 1):
        one_run(study, flows[kind], kind, name, seed)
        used = time.perf_counter() - study.began
        left = used / done * (len(runs) - done)
        print(
            f"run {done} of {len(runs)}, {kind} {name}: {used / 60:.1f} minutes, "
            f"{left / 60:.0f} left",
            flush=True,
        )
        if done % len(study.toys) == 0:
            save()
    other_budgets(study)
    save()
    return study.figures, settings, machine
