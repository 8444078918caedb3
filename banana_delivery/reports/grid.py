"""A table before it is known where it will be read: in Dagster as markdown, in the report as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        headers: one a column.
        rows: as many cells each as there are headers.
        numbers: columns that hold numbers, and so are aligned to the right.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """The table in GitHub's markdown; whatever a cell holds, it stays in its cell."""
        rule = ["---:" if column in self.numbers else "---" for column in range(len(self.headers))]
        lines = (self.headers, rule, *self.rows)
        return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)

    def as_html(self) -> str:
        """The table as an HTML element, escaped."""
        head = "".join(self._tag("th", column, cell) for column, cell in enumerate(self.headers))
        rows = ("".join(self._tag("td", column, cell) for column, cell in enumerate(row)) for row in self.rows)
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"

    def _tag(self, name: str, column: int, cell: str) -> str:
        kind = ' class="number"' if column in self.numbers else ""
        return f"<{name}{kind}>{html.escape(cell)}</{name}>"


def _cell(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())
