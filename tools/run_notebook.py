"Execute notebooks from top to bottom and store their outputs, cleaned: the only way outputs are made."

import sys
import time

import books as nb
import nbformat
from nbdev.clean import clean_nb


def main() -> None:
    for path in nb.select(sys.argv[1:]):
        start = time.perf_counter()
        book, _ = nb.execute(path)
        clean_nb(book)
        # nbdev_clean's own layout, so that cleaning later changes nothing.
        text = nbformat.writes(book, indent=1, ensure_ascii=False, sort_keys=True)
        path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        print(f"{path.stem}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
