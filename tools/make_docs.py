"""Build the website into _docs/, or, with `--check`, run nbdev's part of it without Quarto and write nothing.

nbdev executes the exported cells and every cell that holds an import, each without the cells between, and renders docstrings;
then Quarto makes pages of the processed copies. `nbdev_docs` does the same and rewrites README.md, which is `make readme`'s.
"""

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import books as nb
from execnb.nbio import read_nb
from nbdev.processors import FilterDefaults, exec_show_docs
from nbdev.serve import proc_nbs

WORKERS = 2  # each imports Keras and its backend


class ExecuteByName(exec_show_docs):
    "nbdev's execution, an error in it named by the cell that raised it."

    def __call__(self, cell):
        try:
            super().__call__(cell)
        except Exception as error:
            cause = error.__cause__ or error
            name = (
                cell.source
                if getattr(cell, "has_sd", False)
                else f"cell {cell.get('id', cell.idx_)}"
            )
            raise RuntimeError(f"{name}: {type(cause).__name__}: {cause}") from error


class Processors(FilterDefaults):
    "What nbdev does to a notebook before Quarto reads it."

    def base_procs(self):
        return [
            ExecuteByName if step is exec_show_docs else step
            for step in super().base_procs()
        ]


def complaint(path: Path) -> str:
    "Why nbdev cannot process one notebook, or an empty string; the file is left as it is."
    os.environ["IN_TEST"] = "1"  # as when nbdev builds the site
    try:
        Processors()(read_nb(path))
    except Exception as error:
        return f"{path.name}: {error}"
    finally:
        del os.environ["IN_TEST"]
    return ""


def check(paths: list[Path]) -> list[str]:
    "The complaints about all notebooks, each processed in one of a few fresh processes."
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        return [message for message in pool.map(complaint, paths) if message]


def link_relatively(site: Path, address: str) -> None:
    "Let the links that nbdev makes from names in backticks work at any address, or none: they name the public one."
    own = re.compile(rf'href="{re.escape(address)}/([\w/.-]+\.html)')
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding="utf-8")
        page.write_text(own.sub(rf'href="{up}\1', text), encoding="utf-8")


def build(root: Path = nb.ROOT) -> None:
    "Process the notebooks into _proc/, let Quarto render that, and put the result into _docs/."
    config = nb.settings(root)
    target = root / config["doc_path"]
    # All of them anew: the cache would keep the pages of notebooks that are gone.
    cache = proc_nbs(n_workers=WORKERS, force=True)
    subprocess.run(["quarto", "render", "--no-cache"], cwd=cache, check=True)
    link_relatively(cache / target.name, config["doc_host"])
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(cache / target.name, target)


def main(root: Path = nb.ROOT) -> None:
    os.chdir(root)
    os.environ.update({k: os.environ.get(k, v) for k, v in nb.QUIET.items()})
    if "--check" not in sys.argv:
        return build(root)
    found = nb.paths(root)
    complaints = check(found)
    print("\n".join(complaints) or f"nbdev processes {len(found)} notebooks")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    import make_docs  # under its own name: the shell that runs the cells puts its own module in the place of __main__

    make_docs.main()
