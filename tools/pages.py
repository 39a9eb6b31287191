"""What makes a page of the site: entries of the reference, links by title and by name, a download, the list of all names.

A notebook names other pages by their files and parts of the package in backticks. Here both become links, once for all pages; the
classes and functions that a notebook exports get their entries, and each class its methods, from the code as it stands there.
"""

import ast
import base64
import functools
import io
import os
import re
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import books as nb
import yaml

# Defined for Keras, which calls them; each class lists its own in one folded line.
PROTOCOL = {
    *("build", "call", "compute_output_shape", "get_config", "from_config"),
    *("get_build_config", "build_from_config", "get_compile_config"),
    *("compile_from_config", "save_own_variables", "load_own_variables"),
}
# Calls of a Keras model that need no word of ours, and are looked up all the same.
CALLS = {"evaluate", "export", "fit", "predict", "test_on_batch", "train_on_batch"}
FILE_NAME = re.compile(r"(?:tutorials/)?(\d\d_[a-z]\w*)")
CODE_WIDTH = 88


@dataclass(frozen=True)
class Page:
    "A page, as others name it."

    path: str  # Within nbs/
    title: str
    description: str
    kind: str  # `tutorial`, `library`, `index` or `text`
    figure: bytes = b""  # The first one that a tutorial shows, as it is stored


@dataclass
class Entry:
    "A class or function of the reference, or a method."

    name: str
    node: ast.ClassDef | ast.FunctionDef
    comments: dict[int, str]  # What stands behind `#` in a line of its cell
    page: str
    exported: bool
    own: dict[str, "Entry"] = field(default_factory=dict)  # Public methods of a class

    @property
    def anchor(self) -> str:
        return self.name

    @property
    def doc(self) -> str:
        return ast.get_docstring(self.node) or ""

    @property
    def summary(self) -> str:
        "The first sentence of the docstring."
        first = " ".join(self.doc.split("\n\n")[0].split())
        return re.split(r"(?<=[^.\d][.])\s+(?=[A-Z*`])", first)[0]


def comments(source: str) -> dict[int, str]:
    "What stands behind `#`, by line."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        t.start[0]: t.string.lstrip("# ").rstrip()
        for t in tokens
        if t.type == tokenize.COMMENT and not t.line.lstrip().startswith("#")
    }


def decorated(node: ast.AST, name: str) -> bool:
    return any(name in ast.unparse(d) for d in node.decorator_list)


def entries_of(path: Path, page: str) -> Iterator[Entry]:
    "The classes and functions that a notebook exports, private ones too."
    for cell in nb.read(path).cells:
        marks = {m.split()[0] for m in nb.directives(cell)}
        if cell.cell_type != "code" or not marks & {"export", "exporti", "exports"}:
            continue
        said = comments(cell.source)
        for node in ast.parse(cell.source).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            shown = "exporti" not in marks and not node.name.startswith("_")
            entry = Entry(node.name, node, said, page, shown)
            if isinstance(node, ast.ClassDef):
                entry.own = {
                    m.name: Entry(f"{node.name}.{m.name}", m, said, page, shown)
                    for m in node.body
                    if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")
                }
            yield entry


@dataclass
class Book:
    "All pages by file name, and all entries by name."

    pages: dict[str, Page]
    entries: dict[str, Entry]
    lazy: set[str]  # Modules whose names are used with the module's, as `plot.curve`
    used: set[str]  # Methods that tutorials and the index call
    works: dict[str, str] = field(default_factory=dict)  # Keys of works by address

    def page(self, name: str) -> Page | None:
        return self.pages.get(name)

    def methods(self, entry: Entry) -> tuple[list[Entry], list[Entry]]:
        "A class's methods with an entry of their own, and those that Keras and other layers call."
        called, others = [], []
        for name, method in entry.own.items():
            told = (
                name in self.used | CALLS
                or "**" in method.doc
                or ">>>" in method.doc
                or any(p.comment for p in parameters(method))
                or decorated(method.node, "property")
            )
            if method.doc and name not in PROTOCOL and told:
                called.append(method)
            else:
                others.append(method)
        # What tutorials call comes first, so that nobody reads past the inner parts.
        called.sort(key=lambda m: m.node.name not in self.used | CALLS)
        return called, others

    def bases(self, entry: Entry) -> list[Entry]:
        "The classes of the package that a class is made from."
        if not isinstance(entry.node, ast.ClassDef):
            return []
        names = [ast.unparse(b).split(".")[-1] for b in entry.node.bases]
        return [self.entries[n] for n in names if n in self.entries]

    def constructor(self, entry: Entry) -> Entry | None:
        "The `__init__` of a class or of the class it is made from."
        for node in entry.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return Entry(entry.name, node, entry.comments, entry.page, True)
        found = (self.constructor(base) for base in self.bases(entry))
        return next((f for f in found if f), None)

    @functools.cached_property
    def anchors(self) -> dict[str, Entry]:
        "Everything that has an entry on the site, methods by `Class.method`."
        found = {name: e for name, e in self.entries.items() if e.exported}
        for entry in list(found.values()):
            found |= {m.name: m for m in self.methods(entry)[0]}
        return found

    def named(self, code: str, here: str) -> Entry | None:
        "The entry that a name in backticks means: `Coupling`, `plot.curve`, `flow.sample(5)`."
        match = re.fullmatch(r"([A-Za-z_][\w.]*)(\(.*\))?", code)
        if not match:
            return None
        name = re.sub(r"^(gaussflow|gf)\.", "", match[1])
        first, _, rest = name.partition(".")
        entry = self.anchors.get(name)
        if entry is None and first == "flow":
            return self.anchors.get(f"NormalizingFlow.{rest}")
        if entry is None and rest:
            entry = self.anchors.get(rest)
            return entry if entry and module(entry.page) == first else None
        if entry and module(entry.page) in self.lazy and entry.page != here:
            return None
        return entry


def module(page: str) -> str:
    return Path(page).stem.partition("_")[2]


def front_matter(path: Path) -> dict:
    "What stands between the dashes at the head of a text."
    parts = path.read_text(encoding="utf-8").split("---")
    return yaml.safe_load(parts[1]) if len(parts) > 2 else {}


def first_figure(cells: list) -> bytes:
    outputs = (out for cell in cells for out in cell.get("outputs", []))
    drawn = (
        o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})
    )
    return base64.b64decode(next(drawn, ""))


ADDRESS = re.compile(r"https?://[^\s\]>\"]+")


def works_of(path: Path) -> dict[str, str]:
    "The keys of a bibliography's works, by each of their addresses."
    found = {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for key, body in re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}", text, re.M | re.S):
        for name, value in re.findall(r"^\s*(url|doi) = \{(.+)\},?$", body, re.M):
            found[value if name == "url" else f"https://doi.org/{value}"] = key
    return found


def cited(text: str, works: dict[str, str]) -> tuple[list[str], list[str]]:
    "The keys of the works that a text links to, and the addresses of papers that the bibliography lacks."
    keys, missing = set(), []
    for address in ADDRESS.findall(text):
        address = address.replace("/paper_files/paper/", "/paper/")
        found = [key for known, key in works.items() if address.startswith(known)]
        keys |= set(found)
        if not found and re.match(r"https?://(arxiv|doi)\.org/", address):
            missing.append(address.rstrip(").,;"))
    return sorted(keys), missing


def read_book(root: Path) -> Book:
    "Read all notebooks and texts."
    pages, entries, used = {}, {}, set()
    for path in nb.paths(root):
        cells, place = nb.read(path).cells, path.relative_to(root / "nbs").as_posix()
        head = cells[0].source if cells else ""
        title = re.search(r"^# (.+)", head, re.M)
        line = re.search(r"^> (.+)", head, re.M)
        pages[path.stem] = Page(
            place,
            title[1] if title else path.stem,
            line[1] if line else "",
            nb.kind(path),
            first_figure(cells) if nb.kind(path) == "tutorial" else b"",
        )
        if nb.kind(path) == "library":
            entries |= {e.name: e for e in entries_of(path, place)}
        else:
            code = "\n".join(c.source for c in cells if c.cell_type == "code")
            used |= set(re.findall(r"\.(\w+)\(", code))
    for path in sorted((root / "nbs").glob("*.qmd")):
        head = front_matter(path)
        pages[path.stem] = Page(
            path.name,
            head.get("title", path.stem),
            head.get("description", ""),
            "text",
        )
    init = root / nb.settings(root).get("lib_path", "") / "__init__.py"
    lazy = re.search(r"LAZY_MODULES = (\(.*?\))", init.read_text(encoding="utf-8"))
    works = works_of(root / "nbs/references.bib")
    modules = set(ast.literal_eval(lazy[1])) if lazy else set()
    return Book(pages, entries, modules, used, works)


# Signatures and docstrings


@dataclass
class Parameter:
    name: str
    kind: str  # The annotation
    default: str
    comment: str


def parameters(entry: Entry) -> list[Parameter]:
    "What a function takes, or a data class holds."
    node, said = entry.node, entry.comments
    if isinstance(node, ast.ClassDef):
        return [
            Parameter(
                n.target.id,
                ast.unparse(n.annotation),
                ast.unparse(n.value) if n.value else "",
                said.get(n.end_lineno, ""),
            )
            for n in node.body
            if isinstance(n, ast.AnnAssign) and not n.target.id.startswith("_")
        ]
    args = node.args
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    found = [
        *zip(plain, defaults),
        *([(args.vararg, "*")] if args.vararg else []),
        *zip(args.kwonlyargs, args.kw_defaults),
        *([(args.kwarg, "**")] if args.kwarg else []),
    ]
    lines = [
        (default if isinstance(default, ast.AST) else a).end_lineno
        for a, default in found
    ]
    shown = []
    for (arg, default), line in zip(found, lines):
        if arg.arg in ("self", "cls"):
            continue
        shown.append(
            Parameter(
                f"{default}{arg.arg}" if isinstance(default, str) else arg.arg,
                ast.unparse(arg.annotation) if arg.annotation else "",
                ast.unparse(default) if isinstance(default, ast.AST) else "",
                said.get(line, "") if lines.count(line) == 1 else "",
            )
        )
    return shown


def signature(name: str, taken: list[Parameter]) -> str:
    "A call, on one line where it has room."
    words = [f"{p.name}={p.default}" if p.default else p.name for p in taken]
    line = f"{name}({', '.join(words)})"
    if len(line) <= CODE_WIDTH:
        return line
    body = textwrap.wrap(", ".join(words) + ",", CODE_WIDTH - 4, break_long_words=False)
    return f"{name}(\n" + "\n".join(f"    {row}" for row in body) + "\n)"


def prose_of(doc: str) -> str:
    "A docstring as Markdown, its examples as code."
    parts, example = [], []
    for line in [*doc.splitlines(), ""]:
        if line.startswith((">>>", "...")) or (example and line.strip()):
            answer = not line.startswith((">>>", "..."))
            example.append(f"# {line}" if answer else line[4:])
            continue
        if example:
            parts.append("```python\n" + "\n".join(example) + "\n```")
            example = []
        parts.append(line)
    return "\n".join(parts).strip()


def listed_parameters(taken: list[Parameter]) -> str:
    "Parameters as a definition list; those that nothing is said about stand in the signature alone."
    rows = []
    for p in taken:
        if not p.comment:
            continue
        kind = f" [{p.kind}]{{.type}}" if p.kind else ""
        rows.append(f"`{p.name}`{kind}\n:   {p.comment}")
    return "\n\n".join(rows)


def described(entry: Entry, book: Book, here: str) -> str:
    "Signature, docstring and parameters of an entry."
    made = book.constructor(entry) if isinstance(entry.node, ast.ClassDef) else entry
    taken = parameters(made or entry)
    name = entry.name.rpartition(".")[2]
    property_ = isinstance(entry.node, ast.FunctionDef) and decorated(
        entry.node, "property"
    )
    call = name if property_ else signature(name, taken)
    returns = getattr(entry.node, "returns", None)
    said = entry.comments.get(returns.end_lineno, "") if returns else ""
    result = f"**Returns** {said}." if said and "**Returns**" not in entry.doc else ""
    parts = [
        f"```python\n{call}\n```",
        prose_of(entry.doc),
        listed_parameters(taken),
        result,
    ]
    text = "\n\n".join(p for p in parts if p)
    return linked(text, book, here, but={entry.name})


def entry_text(entry: Entry, book: Book) -> str:
    "An entry where its code stands in the notebook; a class names its methods, which stand at the end of the page."
    text = described(entry, book, entry.page)
    bases = [b for b in book.bases(entry) if b.exported]
    called = book.methods(entry)[0]
    also = []
    if called:
        links = ", ".join(f"[`{m.node.name}`](#{m.anchor})" for m in called)
        also.append(f"**Methods** {links}.")
    if bases:
        also.append(
            "**Inherits from** "
            + ", ".join(f"[`{b.name}`]({goal(b, entry.page)})" for b in bases)
            + "."
        )
    tail = "\n\n".join(also)
    return f"### {entry.name} {{#{entry.anchor} .api}}\n\n::: {{.api-entry}}\n{text}\n\n{tail}\n:::"


def methods_text(entries: list[Entry], book: Book) -> str:
    "The methods of a page's classes, for its end."
    parts = []
    for entry in entries:
        called, others = book.methods(entry)
        if not called:
            continue
        parts.append(f"### Methods of `{entry.name}` {{#{entry.anchor}-methods}}")
        for method in called:
            parts.append(f"#### {method.name} {{#{method.anchor} .api}}")
            text = described(method, book, entry.page)
            parts.append(f"::: {{.api-entry}}\n{text}\n:::")
        rows = [
            f"- `{m.node.name}`{': ' if m.summary else ''}{m.summary}" for m in others
        ]
        if rows:
            parts.append(
                "<details class='plumbing'><summary>Called by Keras and by other layers: "
                f"{len(rows)}</summary>\n\n" + "\n".join(rows) + "\n\n</details>"
            )
    return "\n\n".join(["## Methods {#methods}", *parts]) if parts else ""


# Links


def relative(target: str, here: str) -> str:
    "The way from one page to another, both within nbs/."
    return os.path.relpath(target, Path(here).parent).replace(os.sep, "/")


def goal(entry: Entry, here: str) -> str:
    page = "" if entry.page == here else relative(entry.page, here)
    return f"{page}#{entry.anchor}"


# What is left alone: code blocks, headings, links, images, mathematics, HTML tags. The rest is code in backticks.
PIECES = re.compile(
    r"(?P<keep>^```.*?^```[^\n]*$|^#[^\n]*$|!?\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)]*\)|\$\$.*?\$\$|\$[^$\n]+\$|<[a-zA-Z/][^>]*>)"
    r"|(?<!`)`(?P<code>[^`\n]+)`(?!`)",
    re.M | re.S,
)


def titled(link: str, book: Book) -> str:
    "A link whose text is the name of a file, with the title in its place."
    named = re.match(r"\[`?([\w/]+?)`?\](\(.*)", link)
    file = FILE_NAME.fullmatch(named[1]) if named else None
    page = book.page(file[1]) if file else None
    return f"[{page.title}]{named[2]}" if page else link


def linked(text: str, book: Book, here: str, but: set[str] = frozenset()) -> str:
    "Text in which a page named by its file is a link by its title, and the first mention of a name leads to its entry."
    seen = set(but)

    def link(match: re.Match) -> str:
        code = match["code"]
        if code is None:
            return titled(match[0], book)
        file = FILE_NAME.fullmatch(code)
        if file and (page := book.page(file[1])):
            return f"[{page.title}]({relative(page.path, here)})"
        entry = book.named(code, here)
        if entry is None or entry.name in seen:
            return match[0]
        seen.add(entry.name)
        return f"[`{code}`]({goal(entry, here)})"

    return PIECES.sub(link, text)


NUMBER = re.compile(r"^(?=\$\$(?:(?!\$\$).)*\\qquad *\((\d+)\) *\$\$)", re.M | re.S)
EQUATION = re.compile(r"\b([Ee]quation) \((\d+)\)(?! of)")


def numbered(text: str) -> str:
    """Text in which a numbered equation has an anchor, and the mention of its number leads there.

    A number is written as part of the formula, `\\qquad (2)`, and mentioned as "equation (2)": so a plain notebook shows both.
    """
    text = NUMBER.sub(lambda found: f"[]{{#equation-{found[1]}}}", text)
    return EQUATION.sub(r"[\1 (\2)](#equation-\2)", text)


# Pages that are made


def chapters(root: Path) -> dict[str, list[str]]:
    "The notebooks of each chapter of the library, as the sidebar has them."
    site = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    sections = site["website"]["sidebar"]["contents"]
    library = next(
        (s for s in sections if isinstance(s, dict) and s.get("section") == "Library"),
        {"contents": []},
    )
    return {s["section"]: s["contents"] for s in library["contents"]}


def cell_text(text: str) -> str:
    "Text for a cell of a table."
    return text.replace("|", "\\|")


def reference_text(root: Path, book: Book) -> str:
    "Every name that the package exports, by chapter: a line and a link each."
    here = "reference.qmd"
    parts = [
        '---\ntitle: Every name\ndescription: "All that gaussflow exports, by chapter, with one line each"\n'
        "toc-depth: 3\n---"
    ]
    for chapter, files in chapters(root).items():
        parts.append(f"## {chapter}")
        for file in files:
            names = [e for e in book.entries.values() if e.exported and e.page == file]
            if not names:
                continue
            page = book.page(Path(file).stem)
            parts.append(f"### [{page.title}]({relative(file, here)})")
            prefix = f"{module(file)}." if module(file) in book.lazy else ""
            rows = [
                f"| [`{prefix}{e.name}`]({goal(e, here)}) | {cell_text(linked(e.summary, book, here, {e.name}))} |"
                for e in names
            ]
            table = "| | |\n|:---|:------|\n" + "\n".join(rows)
            parts.append(f"::: {{.names}}\n{table}\n:::")
    return "\n\n".join(parts) + "\n"


def tutorials(book: Book) -> list[Page]:
    "In the order of the story."
    found = [p for p in book.pages.values() if p.kind == "tutorial"]
    return sorted(found, key=lambda p: p.path)


def short(page: Page) -> str:
    "What a page says of itself, up to its first colon or full stop."
    return re.split(r"(?<=\w)[.:;](?:\s|$)", page.description)[0] + "."


def thumbnail(page: Page) -> str:
    return f"images/thumb-{Path(page.path).stem}.png"


def grid_text(book: Book) -> str:
    "The tutorials, each with its own figure and a line."
    picture = '<img class="plain" loading="lazy" src="{}" alt="">'
    cards = [
        f'<a class="card" href="{p.path}">{picture.format(thumbnail(p)) if p.figure else ""}'
        f"<b>{int(Path(p.path).name[:2])} {p.title}</b><span>{short(p)}</span></a>"
        for p in tutorials(book)
    ]
    return '```{=html}\n<div class="cards">\n' + "\n".join(cards) + "\n</div>\n```"


def doors_text(book: Book) -> str:
    "Three ways in: learn, use, look up."
    first = tutorials(book)
    table = book.page("09_tables")
    doors = [
        (
            first[0].path if first else "",
            "Learn",
            "Begin with the first tutorial: what a flow is, in pictures.",
        ),
        (
            table.path if table else "how_to.qmd",
            "Use it on your table",
            "Score rows, draw new ones, fill in what is missing, predict."
            if table
            else "Fit, score, sample, save: short answers that run.",
        ),
        (
            "reference.qmd",
            "Look it up",
            "Every class, function and method, with an example.",
        ),
    ]
    links = [
        f'<a class="door" href="{path}"><b>{name}</b><span>{text}</span></a>'
        for path, name, text in doors
    ]
    return '```{=html}\n<div class="doors">\n' + "\n".join(links) + "\n</div>\n```"


def filled(text: str, book: Book) -> str:
    "The landing page, its doors and its tutorials in the places that are marked."
    text = text.replace("<!-- doors -->", doors_text(book))
    text = text.replace("<!-- tutorials -->", grid_text(book))
    hero = re.search(r"!\[([^\]]*)\]\((images/hero)\.png\)", text)
    if hero:
        picture = (
            f'```{{=html}}\n<figure class="hero"><picture><source media="(max-width: 700px)" srcset="{hero[2]}-narrow.png">'
            f'<img src="{hero[2]}.png" alt="{hero[1]}"></picture></figure>\n```'
        )
        text = text.replace(hero[0], picture)
    return text


def answers(root: Path) -> Iterator[tuple[str, str, str]]:
    "The headings of the short answers that carry a word to look for: the word, the heading, what stands below."
    text = (root / "nbs/how_to.qmd").read_text(encoding="utf-8")
    pattern = r"^## (.+?) \{#([\w.-]+)\}\n(.*?)(?=^## |\Z)"
    for heading, word, below in re.findall(pattern, text, re.M | re.S):
        yield word, heading.replace("`", ""), " ".join(below.split())


def search_entries(book: Book, root: Path) -> list[dict]:
    """What a search finds first: the entries of the reference, and short answers by their word.

    The search prefers short headings, so the flow's own methods stand by their bare names.
    """
    found = []

    def add(href: str, title: str, section: str, text: str, crumbs: list[str]) -> None:
        item = {"objectID": href, "href": href, "title": title, "section": section}
        found.append(item | {"text": text, "crumbs": crumbs})

    flow = "NormalizingFlow."
    for entry in sorted(
        book.anchors.values(), key=lambda e: not e.name.startswith(flow)
    ):
        page = book.page(Path(entry.page).stem)
        file = Path(entry.page).with_name(module(entry.page) + ".html").as_posix()
        own = entry.name.startswith(flow)
        add(
            f"{file}#{entry.anchor}",
            "NormalizingFlow" if own else page.title,
            entry.name.removeprefix(flow),
            " ".join(entry.doc.split()),
            ["Library", page.title],
        )
    if (root / "nbs/how_to.qmd").exists():
        for word, heading, below in answers(root):
            text = f"{heading}: {below}"
            add(f"how_to.html#{word}", "How do I …", word, text, ["Start"])
    return found
