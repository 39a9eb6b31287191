"Check processed pages, as Quarto gets them: links, anchors and pictures, and titles in place of file names."

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Between the brackets of a link there may be code, and brackets within it.
LINK = re.compile(
    r"!?\[(?:`[^`\n]*`|[^\[\]`]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)"
)
TAG = re.compile(r"<(?:a|img|source)\b[^>]*?(?:href|src|srcset)=[\"']([^\"']+)[\"']")
CODE = re.compile(
    r"^```(?!\{=html\}).*?^```[^\n]*$|\$\$.*?\$\$|\$[^$\n]+\$", re.M | re.S
)
FILE_NAME = re.compile(r"(?<![\w/.-])(?:tutorials/)?\d\d_[a-z]\w*")


def markdown(page: Path) -> str:
    "All Markdown of a page: its text and what its cells show as Markdown; code blocks and mathematics are left out."
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        parts = []
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "markdown":
                parts.append("".join(cell["source"]))
            for out in cell.get("outputs", []):
                parts.append("".join(out.get("data", {}).get("text/markdown", "")))
        text = "\n\n".join(parts)
    else:
        text = re.sub(r"\A---\n.*?^---$", "", text, flags=re.M | re.S)
    return CODE.sub("", text)


def slug(heading: str) -> str:
    "The anchor that Pandoc gives a heading."
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    text = re.sub(r"[^\w\s.-]", "", text.lower()).strip()
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", text)) or "section"


def anchors(text: str) -> list[str]:
    "The anchors of a page, those of headings and those that are set."
    found = []
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*$", text, re.M):
        own = re.search(r"\{#([\w.-]+)[^}]*\}$", heading)
        found.append(own[1] if own else slug(heading))
    return found + re.findall(r"^(?:\[\]|:::+ )\{#([\w.-]+)", text, re.M)


def links(text: str) -> Iterator[str]:
    without = re.sub(r"(?<!\[)`[^`\n]*`", "", text)
    yield from LINK.findall(without)
    yield from TAG.findall(without)


def check_page(page: Path, folder: Path, texts: dict[Path, str]) -> Iterator[str]:
    "What is wrong on one page."
    name, text = page.relative_to(folder).as_posix(), texts[page]
    for link in links(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        target, _, anchor = link.partition("#")
        goal = (page.parent / target).resolve() if target else page
        if not goal.exists():
            yield f"{name}: {link} leads nowhere"
        elif anchor and goal in texts and anchor not in anchors(texts[goal]):
            yield f"{name}: {link} names no heading"
    own = own_anchors(text)
    doubled = [a for a, n in Counter(own).items() if n > 1]
    doubled += sorted(set(own) & {slug(h) for h in plain_headings(text)})
    yield from (f"{name}: the anchor {a} is set twice" for a in doubled)
    visible = LINK.sub(lambda m: m[0][: m[0].rfind("](")], text)
    visible = re.sub(r"\{[^{}\n]*\}|<[^>]+>", "", visible)
    for found in sorted(set(FILE_NAME.findall(visible))):
        yield f"{name}: {found} is the name of a file, not the title of a page"


def plain_headings(text: str) -> list[str]:
    "The headings that set no anchor."
    found = re.findall(r"^#{1,6}\s+(.*?)\s*$", text, re.M)
    return [heading for heading in found if "{#" not in heading]


def own_anchors(text: str) -> list[str]:
    return re.findall(r"\{#([\w.-]+)", text)


def complaints(folder: Path) -> list[str]:
    "What is wrong on all pages of a folder."
    folder = folder.resolve()
    found = [
        p
        for p in sorted([*folder.rglob("*.ipynb"), *folder.rglob("*.qmd")])
        if p.relative_to(folder).parts[0] != "downloads"
    ]
    texts = {page: markdown(page) for page in found}
    return [m for page in found for m in check_page(page, folder, texts)]
