"What would stop the website's build is found without Quarto, and the build touches nothing else."

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import check_pages
import lint_notebooks
import make_docs
import matplotlib
import nbformat
import pages
import pytest
import run_checks
from books import ROOT
from fontTools.ttLib import TTFont
from nbdev.config import get_config
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from test_tools_site import BIB, SETTINGS

# As much of Quarto as matters: pages into the output folder, and Markdown where it is asked for a README.
QUARTO = """#!/bin/sh
mkdir -p _docs/tutorials
case "$*" in *README*) echo "by Quarto" > _docs/README.md;; esac
printf '<a href="https://flows.invalid/special.html#tails">' > _docs/tutorials/flow.html
printf '<a href="https://flows.invalid/special.html"><a href="https://flows.invalid/source/x">' > _docs/index.html
"""
QUARTO_YML = """
website:
  sidebar:
    contents:
      - section: Library
        contents:
          - section: Ground
            contents: [00_roots.ipynb]
"""
HELP = (
    "---\ntitle: Help\ndescription: What to do.\n---\n\nSee `00_roots` and `root(4)`.\n"
)
LANDING = """# Flows

> One.

![All](images/hero.png)

<!-- doors -->

<!-- tutorials -->
"""


def picture(width, height):
    "A white picture, as a notebook stores it."
    content = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(content, format="png")
    return base64.b64encode(content.getvalue()).decode()


def save(path, *cells):
    "A library notebook whose module is a built-in one, so that processing it is quick."
    head = [
        new_markdown_cell("# Roots\n\n> One line.", id="title"),
        new_code_cell("#| default_exp roots", id="default-exp"),
        new_code_cell("#| export\nimport math", id="imports"),
        new_code_cell(
            "#| export\ndef root(x):\n    'Return the root.'\n    return math.sqrt(x)",
            id="root",
        ),
        new_code_cell("four = root(16.0)\nprint(four)", id="demo"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=[*head, *cells]), path)
    return path


@pytest.fixture(autouse=True)
def one_quick_worker(tmp_path, monkeypatch):
    "A stand-in for gaussflow in new processes: nbdev looks up the package's names, and Keras takes seconds to import."
    (tmp_path / ".venv/gaussflow").mkdir(parents=True)
    (tmp_path / ".venv/gaussflow/__init__.py").touch()
    (tmp_path / ".venv/gaussflow/_modidx.py").write_text(
        "d = {'syms': {}, 'settings': {}}\n"
    )
    monkeypatch.syspath_prepend(tmp_path / ".venv")
    monkeypatch.setattr(make_docs, "WORKERS", 1)


@pytest.fixture
def site(tmp_path, monkeypatch):
    "A small site under version control, its index newer than its README.md, and something that answers to `quarto`."
    (tmp_path / "settings.ini").write_text(SETTINGS)
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    (tmp_path / "README.md").write_text("by hand\n")
    os.utime(tmp_path / "README.md", (1, 1))
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "flows/_modidx.py").write_text("d = {'syms': {}, 'settings': {}}\n")
    save(tmp_path / "nbs/00_roots.ipynb")
    text = "# Learn\n\n> One line."
    (tmp_path / "nbs/tutorials").mkdir()
    drawn = new_output("display_data", data={"image/png": picture(900, 300)})
    cells = [
        new_markdown_cell(text, id="title"),
        new_code_cell("draw()", id="drawn", outputs=[drawn]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "nbs/tutorials/01_learn.ipynb")
    text = "# Prove\n\n> Without a figure: yes."
    nbformat.write(
        new_notebook(cells=[new_markdown_cell(text, id="title")]),
        tmp_path / "nbs/tutorials/02_prove.ipynb",
    )
    nbformat.write(
        new_notebook(cells=[new_markdown_cell(LANDING, id="title")]),
        tmp_path / "nbs/index.ipynb",
    )
    (tmp_path / "_quarto.yml").write_text(QUARTO_YML)
    (tmp_path / "nbs/help.qmd").write_text(HELP)
    (tmp_path / "nbs/_quarto.yml").write_text("metadata-files: [../_quarto.yml]\n")
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / ".venv/bin").mkdir()
    (tmp_path / ".venv/bin/quarto").write_text(QUARTO)
    (tmp_path / ".venv/bin/quarto").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / '.venv/bin'}:{os.environ['PATH']}")
    get_config.cache_clear()
    yield tmp_path
    get_config.cache_clear()


def status(site):
    return subprocess.run(
        ["git", "status", "--porcelain"],
        cwd=site,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_case_20_a_cell_that_stops_the_build_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    good = save(
        tmp_path / "00_roots.ipynb",
        new_code_cell("from math import pi", id="more"),
        new_code_cell("print(four, pi)", id="use"),
    )
    top = save(
        tmp_path / "01_top.ipynb",
        new_code_cell("from math import pi\nprint(four, pi)", id="mixed"),
    )
    inner = "def area(r=four):\n    from math import pi\n    return pi * r * r"
    nested = save(tmp_path / "02_nested.ipynb", new_code_cell(inner, id="area"))
    shown = save(
        tmp_path / "03_shown.ipynb", new_code_cell("show_doc(cube)", id="cube")
    )
    before = [path.read_bytes() for path in (good, top, nested, shown)]
    assert make_docs.check([good, top, nested, shown]) == [
        "01_top.ipynb: cell mixed: NameError: name 'four' is not defined",
        "02_nested.ipynb: cell area: NameError: name 'four' is not defined",
        "03_shown.ipynb: cell cube: NameError: name 'cube' is not defined",
    ]
    assert before == [path.read_bytes() for path in (good, top, nested, shown)]
    linted = [
        [c for c in lint_notebooks.lint(path) if "import stands" in c]
        for path in (good, top, nested)
    ]
    assert [len(c) for c in linted] == [0, 1, 1]


def test_case_20_make_test_runs_the_check(site, monkeypatch, capsys):
    commands = [command for command, _ in run_checks.stages(slow=False).values()]
    assert [c[1:] for c in commands if "tools/make_docs.py" in c] == [
        ["tools/make_docs.py", "--check"]
    ]
    monkeypatch.setattr(sys, "argv", ["make_docs.py", "--check"])
    save(
        site / "nbs/01_mixed.ipynb", new_code_cell("import os\nprint(four)", id="mixed")
    )
    with pytest.raises(SystemExit, match="True"):
        make_docs.main(site)
    assert (
        capsys.readouterr().out
        == "01_mixed.ipynb: cell mixed: NameError: name 'four' is not defined\n"
    )
    assert status(site) == "?? nbs/01_mixed.ipynb\n"
    assert not (site / "_proc").exists()


def test_case_20_make_docs_leaves_the_readme_and_the_checkout_alone(site):
    assert "nbdev_docs" not in (ROOT / "Makefile").read_text()
    (site / "_proc").mkdir()
    (site / "_proc/99_gone.ipynb").write_text("{}")
    make_docs.build(site)
    assert status(site) == ""
    assert (site / "README.md").read_text() == "by hand\n"
    assert sorted(p.name for p in (site / "_proc").glob("*.ipynb")) == [
        "00_roots.ipynb",
        "index.ipynb",
    ]
    # Names in backticks lead to our own pages wherever those stand; the address of the source stays.
    assert (
        site / "_docs/tutorials/flow.html"
    ).read_text() == '<a href="../special.html#tails">'
    assert (
        site / "_docs/index.html"
    ).read_text() == '<a href="special.html"><a href="https://flows.invalid/source/x">'


def test_a_failing_quarto_fails_the_build(site, monkeypatch):
    monkeypatch.setattr(make_docs, "make_pages", lambda root, into: into.mkdir() or [])
    (site / "_docs").mkdir()
    (site / "_docs/index.html").write_text("the last good one")
    (site / ".venv/bin/quarto").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        make_docs.build(site)
    assert (site / "_docs/index.html").read_text() == "the last good one"


CLASS = """#| export
class Root(Base):
    \"\"\"Roots of numbers.

    **Raises** `ValueError` for negative ones.

    >>> Root(3)(27)
    3.0
    \"\"\"

    def __init__(
        self,
        degree: int = 2,  # Which root
        exact=False,
    ):
        self.degree = degree

    def build(self, shape):
        "Make nothing."

    def apply(
        self,
        x,  # A number
    ) -> float:  # Its root
        "Take the root, as `root` does. It is quick."

    def inner(self, x):
        "Help `apply`."

    @property
    def degrees(self):
        "All degrees."

    def _hidden(self):
        "Private."
"""
HIDDEN = "#| exporti\nclass Base:\n    def call(self):\n        'Do nothing.'"


@pytest.fixture
def book(site):
    "The site with a class, one private class under it, and text that names things."
    said = "See `00_roots`, `tutorials/01_learn`, [`00_roots`](00_roots.ipynb), `Root.apply`, `Root`, `Root`, `Base`, $`root`$.\n\n## `root`\n\n```\n`root`\n```"
    save(
        site / "nbs/00_roots.ipynb",
        new_code_cell(HIDDEN, id="base"),
        new_code_cell(CLASS, id="class"),
        new_markdown_cell(said, id="said"),
    )
    return pages.read_book(site)


def test_names_of_files_and_parts_become_links(book):
    text = "See `00_roots`, `tutorials/01_learn`, `Root.apply`, `Root`, `Root`, `Base`."
    assert pages.linked(text, book, "tutorials/01_learn.ipynb") == (
        "See [Roots](../00_roots.ipynb), [Learn](01_learn.ipynb), [`Root.apply`](../00_roots.ipynb#Root.apply), "
        "[`Root`](../00_roots.ipynb#Root), `Root`, `Base`."
    )
    # Headings, code, mathematics and what is a link already stay; a link by a file's name gets the title.
    for kept in ("## `root`", "```\n`root`\n```", "$`root`$", "[`root`](x.html)"):
        assert pages.linked(kept, book, "index.ipynb") == kept
    assert (
        pages.linked("[`00_roots`](00_roots.ipynb#a)", book, "index.ipynb")
        == "[Roots](00_roots.ipynb#a)"
    )
    assert (
        pages.linked("`root(16.0)`", book, "00_roots.ipynb") == "[`root(16.0)`](#root)"
    )


def test_a_numbered_equation_is_found_by_its_number():
    text = "So\n\n$$x\n= 1 \\qquad (1)$$\n\nand $$y$$. By equation (1), not equation (2) of another page."
    anchored, linked = "[]{#equation-1}$$x", "By [equation (1)](#equation-1), not"
    found = pages.numbered(text)
    assert anchored in found and linked in found and "equation (2) of" in found
    assert check_pages.anchors(found) == ["equation-1"]
    assert pages.numbered("$$y$$\n\n$$a \\qquad b$$") == "$$y$$\n\n$$a \\qquad b$$"


def test_an_equation_that_is_not_there_is_reported(tmp_path):
    cell = new_markdown_cell(pages.numbered("# A\n\nBy equation (3)."))
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "page.ipynb")
    found = check_pages.complaints(tmp_path)
    assert found == ["page.ipynb: #equation-3 names no heading"]


def test_a_class_has_its_entry_and_its_methods(book):
    text = pages.entry_text(book.entries["Root"], book)
    assert text.startswith("### Root {#Root .api}")
    assert "```python\nRoot(degree=2, exact=False)\n```" in text
    assert "```python\nRoot(3)(27)\n# 3.0\n```" in text
    assert "`degree` [int]{.type}\n:   Which root" in text
    assert "**Methods** [`apply`](#Root.apply), [`degrees`](#Root.degrees)." in text
    assert "Inherits" not in text
    text = pages.methods_text([book.entries["Root"]], book)
    assert "#### Root.apply {#Root.apply .api}" in text
    assert "```python\napply(x)\n```" in text
    assert "**Returns** Its root." in text
    assert "```python\ndegrees\n```" in text
    assert (
        "layers: 2</summary>\n\n- `build`: Make nothing.\n- `inner`: Help `apply`."
        in text
    )
    assert "_hidden" not in text and "__init__" not in text


def test_private_classes_have_no_entry(book, site):
    assert book.entries["Root"].exported and not book.entries["Base"].exported
    assert "Base" not in book.anchors
    text = pages.reference_text(site, book)
    assert "## Ground\n\n### [Roots](00_roots.ipynb)" in text
    assert "| [`Root`](00_roots.ipynb#Root) | Roots of numbers. |" in text
    assert "| [`root`](00_roots.ipynb#root) | Return the root. |" in text
    assert "Base" not in text


def test_search_finds_entries_first(book, site):
    (site / "search.json").write_text('[{"objectID": "index.html"}]')
    how_to = "---\ntitle: How\n---\n\n## Save it: `save` {#save}\n\nLike this.\n"
    (site / "nbs/how_to.qmd").write_text(how_to)
    make_docs.put_first_in_search(site, book, site)
    found = json.loads((site / "search.json").read_text())
    assert [e["objectID"] for e in found][-1] == "index.html"
    entry = next(e for e in found if e["section"] == "Root.apply")
    assert entry["href"] == "roots.html#Root.apply"
    assert entry["text"] == "Take the root, as `root` does. It is quick."
    entry = next(e for e in found if e["section"] == "save")
    assert entry["href"] == "how_to.html#save"
    assert entry["text"] == "Save it: save: Like this."


def test_processed_pages_are_whole(book, site):
    into = site / ".venv/pages"
    (site / "nbs/images").mkdir()
    for name in ("hero", "hero-narrow"):
        (site / f"nbs/images/{name}.png").write_bytes(base64.b64decode(picture(9, 9)))
    (site / "nbs/references.bib").write_text(BIB)
    assert make_docs.make_pages(site, into) == []
    assert check_pages.complaints(into) == []
    assert (into / "downloads/01_learn.ipynb").exists()
    assert Image.open(into / "images/thumb-01_learn.png").size == (480, 160)
    assert not (into / "images/thumb-02_prove.png").exists()
    text = check_pages.markdown(into / "tutorials/01_learn.ipynb")
    assert (
        "[Tutorial 1]{.number} [Download this notebook](../downloads/01_learn.ipynb)"
        in text
    )
    text = check_pages.markdown(into / "00_roots.ipynb")
    assert "### Root {#Root .api}" in text and "#### Root.apply" in text
    assert (
        "[Roots](00_roots.ipynb) and [`root(4)`](00_roots.ipynb#root)"
        in (into / "help.qmd").read_text()
    )


def test_the_landing_page_has_a_picture_doors_and_cards(book, site):
    text = pages.filled(LANDING, book)
    assert '<source media="(max-width: 700px)" srcset="images/hero-narrow.png">' in text
    assert '<a class="door" href="tutorials/01_learn.ipynb"><b>Learn</b>' in text
    assert (
        'href="tutorials/01_learn.ipynb"><img class="plain" loading="lazy" src="images/thumb-01_learn.png" alt="">'
        "<b>1 Learn</b><span>One line.</span>" in text
    )
    assert (
        'href="tutorials/02_prove.ipynb"><b>2 Prove</b><span>Without a figure.</span>'
        in text
    )


def test_a_page_lists_the_works_that_it_links_to(book, site):
    (site / "nbs/references.bib").write_text(BIB)
    works = pages.works_of(site / "nbs/references.bib")
    text = "[a](https://arxiv.org/abs/1), [a](https://doi.org/10.1/X(03)1), [b](https://arxiv.org/abs/2)."
    assert pages.cited(text, works) == (["one"], ["https://arxiv.org/abs/2"])
    save(site / "nbs/01_more.ipynb", new_markdown_cell(text, id="said"))
    target = site / ".venv/pages"
    assert make_docs.check([site / "nbs/01_more.ipynb"], target) == []
    head = (target / "01_more.ipynb").read_text()
    assert "bibliography: references.bib" in head and "@one" in head
    assert "## References" in head


def test_a_heading_leaves_its_anchor_to_an_entry():
    text = "## The root\n\n```\n## The root\n```\n\n### The root {#x}\n\n## Other"
    assert make_docs.set_apart(text, {"the-root"}) == text.replace(
        "## The root\n\n```\n", "## The root {#about-the-root}\n\n```\n", 1
    )


def test_only_icons_in_use_are_served(tmp_path):
    folder = tmp_path / "site_libs/bootstrap"
    folder.mkdir(parents=True)
    rules = [
        f'.bi-{n}::before {{ content: "\\{c:04x}"; }}'
        for n, c in (("a", 97), ("b", 98), ("c", 99))
    ]
    (folder / "bootstrap-icons.css").write_text(
        ".bi { x: y }\n" + "\n".join(rules) + "\n"
    )
    (folder / "bootstrap.css").write_text('.own::before { content: "\\0063"; }')
    font = TTFont(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    font.flavor = "woff"
    font.save(folder / "bootstrap-icons.woff")
    (tmp_path / "index.html").write_text('<i class="bi bi-b"></i>')
    make_docs.keep_used_icons(tmp_path)
    style = (folder / "bootstrap-icons.css").read_text()
    assert "bi-b" in style and "bi-a" not in style and ".bi { x: y }" in style
    assert set(TTFont(folder / "bootstrap-icons.woff").getBestCmap()) == {98, 99}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[there](gone.ipynb)", "gone.ipynb leads nowhere"),
        ("![there](images/gone.png)", "images/gone.png leads nowhere"),
        ('<a href="gone.html">there</a>', "gone.html leads nowhere"),
        ("[`x[0]`](#nowhere)", "#nowhere names no heading"),
        ("[a](#Some-heading)\n\n## Some heading", "#Some-heading names no heading"),
        (
            "see 00_roots there",
            "00_roots is the name of a file, not the title of a page",
        ),
        (
            "`tutorials/01_learn`",
            "tutorials/01_learn is the name of a file, not the title of a page",
        ),
        ("## A {#a}\n\n## B {#a}", "the anchor a is set twice"),
        ("## Some name\n\n### x {#some-name}", "the anchor some-name is set twice"),
        ("[a](#some-heading-here)\n\n## Some *heading*, here", ""),
        ('<a href="https://x.y/00_roots.ipynb">roots</a>', ""),
        ("`[a](gone.ipynb)`\n\n```\n[a](gone.ipynb)\n```", ""),
        ("[web](https://keras.io) [page](page.qmd#x)\n\n### X {#x .api}", ""),
    ],
)
def test_what_is_wrong_on_a_page_is_named(tmp_path, text, said):
    (tmp_path / "page.qmd").write_text(f"---\ntitle: Page\n---\n\n{text}\n")
    assert check_pages.complaints(tmp_path) == [f"page.qmd: {said}"] * bool(said)


def test_links_in_outputs_are_checked(tmp_path):
    shown = new_output("display_data", data={"text/markdown": "[a](gone.ipynb)"})
    cell = new_code_cell("show()", outputs=[shown])
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "page.ipynb")
    assert check_pages.complaints(tmp_path) == ["page.ipynb: gone.ipynb leads nowhere"]


@pytest.mark.slow
def test_the_short_answers_run(tmp_path):
    "Every block of the page, one after the other."
    text = (ROOT / "nbs/how_to.qmd").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) > 10
    (tmp_path / "answers.py").write_text("\n".join(blocks))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "answers.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "round trip" in done.stdout
