"Run every check, one stage after another, and end with how many passed and failed."

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import books as nb

BIN = Path(sys.executable).parent
# JAX compiles every operation for every shape; what it compiled once is kept with the environment.
JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_COMPILATION_CACHE_DIR": str(nb.ROOT / ".venv/jax-cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
# Two processes at once: where there are more cores, each has some to itself.
THREADS = nb.ONE_THREAD if (os.cpu_count() or 1) <= 2 else {}
SLOWEST = 5  # tests and notebooks that are named at the end
TEST_TOOK = re.compile(r"^ *([\d.]+)s (?:call|setup|teardown) +(\S+)", re.M)
NOTEBOOK_TOOK = re.compile(r"^(\w+): [a-z ]+ \((\d+) s\)$", re.M)


def stages(slow: bool) -> dict[str, tuple[list[str], dict[str, str]]]:
    "Name, command and extra environment of each stage."
    python, tool = [sys.executable], lambda name, *args: [str(BIN / name), *args]
    pytest = [*python, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"]
    pytest += ["--durations", str(SLOWEST), "--durations-min", "1"]
    contracts = [*pytest, "-m", "contract and not slow"]
    found = {
        "ruff format": (tool("ruff", "format", "--check", "--quiet", "."), {}),
        "ruff check": (tool("ruff", "check", "--quiet", "."), {}),
        "notebook lint": ([*python, "tools/lint_notebooks.py"], {}),
        "site without Quarto": ([*python, "tools/check_site.py"], {}),
        "nbdev's processing for the site": (
            [*python, "tools/make_docs.py", "--check"],
            {},
        ),
        "export and clean": ([*python, "tools/check_clean.py"], {}),
        "pytest": (
            [*pytest, *([] if slow else ["-m", "not slow"])],
            {"HYPOTHESIS_PROFILE": "slow" if slow else "default", **THREADS},
        ),
        "pytest, contracts on JAX": (contracts, JAX),
        # The contract holds the others; a page on JAX is `make test-backends`.
        "special functions on JAX": (
            [*python, "tools/notebook_tests.py", "--names", "00_"],
            JAX,
        ),
        "stored outputs": (
            [*python, "tools/compare_outputs.py"],
            THREADS,
        ),  # runs every cell with its assertions, too
    }
    if importlib.util.find_spec("torch"):  # not among the requirements
        found["pytest, contracts on PyTorch"] = (
            contracts,
            {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"},
        )
    if slow:
        found["nbdev_test"] = ([*python, "tools/notebook_tests.py"], {})
        found["tutorials"] = ([*python, "tools/reproduce.py", "--compare"], {})
    return found


def count(output: str, code: int) -> tuple[int, int]:
    "How many passed and failed: pytest's own figures where it printed them, else the stage is one check."
    last = next(
        (
            line
            for line in reversed(output.splitlines())
            if re.search(r"\d+ (passed|failed|error)", line)
        ),
        "",
    )
    numbers = {
        word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", last)
    }
    passed, failed = (
        numbers.get("passed", 0),
        numbers.get("failed", 0) + numbers.get("error", 0),
    )
    if not numbers:
        return int(code == 0), int(code != 0)
    return passed, failed or int(code != 0)


def slowest(stage: str, output: str) -> list[tuple[float, str]]:
    "Seconds and names of the tests and notebooks that took longest, as the stage printed them."
    tests = [(float(took), name) for took, name in TEST_TOOK.findall(output)]
    books = [(float(took), name) for name, took in NOTEBOOK_TOOK.findall(output)]
    named = [(took, f"{name} ({stage})") for took, name in tests + books]
    return sorted(named, reverse=True)[:SLOWEST]


def run(name: str, command: list[str], extra: dict[str, str]) -> tuple:
    "Run one stage, its output shown as it comes. **Returns** passed, failed, seconds and what took longest."
    print(f"\n=== {name}", flush=True)
    start, lines = time.perf_counter(), []
    env = {"KERAS_BACKEND": "tensorflow"} | nb.QUIET | os.environ | extra
    process = subprocess.Popen(
        command,
        cwd=nb.ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    output = "".join(lines)
    passed, failed = count(output if "pytest" in command else "", process.wait())
    seconds, word = time.perf_counter() - start, "FAILED" if failed else "passed"
    print(f"--- {name}: {word} ({seconds:.0f} s)", flush=True)
    return passed, failed, seconds, slowest(name, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--slow",
        action="store_true",
        help="slow tests and the tutorials too",
    )
    parser.add_argument("--only", default="", help="stages whose name contains this")
    args = parser.parse_args()
    start = time.perf_counter()
    chosen = {
        name: stage for name, stage in stages(args.slow).items() if args.only in name
    }
    done = {name: run(name, *stage) for name, stage in chosen.items()}
    failed = [name for name, (_, bad, *_) in done.items() if bad]
    print()
    for *_, longest in done.values():
        for seconds, what in longest:
            print(f"{seconds:6.0f} s  {what}")
    print()
    for name, (_, bad, seconds, _) in done.items():
        print(f"{seconds:6.0f} s  {name}{': FAILED' if bad else ''}")
    passed, wrong = (sum(row[i] for row in done.values()) for i in (0, 1))
    total = time.perf_counter() - start
    print(f"{len(done)} stages in {total:.0f} s; failed: {', '.join(failed) or 'none'}")
    print(f"{passed} passed, {wrong} failed", flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
