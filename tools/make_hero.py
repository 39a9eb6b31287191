"""Draw the picture of the landing page: eight densities and, below each, the coupling flow that learned it from points.

The recipe is that of the gallery (tutorial 12) with twice its steps: 50,000 points, seed 0. About twenty minutes on two cores. The
grids are kept in a file that git ignores, so that a second call only draws: `python tools/make_hero.py`.
"""

import os
from pathlib import Path

import books as nb

os.environ.update({k: os.environ.get(k, v) for k, v in nb.QUIET.items()})

import keras
import matplotlib.pyplot as plt
import numpy as np

import gaussflow as gf
from gaussflow import densities, plot

EPOCHS, BATCH, POINTS = 32, 500, 50_000
CELLS = 130  # of a map, along each side
GRIDS = nb.ROOT / "results/hero.npz"
IMAGES = nb.ROOT / "nbs/images"
MOST_BYTES = 250_000


def learn() -> dict[str, np.ndarray]:
    "For each density the true and the learned log-density on a grid, `(2, cells, cells)`."
    flow, steps, found = gf.make_coupling_flow(2), EPOCHS * POINTS // BATCH, {}
    flow.build((None, 2))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 12, warmup_target=5e-3, warmup_steps=steps // 12
    )
    flow.compile(optimizer=keras.optimizers.Adam(rate), steps_per_execution=40)
    for name in densities.toy_densities():
        toy = densities.toy_data(name, POINTS)
        keras.utils.set_random_seed(0)
        start = gf.make_coupling_flow(2)
        start.build((None, 2))
        gf.restart(flow, start)
        flow.fit(toy.train, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        half = 1.15 * float(np.quantile(np.abs(toy.train), 0.995))
        maps = [
            plot.density_grid(model, (-half, half), CELLS)[2]
            for model in (toy.density, flow)
        ]
        found[name] = np.stack(maps)
        gap = float(
            np.mean(
                toy.density.log_prob(toy.fresh) - np.array(flow.log_prob(toy.fresh))
            )
        )
        print(f"{name}: {gap:.4f} nats above the entropy", flush=True)
    return found


def draw(grids: dict[str, np.ndarray], columns: int, width: float):
    "Truth above and flow below, `columns` densities side by side."
    names, bands = list(grids), -(-len(grids) // columns)
    tile = width / columns
    figure, axes = plt.subplots(
        2 * bands,
        columns,
        figsize=(width, bands * (2 * tile + 0.2)),
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.01, wspace=0, hspace=0)
    for i, name in enumerate(names):
        band, column = divmod(i, columns)
        top = float(np.exp(grids[name][0].max()))
        for row, (label, values) in enumerate(zip(("truth", "learned"), grids[name])):
            ax = axes[2 * band + row, column]
            ax.imshow(
                np.minimum(np.exp(values), top) ** 0.7,
                origin="lower",
                cmap="magma",
                vmin=0,
                vmax=top**0.7,
                interpolation="bilinear",
            )
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            for side in ax.spines.values():
                side.set_visible(False)
            if row == 0:
                ax.set_title(name, fontsize=12, fontweight="normal", pad=3)
            if column == 0:
                ax.set_ylabel(label, fontsize=12)
    return figure


def main() -> None:
    if GRIDS.exists():
        grids = dict(np.load(GRIDS))
    else:
        grids = learn()
        GRIDS.parent.mkdir(exist_ok=True)
        np.savez_compressed(GRIDS, **grids)
    plot.use_style()
    for name, columns, width in (("hero", 8, 15.0), ("hero-narrow", 4, 7.6)):
        figure = draw(grids, columns, width)
        data = plot.small_png(figure, dpi=2 * plot.PIXELS_PER_INCH)
        plt.close(figure)
        if len(data) > MOST_BYTES:
            raise ValueError(
                f"Expected at most {MOST_BYTES} bytes, received {len(data)}"
            )
        Path(IMAGES / f"{name}.png").write_bytes(data)
        print(f"{name}.png: {len(data):,} bytes")


if __name__ == "__main__":
    main()
