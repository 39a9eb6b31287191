"""The promises of every bijector and every scalar bijection, beyond those that a page holds to them.

Those marked `contract` run on JAX too: every class once, since JAX compiles each loop of an inverse anew. Of loops within a loop,
a mixture behind an autoregressive network, `test_autoregressive.py` asks for the round trip and the gradients there.
"""

import inspect
import re

import books
import keras
import numpy as np
import pytest
from keras import ops
from user_layers import Fourier, Plain, functional, scatter

import gaussflow as gf
from gaussflow.backend import gradient

contract = pytest.mark.contract
HALF, OTHER = [True, False, False], [False, True, True]
FEW = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
# The contract asks about 1,000 rows in any case: JAX then compiles for one shape less.
X = np.tile(FEW, (25, 1))

SCALARS = {
    "additive": gf.Additive(),
    "affine": gf.Affine(),
    "scale": gf.Scale(),
    "affine, sigmoid clamp": gf.Affine(gf.sigmoid_log_scale_clamp(-1, 2)),
    "mixture, one": gf.MixtureCDF(1),
    "mixture": gf.MixtureCDF(8),
    "mixture, equal": gf.MixtureCDF(3, identity="equal"),
    "mixture, background": gf.MixtureCDF(4, background=1e-3),
    "mixture, logistic": gf.MixtureCDF(8, family="logistic"),
    "mixture, two groups": gf.MixtureCDF(
        11, log_scale_clamp=gf.tanh_log_scale_clamp(1.0)
    ),
    "spline": gf.RationalQuadraticSpline(),
    "spline, few narrow": gf.RationalQuadraticSpline(2, 1.5, 0.1, 0.2, 0.01),
    "circular spline": gf.CircularSpline(4),
}


def autoregressive(scalar, d=3, **kwargs):
    return gf.Autoregressive(
        gf.MaskedMLPConditioner(scalar.param_sizes.values(), d, (8, 8), **kwargs),
        scalar,
    )


BIJECTORS = {
    "marginal additive": lambda: gf.Marginal(gf.Additive()),
    "marginal affine": lambda: gf.Marginal(gf.Affine()),
    "marginal mixture": lambda: gf.Marginal(gf.MixtureCDF(5)),
    "gaussianization": lambda: gf.MixtureCDFGaussianization(8),
    "gaussianization, logistic": lambda: gf.MixtureCDFGaussianization(
        4, family="logistic"
    ),
    "gaussianization, background": lambda: gf.MixtureCDFGaussianization(
        3, background=1e-2
    ),
    "householder": lambda: gf.Householder(3, seed=1),
    "householder, one": lambda: gf.Householder(1, seed=2),
    "fixed, Haar": lambda: gf.FixedOrtho.random_haar(3, seed=3),
    "fixed, principal axes": lambda: gf.FixedOrtho.from_pca(X),
    "permute": lambda: gf.Permute([2, 0, 1]),
    "linear, permutation": lambda: gf.LinearLU(seed=4),
    "linear, rotation": lambda: gf.LinearLU("rotation", seed=5),
    "linear, identity": lambda: gf.LinearLU("identity"),
    "additive coupling": lambda: gf.AdditiveCoupling(HALF, gf.MLPConditioner(2, (8,))),
    "affine coupling": lambda: gf.AffineCoupling(
        OTHER, gf.MLPConditioner(2, (8,)), gf.sigmoid_log_scale_clamp(-2, 1)
    ),
    "affine coupling, alternating": lambda: gf.AffineCoupling(
        gf.alternating_mask(3), gf.MLPConditioner(2, (8,))
    ),
    "affine coupling, random": lambda: gf.AffineCoupling(
        gf.random_mask(3, seed=1), gf.MLPConditioner(4, (8,))
    ),
    "mixture coupling": lambda: gf.MixtureCDFCoupling(
        HALF, gf.make_mlp_conditioner(2, 4, (8,)), 4
    ),
    "mixture coupling, logistic": lambda: gf.MixtureCDFCoupling(
        HALF, gf.make_mlp_conditioner(2, 4, (8,)), 4, family="logistic"
    ),
    "mixture coupling, shared": lambda: gf.MixtureCDFCoupling(
        HALF, gf.make_shared_mlp_conditioner(2, 4, (8,)), 4
    ),
    "mixture coupling, residual": lambda: gf.MixtureCDFCoupling(
        OTHER, gf.make_residual_conditioner(1, 3, 8), 3, identity="equal"
    ),
    "mixture coupling, background": lambda: gf.MixtureCDFCoupling(
        [1, 0, 1], Fourier(9), 3, background=1e-2
    ),
    "coupling, functional": lambda: gf.Coupling(
        HALF, functional(1, 12), gf.MixtureCDF(2)
    ),
    "coupling, no build": lambda: gf.Coupling(OTHER, Plain(2), gf.Affine()),
    "marginal spline": lambda: gf.Marginal(gf.RationalQuadraticSpline(5)),
    "spline coupling": lambda: gf.SplineCoupling(
        HALF, gf.MLPConditioner(2 * 11, (8,)), 4
    ),
    "spline coupling, narrow": lambda: gf.SplineCoupling(
        OTHER, Fourier(29), 10, bound=2.0, min_slope=0.1
    ),
    "autoregressive": lambda: autoregressive(gf.Affine()),
    "autoregressive, additive, reversed": lambda: autoregressive(
        gf.Additive(), order="reversed"
    ),
    "autoregressive, mixture": lambda: autoregressive(
        gf.MixtureCDF(4), order=[1, 2, 0]
    ),
    "autoregressive, logistic": lambda: autoregressive(
        gf.MixtureCDF(3, family="logistic", background=1e-2)
    ),
    "autoregressive, inverse": lambda: gf.Inverse(autoregressive(gf.Affine())),
    "chain": lambda: gf.Chain(
        [
            gf.Householder(2, seed=6),
            gf.AffineCoupling(HALF, gf.MLPConditioner(4, (8,))),
            gf.Permute([1, 2, 0]),
        ]
    ),
    "inverse": lambda: gf.Inverse(
        gf.Chain(
            [gf.LinearLU(seed=7), gf.AffineCoupling(HALF, gf.MLPConditioner(4, (8,)))]
        )
    ),
    "normalisation": gf.ActNorm,
    "standardising": gf.Standardize,
    "flatten": gf.Flatten,
    "grouped": lambda: gf.Grouped(
        [[1], [0, 2]],
        [
            gf.Marginal(gf.CircularSpline(4)),
            gf.Marginal(gf.Affine(), context_hidden=(8,)),
        ],
        angles=[1],
    ),
    "bounded": lambda: gf.Bounded([None, -9, -9], [None, None, 9]),
    "mixed channels": lambda: gf.InvertibleConv1x1(seed=8),
}

IMAGE_BIJECTORS = {
    "squeeze": gf.Squeeze,
    "multi-scale": lambda: gf.MultiScale(
        [gf.Chain([gf.Squeeze(), gf.ActNorm()]), gf.InvertibleConv1x1(seed=9)]
    ),
    "logit": lambda: gf.Logit(-1, 2),
    "logit, margin": lambda: gf.Logit(alpha=0.05),
    "log": lambda: gf.Log(-1, map="softplus"),
}
WITH_NOISE = {
    gf.UniformDequantization,
    gf.VariationalDequantization,
}  # bijections in one direction: `test_images.py` holds them to theirs

ONCE_EACH = {
    *(
        "additive",
        "affine",
        "mixture, background",
        "marginal affine",
        "gaussianization, background",
        "householder",
        "fixed, Haar",
    ),
    *(
        "permute",
        "linear, rotation",
        "additive coupling",
        "affine coupling",
        "mixture coupling",
        "coupling, no build",
        "chain",
        "inverse",
    ),
    *("mixture, logistic", "spline", "spline coupling", "circular spline", "grouped"),
    *("scale", "autoregressive", "autoregressive, inverse"),
    *("normalisation", "standardising", "flatten", "mixed channels", "bounded"),
}

# What a page holds to the same contract, with the room; `make test` runs every cell.
ON_PAGES = {
    "11_mixture": (
        *("mixture, one", "mixture", "mixture, equal", "mixture, background"),
        "mixture, logistic",
    ),
    "12_spline": ("spline", "spline, few narrow"),
    "14_circular": ("circular spline",),
    "22_marginal": (
        *("marginal mixture", "gaussianization", "gaussianization, background"),
        *("grouped", "marginal"),
    ),
    "23_coupling": (
        *("additive coupling", "affine coupling", "mixture coupling"),
        *("mixture coupling, shared", "spline coupling"),
    ),
    "24_autoregressive": (
        *("autoregressive", "autoregressive, additive, reversed"),
        "autoregressive, mixture",
    ),
    "30_linear": (
        *("householder", "householder, one", "fixed, Haar", "fixed, principal axes"),
        *("permute", "linear, permutation", "linear, rotation", "linear, identity"),
        "mixed channels",
    ),
    "31_standardize": ("normalisation", "standardising"),
    "32_multiscale": ("flatten", "squeeze", "multi-scale"),
    "33_bounded": ("bounded", "logit", "logit, margin", "log"),
    "43_families": ("scale",),
}
HELD = {name for names in ON_PAGES.values() for name in names}
held = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="a page does it on TensorFlow"
)


def marked(names, also=()):
    "The names as parameters, those of `ONCE_EACH` and `also` marked, and those that a page checks."
    return [
        pytest.param(
            name,
            marks=[
                *([contract] if name in ONCE_EACH or name in also else []),
                *([held] if name in HELD else []),
            ],
        )
        for name in names
    ]


def built(make, shape=(3,), context=None):
    "A bijector with weights away from the start."
    bijector = make()
    bijector.forward_and_log_det(
        np.zeros((2, *shape), "float32"),
        context=None if context is None else context[:2],
    )
    return scatter(bijector)


@pytest.mark.parametrize("name", marked(SCALARS))
def test_scalar(name):
    gf.check_scalar(
        SCALARS[name], FEW, start_atol=0.012 if "logistic" in name else 1e-5
    )


# Where the inverse is taken if not at normal draws: column 1 of the grouped is an angle.
LATENT = {"grouped": X.clip(-3.1, 3.1)[::-1]}


@pytest.mark.parametrize("name", marked(BIJECTORS))
def test_bijector(name):
    gf.check_bijector(built(BIJECTORS[name]), X, atol=2e-4, latent=LATENT.get(name))


@pytest.mark.parametrize("name", marked(IMAGE_BIJECTORS, also=IMAGE_BIJECTORS))
def test_image_bijector(name):
    x = np.random.default_rng(1).uniform(size=(10, 4, 4, 1)).astype("float32")
    x = np.tile(x, (100, 1, 1, 1))
    gf.check_bijector(built(IMAGE_BIJECTORS[name], (4, 4, 1)), x, atol=2e-4)


@contract
@held
@pytest.mark.parametrize(
    "make",
    [
        lambda: gf.Marginal(gf.Affine()),
        lambda: gf.AffineCoupling(HALF, gf.MLPConditioner(4, (8,))),
        lambda: gf.Householder(3, seed=1),
    ],
)
def test_events_with_more_axes(make):
    x = np.random.default_rng(1).normal(size=(8, 2, 2, 3)).astype("float32")
    x = np.tile(x, (125, 1, 1, 1))
    gf.check_bijector(built(make, (2, 2, 3)), x, atol=2e-4)


BY_CONTEXT = {
    "marginal": lambda: gf.Marginal(gf.Affine(), gf.MLPConditioner(6, (8,))),
    "gaussianization": lambda: gf.MixtureCDFGaussianization(
        3, background=1e-2, conditioner=Plain(27)
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        *marked(["coupling, no build", "chain", "autoregressive"]),
        *(pytest.param(name, marks=held) for name in ("marginal", "grouped")),
        pytest.param("mixture coupling", marks=held),
        *("gaussianization", "mixture coupling, shared", "inverse"),
    ],
)
def test_context(name):
    context = np.random.default_rng(2).normal(size=(1000, 2)).astype("float32")
    bijector = built((BIJECTORS | BY_CONTEXT)[name], context=context)
    gf.check_bijector(bijector, X, context=context, atol=2e-4, latent=LATENT.get(name))
    z, _ = bijector.forward_and_log_det(X, context=context)
    other, _ = bijector.forward_and_log_det(X, context=-context)
    assert np.max(np.abs(ops.convert_to_numpy(z) - ops.convert_to_numpy(other))) > 1e-3


@contract
def test_nothing_public_is_left_out():
    "Every public bijector and scalar stands in the lists above."
    public = [getattr(gf, name) for name in gf.__all__]
    classes = [
        c
        for c in public
        if inspect.isclass(c) and issubclass(c, (gf.Bijector, gf.ScalarBijection))
    ]
    covered = (
        {type(s) for s in SCALARS.values()}
        | {type(make()) for make in (BIJECTORS | IMAGE_BIJECTORS).values()}
        | WITH_NOISE
        | {gf.Bijector, gf.ScalarBijection, gf.ScalarLayer}
    )
    assert {c.__name__ for c in classes} == {c.__name__ for c in covered}
    once = {type(SCALARS[name]) for name in ONCE_EACH & set(SCALARS)} | {
        type(BIJECTORS[name]()) for name in ONCE_EACH & set(BIJECTORS)
    }
    once |= {type(make()) for make in IMAGE_BIJECTORS.values()} | WITH_NOISE
    assert covered - once == {gf.Bijector, gf.ScalarBijection, gf.ScalarLayer}, "on JAX"


@pytest.mark.parametrize("room", ON_PAGES)
def test_a_page_holds_what_is_left_to_it(room):
    "A cell that a run executes names the class and asks for the contract."
    book = books.read(books.ROOT / f"nbs/{room}.ipynb")
    cells = [cell.source for cell in book.cells if books.is_run(cell)]
    asking = "\n".join(c for c in cells if re.search(r"check_(bijector|scalar)\(", c))
    makers = BIJECTORS | IMAGE_BIJECTORS | BY_CONTEXT
    for name in ON_PAGES[room]:
        part = SCALARS[name] if name in SCALARS else makers[name]()
        cls = type(part).__name__
        assert re.search(rf"\b({cls}|masked|three_groups)\(|{cls}\.", asking), name


@contract
def test_flow(tmp_path):
    "One flow through its whole life: trained, asked, trained again, saved, loaded."
    flow = gf.GaussianizationFlow(
        [
            gf.Householder(3, seed=0),
            gf.AffineCoupling(HALF, gf.MLPConditioner(4, (8,))),
        ],
        3,
    )
    flow.compile(keras.optimizers.Adam(0.05))
    x = (FEW * [1.0, 2.0, 0.5] + [[0, 1, 0]]).astype("float32")
    first = flow.evaluate(x, verbose=0)
    before = ops.convert_to_numpy(flow.log_prob(x))
    np.testing.assert_allclose(-before.mean(), first, rtol=1e-5)
    history = flow.fit(x, epochs=5, batch_size=20, verbose=0).history["loss"]
    assert history[-1] < history[0]
    after = ops.convert_to_numpy(
        flow.log_prob(x)
    )  # compiled functions follow the weights
    np.testing.assert_allclose(-after.mean(), flow.evaluate(x, verbose=0), rtol=1e-5)
    assert after.mean() > before.mean()
    slope, h = gradient(flow.log_prob, x), np.array([1e-2, 0, 0], "float32")
    ends = [ops.convert_to_numpy(flow.log_prob(x + s * h)) for s in (-1, 1)]
    np.testing.assert_allclose(
        np.median(np.abs(slope[:, 0] - (ends[1] - ends[0]) / 2e-2)), 0, atol=1e-2
    )
    np.testing.assert_allclose(flow.invert(ops.convert_to_numpy(flow(x))), x, atol=1e-4)
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(flow.sample(7, seed=3)) for _ in range(2))
    )
    assert len(flow.forward_with_intermediates(x)) == len(flow.bijector_layers) + 1 == 3
    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(again.log_prob(x), after)


@contract
@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="the others say by a tape or a trace that a gradient is wanted",
)
def test_tensors_keep_their_gradients_on_pytorch_and_arrays_have_none():
    "What is asked about arrays runs in chunks and keeps nothing for a backward pass; a tensor reaches weights and itself."
    flow = gf.make_coupling_flow(3, num_blocks=1, num_components=2, hidden=(4,))
    assert not flow.log_prob(FEW).requires_grad
    assert not flow.invert(FEW).requires_grad
    x = ops.convert_to_tensor(FEW).requires_grad_(True)
    ops.sum(flow.log_prob(x)).backward()
    np.testing.assert_allclose(
        ops.convert_to_numpy(x.grad), gradient(flow.log_prob, FEW), rtol=1e-5, atol=1e-6
    )
    assert all(w.value.grad is not None for w in flow.trainable_weights)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([True, True, True], "all True: nothing is moved"),
        ([0, 0, 0], "all False: nothing is kept"),
        ([True], "use a marginal flow"),
        ([0.5, 1.0, 0.0], "Expected a mask of booleans, received"),
        ([float("nan"), 1.0, 0.0], "Expected a mask of booleans, received"),
        (["True", "False", "True"], "Expected a mask of booleans, received"),
        (
            [],
            r"Expected a mask with at least one axis and entry, received mask.shape=\(0,\)",
        ),
        (
            None,
            r"Expected a mask with at least one axis and entry, received mask.shape=\(\)",
        ),
        (
            [[True, False, True]],
            r"Expected a mask that broadcasts to the event \(3,\), received mask.shape=\(1, 3\)",
        ),
        (
            [True, False],
            r"Expected mask of length 3 \(the event size\), received mask.shape=\(2,\)",
        ),
    ],
)
def test_masks_that_are_no_partition(mask, message):
    "What a coupling says of a mask that it cannot use, at the latest when it meets data."
    with pytest.raises(ValueError, match=message):
        gf.AffineCoupling(mask, gf.MLPConditioner(2, (8,))).forward_and_log_det(X)


@pytest.mark.parametrize(
    "make", [gf.default_half_mask, gf.alternating_mask, gf.random_mask]
)
def test_sizes_that_have_no_mask(make):
    for d, message in (
        (1, "use a marginal flow"),
        (0, "at least 2"),
        (-3, "at least 2"),
        (2.5, "whole number"),
        (True, "whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            make(d)
