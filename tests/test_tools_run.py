"Notebooks are executed in a copy, and what they made is written down."

import json

import books
import kernels
import nbformat
import notebook_tests
import pytest
import reproduce
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROWS = 'results = [{"quantity": "loss", "source": 1.2587, "ours": np.float64(1.13), "target": "<= 1.15"}]'


@pytest.fixture
def tutorial(tmp_path):
    "A tutorial of five cells, TensorFlow left out."
    cells = [
        new_markdown_cell("# Flow\n\n> One.", id="title"),
        new_code_cell(
            "import numpy as np\nimport os\nimport matplotlib.pyplot as plt",
            id="imports",
        ),
        new_code_cell("os.write(2, b'from C++'); print('a')\nprint('b')", id="talk"),
        new_code_cell("plt.plot([1, 2])\nplt.show()", id="curve"),
        new_code_cell(ROWS, id="table"),
    ]
    path = tmp_path / "tutorials/21_flow.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_reproduce_writes_notebook_figures_and_numbers(tutorial, tmp_path, capsys):
    before = tutorial.read_bytes()
    rows, differs = reproduce.reproduce(tutorial, tmp_path / "results")
    assert rows == [
        {"quantity": "loss", "source": 1.2587, "ours": 1.13, "target": "<= 1.15"}
    ]
    assert [d.split(":")[1] for d in differs] == [
        " cell talk",
        " cell curve",
    ]  # nothing was stored
    assert tutorial.read_bytes() == before
    folder = tmp_path / "results/21_flow"
    assert [p.name for p in folder.glob("figures/*")] == ["01-curve.png"]
    assert json.loads((folder / "results.json").read_text()) == rows
    executed = nbformat.read(folder / "21_flow.ipynb", as_version=4)
    assert [o.text for o in executed.cells[2].outputs] == ["a\nb\n"]
    assert "cell   3/5" in capsys.readouterr().out


def test_a_tutorial_without_numbers_is_run_all_the_same(tutorial, tmp_path):
    book = nbformat.read(tutorial, as_version=4)
    del book.cells[4]
    nbformat.write(book, tutorial)
    assert reproduce.reproduce(tutorial, tmp_path / "results")[0] == []


def test_times_are_stored_and_kept(tutorial, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "STORED", tmp_path)
    reproduce.store_seconds({"02_two": 12.4})
    clock = reproduce.Clock(["21_flow"])
    reproduce.reproduce(tutorial, tmp_path / "results", clock)
    assert clock.used["21_flow"] > 0.1
    reproduce.store_seconds(clock.used)
    assert list(reproduce.stored_seconds()) == ["02_two", "21_flow"]
    assert reproduce.stored_seconds()["02_two"] == 12


def test_a_failing_cell_stops_the_run(tutorial):
    book = nbformat.read(tutorial, as_version=4)
    book.cells[2].source = "1 / 0"
    nbformat.write(book, tutorial)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        books.execute(tutorial)


def test_a_notebook_passes_or_does_not(tutorial, capsys):
    assert notebook_tests.passes(tutorial)
    book = nbformat.read(tutorial, as_version=4)
    book.cells[2].source = "1 / 0"
    nbformat.write(book, tutorial)
    assert not notebook_tests.passes(tutorial)
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_a_dead_kernel_says_why(tutorial):
    book = nbformat.read(tutorial, as_version=4)
    book.cells[2].source = "import os; os.write(2, b'out of luck'); os._exit(1)"
    nbformat.write(book, tutorial)
    with pytest.raises(RuntimeError, match="out of luck"):
        books.execute(tutorial)


@pytest.mark.skipif(not kernels.can_fork(), reason="kernels start in the ordinary way")
def test_forked_kernels_know_nothing_of_each_other(tutorial, monkeypatch):
    monkeypatch.setattr(kernels, "PRELOAD", ("ipykernel.kernelapp", "pandas"))
    monkeypatch.setattr(kernels, "SERVERS", {})
    book = nbformat.read(tutorial, as_version=4)
    book.cells[2].source = """import pandas
columns = pandas.get_option("display.max_columns")
print(os.getcwd(), 'kept' in vars(), columns); kept = os.getpid()"""
    nbformat.write(book, tutorial)
    execute = lambda: books.execute(
        tutorial, "print(kept)", prepare=kernels.fork_kernels
    )
    (first, one), (second, other) = execute(), execute()
    for run in (first, second):
        assert run.cells[2].outputs[0].text == f"{tutorial.parent} False 20\n"
        assert run.cells[3].outputs[-1].data["image/png"]
    assert int(one) != int(other)
    book.cells[2].source = "os.write(2, b'out of luck'); os._exit(1)"
    nbformat.write(book, tutorial)
    with pytest.raises(RuntimeError, match="out of luck"):
        execute()


def test_a_tutorial_that_fails_is_named_and_the_others_are_kept(
    tutorial, tmp_path, monkeypatch, capsys
):
    bad = tutorial.with_name("22_bad.ipynb")
    cells = [new_code_cell("1 / 0", id="broken")]
    nbformat.write(new_notebook(cells=cells), bad)
    monkeypatch.setattr(books, "select", lambda names, only: [bad, tutorial])
    out = tmp_path / "results"
    monkeypatch.setattr("sys.argv", ["reproduce.py", "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    said = capsys.readouterr().out
    assert ended.value.code == 1
    assert "22_bad: FAILED" in said and "division by zero" in said
    assert "1 of 1 targets met\nfailed: 22_bad" in said
    assert (out / "21_flow/results.json").exists()


def test_names_choose_notebooks():
    stems = {
        name: books.called(name, books.paths()).stem
        for name in ("22", "22_marginal", "tutorials/02", "02_events", "index")
    }
    assert stems["22"] == stems["22_marginal"] == "22_marginal"
    assert (stems["tutorials/02"], stems["02_events"], stems["index"]) == (
        "02_marginal_flow",
        "02_events",
        "index",
    )
    assert [path.stem for path in books.select(["02"], only="tutorial")] == [
        "02_marginal_flow"
    ]
    for name, candidates in {
        "02": "candidates 02_events, tutorials/02_marginal_flow",
        "4": "40_base, 41_sampling",
    }.items():
        with pytest.raises(SystemExit, match=candidates):
            books.select([name])
    with pytest.raises(
        SystemExit,
        match="Expected the name of one notebook, received '99': there are 00_special",
    ):
        books.select(["99"])
