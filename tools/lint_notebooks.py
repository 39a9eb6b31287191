"Hold the notebooks to the house style: what is stored in them, how long things are, how much is prose."

import ast
import base64
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import books as nb

NOTEBOOK_BYTES, FIGURE_BYTES = 1_500_000, 250_000
CLASS_LINES, EXPORT_LINES, CELL_LINES = 350, 60, 40
PROSE = {"library": 1 / 3, "tutorial": 1 / 2, "index": 1 / 2}
LONG_CLASSES = {"42_flow": 625}  # one model: thin methods, documented and annotated
# Stretches of exported code that still want a cell that shows something; they may only become shorter.
LONG_STRETCHES = {}
LESS_PROSE = {
    "72_plot": 1 / 5,
    "73_diagram": 1 / 5,
    "02_events": 1 / 5,
}  # figures are drawn by long plain code, and say the rest themselves
MACHINE_PATH = re.compile(
    r"/home/\w|/root/|/Users/\w|/tmp/|/var/folders/|[A-Z]:\\Users|site-packages|ipykernel_|"
    + re.escape(f"{nb.ROOT}/")
)
RESIDUE = re.compile(r"[\r\b\x1b]|━{3}|\d+/\d+ \[=|ETA:|^WARNING:", re.M)
READABLE_ID = re.compile(r"^(?![0-9a-f]{8})[a-z0-9]+(-[a-z0-9]+)*$")


def code_cells(book) -> list:
    return [c for c in book.cells if c.cell_type == "code" and c.source.strip()]


def is_export(cell) -> bool:
    return any(
        m.split()[0] in ("export", "exporti", "exports") for m in nb.directives(cell)
    )


def parse(cell) -> ast.Module | None:
    "The cell as Python, or None where magics or shell lines stand in it."
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return None


def texts(cell) -> Iterator[str]:
    "Every text that is stored in a cell's outputs."
    for out in cell.get("outputs", []):
        yield out.get("text", "")
        yield from (v for k, v in out.get("data", {}).items() if k.startswith("text/"))


def check_errors(path: Path, book) -> Iterator[str]:
    "No stored error output."
    for cell in code_cells(book):
        if any(o.output_type == "error" for o in cell.outputs):
            yield f"cell {cell.id}: an error is stored"


def check_stderr(path: Path, book) -> Iterator[str]:
    "No stored stderr."
    for cell in code_cells(book):
        if any(o.get("name") == "stderr" for o in cell.outputs):
            yield f"cell {cell.id}: stderr is stored"


def check_residue(path: Path, book) -> Iterator[str]:
    "No progress bars, no terminal codes and no log lines in outputs; TensorFlow writes its warnings to stdout in a notebook."
    for cell in code_cells(book):
        if any(RESIDUE.search(t) for t in texts(cell)):
            yield f"cell {cell.id}: a progress bar, terminal codes or a log line are stored"


def check_machine_paths(path: Path, book) -> Iterator[str]:
    "No path of a machine in source or output."
    for cell in book.cells:
        for text in [cell.source, *texts(cell)]:
            if found := MACHINE_PATH.search(text):
                yield f"cell {cell.id}: a machine's path, {found[0]!r}"
                break


def check_sizes(path: Path, book) -> Iterator[str]:
    "A notebook has 1.5 MB, a figure 250 kB."
    if path.exists() and (size := path.stat().st_size) > NOTEBOOK_BYTES:
        yield f"Expected at most {NOTEBOOK_BYTES} bytes, received {size}"
    for cell in code_cells(book):
        for out in cell.outputs:
            for mime, data in out.get("data", {}).items():
                if mime.startswith("image/"):
                    size = (
                        len(data)
                        if mime == "image/svg+xml"
                        else len(base64.b64decode(data))
                    )
                    if size > FIGURE_BYTES:
                        yield f"cell {cell.id}: Expected a figure of at most {FIGURE_BYTES} bytes, received {size}"


def own_lines(cell) -> int:
    "Lines of code and docstrings; blank lines and `#|` lines are free."
    return sum(
        1
        for line in cell.source.splitlines()
        if line.strip() and not line.startswith("#|")
    )


def check_cell_lengths(path: Path, book) -> Iterator[str]:
    """A class has at most 350 lines; other exported code 60 until a cell shows something; a long check is folded.

    A function that is longer by itself is one cell.
    """
    stretch = 0
    for cell in code_cells(book):
        lines, marks, tree = own_lines(cell), nb.directives(cell), parse(cell)
        longest = LONG_STRETCHES.get(path.stem, EXPORT_LINES)
        if not is_export(cell):
            stretch = 0 if "hide" not in marks else stretch
            if (
                lines > CELL_LINES
                and "code-fold: true" not in marks
                and "hide" not in marks
            ):
                yield f"cell {cell.id}: Expected at most {CELL_LINES} lines, or `#| code-fold: true`, received {lines}"
        elif any(
            isinstance(node, ast.ClassDef) for node in (tree or ast.Module([])).body
        ):
            most, stretch = LONG_CLASSES.get(path.stem, CLASS_LINES), 0
            if lines > most:
                yield f"cell {cell.id}: Expected at most {most} lines, received {lines}"
        elif not any(
            isinstance(n, ast.Import | ast.ImportFrom)
            for n in (tree or ast.Module([])).body
        ):
            stretch += lines
            if stretch > longest and stretch > lines:
                yield f"cell {cell.id}: Expected at most {longest} exported lines before a cell shows something, received {stretch}"


def words(book) -> tuple[int, int]:
    """How many words of prose and of code a notebook holds, split at blanks; hidden cells and `#|` lines are neither.

    Prose is what stands in Markdown cells and in the docstrings of exported code, which the site prints as text.
    """
    prose = code = 0
    for cell in book.cells:
        source = re.sub(r"^#\s*\|.*$", "", cell.source, flags=re.M)
        if cell.cell_type == "markdown":
            prose += len(cell.source.split())
        elif cell.cell_type == "code" and "hide" not in nb.directives(cell):
            nodes = ast.walk(parse(cell) or ast.Module([])) if is_export(cell) else ()
            defined = [
                n for n in nodes if isinstance(n, ast.ClassDef | ast.FunctionDef)
            ]
            printed = sum(len((ast.get_docstring(n) or "").split()) for n in defined)
            prose, code = prose + printed, code + len(source.split()) - printed
    return prose, code


def check_prose(path: Path, book) -> Iterator[str]:
    "A third of a library notebook's words is prose, half of a tutorial's and the index's."
    (prose, code), least = words(book), LESS_PROSE.get(path.stem, PROSE[nb.kind(path)])
    if prose < least * (prose + code):
        yield f"Expected at least {least:.0%} of the words in prose, received {prose} of {prose + code}"


def check_imports(path: Path, book) -> Iterator[str]:
    """A cell with an import holds nothing else: to build the site, nbdev executes every such cell without the cells before it.

    It looks for imports inside functions too. Exported cells are always executed, so their functions may import. A `try` around
    nothing but imports, for a package that may be absent, runs by itself as they do.
    """
    plain = lambda n: isinstance(n, ast.Import | ast.ImportFrom)
    for cell in code_cells(book):
        body = (parse(cell) or ast.Module([])).body
        alone = [
            plain(n) or (isinstance(n, ast.Try) and all(map(plain, n.body)))
            for n in body
        ]
        inner = not is_export(cell) and any(plain(n) for s in body for n in ast.walk(s))
        if (any(alone) or inner) and not all(alone):
            yield f"cell {cell.id}: an import stands with other code"


def check_ids(path: Path, book) -> Iterator[str]:
    "Cell ids are readable and unique: nbdev prints them in the module."
    for cell_id, times in Counter(c.id for c in book.cells).items():
        if times > 1:
            yield f"cell {cell_id}: the id stands {times} times"
        if not READABLE_ID.match(cell_id):
            yield f"cell {cell_id}: Expected a readable id such as affine-coupling"


def check_outputs_present(path: Path, book) -> Iterator[str]:
    "A cell that prints or draws at its top level has its output stored."
    for cell in code_cells(book):
        tree = parse(cell)
        if tree is None or {"hide", "eval: false"} & nb.directives(cell):
            continue
        calls = [
            n.value.func
            for n in tree.body
            if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)
        ]
        shows = [
            ast.unparse(f)
            for f in calls
            if ast.unparse(f) == "print" or ast.unparse(f).startswith("plot.")
        ]
        if any("style" not in s for s in shows) and not cell.outputs:
            yield f"cell {cell.id}: prints or draws, but no output is stored"


def check_exports(path: Path, book) -> Iterator[str]:
    "Library cells that are exported hold no bare assert; tutorials and the index export nothing."
    for cell in filter(is_export, code_cells(book)):
        if nb.kind(path) != "library":
            yield f"cell {cell.id}: a {nb.kind(path)} exports nothing"
        if any(
            isinstance(node, ast.Assert)
            for node in ast.walk(parse(cell) or ast.Module([]))
        ):
            yield f"cell {cell.id}: a bare assert in exported code"


def methods(
    tree: ast.AST, owner: str = ""
) -> Iterator[tuple[str, ast.FunctionDef, int]]:
    """Functions and methods by name, and how many of their arguments Python passes.

    Functions inside functions are left out: they are read with what is around them.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from methods(node, f"{owner}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            static = "staticmethod" in map(ast.unparse, node.decorator_list)
            yield owner + node.name, node, int(bool(owner) and not static)
        else:
            yield from methods(node, owner)


def check_annotations(path: Path, book) -> Iterator[str]:
    "Exported functions and methods annotate what they take and return; `self`, `cls` and `**options` aside."
    for cell in filter(is_export, code_cells(book)):
        for name, node, passed in methods(parse(cell) or ast.Module([])):
            args = node.args
            taken = [*args.posonlyargs, *args.args][passed:] + args.kwonlyargs
            taken += [args.vararg] if args.vararg else []
            bare = [arg.arg for arg in taken if arg.annotation is None]
            if bare:
                yield f"cell {cell.id}: {name} does not annotate {', '.join(bare)}"
            if node.returns is None and node.name != "__init__":
                yield f"cell {cell.id}: {name} does not annotate what it returns"


def check_head(path: Path, book) -> Iterator[str]:
    "The first cell is a title and a one-line description; a library notebook then names its module."
    head = book.cells[0].source if book.cells else ""
    if not re.match(r"# \S.*\n+> \S.*", head):
        yield "Expected a first cell with `# Title` and `> one line`"
    exports = [
        m
        for c in code_cells(book)[:1]
        for m in nb.directives(c)
        if m.startswith("default_exp ")
    ]
    if nb.kind(path) == "library" and exports != [
        f"default_exp {path.stem.split('_', 1)[-1]}"
    ]:
        yield f"Expected the first code cell to be `#| default_exp {path.stem.split('_', 1)[-1]}`"


RULES = [value for name, value in list(globals().items()) if name.startswith("check_")]


def lint(path: Path, book=None) -> list[str]:
    "Every complaint about one notebook."
    book = nb.read(path) if book is None else book
    return [f"{path.name}: {message}" for rule in RULES for message in rule(path, book)]


def defined_twice(books: dict[str, object]) -> list[str]:
    "Names that two exported cells define: one notebook per module, each name once."
    names: dict[str, list[str]] = {}
    for stem, book in books.items():
        for cell in filter(is_export, code_cells(book)):
            for node in (parse(cell) or ast.Module([])).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    names.setdefault(node.name, []).append(f"{stem}#{cell.id}")
    return [
        f"{name} is defined in {' and '.join(where)}"
        for name, where in names.items()
        if len(where) > 1
    ]


def imported(book, package: str = "gaussflow") -> Iterator[tuple[str, str]]:
    "Each exported cell that imports a module of the package, inside functions too, and that module."
    for cell in filter(is_export, code_cells(book)):
        for node in ast.walk(parse(cell) or ast.Module([])):
            if (
                isinstance(node, ast.ImportFrom)
                and (node.module or "").split(".")[0] == package
            ):
                names = (
                    [node.module.split(".")[1]]
                    if "." in node.module
                    else [alias.name for alias in node.names]
                )
                yield from ((cell.id, name) for name in names)
            elif isinstance(node, ast.Import):
                names = [alias.name.split(".") for alias in node.names]
                yield from (
                    (cell.id, name[1])
                    for name in names
                    if name[0] == package and len(name) > 1
                )


def imports_upwards(books: dict[str, object]) -> list[str]:
    """Exported imports from a room with a higher number: the numbers are the order of dependencies.

    With numbers that all differ there is no circle where nothing leads upwards.
    """
    number = {stem.partition("_")[2]: stem for stem in books}
    return [
        f"{stem}#{cell} imports {number[module]}, which comes after it"
        for stem, book in books.items()
        for cell, module in imported(book)
        if module in number and number[module] >= stem
    ]


def main() -> None:
    found = nb.select(sys.argv[1:])
    complaints = [message for path in found for message in lint(path)]
    books = {p.stem: nb.read(p) for p in found if nb.kind(p) == "library"}
    complaints += defined_twice(books) + imports_upwards(books)
    print(
        "\n".join(complaints)
        or f"{len(found)} notebooks in order, {len(RULES) + 2} rules"
    )
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
