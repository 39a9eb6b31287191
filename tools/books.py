"What the tools share: where things are, and how a notebook is read, written and executed."

import os
import re
import tempfile
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
# TensorFlow logs to stderr otherwise, and prints rounding notes that differ from machine to machine.
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "GAUSSFLOW_ANNOUNCE_AFTER": "1e6",  # a slow machine's words would be stored
}
# Where there is a process for each core, TensorFlow's threads only wait for each other:
# with one thread an eighth less processor time was measured.
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def settings(root: Path = ROOT) -> dict[str, str]:
    "The keys of settings.ini, interpolated."
    config = ConfigParser(delimiters=["="])
    config.read_string((root / "settings.ini").read_text(encoding="utf-8"))
    return dict(config["DEFAULT"])


def paths(root: Path = ROOT) -> list[Path]:
    "All notebooks of the book, sorted, without hidden folders and checkpoints."
    found = (root / "nbs").rglob("*.ipynb")
    return sorted(
        p
        for p in found
        if not any(part[0] in "._" for part in p.relative_to(root).parts)
    )


def kind(path: Path) -> str:
    "`tutorial`, `library` or `index`."
    return (
        "tutorial"
        if path.parent.name == "tutorials"
        else "index"
        if path.stem == "index"
        else "library"
    )


def called(name: str, among: list[Path], root: Path = ROOT) -> Path:
    "The one notebook that `name` means: `22_marginal`, `22` or `tutorials/02`, as far as it is unique."
    places = {
        path.relative_to(root / "nbs").with_suffix("").as_posix(): path
        for path in among
    }
    exact = [place for place, path in places.items() if name in (place, path.stem)]
    found = exact or [
        place
        for place, path in places.items()
        if place.startswith(name) or path.stem.startswith(name)
    ]
    if len(found) != 1:
        candidates = ", ".join(found or places)
        raise SystemExit(
            f"Expected the name of one notebook, received {name!r}: {'candidates' if found else 'there are'} {candidates}"
        )
    return places[found[0]]


def select(names: list[str], root: Path = ROOT, only: str | None = None) -> list[Path]:
    "The notebooks that `names` mean, all without names; `only` those of one kind. **Raises** `SystemExit` where a name is not unique."
    among = [path for path in paths(root) if only in (None, kind(path))]
    return [called(name, among, root) for name in names] or among


def read(path: Path) -> nbformat.NotebookNode:
    "The notebook at `path`."
    return nbformat.read(path, as_version=4)


def directives(cell: nbformat.NotebookNode) -> set[str]:
    "What a cell's `#|` lines say, such as `export`, `hide`, `eval: false`."
    return {m.strip() for m in re.findall(r"^#\s*\|\s*(.+)$", cell.source, re.M)}


def is_run(cell: nbformat.NotebookNode) -> bool:
    "Whether a run executes this cell."
    return cell.cell_type == "code" and "eval: false" not in directives(cell)


def execute(
    path: Path,
    extra: str = "",
    each: Callable = lambda i, n, cell: None,
    prepare: Callable = lambda client: None,
) -> tuple[nbformat.NotebookNode, str]:
    "Execute a copy of `path` in its own folder; return it and what the code `extra`, run last, printed."
    os.environ.update({k: os.environ.get(k, v) for k, v in QUIET.items()})
    notebook = read(path)
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources=where,
        coalesce_streams=True,
    )
    # What TensorFlow's C++ writes to the process's stderr is about the machine; Python's own warnings are still stored.
    client.extra_arguments = ["--IPKernelApp.capture_fd_output=False"]
    prepare(client)
    with (
        tempfile.TemporaryFile() as log,
        client.setup_kernel(env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=log),
    ):
        try:
            for i, cell in enumerate(notebook.cells):
                each(i, len(notebook.cells), cell)
                if is_run(cell):
                    client.execute_cell(cell, i)
            notebook.cells.append(nbformat.v4.new_code_cell(extra))
            client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
        except DeadKernelError as error:
            log.seek(0)
            raise RuntimeError(
                f"The kernel died: {log.read()[-2000:].decode(errors='replace')}"
            ) from error
    printed = notebook.cells.pop().outputs
    return notebook, "".join(
        o.get("text", "") for o in printed if o.get("name") == "stdout"
    )
