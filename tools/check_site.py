"Check the website without Quarto: what nbdev and Quarto would read is there, in step and whole."

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import books as nb
import make_readme
import pages
import yaml

KEYS = "repo lib_name lib_path version description author license min_python nbs_path doc_path tst_flags requirements"
POINTER = {"metadata-files": ["../_quarto.yml"]}
MADE = {"reference.qmd"}  # pages that the build writes
WIDTH, COLUMNS = 88, 7
# Lines of code, outputs and tables that are still wider; the lists are meant to become empty.
LONG_CODE: set[str] = set()
WIDE_OUTPUT = {
    *("04_table", "08_conditional", "20_conditioner", "23_coupling"),
    *(
        "50_estimator",
        "33_bounded",
        "41_sampling",
        "42_flow",
        "60_report",
        "61_evaluation",
    ),
    "70_densities",
}
WIDE_TABLES: set[str] = set()
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")


def quarto(root: Path) -> dict:
    return yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8")) or {}


def listed(contents: list) -> Iterator[str]:
    "The files that a sidebar's contents name, sections unfolded."
    for item in contents:
        if isinstance(item, str):
            yield item
        elif "contents" in item:
            yield from listed(item["contents"])
        elif "href" in item:
            yield item["href"]


def check_settings(root: Path) -> Iterator[str]:
    "settings.ini parses, says what nbdev needs, and the package has its version."
    cfg = nb.settings(root)
    for key in ["public_address", *KEYS.split()]:
        if not cfg.get(key, "").strip():
            yield f"settings.ini: Expected a value for {key}"
    if cfg.get("custom_sidebar") != "True":
        yield "settings.ini: Expected custom_sidebar = True (the sidebar is written by hand)"
    init = root / cfg.get("lib_path", "gaussflow") / "__init__.py"
    versions = (
        re.findall(r'^__version__ = "(.*)"', init.read_text(encoding="utf-8"), re.M)
        if init.exists()
        else []
    )
    if versions != [cfg.get("version")]:
        yield f"{init.name}: Expected __version__ {cfg.get('version')}, received {versions}"


def check_quarto(root: Path) -> Iterator[str]:
    "_quarto.yml has a title and a description, executes nothing, and writes where nbdev expects it."
    cfg, site = nb.settings(root), quarto(root)
    for key in ("title", "description"):
        if not site.get("website", {}).get(key):
            yield f"_quarto.yml: Expected website: {key}"
    if site.get("execute", {}).get("enabled") is not False:
        yield "_quarto.yml: Expected execute: enabled: false (stored outputs are shown)"
    if site.get("project", {}).get("output-dir") != cfg["doc_path"]:
        yield f"_quarto.yml: Expected output-dir: {cfg['doc_path']}"


def addresses(root: Path) -> dict[str, str]:
    "What settings.ini's one public address makes of Quarto's keys."
    cfg = nb.settings(root)
    return {"site-url": cfg["doc_host"], "repo-url": cfg["git_url"]}


def check_address(root: Path) -> Iterator[str]:
    "The public address is settings.ini's everywhere, and the README does without."
    for key, value in addresses(root).items():
        if (received := quarto(root).get("website", {}).get(key)) != value:
            yield f"_quarto.yml: Expected {key}: {value}, received {received} (make site-address writes it)"
    if nb.settings(root)["public_address"] in (root / "README.md").read_text(
        encoding="utf-8"
    ):
        yield "README.md: links to the public address"


def check_pointer(root: Path) -> Iterator[str]:
    "nbs/_quarto.yml is the pointer to the root file and nothing else, and no symbolic link."
    path = root / "nbs/_quarto.yml"
    if (
        path.is_symlink()
        or not path.exists()
        or yaml.safe_load(path.read_text(encoding="utf-8")) != POINTER
    ):
        yield f"nbs/_quarto.yml: Expected only {POINTER}"


def check_sidebar(root: Path) -> Iterator[str]:
    "Every notebook stands exactly once in the sidebar, and nothing else does."
    times = Counter(
        listed(quarto(root).get("website", {}).get("sidebar", {}).get("contents", []))
    )
    books = {p.relative_to(root / "nbs").as_posix() for p in nb.paths(root)}
    books |= {p.name for p in (root / "nbs").glob("*.qmd")}
    yield from (f"sidebar: {name} is missing" for name in sorted(books - set(times)))
    yield from (
        f"sidebar: {name} does not exist" for name in sorted(set(times) - books - MADE)
    )
    yield from (
        f"sidebar: {name} stands {n} times" for name, n in times.items() if n > 1
    )


def entries(contents: list) -> Iterator[dict]:
    "The items of a sidebar that have a text of their own, sections unfolded."
    for item in contents:
        if isinstance(item, dict):
            yield from entries(item.get("contents", []))
            if "href" in item:
                yield item


def check_story(root: Path) -> Iterator[str]:
    "Tutorials stand in the sidebar by number and title, in order, and the navigation bar opens the first."
    website = quarto(root).get("website", {})
    numbers, first = [], None
    for item in entries(website.get("sidebar", {}).get("contents", [])):
        path = root / "nbs" / item["href"]
        if not item["href"].startswith("tutorials/") or not path.exists():
            continue
        title = re.search(r"^# (.+)", nb.read(path).cells[0].source, re.M)
        expected = f"{int(path.stem[:2])} {title[1] if title else ''}"
        first = first or item["href"]
        numbers.append(path.stem)
        if item.get("text") != expected:
            yield f"sidebar: Expected {expected!r}, received {item.get('text')!r}"
    if numbers != sorted(numbers):
        yield f"sidebar: Expected tutorials in order, received {numbers}"
    opened = [
        item["href"]
        for item in website.get("navbar", {}).get("left", [])
        if item.get("href", "").startswith("tutorials/")
    ]
    if first and opened != [first]:
        yield f"navbar: Expected {first}, received {opened}"


def check_titles(root: Path) -> Iterator[str]:
    "Every page begins with a title and a description, which the site shows."
    for path in sorted((root / "nbs").glob("*.qmd")):
        head = pages.front_matter(path)
        if not (head.get("title") and head.get("description")):
            yield f"{path.name}: Expected title and description"
    for path in nb.paths(root):
        cells = nb.read(path).cells
        if not cells or not re.match(r"# \S.*\n+> \S.*", cells[0].source):
            yield f"{path.name}: Expected a first cell with `# Title` and `> one line`"


def prose(path: Path) -> str:
    "The Markdown of a file or notebook, without code."
    if path.suffix == ".ipynb":
        text = "\n\n".join(
            c.source for c in nb.read(path).cells if c.cell_type == "markdown"
        )
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", text, flags=re.S)


def anchors(path: Path) -> set[str]:
    "The anchors of a page's headings, made as Quarto makes them."
    heads = re.findall(r"^#+\s+(.*?)\s*$", prose(path), re.M)
    own = re.findall(r"\{#([\w-]+)", prose(path))
    return {
        re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", h.lower()).strip()) for h in heads
    } | set(own)


def check_links(root: Path) -> Iterator[str]:
    "Relative links lead to files and headings that exist."
    found = [*nb.paths(root), *(p for p in sorted(root.glob("*.md")))]
    for page in found:
        for link in LINK.findall(prose(page)):
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            if target in MADE:
                continue
            goal = (page.parent / target) if target else page
            goal = goal.with_suffix(".ipynb") if goal.suffix == ".html" else goal
            if not goal.exists():
                yield f"{page.name}: {link} leads nowhere"
            elif (
                anchor
                and goal.suffix in (".ipynb", ".md")
                and anchor not in anchors(goal)
            ):
                yield f"{page.name}: {link} names no heading of {goal.name}"


def check_module_docs(root: Path) -> Iterator[str]:
    "Every exported module has its notebook, and every library notebook its module."
    cfg = nb.settings(root)
    modules = {
        p.stem
        for p in (root / cfg["lib_path"]).glob("*.py")
        if not p.stem.startswith("_")
    }
    books = {
        p.stem.split("_", 1)[-1] for p in nb.paths(root) if nb.kind(p) == "library"
    }
    yield from (
        f"{cfg['lib_path']}/{name}.py has no notebook"
        for name in sorted(modules - books)
    )
    yield from (
        f"notebook {name} has no module: make export"
        for name in sorted(books - modules)
    )
    for name in sorted(modules & books):
        if not ast.get_docstring(
            ast.parse(
                (root / cfg["lib_path"] / f"{name}.py").read_text(encoding="utf-8")
            )
        ):
            yield f"{cfg['lib_path']}/{name}.py has no docstring"


def check_readme(root: Path) -> Iterator[str]:
    "README.md is what nbs/index.ipynb says."
    yield from (
        f"{name}: not as nbs/index.ipynb says (make readme)"
        for name in make_readme.differences(root)
    )


def check_bibliography(root: Path) -> Iterator[str]:
    "Entries of the bibliography are closed, and every paper that a page links to stands in it."
    path = root / "nbs/references.bib"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for entry in re.split(r"^(?=@)", text, flags=re.MULTILINE)[1:]:
        if entry.count("{") != entry.count("}"):
            first = entry.partition("\n")[0]
            yield f"references.bib: braces do not match in the entry {first}"
    works = pages.works_of(path)
    for path in nb.paths(root):
        texts = (c.source for c in nb.read(path).cells)
        for address in dict.fromkeys(pages.cited("\n".join(texts), works)[1]):
            yield f"{path.name}: {address} is not in references.bib"


def shown(path: Path) -> Iterator:
    "The cells of a notebook that a reader sees."
    for cell in nb.read(path).cells:
        marks = nb.directives(cell) if cell.cell_type == "code" else set()
        if "hide" not in marks and "include: false" not in marks:
            yield cell


def check_code_width(root: Path) -> Iterator[str]:
    "No line of code is wider than the column; a line of `#|` cannot be broken, and is not shown."
    for path in nb.paths(root):
        for cell in shown(path):
            if cell.cell_type != "code" or path.stem in LONG_CODE:
                continue
            for line in cell.source.splitlines():
                if len(line) > WIDTH and not line.startswith("#|"):
                    yield f"{path.name}: cell {cell.id}: a line of {len(line)} characters"


def check_output_width(root: Path) -> Iterator[str]:
    "No line of printed text is wider than the column."
    for path in nb.paths(root):
        for cell in shown(path):
            if path.stem in WIDE_OUTPUT:
                continue
            for out in cell.get("outputs", []):
                data = out.get("data", {})
                rich = any(not kind.endswith("plain") for kind in data)
                text = "" if rich else out.get("text") or data.get("text/plain", "")
                widest = max(map(len, text.splitlines()), default=0)
                if widest > WIDTH:
                    yield f"{path.name}: cell {cell.id}: printed text of {widest} characters"


def visible(text: str) -> str:
    "A cell of a table as it is read: without links and marks."
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[`*$\\]", "", text).strip()


def table_rows(text: str) -> Iterator[tuple[str, list[str]]]:
    "The rows of the tables in Markdown, each with its cells."
    for line in re.sub(r"```.*?```", "", text, flags=re.S).splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|:\- ]+", line):
            bars = re.sub(
                r"`[^`]*`|\$[^$]*\$|\\\|", lambda m: m[0].replace("|", "/"), line
            )
            cells, start = [], 1
            for part in bars.strip().strip("|").split("|"):
                cells.append(line[start : start + len(part)])
                start += len(part) + 1
            yield line, cells


def check_tables(root: Path) -> Iterator[str]:
    """A table has at most 7 columns and fits the column.

    One that a cell printed has one line a row. In one that is written, words wrap, so that the longest of each cell count.
    """
    for path in [*nb.paths(root), *sorted((root / "nbs").glob("*.qmd"))]:
        if path.stem in WIDE_TABLES:
            continue
        if path.suffix == ".qmd":
            texts = [("the page", path.read_text(encoding="utf-8"), True)]
        else:
            texts = []
            for cell in shown(path):
                if cell.cell_type == "markdown":
                    texts.append((f"cell {cell.id}", cell.source, True))
                for out in cell.get("outputs", []):
                    made = out.get("data", {}).get("text/markdown", "")
                    texts.append((f"cell {cell.id}", made, False))
        for where, text, wraps in texts:
            for _, cells in table_rows(text):
                words = [visible(c) for c in cells]
                if wraps:
                    words = [max(w.split(), key=len, default="") for w in words]
                width = sum(map(len, words)) + 2 * (len(words) - 1)
                if len(words) > COLUMNS or width > WIDTH:
                    yield f"{path.name}: {where}: a table of {len(words)} columns and {width} characters"
                    break


RULES = [value for name, value in list(globals().items()) if name.startswith("check_")]


def set_address(root: Path = nb.ROOT) -> None:
    "Carry settings.ini's public address into _quarto.yml, comments kept."
    path = root / "_quarto.yml"
    text = path.read_text(encoding="utf-8")
    for key, value in addresses(root).items():
        text = re.sub(rf"^(\s*{key}:).*$", rf"\1 {value}", text, flags=re.M)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    if "--set-address" in sys.argv:
        set_address()
    complaints = [message for rule in RULES for message in rule(nb.ROOT)]
    print("\n".join(complaints) or f"the site is whole, {len(RULES)} rules")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
