"What a figure must do whatever the reader's settings are."

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

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
