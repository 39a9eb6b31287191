"""This side of `whole_job.py`: our coupling flows, on the backend of this process.

`python -m benchmarks.our_worker` answers requests as `worker.py` says.
"""

import keras
import numpy as np
from keras import ops

from benchmarks.measure import about, seconds
from benchmarks.worker import serve
from gaussflow import RationalQuadraticSpline, make_coupling_flow


class Worker:
    """Holds one flow at a time and does what is asked of it."""

    def about(self, request):
        return about()

    def make(self, request):
        """Make a flow and its optimizer."""
        keras.utils.set_random_seed(request["seed"])
        spline = RationalQuadraticSpline(request["bins"])
        self.flow = make_coupling_flow(
            request["d"],
            request["couplings"] // 2,
            hidden=request["hidden"],
            scalar=spline if request["law"] == "spline" else None,
        )
        rate = keras.optimizers.schedules.CosineDecay(
            request["learning_rate"], request["steps"]
        )
        self.flow.compile(
            keras.optimizers.Adam(rate, epsilon=request["epsilon"]),
            jit_compile=request["jit_compile"],
        )
        self.flow.build((None, request["d"]))
        numbers = [int(np.prod(w.shape)) for w in self.flow.trainable_variables]
        return {"parameters": sum(numbers)}

    def train(self, request):
        """Take a step for each batch of `order`, by `fit`, as a user would."""
        with np.load(request["file"]) as file:
            x = file["x"][file["order"]]
        size, losses = request["batch_size"], []

        def epoch():
            history = self.flow.fit(
                x, batch_size=size, epochs=1, shuffle=False, verbose=0
            )
            losses.extend(history.history["loss"])

        taken = seconds(epoch)
        return {"step_seconds": taken / (len(x) // size), "loss": float(losses[0])}

    def log_prob(self, request):
        """Return the seconds that the log-densities of the points in `file` take."""
        with np.load(request["file"]) as file:
            x = file["x"]
        found = []
        taken = seconds(
            lambda: found.append(ops.convert_to_numpy(self.flow.log_prob(x)))
        )
        if "out" in request:
            np.savez(request["out"], log_prob=found[0])
        return {"seconds": taken}

    def sample(self, request):
        return {
            "seconds": seconds(
                lambda: ops.convert_to_numpy(self.flow.sample(request["num"], seed=0))
            )
        }


if __name__ == "__main__":
    serve(Worker())
