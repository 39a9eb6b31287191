"A release: versions from one place, an import without a backend or without TensorFlow, downloads that run alone, a workflow that parses."

import ast
import os
import subprocess
import sys

import books as nb
import make_docs
import pytest
import release
import yaml
from books import QUIET, ROOT

# What a process imports is refused, as if it were not installed.
REFUSE = """
import importlib.util, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
known = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in {refused!r} else known(name, *a)
"""
TRAIN = """
import keras, numpy as np
import gaussflow as gf
assert keras.backend.backend() == {backend!r}
flow = gf.make_real_nvp(2, num_blocks=1, hidden=(4,))
flow.compile("adam", jit_compile=False)
flow.fit(np.random.default_rng(0).normal(size=(32, 2)), epochs=1, verbose=0)
assert np.isfinite(keras.ops.convert_to_numpy(flow.log_prob(flow.sample(4, seed=0)))).all()
assert "tensorflow" not in sys.modules
"""


def run(code, backend, *refused):
    env = os.environ | QUIET | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend}
    code = REFUSE.format(refused=refused) + code
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env
    )


def test_without_a_backend_the_import_names_three_commands():
    done = run("import gaussflow", "tensorflow", "tensorflow", "jax", "torch")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Expected tensorflow, which Keras computes")
    for name in ("tensorflow", "jax", "torch"):
        assert f"`pip install {name}`" in last
    assert "KERAS_BACKEND=jax" in last and "received none" in last


def test_another_backend_that_is_there_is_named():
    pytest.importorskip("jax")
    done = run("import gaussflow", "tensorflow", "tensorflow", "torch")
    assert "received jax (choose it: KERAS_BACKEND=jax)" in done.stderr


def test_jax_alone_trains_without_tensorflow():
    pytest.importorskip("jax")
    done = run(TRAIN.format(backend="jax"), "jax", "tensorflow", "torch")
    assert done.returncode == 0, done.stderr[-2000:]


def test_torch_alone_trains_without_tensorflow():
    pytest.importorskip("torch")
    done = run(TRAIN.format(backend="torch"), "torch", "tensorflow", "jax")
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_version_stands_in_one_place():
    assert release.disagreements() == []
    assert release.disagreements("v" + release.settings()["version"]) == []
    assert release.disagreements("v9.9.9") == [
        f"Expected version {release.settings()['version']} in the tag, received 9.9.9"
    ]


def test_readme_has_lines_to_run():
    code = release.readme_code()
    ast.parse(code)
    assert "import gaussflow as gf" in code and "flow.fit(" in code


def test_the_workflow_publishes_only_with_a_public_address():
    text = (ROOT / ".github/workflows/release.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert set(jobs) == {"build", "python", "publish"}
    assert "is_public == 'true'" in jobs["publish"]["if"]
    assert jobs["publish"]["needs"] == ["build", "python"]
    assert release.is_public() == (
        not nb.settings()["public_address"].endswith(".invalid")
    )
    runs = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    for script in {word for line in runs for word in line.split() if ".py" in word}:
        assert (ROOT / script).is_file(), script


BROUGHT = {"gaussflow", "keras", "numpy", "scipy", "sklearn", "matplotlib", "seaborn"}
BROUGHT |= {"tensorflow", "pandas", "IPython"}  # the last by what shows a notebook
TUTORIALS = [path for path in nb.paths() if nb.kind(path) == "tutorial"]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_downloaded_notebook_needs_what_pip_install_brings(path):
    book = make_docs.standalone(path, ROOT)
    code = "\n".join(c.source for c in book.cells if c.cell_type == "code")
    imports, tree = set(), ast.parse(code)
    # What is imported under `try` is not needed: the page says so where it is absent.
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    optional = {inner for node in tries for inner in ast.walk(node)}
    for node in set(ast.walk(tree)) - optional:
        if isinstance(node, ast.Import):
            imports |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imports.add(node.module.split(".")[0])
    assert imports - set(sys.stdlib_module_names) <= BROUGHT
    assert "../" not in code


def test_a_download_brings_the_figures_of_stored_runs(tmp_path, monkeypatch):
    path = ROOT / "nbs/tutorials/07_glow.ipynb"
    cells = {c.id: c.source for c in make_docs.standalone(path, ROOT).cells}
    monkeypatch.chdir(tmp_path)
    exec(cells["stored-results"], {})
    stored = (ROOT / "benchmarks/results/images.json").read_text()
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["images.json"]
    found = (tmp_path / "results/images.json").read_text()
    assert yaml.safe_load(found) == yaml.safe_load(stored)
