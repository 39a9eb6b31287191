"What would stop the website's build is found without Quarto, and the build touches nothing else."

import os
import subprocess
import sys

import lint_notebooks
import make_docs
import nbformat
import pytest
import run_checks
from books import ROOT
from nbdev.config import get_config
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_tools_site import SETTINGS

# As much of Quarto as matters: pages into the output folder, and Markdown where it is asked for a README.
QUARTO = """#!/bin/sh
mkdir -p _docs/tutorials
case "$*" in *README*) echo "by Quarto" > _docs/README.md;; esac
printf '<a href="https://flows.invalid/special.html#tails">' > _docs/tutorials/flow.html
printf '<a href="https://flows.invalid/special.html"><a href="https://flows.invalid/source/x">' > _docs/index.html
"""


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
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# Flows\n\n> One.", id="title")]),
        tmp_path / "nbs/index.ipynb",
    )
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
    monkeypatch.setattr(make_docs, "proc_nbs", lambda **options: site)
    (site / "_docs").mkdir()
    (site / "_docs/index.html").write_text("the last good one")
    (site / ".venv/bin/quarto").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        make_docs.build(site)
    assert (site / "_docs/index.html").read_text() == "the last good one"
