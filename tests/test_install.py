"What a newcomer gets: a wheel that works with its declared requirements alone, and an import that costs nothing extra."

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from books import QUIET, ROOT, settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BARE = {
    k: v
    for k, v in os.environ.items()
    if k not in ("PYTHONPATH", "KERAS_BACKEND", "VIRTUAL_ENV")
} | QUIET
TRAIN = """
import os
import keras, scipy.stats, sklearn.datasets
before = dict(os.environ)  # with what those set for themselves
import gaussflow
assert dict(os.environ) == before, "importing set an environment variable"
import keras, numpy as np
assert keras.backend.backend() == "tensorflow", keras.backend.backend()
flow = gaussflow.make_coupling_flow(2, num_blocks=1)
flow.compile(keras.optimizers.Adam(1e-3))
flow.fit(np.random.default_rng(0).normal(size=(64, 2)).astype("float32"), verbose=0)
assert np.isfinite(flow.log_prob(flow.sample(8, seed=0))).all()
import gaussflow.densities, gaussflow.images, gaussflow.plot
print(gaussflow.__file__)
"""


def run(*command, **options) -> str:
    "What a command prints; its errors, where it fails."
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, (
        f"{command}: {done.stdout[-2000:]} {done.stderr[-3000:]}"
    )
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    "The wheel, built as a release is: first the sdist, then the wheel from it, from files that git knows."
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    names = run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT
    ).split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        out,
        source,
        env=BARE,
    )
    assert len(list(out.glob("*.tar.gz"))) == 1
    return next(out.glob("*.whl"))


def declared(wheel: Path) -> list[Requirement]:
    "What the wheel itself says that it requires, without extras."
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(
            next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        ).decode()
    found = [
        Requirement(line) for line in re.findall(r"^Requires-Dist: (.*)$", text, re.M)
    ]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def closure(requirements: list[Requirement]) -> dict[str, Distribution]:
    "Those requirements and all that they require in turn, as they are installed here."
    found, todo = {}, list(requirements)
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found[name] = distribution(name)
        for line in found[name].requires or []:
            inner = Requirement(line)
            extras = requirement.extras or {""}
            if inner.marker is None or any(
                inner.marker.evaluate({"extra": e}) for e in extras
            ):
                todo.append(inner)
    return found


def link(dist: Distribution, site: Path) -> None:
    "Put a distribution's own files into another environment, as pip would have, without copying them."
    for file in dist.files or []:
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        goal, source = site / file, Path(dist.locate_file(file))
        if source.exists() and not goal.exists():
            goal.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, goal)
            except OSError:  # another file system
                goal.symlink_to(source)


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory) -> Path:
    "The Python of a new environment: the wheel, installed by pip, and its declared requirements; nothing of the extras."
    home = tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", home, env=BARE)
    python = home / "bin/python"
    site = Path(
        run(
            python,
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
            env=BARE,
        ).strip()
    )
    for dist in closure(declared(wheel)).values():
        link(dist, site)
    # pip resolves the declared requirements against what is there: a missing one cannot be fetched, and fails.
    run(python, "-m", "pip", "install", "--no-index", "--quiet", wheel, env=BARE)
    return python


def test_wheel_holds_the_package_and_its_types_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if ".dist-info/" not in n]
        licenses = [n for n in archive.namelist() if n.endswith("LICENSE")]
    assert "gaussflow/py.typed" in names
    assert licenses
    assert {n.split("/")[0] for n in names} == {"gaussflow"}
    assert {Path(n).name for n in names} >= {
        p.name for p in (ROOT / "gaussflow").glob("*.py")
    }


def test_declared_requirements_are_those_of_the_settings(wheel):
    assert {str(r) for r in declared(wheel)} == {
        str(Requirement(r)) for r in settings()["requirements"].split()
    }


def test_works_in_an_empty_environment(empty):
    assert (
        run(empty, "-m", "pip", "check", env=BARE).strip()
        == "No broken requirements found."
    )
    present = {
        d["name"].lower()
        for d in json.loads(run(empty, "-m", "pip", "list", "--format=json", env=BARE))
    }
    assert not present & {
        "nbdev",
        "fastcore",
        "jupyter",
        "pytest",
        "hypothesis",
        "ipython",
        "jax",
    }
    where = run(empty, "-c", TRAIN, env=BARE, cwd=empty.parent).strip().splitlines()[-1]
    assert Path(where).is_relative_to(empty.parents[1])


def test_import_costs_what_keras_costs():
    "Both imports in one process, so that a busy machine slows both: ours may add a tenth to that of Keras."
    code = """if True:
        import json, sys, time
        modules = lambda: sorted({m.split(".")[0] for m in sys.modules})
        start = time.perf_counter(); import keras
        middle, before = time.perf_counter(), modules(); import gaussflow
        print(json.dumps([middle - start, time.perf_counter() - middle, before, modules()]))"""
    env = BARE | {"KERAS_BACKEND": "tensorflow"}
    runs = [
        json.loads(run(sys.executable, "-c", code, env=env, cwd=ROOT).splitlines()[-1])
        for _ in range(3)
    ]
    heavy = {
        "matplotlib",
        "seaborn",
        "sklearn",
        "scipy",
        "pandas",
        "IPython",
        "fastcore",
        "nbdev",
    }
    assert not (set(runs[0][3]) - set(runs[0][2])) & heavy
    share = min(ours / keras for keras, ours, *_ in runs)
    assert share <= 0.1, (
        f"import gaussflow adds {share:.0%} to the time of import keras"
    )


def test_lock_pins_every_requirement_and_names_no_host():
    text = (ROOT / "requirements.lock").read_text()
    pins = [
        Requirement(line)
        for line in text.splitlines()
        if line and not line.lstrip().startswith("#")
    ]
    versions = {}
    for pin in pins:
        assert [s.operator for s in pin.specifier] == ["=="], (
            f"Expected an exact pin, received {pin}"
        )
        if pin.marker is None or pin.marker.evaluate():
            versions[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    cfg = settings()
    for line in " ".join(
        cfg[k] for k in ("requirements", "dev_requirements", "jax_requirements")
    ).split():
        wanted = Requirement(line)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), (
            f"the lock does not hold {wanted}"
        )
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)


@pytest.mark.slow
def test_pip_fetches_what_is_declared(wheel, tmp_path):
    "The long way round: pip brings every requirement from the index, within the lock's versions."
    run(sys.executable, "-m", "venv", tmp_path / "venv", env=BARE)
    python = tmp_path / "venv/bin/python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        wheel,
        "-c",
        ROOT / "requirements.lock",
        env=BARE,
    )
    run(python, "-c", TRAIN, env=BARE, cwd=tmp_path)
