"Execute notebooks afresh and compare the text they print with what is stored, number by number."

import itertools
import json
import math
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import books as nb
import kernels

RTOL, ATOL = 0.02, 1e-4
NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\w])", re.I
)
# A duration, a memory size or a speed-up belongs to the machine, not to the notebook.
MACHINE = re.compile(
    r"[-+]?[\d.,]+(?:e[-+]?\d+)?\s*(?:ns|[µμu]s|ms|s|sec|seconds|min|[kMG]i?B|times|x|×)(?!\w)"
)
TERMINAL = re.compile(r"\x1b\[[\d;]*m")
# How long each notebook took last is kept with the environment.
SECONDS = nb.ROOT / ".venv/notebook-seconds.json"
ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")


def read_number(text: str) -> tuple[float, float]:
    "A printed number, and a unit of its last decimal: 0.01 for 0.32, 0 for a number without decimals."
    mantissa, _, exponent = (
        text.replace(",", "").replace("−", "-").lower().partition("e")
    )
    decimals = len(mantissa.partition(".")[2])
    return float(f"{mantissa}e{exponent or 0}"), 10.0 ** (
        int(exponent or 0) - decimals
    ) if decimals else 0.0


def split(text: str) -> tuple[str, list[tuple[float, float]]]:
    "The words of a text with its numbers taken out, and those numbers with their last places. Machine-made figures are neither."
    text = ADDRESS.sub("@", MACHINE.sub("@", text))
    numbers = [read_number(n) for n in NUMBER.findall(text)]
    return re.sub(r"[\s─│┌┐└┘|:=\-+]+", " ", NUMBER.sub("#", text)).strip(), numbers


def unequal_lines(stored: str, fresh: str) -> str:
    "The first lines that are not the same word for word, of both texts."
    pairs = itertools.zip_longest(stored.splitlines(), fresh.splitlines(), fillvalue="")
    unequal = [p for p in pairs if split(p[0])[0] != split(p[1])[0]] or [
        (stored, fresh)
    ]
    return "; ".join(
        f"{old.strip()[:200]!r}, {new.strip()[:200]!r}" for old, new in unequal[:3]
    )


def differs(stored: str, fresh: str, rtol: float = RTOL, atol: float = ATOL) -> str:
    "Why two texts differ, or an empty string."
    (words, numbers), (new_words, new_numbers) = split(stored), split(fresh)
    if words != new_words or len(numbers) != len(new_numbers):
        return f"stored and fresh {unequal_lines(stored, fresh)}"
    for (old, last_place), (new, _) in zip(numbers, new_numbers, strict=True):
        # 0.315 prints as 0.31 or 0.32: rounding alone moves the last decimal by one.
        if not math.isclose(
            old, new, rel_tol=rtol, abs_tol=max(atol, 1.001 * last_place)
        ):
            return f"stored {old:g}, fresh {new:g} (in {stored.strip()[:100]!r})"
    return ""


def outputs(cell) -> tuple[str, list[str]]:
    "The text of a cell's outputs, and the kinds of picture among them."
    text, images = "", []
    for out in cell.get("outputs", []):
        data = out.get("data", {})
        images += sorted(k for k in data if k.startswith("image/"))
        # A figure's text is its object's name, which says nothing.
        text += out.get("text", "") + (
            ""
            if images
            else data.get("text/markdown", data.get("text/plain", "")) + "\n"
        )
    return text, images


def compare(stored, fresh) -> list[str]:
    "Complaints about each executed cell whose stored outputs are not those of a fresh run."
    complaints = []
    for old, new in zip(stored.cells, fresh.cells, strict=True):
        if not nb.is_run(old):
            continue
        (old_text, old_images), (new_text, new_images) = outputs(old), outputs(new)
        if old_images != new_images:
            complaints.append(
                f"cell {old.id}: stored pictures {old_images}, fresh {new_images}"
            )
        elif why := differs(old_text, new_text):
            complaints.append(f"cell {old.id}: {why}")
    return complaints


def longest_first(paths: list[Path], seconds: dict[str, float]) -> list[Path]:
    "The order in which two workers end together; what is not known yet comes first."
    return sorted(paths, key=lambda path: -seconds.get(path.stem, math.inf))


def check(path: Path, seconds: dict[str, float]) -> list[str]:
    "Execute one notebook and compare it; note how long it took."
    start = time.perf_counter()
    try:
        fresh, _ = nb.execute(path, prepare=kernels.fork_kernels)
        complaints = compare(nb.read(path), fresh)
    except Exception as error:
        complaints = [f"does not run: {TERMINAL.sub('', str(error)).strip()[-1500:]}"]
    word = "differs" if complaints else "as stored"
    seconds[path.stem] = round(time.perf_counter() - start, 1)
    print(f"{path.stem}: {word} ({seconds[path.stem]:.0f} s)", flush=True)
    return [f"{path.name}: {c}" for c in complaints]


def main() -> None:
    # Tutorials train for minutes: `make reproduce` and `make test-slow` compare those.
    found = (
        nb.select(sys.argv[1:])
        if sys.argv[1:]
        else [p for p in nb.paths() if nb.kind(p) != "tutorial"]
    )
    seconds = json.loads(SECONDS.read_text()) if SECONDS.exists() else {}
    found = longest_first(found, seconds)
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(check, found, [seconds] * len(found))
        complaints = [c for some in done for c in some]
    if SECONDS.parent.exists():
        SECONDS.write_text(json.dumps(seconds, indent=1, sort_keys=True))
    print("\n".join(complaints) or f"{len(found)} notebooks print what is stored")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
