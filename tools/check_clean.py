"Export and clean once more, and fail if that changes anything: what is committed is what the notebooks say."

import hashlib
import subprocess
import sys
from pathlib import Path

import books as nb


def snapshot(root: Path) -> dict[str, str]:
    "The files that git knows or would offer to add, with their hashes."
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(
        command, cwd=root, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    files = [root / name for name in names if name and (root / name).is_file()]
    return {
        f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
    }


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    "The files that were written, added or removed."
    return sorted(
        name for name in before | after if before.get(name) != after.get(name)
    )


def main(root: Path = nb.ROOT) -> int:
    before = snapshot(root)
    for tool in ("nbdev_export", "nbdev_clean"):
        subprocess.run([Path(sys.executable).parent / tool], cwd=root, check=True)
    touched = changed(before, snapshot(root))
    print(
        f"export and clean changed {', '.join(touched)}: commit that"
        if touched
        else "export and clean change nothing"
    )
    return bool(touched)


if __name__ == "__main__":
    sys.exit(main())
