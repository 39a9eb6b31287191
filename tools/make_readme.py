"Write README.md and its pictures from nbs/index.ipynb, or, with `--check`, say where they differ."

import base64
import re
import sys
from pathlib import Path

import books as nb
import pages

SITE_ONLY = "<!-- site only -->"  # at the head of a cell that README.md goes without
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->"


def for_readme(text: str, book: pages.Book | None) -> str:
    "Markdown of the landing page as it stands in README.md: pages by title, links from the root, a list of tutorials."
    if book is not None:
        text = re.sub(
            r"`([\w/]+)`",
            lambda m: (
                f"[{page.title}]({page.path})"
                if (page := book.page(m[1].rpartition("/")[2]))
                and pages.FILE_NAME.fullmatch(m[1])
                else m[0]
            ),
            text,
        )
        rows = [
            f"- [{p.title}]({p.path}): {p.description.rstrip('.')}."
            for p in pages.tutorials(book)
        ]
        text = text.replace("<!-- tutorials -->", "\n".join(rows))
    return re.sub(r"\]\((?![a-z+]+:|#)([^)]+)\)", r"](nbs/\1)", text).strip()


def render(
    notebook, images: str = "nbs/images", book: pages.Book | None = None
) -> tuple[str, dict[str, bytes]]:
    "The notebook as Markdown, and the pictures that it shows, by path."
    parts, pictures = [NOTE], {}
    for cell in notebook.cells:
        source = re.sub(r"^#\s*\|.*\n?", "", cell.source, flags=re.M).strip()
        marks = nb.directives(cell)
        if cell.cell_type == "markdown" and not cell.source.startswith(SITE_ONLY):
            parts.append(for_readme(cell.source, book))
        if cell.cell_type != "code" or "hide" in marks or not source:
            continue
        if "echo: false" not in marks:
            parts.append(f"```python\n{source}\n```")
        for i, out in enumerate(cell.outputs):
            data = out.get("data", {})
            if "image/png" in data:
                path = f"{images}/index-{cell.id}{f'-{i}' if i else ''}.png"
                pictures[path] = base64.b64decode(data["image/png"])
                alt = next(
                    (m[9:].strip() for m in sorted(marks) if m.startswith("fig-alt:")),
                    cell.id.replace("-", " "),
                )
                parts.append(f"![{alt.strip(chr(34))}]({path})")
            elif text := data.get("text/markdown"):
                parts.append(text.strip())
            elif text := out.get("text") or data.get("text/plain"):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures


def differences(root: Path = nb.ROOT) -> list[str]:
    "What in README.md and its pictures is not as nbs/index.ipynb says."
    text, pictures = render(
        nb.read(root / "nbs/index.ipynb"), book=pages.read_book(root)
    )
    readme = root / "README.md"
    stale = (
        []
        if readme.exists() and readme.read_text(encoding="utf-8") == text
        else ["README.md"]
    )
    stale += [
        p
        for p, data in pictures.items()
        if not (root / p).exists() or (root / p).read_bytes() != data
    ]
    there = {
        p.relative_to(root).as_posix()
        for p in (root / "nbs/images").glob("index-*.png")
    }
    return stale + sorted(there - set(pictures))


def write(root: Path = nb.ROOT) -> None:
    "Write README.md and its pictures; pictures that it no longer shows go."
    text, pictures = render(
        nb.read(root / "nbs/index.ipynb"), book=pages.read_book(root)
    )
    (root / "nbs/images").mkdir(exist_ok=True)
    for old in (root / "nbs/images").glob("index-*.png"):
        old.unlink()
    for path, data in pictures.items():
        (root / path).write_bytes(data)
    (root / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if "--check" not in sys.argv:
        write()
    stale = differences()
    print(
        f"Not as nbs/index.ipynb says: {', '.join(stale)}; `make readme` writes it"
        if stale
        else "README.md is in step"
    )
    sys.exit(bool(stale))
