"""Run one notebook's cells in this process, on whichever backend is chosen, and say how many passed.

The cells of `nbs/` compare tensors with arrays. TensorFlow's and JAX's convert when NumPy asks; PyTorch's refuse where a gradient
is attached, and know no arithmetic with arrays. For a run on PyTorch they learn both here, in this process: the checks stay as they are
written, and the package is never changed.
"""

import operator
import os
import sys
from pathlib import Path

import books as nb
from nbdev.config import get_config
from nbdev.test import test_nb


def numbers(item):
    "Arrays in place of tensors, in lists and dictionaries too."
    import torch

    if isinstance(item, torch.Tensor):
        return item.detach().cpu().numpy()
    if isinstance(item, (list, tuple)):
        return type(item)(numbers(i) for i in item)
    if isinstance(item, dict):
        return {key: numbers(value) for key, value in item.items()}
    return item


def let_numpy_read_tensors() -> None:
    "Give PyTorch's tensors NumPy's protocols."
    import numpy as np
    import torch

    arithmetic = {
        np.add: operator.add,
        np.subtract: operator.sub,
        np.multiply: operator.mul,
        np.true_divide: operator.truediv,
    }

    def array(self, dtype=None, copy=None):
        return np.asarray(numbers(self), dtype=dtype)

    def ufunc(self, function, method, *inputs, **kwargs):
        plain = [i.item() if isinstance(i, np.generic) else i for i in inputs]
        arrays = any(isinstance(i, np.ndarray) for i in inputs)
        # A scalar of NumPy is a number to PyTorch: the gradient stays.
        if method == "__call__" and function in arithmetic and not (arrays or kwargs):
            return arithmetic[function](*plain)
        return getattr(function, method)(*numbers(inputs), **numbers(kwargs))

    def call(self, function, types, args, kwargs):
        return function(*numbers(args), **numbers(kwargs))

    torch.Tensor.__array__ = array
    torch.Tensor.__array_ufunc__ = ufunc
    torch.Tensor.__array_function__ = call


def cells(path: Path) -> int:
    "How many cells a run of the quick tests executes."
    flags = set(get_config().tst_flags.split())
    return sum(
        nb.is_run(cell) and not flags & nb.directives(cell)
        for cell in nb.read(path).cells
    )


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    os.environ.update(nb.QUIET)
    if os.environ.get("KERAS_BACKEND") == "torch":
        let_numpy_read_tensors()
    skipped = get_config().tst_flags.split()
    passed, seconds = test_nb(path, skip_flags=skipped, basepath=nb.ROOT)
    print(f"{path.stem}: {cells(path) if passed else 0} cells, {seconds:.0f} s")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
