"""Execute the tutorials from top to bottom and end with a table of their numbers and targets.

A tutorial may name its numbers in a variable `results`: a list of rows, each a dict with `quantity`, `ours` (a number, or
a list of them), and `target` (text such as "<= 1.15", each of ours is held to it, or None). Page 90, which runs last,
adds `source`, the number that the source notebook prints. `--full` first makes the stored runs that pages draw.
"""

import argparse
import base64
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import books as nb
import compare_outputs
import nbformat

COLLECT = """
import json, resource
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
made = {"rows": globals().get("results", []), "seconds": sum(u.ru_utime + u.ru_stime for u in used)}
print(json.dumps(made, default=lambda value: value.tolist()))
"""
TARGET = re.compile(r"^\s*(<=|>=|<|>|≤|≥)\s*([-+]?[\d.]+(?:e[-+]?\d+)?)", re.I)

STORED = nb.ROOT / "benchmarks/results"
STUDIES = ("gallery",)  # what `python -m benchmarks.run` makes for tutorials


def show(value: object) -> str:
    "A cell of the table."
    if isinstance(value, list | tuple):
        return ", ".join(show(v) for v in value)
    return (
        "-"
        if value is None
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )


def is_met(row: dict) -> bool | None:
    "Whether each of our numbers meets the target; None where there is none."
    found = TARGET.match(str(row.get("target") or ""))
    if not found:
        return None
    ours = row["ours"] if isinstance(row["ours"], list) else [row["ours"]]
    below, limit = found[1] in ("<=", "<", "≤"), float(found[2])
    return all(value <= limit if below else value >= limit for value in ours)


def table(rows: list[dict]) -> str:
    "Quantity, ours, target, met, and the source where a row has one, as a Markdown table that also reads well in a terminal."
    keys = ["ours", "target"]
    if any(row.get("source") is not None for row in rows):
        keys = ["source", *keys]
    body = [
        [
            row["quantity"],
            *(show(row.get(key)) for key in keys),
            {None: "", True: "yes", False: "NO"}[is_met(row)],
        ]
        for row in rows
    ]
    head = ["quantity", *keys, "met"]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [
        " | ".join(text.ljust(w) for text, w in zip(line, widths, strict=True))
        for line in [head, *body]
    ]
    lines.insert(1, "-|-".join("-" * w for w in widths))
    return "\n".join(
        f"| {line} |" if i != 1 else f"|-{line}-|" for i, line in enumerate(lines)
    )


def stored_seconds() -> dict[str, float]:
    "Processor seconds that each tutorial took when they were last stored: an upper estimate for two cores."
    path = STORED / "tutorials.json"
    return json.loads(path.read_text())["seconds"] if path.exists() else {}


def store_seconds(found: dict[str, float]) -> None:
    "Renew the stored times of the tutorials that were run."
    seconds = stored_seconds() | {name: round(value) for name, value in found.items()}
    text = json.dumps({"seconds": dict(sorted(seconds.items()))}, indent=1)
    (STORED / "tutorials.json").write_text(text + "\n", encoding="utf-8")


def minutes(seconds: float) -> str:
    "A time for people."
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class Clock:
    "How long the rest takes: the stored times, scaled by how this machine did so far."

    def __init__(self, names: list[str], at_once: int = 1) -> None:
        self.stored, self.names, self.at_once = stored_seconds(), names, at_once
        self.start = time.perf_counter()
        self.begun: dict[str, float] = {}  # when each tutorial was
        self.used: dict[str, float] = {}  # processor seconds of those that have ended

    def whole(self) -> str:
        "The stored time of all, as text."
        known = [self.stored[name] for name in self.names if name in self.stored]
        unknown = len(self.names) - len(known)
        return minutes(sum(known)) + (f" and {unknown} unknown" if unknown else "")

    def left(self) -> str:
        "The time left, as text."
        if not self.stored:
            return ""
        now, past, rest = time.perf_counter(), 0.0, 0.0
        for name in self.names:
            known = self.stored.get(name, 0)
            ended = name in self.used
            gone = known if ended else min(now - self.begun.get(name, now), known)
            past, rest = past + gone, rest + known - gone
        pace = (now - self.start) / past if past > 30 else 1 / self.at_once
        return f"about {minutes(rest * pace)} left"


def save(book, rows: list[dict], folder: Path) -> int:
    "Write the executed notebook, its pictures and its numbers; return how many pictures there are."
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for old in (folder / "figures").glob("*.png"):
        old.unlink()
    pictures = [
        (c.id, o["data"]["image/png"])
        for c in book.cells
        for o in c.get("outputs", [])
        if "image/png" in o.get("data", {})
    ]
    for i, (cell_id, data) in enumerate(pictures, 1):
        (folder / "figures" / f"{i:02d}-{cell_id}.png").write_bytes(
            base64.b64decode(data)
        )
    nbformat.write(book, folder / f"{folder.name}.ipynb")
    (folder / "results.json").write_text(
        json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return len(pictures)


def reproduce(
    path: Path, out: Path, clock: Clock | None = None
) -> tuple[list[dict], list[str]]:
    "Run one tutorial, keep what it made, and return its rows and where it differs from what is stored."
    start, clock = time.perf_counter(), clock or Clock([path.stem])
    clock.begun[path.stem] = start

    def progress(i: int, n: int, cell: object) -> None:
        if cell.cell_type == "code":
            used = time.perf_counter() - start
            print(
                f"{path.stem}  cell {i + 1:3d}/{n}  {used:6.0f} s  {cell.id:22}"
                f"  {clock.left()}".rstrip(),
                flush=True,
            )

    book, printed = nb.execute(path, extra=COLLECT, each=progress)
    made = json.loads(printed.strip().splitlines()[-1])
    rows, clock.used[path.stem] = made["rows"], made["seconds"]
    pictures = save(book, rows, out / path.stem)
    print(
        f"{path.stem}: {pictures} figures, {len(rows)} numbers, {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    return rows, [
        f"{path.name}: {c}" for c in compare_outputs.compare(nb.read(path), book)
    ]


def make_stored() -> None:
    "Make the stored runs again, and say beforehand how long it took the last time."
    before = {
        name: json.loads((STORED / f"{name}.json").read_text())["figures"]["seconds"]
        for name in STUDIES
    }
    said = ", ".join(f"{name} {minutes(v)}" for name, v in before.items())
    print(
        f"Stored runs first, {minutes(sum(before.values()))} as last measured: {said}.",
        "Times and peers are not among them: `python -m benchmarks.run` makes those.",
        sep="\n",
        flush=True,
    )
    command = [sys.executable, "-m", "benchmarks.run", *STUDIES]
    subprocess.run(command, cwd=nb.ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names",
        nargs="*",
        help="the first letters of tutorials, such as 21; all without",
    )
    parser.add_argument("--out", type=Path, default=nb.ROOT / "results")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="fail where the outputs differ from the stored ones",
    )
    parser.add_argument(
        "--full", action="store_true", help="make the stored runs first"
    )
    parser.add_argument(
        "--store-times",
        action="store_true",
        help="store the processor seconds of what was run, for the time left",
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="how many tutorials run side by side; two where there are two cores",
    )
    args = parser.parse_args()
    if args.at_once < 1:
        parser.error(f"Expected --at-once of at least 1, received {args.at_once}")
    if args.full:
        make_stored()
    if args.at_once >= (os.cpu_count() or 1):
        os.environ.update(nb.ONE_THREAD)
    tutorials = nb.select(args.names, only="tutorial")
    clock = Clock([path.stem for path in tutorials], args.at_once)
    print(
        f"{len(tutorials)} tutorials, {args.at_once} at once, {clock.whole()} of one core "
        f"as last measured; results in {args.out.name}/",
        flush=True,
    )
    ordered = compare_outputs.longest_first(tutorials, clock.stored)
    failed = {}

    def run(path: Path) -> tuple[list[dict], list[str]]:
        "One tutorial; one that fails is named at once, and the others go on."
        try:
            return reproduce(path, args.out, clock)
        except Exception as error:
            failed[path.stem] = compare_outputs.TERMINAL.sub("", str(error)).strip()
            print(f"{path.stem}: FAILED\n{failed[path.stem][-1500:]}", flush=True)
            return [], []

    with ThreadPoolExecutor(args.at_once) as pool:
        found = dict(zip(ordered, pool.map(run, ordered)))
    runs = {path.stem: found[path] for path in tutorials}
    if args.store_times:
        store_seconds(clock.used)
    complaints = [c for _, some in runs.values() for c in some]
    rows = [row for some, _ in runs.values() for row in some]
    ours = [row for row in rows if row.get("source") is None]
    beside = [row for row in rows if row.get("source") is not None]
    tables = "\n\n".join(table(part) for part in (ours, beside) if part)
    (args.out / "table.md").write_text(tables + "\n", encoding="utf-8")
    if complaints:
        print(
            "Not as stored (another machine or version rounds, and trains, a little differently):",
            *complaints,
            sep="\n  ",
        )
    missed = sum(is_met(row) is False for row in rows)
    held = sum(is_met(row) is not None for row in rows)
    print(f"\n{tables}\n\n{held - missed} of {held} targets met")
    if failed:
        print(f"failed: {', '.join(sorted(failed))}")
    # a missed target is a result, shown above and on its page
    sys.exit(bool(failed or (args.compare and complaints)))


if __name__ == "__main__":
    main()
