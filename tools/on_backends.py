"""Run the library notebooks' cells and `tests/` on every installed backend, and end with counts by backend.

`make test-backends` does it for TensorFlow, JAX and PyTorch (`make torch` adds the last to `.venv`); `--backends jax` for some.
On TensorFlow the whole of `tests/` runs; on the others the contracts do, which every bijector, base and flow keeps, since what the rest
of `tests/` checks, such as tools, figures and files, does not depend on the backend. What is saved on one is asked on the others last.
"""

import argparse
import functools
import importlib.util
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import books as nb
import run_checks

BACKENDS = ("tensorflow", "jax", "torch")


def environment(backend: str) -> dict[str, str]:
    "Of a process on `backend`; JAX keeps what it compiled, PyTorch has one thread beside another process."
    extra = {"jax": run_checks.JAX, "torch": {"OMP_NUM_THREADS": "1"}}.get(backend, {})
    place = {"PYTHONPATH": os.pathsep.join(map(str, (nb.ROOT, nb.ROOT / "tools")))}
    return os.environ | nb.QUIET | extra | place | {"KERAS_BACKEND": backend}


def run(command: list[str], backend: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command],
        cwd=nb.ROOT,
        env=environment(backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def run_notebook(backend: str, path: Path) -> tuple[int, bool]:
    "Run one notebook. **Returns** the number of cells that passed, and whether all did."
    done = run(["tools/run_cells.py", str(path)], backend)
    found = re.findall(rf"^{path.stem}: (\d+) cells, .*$", done.stdout, re.M)
    cells = int(found[-1]) if found else 0
    said = done.stdout if done.returncode else done.stdout.splitlines()[-1]
    print(f"{backend:10} {said}", flush=True)
    return cells, done.returncode == 0


def run_tests(backend: str) -> tuple[int, int, int]:
    "Run `tests/`. **Returns** how many passed, failed and were skipped; reasons are printed."
    marks = "not slow" if backend == "tensorflow" else "contract and not slow"
    done = run(["-m", "pytest", "-q", "-rsfE", "-n", "2", "-m", marks], backend)
    print(done.stdout, flush=True)
    last = done.stdout.strip().splitlines()[-1]
    count = lambda word: sum(map(int, re.findall(rf"(\d+) {word}", last)))
    failed = count("failed") + count("error")
    return count("passed"), failed or int(done.returncode != 0), count("skipped")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--names", default=".*", help="a pattern of notebooks' names")
    parser.add_argument("--no-tests", action="store_true", help="notebooks only")
    args = parser.parse_args()
    library = [
        path
        for path in nb.paths()
        if nb.kind(path) == "library" and re.match(args.names, path.name)
    ]
    lines, wrong = [], False
    for backend in args.backends:
        if importlib.util.find_spec(backend) is None:
            lines.append(
                f"{backend:10} not installed"
                + (": make torch" if backend == "torch" else "")
            )
            continue
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(functools.partial(run_notebook, backend), library))
        cells, bad = sum(n for n, _ in found), sum(not passed for _, passed in found)
        line = f"{backend:10} {cells:5} cells of {len(library)} notebooks passed, {bad} notebooks failed"
        if not args.no_tests:
            passed, failed, skipped = run_tests(backend)
            line += f"; {passed} tests passed, {failed} failed, {skipped} skipped"
            wrong |= failed > 0
        wrong |= bad > 0
        lines.append(f"{line} ({time.perf_counter() - start:.0f} s)")
    if not args.no_tests:
        done = run(["-m", "pytest", "-q", "tests/test_backends.py"], args.backends[0])
        lines.append(
            f"saved on one, asked on another: {done.stdout.strip().splitlines()[-1]}"
        )
        print(done.stdout)
        wrong |= done.returncode != 0
    print("\n" + "\n".join(lines))
    sys.exit(wrong)


if __name__ == "__main__":
    main()
