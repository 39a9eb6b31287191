"""Run notebooks' tests by nbdev, each in a process of its own, two at a time.

Workers that go on to a second notebook keep what the first one registered with Keras, such as the classes that it defines.
"""

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import books as nb


def passes(path: Path) -> bool:
    "Whether the notebook's cells all pass; what went wrong is printed."
    command = [
        str(Path(sys.executable).parent / "nbdev_test"),
        "--path",
        str(path),
        "--n_workers",
        "0",
    ]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=nb.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    word = "failed" if done.returncode else "passed"
    print(
        f"{path.stem}: {word} ({time.perf_counter() - start:.0f} s)",
        *([done.stdout] if done.returncode else []),
        sep="\n",
        flush=True,
    )
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--names", default=".*", help="a pattern that the file names match"
    )
    args = parser.parse_args()
    chosen = [
        p
        for p in nb.paths()
        if nb.kind(p) != "tutorial" and re.match(args.names, p.name)
    ]
    with ThreadPoolExecutor(2) as pool:
        passed = list(pool.map(passes, chosen))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
