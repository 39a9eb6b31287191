"""What a release asks: is there a public address, do all versions agree, and do README's lines run from the installed wheel?

`python tools/release.py --tag v0.1.0` prints `is_public=true` or `false` for the workflow and fails where versions disagree;
`python tools/release.py --readme` runs README.md's Python, one block after the other, away from the checkout, with what is installed.
Only the standard library is needed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def settings(root: Path = ROOT) -> dict[str, str]:
    "The keys of settings.ini, interpolated."
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    return dict(config["DEFAULT"])


def disagreements(tag: str = "", root: Path = ROOT) -> list[str]:
    "Places that name another version than settings.ini, the one place where it is written by hand."
    version = settings(root)["version"]
    read = lambda name: (root / name).read_text(encoding="utf-8")
    named = {
        "gaussflow/__init__.py": re.search(
            r'__version__ = "(.+)"', read("gaussflow/__init__.py")
        ),
        "CITATION.cff": re.search(r"^version: (.+)$", read("CITATION.cff"), re.M),
        "CHANGELOG.md": re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M),
    }
    found = {name: match[1] if match else "none" for name, match in named.items()}
    if tag:
        found["the tag"] = tag.removeprefix("v")
    return [
        f"Expected version {version} in {name}, received {other}"
        for name, other in found.items()
        if other != version
    ]


def is_public(root: Path = ROOT) -> bool:
    "Whether `public_address` is a real one; the placeholder ends in `.invalid`."
    return not settings(root)["public_address"].endswith(".invalid")


def readme_code(root: Path = ROOT) -> str:
    "README.md's Python, one block after the other."
    text = (root / "README.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```\s*python\n(.*?)^```", text, re.M | re.S))


def run_readme(python: str = sys.executable, root: Path = ROOT) -> None:
    "Run README's Python in an empty folder. **Raises** `CalledProcessError` where it fails."
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        code = readme_code(root)
        subprocess.run(
            [python, "-c", code],
            cwd=folder,
            env=env | {"MPLBACKEND": "agg"},
            check=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", default="", help="the tag, such as v0.1.0")
    parser.add_argument("--readme", action="store_true", help="run README's lines")
    args = parser.parse_args()
    if args.readme:
        run_readme()
        return
    if wrong := disagreements(args.tag):
        sys.exit("\n".join(wrong))
    print(f"is_public={str(is_public()).lower()}")


if __name__ == "__main__":
    main()
