"""Tasks and estimators of benchmark-mi, in the environment that has it.

`PYTHON benchmarks/information_worker.py` answers each JSON request, a line of its
input, by one JSON line; arrays travel as .npz files. It imports nothing of gaussflow.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")
NEIGHBOURS = (3, 5, 10, 20)


def about(_):
    return {name: version(name) for name in ("benchmark-mi", "jax", "numpy")}


def tasks(_):
    """Return names in the benchmark's order, with dimensions and true nats."""
    import bmi

    return {
        name: {
            "dims": [task.dim_x, task.dim_y],
            "truth": float(task.mutual_information),
        }
        for name, task in bmi.benchmark.BENCHMARK_TASKS.items()
    }


def draw(request):
    import bmi

    task = bmi.benchmark.BENCHMARK_TASKS[request["task"]]
    x, y = task.sample(request["rows"], seed=request["seed"])
    np.savez(request["file"], x=np.asarray(x), y=np.asarray(y))
    return {}


def ksg(x, y):
    """Return estimates by the number of neighbours."""
    from bmi.estimators import KSGEnsembleFirstEstimator

    estimator = KSGEnsembleFirstEstimator(neighborhoods=NEIGHBOURS)
    estimator.fit(x, y)
    return {str(k): float(v) for k, v in estimator.get_predictions().items()}


def named(name):
    def estimate(x, y):
        from bmi import estimators

        options = {} if name.startswith("CCA") else {"verbose": False}
        return float(getattr(estimators, name)(**options).estimate(x, y))

    return estimate


ESTIMATORS = {
    "ksg": ksg,
    "cca": named("CCAMutualInformationEstimator"),
    "mine": named("MINEEstimator"),
    "infonce": named("InfoNCEEstimator"),
    "nwj": named("NWJEstimator"),
    "donsker-varadhan": named("DonskerVaradhanEstimator"),
}


def estimate(request):
    with np.load(request["file"]) as arrays:
        x, y = arrays["x"], arrays["y"]
    start = time.perf_counter()
    value = ESTIMATORS[request["estimator"]](x, y)
    return {"value": value, "seconds": round(time.perf_counter() - start, 2)}


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    for line in sys.stdin:
        request = json.loads(line)
        answer = globals()[request["do"]](request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
