"""Tables of a report in other documents: what stands between two marks is made anew from the points.

    python -m cbvc_jax.evaluation.report.cite docs/results README.md ... [--check]

A mark is a comment that names a table of the report by how its title begins, the rows by what a column says, and the
columns to show, by other names if need be:

    <!-- results: Means of the data sets; series = tiny-gop32; show rate, bpp, PSNR RGB dB as PSNR -->
    ...
    <!-- end -->
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cbvc_jax import markdown
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.records import Records
from cbvc_jax.evaluation.report.curves import Results
from cbvc_jax.evaluation.report.tables import Table, tables
from cbvc_jax.video.atomic import write_whole

MARK = "<!-- results: "
MARKED = re.compile(rf"({MARK}([^\n]*?) -->\n)(?:(?!{MARK}).)*?(<!-- end -->)", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0, or 1 if `--check` finds a document that is not as the points say."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.evaluation.report.cite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, help="folder of `cbvc rd`")
    parser.add_argument("documents", type=Path, nargs="+")
    parser.add_argument("--check", action="store_true", help="change nothing, and say what would change")
    args = parser.parse_args(argv)
    stale = []
    try:
        made = tables(Results(Records(args.results)))
        for file in args.documents:
            old = _read(file)
            new = cite(old, made, str(file))
            if new != old:
                stale.append(file)
                if not args.check:
                    write_whole(file, new)
    except CbvcError as error:
        sys.exit(f"cite: {error}")
    for file in stale:
        print(f"{file}: {'not as the points say' if args.check else 'written'}")
    return 1 if args.check and stale else 0


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"'{file}' cannot be read: {error}") from None


def cite(text: str, made: Sequence[Table], name: str) -> str:
    """The document `text` with its marked tables anew, out of those that were made; all else stays.

    Raises:
      UsageError: a mark names a table, a column or a row that is not there or has no end, or there is no mark at all.
    """
    found = len(MARKED.findall(text))
    if not found:
        raise UsageError(f"'{name}' has no mark such as '{MARK}Means; show rate, bpp -->' with its '<!-- end -->'")
    if found != text.count(MARK):
        raise UsageError(
            f"'{name}' has {text.count(MARK)} marks, {found} of them with an '<!-- end -->' before the next"
        )

    def filled(match: re.Match[str]) -> str:
        try:
            return f"{match[1]}{_cited(match[2], made)}\n{match[3]}"
        except UsageError as error:
            raise UsageError(f"'{name}', mark '{match[2]}': {error}") from None

    return MARKED.sub(filled, text)


def _cited(mark: str, made: Sequence[Table]) -> str:
    title, *clauses = (part.strip() for part in mark.split(";"))
    found = next((t for t in made if t.title.startswith(title)), None)
    if found is None:
        raise UsageError(f"there is no table '{title}'; there are: {', '.join(t.title for t in made)}")
    rows, shown = list(found.rows), [(i, name) for i, name in enumerate(found.header)]
    for clause in clauses:
        if clause.startswith("show "):
            names = [column.strip().partition(" as ") for column in clause.removeprefix("show ").split(",")]
            shown = [(_column(found, old), new or old) for old, _, new in names]
        else:
            column, _, wanted = (part.strip() for part in clause.partition("="))
            i, values = _column(found, column), [value.strip() for value in wanted.split(",")]
            # In the order in which the mark names them, whatever stands in brackets after the name.
            rows = [row for value in values for row in rows if value in (row[i], row[i].partition(" (")[0])]
    if not rows:
        raise UsageError("no row of the table is like that")
    return markdown.table([name for _, name in shown], ([row[i] for i, _ in shown] for row in rows))


def _column(table: Table, name: str) -> int:
    if name not in table.header:
        raise UsageError(f"'{table.title}' has no column '{name}'; it has: {', '.join(table.header)}")
    return table.header.index(name)


if __name__ == "__main__":
    sys.exit(main())
