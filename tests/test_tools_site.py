"Each rule of the site check passes a whole site and catches one that breaks it."

import check_clean
import check_site
import make_readme
import nbformat
import pytest
import run_checks
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SETTINGS = """[DEFAULT]
repo = flows
lib_name = flows
lib_path = flows
version = 1.2.3
description = Flows.
author = someone
license = apache2
min_python = 3.11
nbs_path = nbs
doc_path = _docs
tst_flags = slow
requirements = keras
custom_sidebar = True
public_address = https://flows.invalid
doc_host = %(public_address)s
git_url = %(public_address)s/source
"""
HELP = "---\ntitle: Help\ndescription: What to do.\n---\n\nText.\n"
PNG = "iVBORw0KGgo="


def save(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)


def edit(path, change):
    "Load a YAML file, let `change` work on it, write it back."
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


@pytest.fixture
def site(tmp_path):
    "A small site that keeps every rule."
    (tmp_path / "settings.ini").write_text(SETTINGS)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "flows/special.py").write_text('"""Tails."""\n')
    drawn = new_output("display_data", data={"image/png": PNG})
    index = [
        new_markdown_cell("# Flows\n\n> One line.", id="title"),
        new_code_cell("draw()", id="picture", outputs=[drawn]),
    ]
    save(tmp_path / "nbs/index.ipynb", *index)
    text = "# Special\n\n> Tails.\n\n## Far out\n\n[book](tutorials/21_flow.ipynb), [up](#far-out), [web](https://keras.io)"
    save(tmp_path / "nbs/00_special.ipynb", new_markdown_cell(text, id="title"))
    text = "# Flow\n\n> A tutorial.\n\n[tails](../00_special.ipynb#far-out)"
    save(tmp_path / "nbs/tutorials/21_flow.ipynb", new_markdown_cell(text, id="title"))
    (tmp_path / "nbs/help.qmd").write_text(HELP)
    (tmp_path / "nbs/_quarto.yml").write_text("metadata-files: [../_quarto.yml]\n")
    sidebar = [
        "index.ipynb",
        {
            "section": "All",
            "contents": [
                "00_special.ipynb",
                {"text": "21 Flow", "href": "tutorials/21_flow.ipynb"},
                "help.qmd",
                "reference.qmd",
            ],
        },
    ]
    website = {
        "title": "flows",
        "description": "Flows.",
        "site-url": "https://flows.invalid",
        "repo-url": "https://flows.invalid/source",
        "sidebar": {"contents": sidebar},
        "navbar": {"left": [{"text": "Learn", "href": "tutorials/21_flow.ipynb"}]},
    }
    quarto = {
        "project": {"output-dir": "_docs"},
        "execute": {"enabled": False},
        "website": website,
    }
    (tmp_path / "_quarto.yml").write_text(yaml.safe_dump(quarto))
    make_readme.write(tmp_path)
    return tmp_path


def complaints(site):
    return [m for rule in check_site.RULES for m in rule(site)]


def test_a_whole_site_passes_every_rule(site):
    assert len(check_site.RULES) == 14
    assert complaints(site) == []


@pytest.mark.parametrize(
    "key", ["public_address", "tst_flags", "version", "description"]
)
def test_settings_lack_a_key(site, key):
    lines = [line for line in SETTINGS.splitlines() if not line.startswith(f"{key} =")]
    (site / "settings.ini").write_text("\n".join([*lines, f"{key} =", ""]))
    assert f"settings.ini: Expected a value for {key}" in list(
        check_site.check_settings(site)
    )


def test_settings_do_not_parse(site):
    (site / "settings.ini").write_text(SETTINGS + "no value\n")
    with pytest.raises(Exception, match="no value"):
        complaints(site)


def test_sidebar_is_not_ours(site):
    (site / "settings.ini").write_text(
        SETTINGS.replace("custom_sidebar = True", "custom_sidebar = False")
    )
    assert "custom_sidebar" in complaints(site)[0]


def test_version_differs(site):
    (site / "flows/__init__.py").write_text('__version__ = "1.0.0"\n')
    assert complaints(site) == [
        "__init__.py: Expected __version__ 1.2.3, received ['1.0.0']"
    ]


@pytest.mark.parametrize("key", ["title", "description"])
def test_site_lacks_title_or_description(site, key):
    edit(site / "_quarto.yml", lambda q: q["website"].pop(key))
    assert complaints(site) == [f"_quarto.yml: Expected website: {key}"]


def test_site_would_execute(site):
    edit(site / "_quarto.yml", lambda q: q.pop("execute"))
    assert "enabled: false" in complaints(site)[0]


def test_site_is_written_elsewhere(site):
    edit(site / "_quarto.yml", lambda q: q["project"].update({"output-dir": "_site"}))
    assert complaints(site) == ["_quarto.yml: Expected output-dir: _docs"]


@pytest.mark.parametrize("key", ["site-url", "repo-url"])
def test_address_differs_and_can_be_carried_over(site, key):
    edit(
        site / "_quarto.yml",
        lambda q: q["website"].update({key: "https://elsewhere.invalid"}),
    )
    assert f"Expected {key}: https://flows.invalid" in complaints(site)[0]
    check_site.set_address(site)
    assert complaints(site) == []


def test_readme_links_to_the_placeholder(site):
    (site / "README.md").write_text(
        (site / "README.md").read_text() + "https://flows.invalid"
    )
    assert "README.md: links to the public address" in complaints(site)


@pytest.mark.parametrize(
    "text",
    [
        "metadata-files: [../_quarto.yml]\ntitle: x\n",
        "metadata-files: [_quarto.yml]\n",
        "",
    ],
)
def test_pointer_says_more_or_less(site, text):
    (site / "nbs/_quarto.yml").write_text(text)
    assert complaints(site)[0].startswith("nbs/_quarto.yml")


def test_pointer_is_a_symbolic_link(site):
    (site / "pointer.yml").write_text("metadata-files: [../_quarto.yml]\n")
    (site / "nbs/_quarto.yml").unlink()
    (site / "nbs/_quarto.yml").symlink_to(site / "pointer.yml")
    assert complaints(site)[0].startswith("nbs/_quarto.yml")


def test_notebook_missing_from_the_sidebar(site):
    edit(site / "_quarto.yml", lambda q: q["website"]["sidebar"]["contents"].pop(0))
    assert complaints(site) == ["sidebar: index.ipynb is missing"]


def test_notebook_twice_in_the_sidebar(site):
    edit(
        site / "_quarto.yml",
        lambda q: q["website"]["sidebar"]["contents"].append(
            {"href": "00_special.ipynb"}
        ),
    )
    assert complaints(site) == ["sidebar: 00_special.ipynb stands 2 times"]


def test_sidebar_names_what_is_not_there(site):
    edit(
        site / "_quarto.yml",
        lambda q: q["website"]["sidebar"]["contents"].append("09_gone.ipynb"),
    )
    assert complaints(site) == ["sidebar: 09_gone.ipynb does not exist"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda w: w["sidebar"]["contents"][1]["contents"][1].update(text="Flow"),
            "'21 Flow', received 'Flow'",
        ),
        (
            lambda w: w["navbar"]["left"][0].update(href="tutorials/22_x.ipynb"),
            "navbar: Expected tutorials/21_flow.ipynb",
        ),
    ],
)
def test_tutorial_without_number_or_door(site, change, said):
    edit(site / "_quarto.yml", lambda q: change(q["website"]))
    assert said in complaints(site)[0]


def test_tutorials_out_of_order(site):
    save(
        site / "nbs/tutorials/03_old.ipynb",
        new_markdown_cell("# Old\n\n> One.", id="title"),
    )
    entry = {"text": "3 Old", "href": "tutorials/03_old.ipynb"}
    edit(
        site / "_quarto.yml",
        lambda q: q["website"]["sidebar"]["contents"].append(entry),
    )
    assert complaints(site) == [
        "sidebar: Expected tutorials in order, received ['21_flow', '03_old']"
    ]


@pytest.mark.parametrize("head", ["", "---\ntitle: Help\n---\n"])
def test_text_without_title_or_description(site, head):
    (site / "nbs/help.qmd").write_text(head + "Text.")
    assert complaints(site) == ["help.qmd: Expected title and description"]


BIB = """@article{one,
  title = {One},
  doi = {10.1/X(03)1},
  url = {https://arxiv.org/abs/1},
}
"""


def test_entry_of_the_bibliography_that_is_not_closed(site):
    open_entry = BIB.rstrip().removesuffix("}")
    (site / "nbs/references.bib").write_text(f"{open_entry}\n{BIB}")
    first = BIB.strip().partition("\n")[0]
    assert complaints(site) == [
        f"references.bib: braces do not match in the entry {first}"
    ]


def test_paper_that_the_bibliography_lacks(site):
    (site / "nbs/references.bib").write_text(BIB)
    text = "# Flow\n\n> One.\n\n[a](https://arxiv.org/abs/1), [b](https://doi.org/10.1/X(03)1), [c](https://arxiv.org/abs/2), [d](https://keras.io)"
    save(site / "nbs/tutorials/21_flow.ipynb", new_markdown_cell(text, id="title"))
    assert complaints(site) == [
        "21_flow.ipynb: https://arxiv.org/abs/2 is not in references.bib"
    ]


LONG = "x = " + "1 + " * 21 + "1000"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (LONG, ["cell code: a line of 92 characters"]),
        (f'#| fig-alt: "{LONG}"\nx = 1', []),
        (f"#| hide\n{LONG}", []),
        ("x = 1", []),
    ],
)
def test_code_wider_than_the_column(site, source, said):
    title = new_markdown_cell("# Flow\n\n> One.", id="title")
    save(site / "nbs/tutorials/21_flow.ipynb", title, new_code_cell(source, id="code"))
    assert complaints(site) == [f"21_flow.ipynb: {s}" for s in said]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            new_output("stream", text="short\n" + "-" * 89),
            ["printed text of 89 characters"],
        ),
        (
            new_output("execute_result", data={"text/plain": "-" * 90}),
            ["printed text of 90 characters"],
        ),
        (
            new_output("display_data", data={"text/plain": "-" * 90, "image/png": PNG}),
            [],
        ),
        (new_output("stream", text="-" * 88), []),
    ],
)
def test_output_wider_than_the_column(site, output, said):
    title = new_markdown_cell("# Flow\n\n> One.", id="title")
    cell = new_code_cell("show()", id="shows", outputs=[output])
    save(site / "nbs/tutorials/21_flow.ipynb", title, cell)
    assert complaints(site) == [f"21_flow.ipynb: cell shows: {s}" for s in said]


@pytest.mark.parametrize(
    ("table", "printed", "said"),
    [
        ("|" + " a |" * 8, False, ["a table of 8 columns and 22 characters"]),
        ("|" + " a |" * 7, False, []),
        (f"| {'word ' * 30} | `a|b` |", False, []),
        (f"| {'w' * 86} | a |", False, ["a table of 2 columns and 89 characters"]),
        (f"| {'word ' * 18} | a |", True, ["a table of 2 columns and 92 characters"]),
    ],
)
def test_table_wider_than_the_column(site, table, printed, said):
    title = new_markdown_cell("# Flow\n\n> One.", id="title")
    drawn = new_output("display_data", data={"text/markdown": table})
    cell = new_code_cell("show()", id="table", outputs=[drawn])
    cell = cell if printed else new_markdown_cell(table, id="table")
    save(site / "nbs/tutorials/21_flow.ipynb", title, cell)
    assert complaints(site) == [f"21_flow.ipynb: cell table: {s}" for s in said]


def test_notebook_without_title(site):
    save(site / "nbs/tutorials/21_flow.ipynb", new_markdown_cell("# Flow", id="title"))
    assert complaints(site) == [
        "21_flow.ipynb: Expected a first cell with `# Title` and `> one line`"
    ]


@pytest.mark.parametrize(
    "link",
    ["gone.ipynb", "../LICENSE", "../00_special.ipynb#no-such-heading", "#nowhere"],
)
def test_dead_link(site, link):
    save(
        site / "nbs/tutorials/21_flow.ipynb",
        new_markdown_cell(f"# Flow\n\n> One.\n\n[there]({link})", id="title"),
    )
    assert complaints(site)[0].startswith(f"21_flow.ipynb: {link} ")


def test_links_in_code_are_not_links(site):
    text = "# Flow\n\n> One.\n\n`[a](b.md)`\n\n```text\n[a](b.md)\n```\n\n$f[0](x)$"
    save(site / "nbs/tutorials/21_flow.ipynb", new_markdown_cell(text, id="title"))
    assert complaints(site) == []


def test_links_of_the_index_hold_in_the_readme(site):
    text = (
        "# Flows\n\n> One line.\n\n[tails](00_special.ipynb#far-out), `00_special`, [up](#x-y), [web](https://keras.io)\n\n"
        "![all](images/index-x.svg)\n\n<!-- tutorials -->\n\n## X y"
    )
    only = new_markdown_cell("<!-- site only -->\nNot in the readme.", id="only")
    (site / "nbs/images/index-x.svg").write_text("")
    save(site / "nbs/index.ipynb", new_markdown_cell(text, id="title"), only)
    make_readme.write(site)
    written = (site / "README.md").read_text()
    assert (
        "[tails](nbs/00_special.ipynb#far-out), [Special](nbs/00_special.ipynb), [up](#x-y), [web](https://keras.io)"
        in written
    )
    assert "![all](nbs/images/index-x.svg)" in written
    assert "- [Flow](nbs/tutorials/21_flow.ipynb): A tutorial." in written
    assert "Not in the readme" not in written
    assert complaints(site) == []


def test_module_without_notebook_and_the_reverse(site):
    (site / "flows/special.py").rename(site / "flows/old.py")
    assert complaints(site) == [
        "flows/old.py has no notebook",
        "notebook special has no module: make export",
    ]


def test_module_without_docstring(site):
    (site / "flows/special.py").write_text("x = 1\n")
    assert complaints(site) == ["flows/special.py has no docstring"]


def test_readme_out_of_step(site):
    (site / "README.md").write_text((site / "README.md").read_text() + "by hand\n")
    assert complaints(site) == ["README.md: not as nbs/index.ipynb says (make readme)"]


def test_readme_picture_out_of_step(site):
    picture = site / "nbs/images/index-picture.png"
    picture.write_bytes(b"other")
    (site / "nbs/images/index-left-over.png").write_bytes(b"old")
    assert make_readme.differences(site) == [
        "nbs/images/index-picture.png",
        "nbs/images/index-left-over.png",
    ]
    make_readme.write(site)
    assert make_readme.differences(site) == []


def test_readme_holds_source_output_and_picture():
    shown = new_output("stream", text="46,800\n")
    cells = [
        new_markdown_cell("# Flows", id="title"),
        new_code_cell("#| hide\nimport os", id="setup"),
        new_code_cell("print(f'{n:,}')", id="count", outputs=[shown]),
        new_code_cell(
            '#| fig-alt: "Two moons"\ndraw()',
            id="moons",
            outputs=[new_output("display_data", data={"image/png": PNG})],
        ),
    ]
    text, pictures = make_readme.render(new_notebook(cells=cells))
    assert "import os" not in text
    assert "```python\nprint(f'{n:,}')\n```\n\n```text\n46,800\n```" in text
    assert "![Two moons](nbs/images/index-moons.png)" in text
    assert list(pictures) == ["nbs/images/index-moons.png"]


def test_export_that_changes_a_file_is_seen():
    before = {"a.py": "1", "b.py": "2", "d.py": "4"}
    assert check_clean.changed(before, dict(before)) == []
    assert check_clean.changed(before, {"a.py": "1", "b.py": "3", "c.py": "0"}) == [
        "b.py",
        "c.py",
        "d.py",
    ]


@pytest.mark.parametrize(
    ("output", "code", "expected"),
    [
        ("....\n12 passed, 1 skipped in 3.1s\n", 0, (12, 0)),
        ("FAILED x\n2 failed, 10 passed, 1 error in 3s\n", 1, (10, 3)),
        ("12 passed in 3s\n", 1, (12, 1)),
        ("", 0, (1, 0)),
        ("no tests ran", 5, (0, 1)),
    ],
)
def test_last_line_counts(output, code, expected):
    assert run_checks.count(output, code) == expected


def test_what_took_longest_is_named():
    tests = (
        "12.50s call     tests/test_a.py::test_b[c]\n3.10s setup    tests/test_d.py::e"
    )
    books = "42_flow: as stored (51 s)\n00_special: passed (9 s)\n"
    assert run_checks.slowest(
        "pytest", f"...\n{tests}\n{books}9 passed in 61.0s\n"
    ) == [
        (51.0, "42_flow (pytest)"),
        (12.5, "tests/test_a.py::test_b[c] (pytest)"),
        (9.0, "00_special (pytest)"),
        (3.1, "tests/test_d.py::e (pytest)"),
    ]
    many = "\n".join(f"{i}_book: as stored ({i} s)" for i in range(9))
    assert run_checks.slowest("x", many)[0] == (8.0, "8_book (x)")
    assert len(run_checks.slowest("x", many)) == run_checks.SLOWEST
