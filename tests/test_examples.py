"Every `>>>` example of the package runs as printed, on every backend."

import doctest
import importlib
import pkgutil

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from keras import ops

import gaussflow as gf

MODULES = [
    module.name for module in pkgutil.iter_modules(gf.__path__) if module.name[0] != "_"
]
# Their examples fit estimators; JAX compiles anew for each: `KERAS_BACKEND=jax pytest tests/test_examples.py` runs them.
SLOW_ON_JAX = {"estimator", "information"}
# Examples that do not run as printed, by backend, each with its reason. One that runs has to leave the table.
KNOWN = {"tensorflow": {}, "jax": {}, "torch": {}}


def sample():
    "200 standardised points on a bent line."
    rng = np.random.default_rng(0)
    a = rng.normal(size=200)
    x = np.stack([a, 0.5 * a**2 + 0.5 * rng.normal(size=200)], axis=1)
    return ((x - x.mean(0)) / x.std(0)).astype("float32")


def failures(name):
    "What went wrong in the examples of one module, by the name of what they stand under."
    module = importlib.import_module(f"gaussflow.{name}")
    names = {"gf": gf, "np": np, "keras": keras, "ops": ops}
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {}
    for test in finder.find(module, module.__name__):
        if not test.examples:
            continue
        keras.utils.set_random_seed(0)
        test.globs = {**vars(module), **names, "x": sample()}
        complaints = []
        runner = doctest.DocTestRunner(
            verbose=False,
            optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
        )
        runner.run(test, out=complaints.append)
        plt.close("all")
        found[test.name.removeprefix("gaussflow.")] = "".join(complaints)
    return found


def parameter(name):
    "A module, as a parameter of the test."
    slow = name in SLOW_ON_JAX and keras.backend.backend() == "jax"
    return pytest.param(name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.contract
@pytest.mark.parametrize("name", map(parameter, MODULES))
def test_examples_run_as_printed(name):
    known = {
        place: reason
        for place, reason in KNOWN[keras.backend.backend()].items()
        if place.split(".")[0] == name
    }
    wrong = {place: text for place, text in failures(name).items() if text}
    unknown = sorted(set(wrong) - set(known))
    assert not unknown, "\n".join(wrong[place] for place in unknown)
    mended = sorted(set(known) - set(wrong))
    assert not mended, f"run now, or are gone; take out of KNOWN: {mended}"
