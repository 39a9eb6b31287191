"What a figure must do whatever the reader's settings are."

import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import gaussflow as gf
from gaussflow import plot


def test_joint_plots_print_no_warning_under_constrained_layout():
    "Seaborn's joint plots warn that the layout has changed where `figure.constrained_layout.use` is on; ours do not."
    z = np.random.default_rng(0).normal(size=(200, 2))
    with warnings.catch_warnings(), plt.rc_context({"figure.constrained_layout.use": True}):
        warnings.simplefilter("error")
        grid = plot.joint(z, height=2.4)
        grid.figure.canvas.draw()
    np.testing.assert_allclose(np.ptp(grid.ax_joint.get_xlim()), np.ptp(grid.ax_joint.get_ylim()), atol=1e-6)
    with pytest.raises(ValueError, match=r"Expected points of shape \(n, 2\), received shape \(200,\)"):
        plot.joint(z[:, 0])
    plt.close("all")


def words(ax):
    "The texts of a diagram, in the order in which they are drawn."
    return [t.get_text() for t in ax.texts if t.get_text()]


def masks_of_every_kind(d):
    halves, alternating = np.arange(d) < d // 2, np.arange(d) % 2 == 0
    one = np.arange(d) == d - 1
    return [halves, ~halves, alternating, one, ~one, np.random.default_rng(d).permutation(np.arange(d) < (d + 1) // 2)]


@pytest.mark.parametrize("d", [2, 3, 5, 16])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_diagrams_of_one_layer_show_its_mask(d, direction):
    "A dot on each kept line, a box on each moved one, whatever the mask."
    for mask in masks_of_every_kind(d):
        ax = plot.coupling_diagram(mask, direction=direction)
        h, (enters, leaves) = ("h", "xz") if direction == "forward" else ("h^{-1}", "zx")
        expected = [f"${h}({enters}_{{{i}}};\\,\\theta_{{{i}}})$" for i in 1 + np.flatnonzero(~mask)]
        assert [t for t in words(ax) if "theta" in t] == expected
        (dots,) = (line for line in ax.lines if line.get_marker() == "o")
        heights = {t.get_text(): t.get_position()[1] for t in ax.texts}
        np.testing.assert_allclose(dots.get_ydata(), [heights[f"${enters}_{{{i}}}$"] for i in 1 + np.flatnonzero(mask)])
        np.testing.assert_allclose([heights[e] for e in expected], [heights[f"${leaves}_{{{i}}}$"] for i in 1 + np.flatnonzero(~mask)])
        plt.close("all")


def test_diagrams_of_a_flow():
    "Every layer in its place, and in the reverse order on the way back; nothing is cut off."
    plot.use_style()
    flow = gf.make_coupling_flow(2)
    ax = plot.coupling_diagram(flow)
    expected = [f"$\\Theta_{{{i}}}$" if i % 3 != 1 else "Householder" for i in range(1, 13)]
    assert [t for t in words(ax) if "Theta" in t or "House" in t] == expected
    back = plot.coupling_diagram(flow, direction="inverse")
    assert [t.replace(", inverse", "") for t in words(back) if "Theta" in t or "House" in t] == expected[::-1]
    ax.figure.canvas.draw()
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    assert min(t.get_fontsize() for t in ax.texts) >= 7
    marginal = plot.coupling_diagram([gf.MixtureCDFGaussianization(4), [True, False], gf.Permute([1, 0])])
    assert words(marginal)[:5] == ["$h$", "$h$", "$\\Theta_{2}$", "$h$", "Permute"]
    two = plot.coupling_diagram([[True, True, False], [False, False, True]], halves=True)
    assert words(two)[-4:] == ["$x_{a}$", "$x_{b}$", "$z_{a}$", "$z_{b}$"]
    assert words(plot.coupling_diagram([True, False], scalar="spline"))[1] == "spline"
    plt.close("all")


def test_small_pictures_keep_the_colour_of_a_few_letters():
    "A picture of one colour with one small word in another."
    figure = plt.figure(figsize=(6, 3), dpi=72)
    figure.text(0.9, 0.5, "$z_1$", color=plot.COLORS["latent"], fontsize=12)
    for i in range(40):
        figure.text(0.02 * i, 0.02 * i, "many words", color=plt.colormaps["viridis"](i / 40))
    found = np.asarray(Image.open(io.BytesIO(plot.small_png(figure))).convert("RGB")).reshape(-1, 3).astype(int)
    expected = np.array([int(plot.COLORS["latent"][i : i + 2], 16) for i in (1, 3, 5)])
    assert np.abs(found - expected).max(axis=1).min() <= 20
    plt.close("all")
