"""Build the website into _docs/, or, with `--check`, do all of it but Quarto's part in a temporary folder and check the links.

nbdev executes the exported cells and every cell that holds an import, each without the cells between; our own steps then give the
reference its entries and turn names into links (`pages.py`), and Quarto makes pages of the processed copies.
"""

import functools
import io
import json
import logging
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import books as nb
import check_pages
import nbformat
import pages
from execnb.nbio import mk_cell, read_nb, write_nb
from fontTools.subset import Options, Subsetter, load_font, save_font
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, add_links, exec_show_docs
from PIL import Image

REFERENCES = "## References {.unnumbered #references}\n\n::: {#refs}\n:::"
WIDE = "toc: false\nbody-classes: landing\n"
THUMBNAIL = 480  # pixels, along the longer side
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


@functools.cache
def book_at(root: Path) -> pages.Book:
    "The book, read once in each process."
    return pages.read_book(root)


def set_apart(text: str, taken: set[str]) -> str:
    "Give a heading another anchor where an entry of the page has its own: `## Curves` above the function `curves`."

    def anchored(match: re.Match) -> str:
        slug = check_pages.slug(match[1])
        if slug in taken and "{#" not in match[1]:
            return f"{match[0]} {{#about-{slug}}}"
        return match[0]

    fences = re.split(r"(^```.*?^```[^\n]*$)", text, flags=re.M | re.S)
    heading = re.compile(r"^#{1,6} +(.*?)$", re.M)
    fences[::2] = [heading.sub(anchored, part) for part in fences[::2]]
    return "".join(fences)


class MakePage(Processor):
    "Our entries in place of nbdev's, methods at the end of the page, links, a download for tutorials."

    def begin(self):
        root = Path.cwd()
        self.book, path = book_at(root), Path(self.nb.path_).resolve()
        inside = path.is_relative_to(root / "nbs")
        self.here = path.relative_to(root / "nbs").as_posix() if inside else path.name
        self.classes = []

    def __call__(self, cell):
        name = re.search(r"^show_doc\((\w+)", cell.source, re.M)
        if cell.cell_type == "code" and name:
            entry = self.book.entries.get(name[1])
            if entry is None:
                return
            text = pages.entry_text(entry, self.book)
            cell.update(cell_type="markdown", source=text)
            for key in ("outputs", "execution_count"):
                cell.pop(key, None)
            self.classes += [entry] if entry.own else []
        elif cell.cell_type == "markdown":
            if self.here == "index.ipynb":
                cell.source = pages.filled(cell.source, self.book)
            text = pages.linked(cell.source, self.book, self.here)
            cell.source = pages.numbered(text)

    def end(self):
        for cell in self.nb.cells:
            if "id" in cell:  # on the page it would take the anchor of a heading
                cell["id"] = f"cell-{cell['id']}"
        text = pages.methods_text(self.classes, self.book)
        if text:
            self.nb.cells.append(mk_cell(text, "markdown"))
        words = "\n".join(c.source for c in self.nb.cells if c.cell_type == "markdown")
        if keys := pages.cited(words, self.book.works)[0]:
            bib = pages.relative("references.bib", self.here)
            every = ", ".join(f"@{key}" for key in keys)
            head = self.nb.cells[0]
            listed = f'---\nbibliography: {bib}\nnocite: "{every}"\n'
            head.source = head.source.replace("---\n", listed, 1)
            self.nb.cells.append(mk_cell(REFERENCES, "markdown"))
        own = set(check_pages.own_anchors(words))
        for cell in self.nb.cells:
            if cell.cell_type == "markdown":
                cell.source = set_apart(cell.source, own)
        if self.here == "index.ipynb":  # wide, for the picture and the cards
            head = self.nb.cells[0]
            head.source = head.source.replace("---\n", f"---\n{WIDE}", 1)
        page = self.book.page(Path(self.here).stem)
        if page and page.kind == "tutorial":
            name = Path(self.here).name
            text = (
                f"[Tutorial {int(name[:2])}]{{.number}} [Download this notebook](../downloads/{name})"
                f'{{.download download="{name}"}}'
            )
            self.nb.cells.insert(1, mk_cell(text, "markdown"))


class Processors(FilterDefaults):
    "What happens to a notebook before Quarto reads it."

    def base_procs(self):
        ours = {exec_show_docs: ExecuteByName, add_links: MakePage}
        return [ours.get(step, step) for step in super().base_procs()]


def process(path: Path, into: Path | None = None) -> str:
    "Process one notebook, and write the result below `into`. **Returns** why it cannot be done, or an empty string."
    os.environ["IN_TEST"] = "1"  # as when nbdev builds the site
    try:
        book = read_nb(path)
        Processors()(book)
        if into:
            target = into / path.relative_to(Path.cwd() / "nbs")
            target.parent.mkdir(parents=True, exist_ok=True)
            write_nb(book, target)
    except Exception as error:
        return f"{path.name}: {error}"
    finally:
        del os.environ["IN_TEST"]
    return ""


def check(paths: list[Path], into: Path | None = None) -> list[str]:
    "The complaints about all notebooks, each processed in one of a few fresh processes."
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        done = pool.map(process, paths, [into] * len(paths))
        return [message for message in done if message]


def save_thumbnail(page: pages.Page, target: Path) -> None:
    "Keep a tutorial's first figure, small, for the landing page."
    image = Image.open(io.BytesIO(page.figure)).convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.quantize(64).save(target, optimize=True)


def standalone(path: Path, root: Path) -> nbformat.NotebookNode:
    "The notebook as it is downloaded: stored results that it reads come along, in a cell that writes them."
    book, place = nb.read(path), "../../benchmarks/results"
    readers = [i for i, cell in enumerate(book.cells) if place in cell.source]
    if not readers:
        return book
    named = set(
        re.findall(rf"{place}/([\w.-]+)", "".join(c.source for c in book.cells))
    )
    results = {
        file.name: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((root / "benchmarks/results").glob("*.json"))
        if file.name in named or not named
    }
    for i in readers:
        book.cells[i].source = book.cells[i].source.replace(place, "results")
    written = nbformat.v4.new_code_cell(
        "# Figures of stored runs, which this notebook reads; in the repository they are files.\n"
        "import json\nfrom pathlib import Path\n\n"
        f"stored = json.loads({json.dumps(results)!r})\n"
        'Path("results").mkdir(exist_ok=True)\n'
        "for name, values in stored.items():\n"
        '    Path("results", name).write_text(json.dumps(values))'
    )
    written["id"] = "stored-results"
    book.cells.insert(readers[0], written)
    return book


def make_pages(root: Path, into: Path) -> list[str]:
    "All that Quarto reads: processed notebooks, texts, the list of names, pictures, notebooks to download."
    shutil.copytree(root / "nbs", into, ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    complaints = check(nb.paths(root), into)
    book = pages.read_book(root)
    for text in into.glob("*.qmd"):
        source = text.read_text(encoding="utf-8")
        text.write_text(pages.linked(source, book, text.name), encoding="utf-8")
    reference = pages.reference_text(root, book)
    (into / "reference.qmd").write_text(reference, encoding="utf-8")
    (into / "downloads").mkdir()
    (into / "images").mkdir(exist_ok=True)
    for page in pages.tutorials(book):
        path = root / "nbs" / page.path
        if page.figure:
            save_thumbnail(page, into / pages.thumbnail(page))
        nbformat.write(standalone(path, root), into / "downloads" / path.name)
    return complaints


def link_relatively(site: Path, address: str) -> None:
    "Let links that name the public address work at any address, or none."
    own = re.compile(rf'href="{re.escape(address)}/([\w/.-]+\.html)')
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding="utf-8")
        page.write_text(own.sub(rf'href="{up}\1', text), encoding="utf-8")


def put_first_in_search(site: Path, book: pages.Book, root: Path) -> None:
    "Let a search find entries of the reference before the pages that mention them."
    index = site / "search.json"
    if index.exists():
        found = json.loads(index.read_text(encoding="utf-8"))
        first = pages.search_entries(book, root)
        ours = {item["href"] for item in first}
        rest = [item for item in found if item.get("href") not in ours]
        index.write_text(json.dumps(first + rest), encoding="utf-8")


def keep_used_icons(site: Path) -> None:
    "Leave the icons that no page shows out of the font and its style sheet: they would be a quarter of a small page."
    style = site / "site_libs/bootstrap/bootstrap-icons.css"
    if not style.exists():
        return
    texts = [p for kind in ("html", "js", "css") for p in site.rglob(f"*.{kind}")]
    used = {
        name
        for p in texts
        if p != style
        for name in re.findall(r"\bbi-[a-z0-9-]+", p.read_text(encoding="utf-8"))
    }
    rule = re.compile(r'\.(bi-[a-z0-9-]+)::before \{ content: "\\([0-9a-f]+)"; \}\n?')
    text = style.read_text(encoding="utf-8")
    codes = {int(code, 16) for name, code in rule.findall(text) if name in used}
    for path in texts:
        if path.suffix == ".css" and path != style:
            found = re.findall(r'"\\([0-9a-f]{4})"', path.read_text(encoding="utf-8"))
            codes |= {int(code, 16) for code in found}
    style.write_text(
        rule.sub(lambda m: m[0] if m[1] in used else "", text), encoding="utf-8"
    )
    font = style.with_suffix(".woff")
    logging.getLogger("fontTools").setLevel("ERROR")  # the font has two bytes too many
    options = Options(flavor="woff")
    whole = load_font(str(font), options)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(whole)
    save_font(whole, str(font), options)


def build(root: Path = nb.ROOT) -> None:
    "Process the notebooks into _proc/, let Quarto render that, and put the result into _docs/."
    config = nb.settings(root)
    target, cache = root / config["doc_path"], root / "_proc"
    # All of them anew: the cache would keep the pages of notebooks that are gone.
    shutil.rmtree(cache, ignore_errors=True)
    complaints = make_pages(root, cache)
    if complaints:
        raise SystemExit("\n".join(complaints))
    subprocess.run(["quarto", "render", "--no-cache"], cwd=cache, check=True)
    keep_used_icons(cache / target.name)
    link_relatively(cache / target.name, config["doc_host"])
    put_first_in_search(cache / target.name, pages.read_book(root), root)
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(cache / target.name, target)


def main(root: Path = nb.ROOT) -> None:
    os.chdir(root)
    os.environ.update({k: os.environ.get(k, v) for k, v in nb.QUIET.items()})
    if "--check" not in sys.argv:
        return build(root)
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "pages"
        complaints = make_pages(root, into)
        if not complaints:
            complaints = check_pages.complaints(into)
    print(
        "\n".join(complaints)
        or f"nbdev processes {len(nb.paths(root))} notebooks, and every link on the pages leads somewhere"
    )
    sys.exit(bool(complaints))


if __name__ == "__main__":
    import make_docs  # under its own name: the shell that runs the cells puts its own module in the place of __main__

    make_docs.main()
