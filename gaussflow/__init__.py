"""Normalizing flows in Keras 3: Gaussianization, mixture-CDF couplings, exact tails.

Written by hand; every other module of this package is exported from a notebook in `nbs/`.
`gaussflow.plot`, `gaussflow.densities` and `gaussflow.images` are imported on first use, so that `import gaussflow` costs no more than Keras.
"""

__version__ = "0.1.0"

import importlib
import importlib.util

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    # Keras is there, and what it computes with is not.
    BACKENDS = ("tensorflow", "jax", "torch")
    if error.name not in BACKENDS:
        raise
    others = [b for b in BACKENDS if b != error.name and importlib.util.find_spec(b)]
    found = f"{others[0]} (choose it: KERAS_BACKEND={others[0]})" if others else "none"
    raise ImportError(
        f"Expected {error.name}, which Keras computes with, received {found}. One of "
        "three commands installs a backend: `pip install tensorflow`; "
        "`pip install jax`, then KERAS_BACKEND=jax in the environment; "
        "`pip install torch`, then KERAS_BACKEND=torch"
    ) from error

from gaussflow.autoregressive import Autoregressive, MaskedMLPConditioner
from gaussflow.base import (
    BaseDistribution,
    DiagonalNormal,
    StandardLogistic,
    StandardNormal,
    StudentT,
    UniformAngles,
)
from gaussflow.bijector import Bijector, Chain, Inverse
from gaussflow.blocks import log_prob_in_blocks, sample_in_blocks
from gaussflow.bounded import Bounded, Log, Logit
from gaussflow.circular import CircularSpline
from gaussflow.conditioner import (
    MLPConditioner,
    ResidualConditioner,
    SharedMLPConditioner,
    make_mlp_conditioner,
    make_residual_conditioner,
    make_shared_mlp_conditioner,
)
from gaussflow.convolution import ConvConditioner, ResidualConvConditioner
from gaussflow.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    Coupling,
    MixtureCDFCoupling,
    SplineCoupling,
    alternating_mask,
    checkerboard_mask,
    default_half_mask,
    random_mask,
)
from gaussflow.dequantization import UniformDequantization, VariationalDequantization
from gaussflow.estimator import (
    ConditionalFlowDensity,
    FlowClassifier,
    FlowDensity,
    FlowOutlierDetector,
    FlowRegressor,
)
from gaussflow.evaluation import (
    bits_per_dimension,
    coverage,
    gaussianity,
    gaussianity_by_layer,
    held_out_nll,
    negentropy_by_layers,
    normal_scores,
    probability_integral_transform,
    qq_points,
    quality,
    radial_transform,
    shape_negentropy,
    total_correlation_by_layers,
)
from gaussflow.families import (
    make_coupling_flow,
    make_gaussianization_flow,
    make_glow,
    make_iaf,
    make_maf,
    make_nice,
    make_real_nvp,
)
from gaussflow.flow import (
    GaussianizationFlow,
    MaximumLikelihood,
    NormalizingFlow,
    Objective,
    ReverseKL,
    base_nll_loss,
    restart,
)
from gaussflow.information import (
    DependenceMatrix,
    Information,
    InformationWarning,
    column_dependence,
    conditional_mutual_information,
    dependence_matrix,
    entropy,
    kl_divergence,
    mutual_information,
    negentropy,
    total_correlation,
)
from gaussflow.linear import (
    FixedOrtho,
    Householder,
    InvertibleConv1x1,
    LinearLU,
    Permute,
    apply_reflectors,
    householder_decompose,
)
from gaussflow.marginal import (
    Grouped,
    Marginal,
    MixtureCDFGaussianization,
    ScalarLayer,
)
from gaussflow.mixture import MixtureCDF, MixtureOfGaussians
from gaussflow.multiscale import Flatten, MultiScale, Squeeze
from gaussflow.report import FlowReport, flow_report
from gaussflow.sampling import effective_sample_size, importance_weights
from gaussflow.scalar import (
    Additive,
    Affine,
    LogScaleClamp,
    ScalarBijection,
    Scale,
    sigmoid_log_scale_clamp,
    tanh_log_scale_clamp,
)
from gaussflow.scaling import PowerLaw, workers_worth
from gaussflow.special import (
    norm_cdf,
    norm_icdf,
    norm_icdf_from_log,
    norm_log_cdf,
    norm_log_pdf,
)
from gaussflow.spline import RationalQuadraticSpline
from gaussflow.standardize import ActNorm, Standardize
from gaussflow.table import inspect_table
from gaussflow.testing import check_bijector, check_scalar
from gaussflow.warmstart import (
    BlockReport,
    initialize_flow_from_ig,
    iterative_gaussianization,
)

LAZY_MODULES = ("densities", "diagram", "images", "plot")

__all__ = [
    "ActNorm",
    "Additive",
    "AdditiveCoupling",
    "Affine",
    "AffineCoupling",
    "Autoregressive",
    "BaseDistribution",
    "Bijector",
    "BlockReport",
    "Bounded",
    "Chain",
    "CircularSpline",
    "ConditionalFlowDensity",
    "ConvConditioner",
    "Coupling",
    "DependenceMatrix",
    "DiagonalNormal",
    "FixedOrtho",
    "Flatten",
    "FlowClassifier",
    "FlowDensity",
    "FlowOutlierDetector",
    "FlowRegressor",
    "FlowReport",
    "GaussianizationFlow",
    "Grouped",
    "Householder",
    "Information",
    "InformationWarning",
    "Inverse",
    "InvertibleConv1x1",
    "LinearLU",
    "Log",
    "LogScaleClamp",
    "Logit",
    "MLPConditioner",
    "Marginal",
    "MaskedMLPConditioner",
    "MaximumLikelihood",
    "MixtureCDF",
    "MixtureCDFCoupling",
    "MixtureCDFGaussianization",
    "MixtureOfGaussians",
    "MultiScale",
    "NormalizingFlow",
    "Objective",
    "Permute",
    "PowerLaw",
    "RationalQuadraticSpline",
    "ResidualConditioner",
    "ResidualConvConditioner",
    "ReverseKL",
    "ScalarBijection",
    "ScalarLayer",
    "Scale",
    "SharedMLPConditioner",
    "SplineCoupling",
    "Squeeze",
    "StandardLogistic",
    "StandardNormal",
    "Standardize",
    "StudentT",
    "UniformAngles",
    "UniformDequantization",
    "VariationalDequantization",
    "alternating_mask",
    "apply_reflectors",
    "base_nll_loss",
    "bits_per_dimension",
    "check_bijector",
    "check_scalar",
    "checkerboard_mask",
    "column_dependence",
    "conditional_mutual_information",
    "coverage",
    "default_half_mask",
    "densities",
    "dependence_matrix",
    "diagram",
    "effective_sample_size",
    "entropy",
    "flow_report",
    "gaussianity",
    "gaussianity_by_layer",
    "held_out_nll",
    "householder_decompose",
    "images",
    "importance_weights",
    "initialize_flow_from_ig",
    "inspect_table",
    "iterative_gaussianization",
    "kl_divergence",
    "log_prob_in_blocks",
    "make_coupling_flow",
    "make_gaussianization_flow",
    "make_glow",
    "make_iaf",
    "make_maf",
    "make_mlp_conditioner",
    "make_nice",
    "make_real_nvp",
    "make_residual_conditioner",
    "make_shared_mlp_conditioner",
    "mutual_information",
    "negentropy",
    "negentropy_by_layers",
    "norm_cdf",
    "norm_icdf",
    "norm_icdf_from_log",
    "norm_log_cdf",
    "norm_log_pdf",
    "normal_scores",
    "plot",
    "probability_integral_transform",
    "qq_points",
    "quality",
    "radial_transform",
    "random_mask",
    "restart",
    "sample_in_blocks",
    "shape_negentropy",
    "sigmoid_log_scale_clamp",
    "tanh_log_scale_clamp",
    "total_correlation",
    "total_correlation_by_layers",
    "workers_worth",
]


def __getattr__(name: str):
    if name in LAZY_MODULES:
        return importlib.import_module(f"gaussflow.{name}")
    raise AttributeError(f"module 'gaussflow' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
