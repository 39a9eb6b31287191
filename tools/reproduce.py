"""Execute the tutorials from top to bottom and set their figures beside the source's and the floors.

A tutorial names its figures in a variable `results`: a list of rows, each a dict with `quantity`, `source` (the
source notebook's printed figure, a number or text, None where it has none), `ours` (a number, or a list of them), and
`floor` (text such as "<= 1.15", each of ours is held to it, or None).
"""

import argparse
import base64
import json
import re
import sys
import time
from pathlib import Path

import books as nb
import compare_outputs
import nbformat

COLLECT = (
    "import json; print(json.dumps(results, default=lambda value: value.tolist()))"
)
FLOOR = re.compile(r"^\s*(<=|>=|<|>|≤|≥)\s*([-+]?[\d.]+(?:e[-+]?\d+)?)", re.I)


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
    "Whether each of our figures holds the floor; None where there is nothing to hold."
    found = FLOOR.match(str(row.get("floor") or ""))
    if not found:
        return None
    ours = row["ours"] if isinstance(row["ours"], list) else [row["ours"]]
    below, limit = found[1] in ("<=", "<", "≤"), float(found[2])
    return all(value <= limit if below else value >= limit for value in ours)


def table(rows: list[dict]) -> str:
    "Quantity, source, ours, floor, as a Markdown table that also reads well in a terminal."
    head = ["quantity", "source notebook", "ours", "floor", "met"]
    body = [
        [
            row["quantity"],
            *(show(row.get(k)) for k in ("source", "ours", "floor")),
            {None: "", True: "yes", False: "NO"}[is_met(row)],
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [
        " | ".join(text.ljust(w) for text, w in zip(line, widths, strict=True))
        for line in [head, *body]
    ]
    lines.insert(1, "-|-".join("-" * w for w in widths))
    return "\n".join(
        f"| {line} |" if i != 1 else f"|-{line}-|" for i, line in enumerate(lines)
    )


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


def reproduce(path: Path, out: Path) -> tuple[list[dict], list[str]]:
    "Run one tutorial, keep what it made, and return its rows and where it differs from what is stored."
    start = time.perf_counter()

    def progress(i: int, n: int, cell: object) -> None:
        if cell.cell_type == "code":
            print(
                f"{path.stem}  cell {i + 1:3d}/{n}  {time.perf_counter() - start:6.0f} s  {cell.id}",
                flush=True,
            )

    book, printed = nb.execute(path, extra=COLLECT, each=progress)
    rows = json.loads(printed.strip().splitlines()[-1])
    pictures = save(book, rows, out / path.stem)
    print(
        f"{path.stem}: {pictures} figures, {len(rows)} numbers, {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    return rows, [
        f"{path.name}: {c}" for c in compare_outputs.compare(nb.read(path), book)
    ]


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
    args = parser.parse_args()
    tutorials = nb.select(args.names, only="tutorial")
    print(
        f"{len(tutorials)} tutorials, results in {args.out.name}/; a tutorial trains for minutes",
        flush=True,
    )
    runs = [reproduce(path, args.out) for path in tutorials]
    rows, complaints = (
        [r for run, _ in runs for r in run],
        [c for _, some in runs for c in some],
    )
    (args.out / "table.md").write_text(table(rows) + "\n", encoding="utf-8")
    if complaints:
        print(
            "Not as stored (another machine or version rounds, and trains, a little differently):",
            *complaints,
            sep="\n  ",
        )
    missed = sum(is_met(row) is False for row in rows)
    held = sum(is_met(row) is not None for row in rows)
    print(f"\n{table(rows)}\n\n{held - missed} of {held} floors met")
    sys.exit(
        bool(args.compare and complaints)
    )  # a missed floor is a result, shown above and on its page


if __name__ == "__main__":
    main()
