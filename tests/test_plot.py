"What a figure must do whatever the reader's settings are."

import io
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import gaussflow as gf
from gaussflow import diagram, plot


def test_joint_plots_print_no_warning_under_constrained_layout():
    "Seaborn's joint plots warn that the layout has changed where `figure.constrained_layout.use` is on; ours do not."
    z = np.random.default_rng(0).normal(size=(200, 2))
    with (
        warnings.catch_warnings(),
        plt.rc_context({"figure.constrained_layout.use": True}),
    ):
        warnings.simplefilter("error")
        grid = plot.joint(z, height=4.0)
        grid.figure.canvas.draw()
    np.testing.assert_allclose(
        np.ptp(grid.ax_joint.get_xlim()), np.ptp(grid.ax_joint.get_ylim()), atol=1e-6
    )
    with pytest.raises(
        ValueError, match=r"Expected points of shape \(n, 2\), received shape \(200,\)"
    ):
        plot.joint(z[:, 0])
    plt.close("all")


def words(ax):
    "The texts of a diagram, in the order in which they are drawn."
    return [t.get_text() for t in ax.texts if t.get_text()]


def masks_of_every_kind(d):
    halves, alternating = np.arange(d) < d // 2, np.arange(d) % 2 == 0
    one = np.arange(d) == d - 1
    return [
        halves,
        ~halves,
        alternating,
        one,
        ~one,
        np.random.default_rng(d).permutation(np.arange(d) < (d + 1) // 2),
    ]


@pytest.mark.parametrize("d", [2, 3, 5, 16])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_diagrams_of_one_layer_show_its_mask(d, direction):
    "A dot on each kept line, a box on each moved one, whatever the mask."
    for mask in masks_of_every_kind(d):
        ax = diagram.coupling_diagram(mask, direction=direction)
        h, (enters, leaves) = (
            ("h", "xz") if direction == "forward" else ("h^{-1}", "zx")
        )
        expected = [
            f"${h}({enters}_{{{i}}};\\,\\theta_{{{i}}})$"
            for i in 1 + np.flatnonzero(~mask)
        ]
        assert [t for t in words(ax) if "theta" in t] == expected
        (dots,) = (line for line in ax.lines if line.get_marker() == "o")
        heights = {t.get_text(): t.get_position()[1] for t in ax.texts}
        np.testing.assert_allclose(
            dots.get_ydata(),
            [heights[f"${enters}_{{{i}}}$"] for i in 1 + np.flatnonzero(mask)],
        )
        np.testing.assert_allclose(
            [heights[e] for e in expected],
            [heights[f"${leaves}_{{{i}}}$"] for i in 1 + np.flatnonzero(~mask)],
        )
        plt.close("all")


def test_diagrams_of_a_flow():
    "Every layer in its place, and in the reverse order on the way back; nothing is cut off."
    plot.use_style()
    flow = gf.make_coupling_flow(2)
    ax = diagram.coupling_diagram(flow)
    expected = [
        f"$\\Theta_{{{i}}}$" if i % 3 != 1 else "Householder" for i in range(1, 13)
    ]
    assert [t for t in words(ax) if "Theta" in t or "House" in t] == expected
    back = diagram.coupling_diagram(flow, direction="inverse")
    assert [
        t.replace(", inverse", "") for t in words(back) if "Theta" in t or "House" in t
    ] == expected[::-1]
    ax.figure.canvas.draw()
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert (
            frame.x0 <= box.x0
            and box.x1 <= frame.x1
            and frame.y0 <= box.y0
            and box.y1 <= frame.y1
        ), text
    assert min(t.get_fontsize() for t in ax.texts) >= 7
    marginal = diagram.coupling_diagram(
        [gf.MixtureCDFGaussianization(4), [True, False], gf.Permute([1, 0])]
    )
    assert words(marginal)[:5] == ["$h$", "$h$", "$\\Theta_{2}$", "$h$", "Permute"]
    two = diagram.coupling_diagram(
        [[True, True, False], [False, False, True]], halves=True
    )
    assert words(two)[-4:] == ["$x_{a}$", "$x_{b}$", "$z_{a}$", "$z_{b}$"]
    assert (
        words(diagram.coupling_diagram([True, False], scalar="spline"))[1] == "spline"
    )
    plt.close("all")


def test_small_pictures_keep_the_colour_of_a_few_letters():
    "A picture of one colour with one small word in another."
    figure = plt.figure(figsize=(6, 3), dpi=72)
    figure.text(0.9, 0.5, "$z_1$", color=plot.COLORS["latent"], fontsize=12)
    for i in range(40):
        figure.text(
            0.02 * i, 0.02 * i, "many words", color=plt.colormaps["viridis"](i / 40)
        )
    found = (
        np.asarray(Image.open(io.BytesIO(plot.small_png(figure))).convert("RGB"))
        .reshape(-1, 3)
        .astype(int)
    )
    expected = np.array([int(plot.COLORS["latent"][i : i + 2], 16) for i in (1, 3, 5)])
    assert np.abs(found - expected).max(axis=1).min() <= 20
    plt.close("all")


def test_a_grid_of_images_shows_every_image_and_says_what_it_cut():
    "Each image stands in its place, in grey or in colour; numbers that are none are red; the last row may end early."
    rng = np.random.default_rng(3)
    for channels, columns, gap in ((1, 3, 1), (3, 4, 2), (1, 7, 0)):
        images = rng.integers(256, size=(7, 4, 5, channels), dtype="uint8")
        ax = plot.image_grid(
            images,
            columns=columns,
            gap=gap,
            value_range=(0, 255),
            row_labels=range(-(-7 // columns)),
        )
        picture = ax.images[0].get_array()
        for i, image in enumerate(images):
            top, left = i // columns * (4 + gap), i % columns * (5 + gap)
            np.testing.assert_allclose(
                picture[top : top + 4, left : left + 5],
                np.broadcast_to(image / 255, (4, 5, 3)),
                atol=1e-7,
            )
        assert ax.get_xlabel() == "" and [
            t.get_text() for t in ax.get_yticklabels()
        ] == [str(i) for i in range(-(-7 // columns))]
        np.testing.assert_allclose(
            ax.get_yticks(), 1.5 + (4 + gap) * np.arange(-(-7 // columns))
        )
        blank = (
            picture[-4:, -5 * (-(-7 // columns) * columns > 7) :]
            if columns != 7
            else np.ones(1)
        )
        np.testing.assert_array_equal(blank, 1.0)
        plt.close("all")
    broken = np.full((1, 2, 2, 1), 0.5)
    broken[0, 0, 0], broken[0, 1, 1] = np.nan, -np.inf
    ax = plot.image_grid(broken, ax=plot.new_axes())
    np.testing.assert_allclose(
        ax.images[0].get_array()[0, 0],
        matplotlib.colors.to_rgb(plot.COLORS["error"]),
        atol=1 / 255,
    )
    assert (
        ax.get_xlabel() == "2 of 4 values outside 0 to 1"
        and ax.images[0].get_array()[1, 1].max() == 0.0
    )
    plt.close("all")


@pytest.mark.parametrize(
    "options", [{"rows": 0}, {"columns": -1}, {"rows": 2, "columns": 2}]
)
def test_a_grid_of_images_leaves_none_out(options):
    with pytest.raises(ValueError, match="Expected room for 5 images, received rows="):
        plot.image_grid(np.zeros((5, 2, 2, 1)), **options)


def test_grids_of_images_refuse_other_shapes_and_ranges():
    for shape in ((3, 4, 4), (3, 4, 4, 2), (0, 4, 4, 1)):
        with pytest.raises(ValueError, match=r"Expected images .*received shape"):
            plot.image_mosaic(np.zeros(shape), 2)
    with pytest.raises(ValueError, match=r"low < high, received \(1, 1\)"):
        plot.image_grid(np.zeros((2, 2, 2, 1)), value_range=(1, 1))


def test_layers_are_named_by_their_class():
    assert plot.layer_names(gf.make_coupling_flow(2, 1)) == [
        "Householder",
        "MixtureCDFCoupling",
        "MixtureCDFCoupling",
    ]


def test_a_diagram_of_masks_with_several_axes_is_refused():
    with pytest.raises(
        ValueError,
        match=r"Expected masks with one axis, received mask.shape=\(2, 2, 1\)",
    ):
        diagram.coupling_diagram(
            gf.AffineCoupling(gf.checkerboard_mask((2, 2, 1)), gf.ConvConditioner(2))
        )
