"Each rule of the notebook lint passes a good notebook and catches one that breaks it."

import base64

import lint_notebooks as lint
import pytest
from books import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

LIBRARY = ROOT / "nbs/10_scalar.ipynb"
TUTORIAL = ROOT / "nbs/tutorials/03_coupling_flow.ipynb"


def code(cell_id, source, *outputs):
    return new_code_cell(source, id=cell_id, outputs=list(outputs))


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def picture(size, mime="image/png"):
    data = base64.b64encode(bytes(size)).decode() if mime == "image/png" else "x" * size
    return new_output(
        "display_data",
        data={mime: data, "text/plain": "<Figure size 640x480 with 1 Axes>"},
    )


@pytest.fixture
def book():
    "A library notebook that keeps every rule."
    cells = [
        new_markdown_cell("# Scalar\n\n> One line.", id="title"),
        code("default-exp", "#| default_exp scalar"),
        code("square", "#| export\ndef square(x: float) -> float:\n    return x * x"),
        code("demo", "print(square(2.0))", stream("4.0\n")),
    ]
    cells += [new_markdown_cell("Prose about it.", id=f"prose-{i}") for i in range(12)]
    return new_notebook(cells=cells + [code(f"line-{i}", "x = 1") for i in range(15)])


def complaints(rule, book, path=LIBRARY):
    return list(rule(path, book))


def test_a_good_notebook_passes_every_rule(book):
    assert len(lint.RULES) == 13
    assert [
        m
        for rule in lint.RULES
        for m in complaints(rule, book)
        if rule is not lint.check_sizes
    ] == []


def test_error_output(book):
    book.cells[3].outputs = [
        new_output("error", ename="ValueError", evalue="no", traceback=[])
    ]
    assert "an error is stored" in complaints(lint.check_errors, book)[0]


def test_stderr(book):
    book.cells[3].outputs = [stream("a warning", "stderr")]
    assert "stderr is stored" in complaints(lint.check_stderr, book)[0]


@pytest.mark.parametrize(
    "text",
    [
        "1/40 [=====",
        "\x1b[1m40/40\x1b[0m",
        "━━━━━━━━ 0s",
        "50%\r100%",
        "WARNING:tensorflow:5 out of the last",
    ],
)
def test_progress_bar(book, text):
    book.cells[3].outputs = [stream(text)]
    assert "a progress bar" in complaints(lint.check_residue, book)[0]


@pytest.mark.parametrize(
    "text",
    ["/home/ann/x.py", "/Users/ann/x", "/tmp/ipy/1.py", r"C:\Users\ann", f"{ROOT}/nbs"],
)
def test_machine_path(book, text):
    book.cells[3].outputs = [stream(f"in {text}")]
    assert "a machine's path" in complaints(lint.check_machine_paths, book)[0]
    book.cells[3].outputs = []
    book.cells[3].source = f"path = '{text}'"
    assert "a machine's path" in complaints(lint.check_machine_paths, book)[0]


@pytest.mark.parametrize("mime", ["image/png", "image/svg+xml"])
def test_figure_size(book, mime):
    book.cells[3].outputs = [picture(250_000, mime)]
    assert complaints(lint.check_sizes, book, ROOT / "absent.ipynb") == []
    book.cells[3].outputs = [picture(250_001, mime)]
    assert (
        "received 250001"
        in complaints(lint.check_sizes, book, ROOT / "absent.ipynb")[0]
    )


def test_notebook_size(book, tmp_path):
    path = tmp_path / "10_scalar.ipynb"
    path.write_bytes(bytes(1_500_001))
    assert complaints(lint.check_sizes, book, path) == [
        "Expected at most 1500000 bytes, received 1500001"
    ]


def test_class_lengths(book):
    lines = ["#| export", "class F:", *["    x = 1"] * 349]
    book.cells[2].source = "\n".join(lines)
    assert complaints(lint.check_cell_lengths, book) == []
    book.cells[2].source += "\n    x = 1"
    assert complaints(lint.check_cell_lengths, book) == [
        "cell square: Expected at most 350 lines, received 351"
    ]


def test_something_is_shown_every_sixty_exported_lines(book):
    def function(name, lines):
        return "\n".join(["#| export", f"def {name}():", *["    x = 1"] * (lines - 1)])

    book.cells[2].source = function("long_by_itself", 100)
    assert complaints(lint.check_cell_lengths, book) == []
    book.cells[2].source = function("f", 30)
    book.cells.insert(3, code("second", function("g", 30)))
    assert complaints(lint.check_cell_lengths, book) == []
    book.cells[3].source = function("g", 31)
    complaint = "Expected at most 60 exported lines before a cell shows something"
    assert complaints(lint.check_cell_lengths, book) == [
        f"cell second: {complaint}, received 61"
    ]
    book.cells.insert(3, code("between", "print(f())"))
    assert complaints(lint.check_cell_lengths, book) == []
    book.cells[3].source = "#| hide\nprint(f())"
    assert complaint in complaints(lint.check_cell_lengths, book)[0]


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("def f(x) -> None: ...", "f does not annotate x"),
        ("def f(x: int, *, y=1) -> None: ...", "f does not annotate y"),
        ("def f(*parts) -> None: ...", "f does not annotate parts"),
        ("def _f(x: int): ...", "_f does not annotate what it returns"),
        ("class A:\n    def f(self, x) -> None: ...", "A.f does not annotate x"),
        (
            "class A:\n    @staticmethod\n    def f(x) -> None: ...",
            "A.f does not annotate x",
        ),
        ("class A:\n    def __init__(self, x): ...", "A.__init__ does not annotate x"),
        ("if True:\n    def f(x) -> None: ...", "f does not annotate x"),
    ],
)
def test_annotations(book, source, complaint):
    book.cells[2].source = f"#| exporti\n{source}"
    assert complaints(lint.check_annotations, book) == [f"cell square: {complaint}"]
    book.cells[2].source = source  # a cell that is not exported
    assert complaints(lint.check_annotations, book) == []


def test_what_needs_no_annotation(book):
    book.cells[2].source = """#| export
class A:
    def __init__(self, **options): ...

    @classmethod
    def make(cls) -> list:
        def inside(x):
            return x

        return sorted([], key=lambda x: inside(x))
"""
    assert complaints(lint.check_annotations, book) == []


def test_a_long_check_is_folded(book):
    book.cells[3].source = "\n".join(["x = 1"] * 40)
    assert complaints(lint.check_cell_lengths, book) == []
    book.cells[3].source += "\nx = 1"
    (complaint,) = complaints(lint.check_cell_lengths, book)
    assert (
        "Expected at most 40 lines, or `#| code-fold: true`, received 41" in complaint
    )
    book.cells[3].source = "#| code-fold: true\n" + book.cells[3].source
    assert complaints(lint.check_cell_lengths, book) == []


def test_prose_share(book):
    assert lint.words(book) == (5 + 12 * 3, 9 + 1 + 15 * 3)
    assert (
        "at least 50% of the words in prose, received 41 of 96"
        in complaints(lint.check_prose, book, TUTORIAL)[0]
    )
    assert complaints(lint.check_prose, book) == []
    book.cells = [c for c in book.cells if c.id not in {f"prose-{i}" for i in range(6)}]
    assert "at least 33%" in complaints(lint.check_prose, book)[0]
    assert complaints(lint.check_prose, book, ROOT / "nbs/72_plot.ipynb") == []


def test_words_of_docstrings_are_prose_and_hidden_cells_are_nothing(book):
    prose, most = lint.words(book)
    book.cells[
        2
    ].source = (
        '#| export\ndef square(x: float) -> float:\n    "Return it."\n    return x * x'
    )
    book.cells.append(code("hidden", "#| hide\nnobody = sees_this"))
    assert lint.words(book) == (prose + 2, most)


@pytest.mark.parametrize(
    ("source", "alone"),
    [
        ("import math\nfrom pathlib import Path", True),
        (
            "#| export\nimport math  # for pi\n\n# and more\nfrom pathlib import Path",
            True,
        ),
        ("import math\n\nx = math.pi", False),
        ("#| hide\nimport math\nplot.use_style()", False),
        ("#| export\nimport math\ndef f(x):\n    return math.pi", False),
        ("#| export\ndef f(x):\n    import math\n    return math.pi", True),
        ("def f(x):\n    import math\n    return math.pi", False),
        ("if x:\n    import math", False),
        ("x = 1", True),
        ("%time import math", True),
    ],
)
def test_imports_stand_alone(book, source, alone):
    book.cells[3] = code("demo", source)
    assert complaints(lint.check_imports, book) == (
        [] if alone else ["cell demo: an import stands with other code"]
    )


@pytest.mark.parametrize(
    "cell_id", ["1f2e3d4c", "1f2e3d4c-5b6a-7788-99aa-bbccddeeff00", "Demo_Cell"]
)
def test_unreadable_id(book, cell_id):
    book.cells[3].id = cell_id
    assert "Expected a readable id" in complaints(lint.check_ids, book)[0]


def test_repeated_id(book):
    book.cells[4].id = "demo"
    assert complaints(lint.check_ids, book) == ["cell demo: the id stands 2 times"]


@pytest.mark.parametrize("source", ["print(1)", "plot.curve(x, y);"])
def test_missing_output(book, source):
    book.cells[3] = code("demo", source)
    assert "no output is stored" in complaints(lint.check_outputs_present, book)[0]
    for fine in (
        f"#| hide\n{source}",
        f"#| eval: false\n{source}",
        "plot.set_style()",
        "x = 1",
    ):
        book.cells[3] = code("demo", fine)
        assert complaints(lint.check_outputs_present, book) == []


def test_export_in_a_tutorial(book):
    assert complaints(lint.check_exports, book, TUTORIAL) == [
        "cell square: a tutorial exports nothing"
    ]


def test_bare_assert_in_exported_code(book):
    book.cells[2].source = "#| export\ndef square(x):\n    assert x\n    return x * x"
    assert complaints(lint.check_exports, book) == [
        "cell square: a bare assert in exported code"
    ]


def test_head(book):
    book.cells[1].source = "#| default_exp other"
    assert "default_exp scalar" in complaints(lint.check_head, book)[0]
    book.cells[0].source = "# Scalar"
    assert "`> one line`" in complaints(lint.check_head, book)[0]


def test_name_defined_twice(book):
    assert lint.defined_twice({"10_scalar": book}) == []
    twice = lint.defined_twice({"10_scalar": book, "22_marginal": book})
    assert twice == ["square is defined in 10_scalar#square and 22_marginal#square"]


def test_exported_imports_lead_to_lower_numbers():
    def importing(*lines):
        return new_notebook(
            cells=[new_code_cell("#| export\n" + "\n".join(lines), id="imports")]
        )

    books = {
        "10_scalar": importing("import gaussflow.special"),
        "12_spline": importing(
            "from gaussflow.scalar import Affine", "def f():\n    import gaussflow.flow"
        ),
        "42_flow": importing(
            "from gaussflow import spline", "from gaussflow.flow import late"
        ),
    }
    assert lint.imports_upwards(books) == [
        "12_spline#imports imports 42_flow, which comes after it",
        "42_flow#imports imports 42_flow, which comes after it",
    ]
