"""Tables of reports, as markdown and as HTML."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of rows of strings, numbers, (difference, low, high) or None
    note : str
        A sentence under the table.

    Examples
    --------
    >>> print(Table("Scores", ["method", "score"], [["ours", 0.5]]).to_markdown())
    | method | score |
    | --- | ---: |
    | ours | 0.500 |
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    def to_markdown(self) -> str:
        """The rows as markdown, numbers to the right."""
        rows = [[escape(value) if isinstance(value, str) else show(value) for value in row] for row in self.rows]
        sides = ["---:" if self._is_number(k) else "---" for k in range(len(self.columns))]
        return "\n".join("| " + " | ".join(row) + " |" for row in [[*map(escape, self.columns)], sides, *rows])

    def to_html(self) -> str:
        """The rows as HTML, numbers to the right and everything escaped."""
        head = self._html_row("th", self.columns)
        body = "".join(self._html_row("td", [show(value) for value in row]) for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"

    def _html_row(self, tag: str, cells: Sequence[str]) -> str:
        sides = ["n" if self._is_number(k) else "l" for k in range(len(cells))]
        row = [f"<{tag} class={side}>{html.escape(cell)}</{tag}>" for side, cell in zip(sides, cells, strict=True)]
        return f"<tr>{''.join(row)}</tr>"

    def _is_number(self, column: int) -> bool:
        return all(isinstance(row[column], (int, float, tuple, type(None))) for row in self.rows)


def escape(text: str) -> str:
    """Text as markdown shows it unchanged: on one line, without markup, HTML or cells of its own.

    Examples
    --------
    >>> print(escape("a|b <i> *c* d_e _f_"))
    a\\|b &lt;i> \\*c\\* d_e \\_f\\_
    """
    line = " ".join(text.split())
    return re.sub(r"[\\`|*~]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])|^[#>+-](?=\s)", r"\\\g<0>", line).replace("<", "&lt;")


def code(text: str) -> str:
    """Text as code in markdown, whatever backticks it has.

    Examples
    --------
    >>> print(code("a.jpg"), code("a`b"))
    `a.jpg` `` a`b ``
    """
    line = " ".join(text.split())
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, blank = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{blank}{line}{blank}{fence}"


def show(value: object) -> str:
    """A value as it stands in a table: three decimals, intervals in brackets, a dash for a missing value.

    Examples
    --------
    >>> show(0.12345), show(7), show((0.1, 0.05, 0.15)), show(None)
    ('0.123', '7', '+0.100 [+0.050, +0.150]', '–')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, tuple) and len(value) == 3:
        return f"{value[0]:+.3f} [{value[1]:+.3f}, {value[2]:+.3f}]"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
