"""What a task found, as one JSON document, as markdown, and as one HTML page that needs nothing else."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STYLE = """
:root{color-scheme:light dark;--ink:#1c1e26;--soft:#666c7d;--paper:#fbfbfd;--card:#fff;--line:#e3e5ee;--accent:#5662d6}
@media(prefers-color-scheme:dark){:root{--ink:#e9eaf1;--soft:#9aa0b3;--paper:#13141a;--card:#1c1e27;--line:#2d303d;
--accent:#8f99ff}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1060px;margin:0 auto;padding:40px 24px 72px}h1{font-size:30px;margin:0 0 4px;letter-spacing:-.02em}
h2{font-size:21px;margin:44px 0 10px;letter-spacing:-.01em}h3{font-size:16px;margin:26px 0 8px}
p{max-width:76ch;margin:8px 0}.soft,small{color:var(--soft)}.lead{font-size:18px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14.5px}.wide{overflow-x:auto}
th{font-weight:600;text-align:left;color:var(--soft);border-bottom:2px solid var(--line)}
th,td{padding:5px 14px 5px 0;white-space:nowrap}td{border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right}.card{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:18px 20px;margin:14px 0}.plot{width:100%;max-width:760px;height:auto}
.t{fill:var(--soft);font-size:12.5px}.grid{stroke:var(--line);stroke-width:1}
code{background:var(--line);border-radius:4px;padding:1px 5px;font-size:.92em}
"""


@dataclass(frozen=True)
class Table:
    """A table: a title, column names, rows of strings and numbers, and a sentence under it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What a task found.

    Attributes
    ----------
    task, title : str
    finding : str
        The answer in a sentence or two.
    settings : dict
        What was run on what.
    tables : list of Table
    plots : list of (title, svg)
    values : dict
        Everything in numbers, plain values for JSON.
    bad : sequence of (name, reason)
        Rows that were skipped.
    seconds : float
    """

    task: str
    title: str
    finding: str
    settings: dict[str, object]
    tables: list[Table]
    plots: list[tuple[str, str]]
    values: dict[str, Any]
    bad: Sequence[tuple[str, str]]
    seconds: float
    shown_bad: int = field(default=20, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become null."""
        document = {
            "task": self.task,
            "finding": self.finding,
            "settings": self.settings,
            **self.values,
            "bad_rows": {"count": len(self.bad), "rows": [list(entry) for entry in self.bad]},
            "seconds": round(self.seconds, 2),
        }
        plain: dict[str, Any] = _finite(document)
        return plain

    def to_markdown(self) -> str:
        """The report as markdown, without plots."""
        parts = [f"## {self.title}", self.finding, _settings(self.settings)]
        for table in self.tables:
            parts += [f"### {table.title}", markdown_table(table), table.note]
        if self.bad:
            listed = "\n".join(f"* `{name}`: {reason}" for name, reason in self.bad[: self.shown_bad])
            more = f"\n* and {len(self.bad) - self.shown_bad} more" if len(self.bad) > self.shown_bad else ""
            parts += [f"### {len(self.bad)} rows skipped", listed + more]
        parts.append(f"Took {self.seconds:.1f} s.")
        return "\n\n".join(part for part in parts if part) + "\n"

    def to_html(self) -> str:
        """The body of the report as HTML; :func:`html_page` makes a page of it."""
        parts = [f"<h2>{html.escape(self.title)}</h2><p class=lead>{html.escape(self.finding)}</p>"]
        parts.append(f"<p class=soft>{html.escape(_settings(self.settings))}</p>")
        parts += [f"<div class=card><h3>{html.escape(title)}</h3>{svg}</div>" for title, svg in self.plots]
        for table in self.tables:
            note = f"<p class=soft>{html.escape(table.note)}</p>" if table.note else ""
            parts.append(f"<h3>{html.escape(table.title)}</h3><div class=wide>{html_table(table)}</div>{note}")
        if self.bad:
            entries = [f"<li><code>{html.escape(name)}</code>: {html.escape(reason)}</li>" for name, reason in self.bad]
            shown = "".join(entries[: self.shown_bad]) + ("<li>…</li>" if len(entries) > self.shown_bad else "")
            parts.append(f"<details><summary>{len(entries)} rows skipped</summary><ul>{shown}</ul></details>")
        parts.append(f"<p class=soft>Took {self.seconds:.1f} s.</p>")
        return "".join(parts)

    def save(self, folder: Path) -> list[Path]:
        """Write ``TASK.json``, ``TASK.md`` and ``TASK.html`` into a directory; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "json": json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n",
            "md": self.to_markdown(),
            "html": html_page(f"{self.title} · fastconcept", self.to_html()),
        }
        paths = [folder / f"{self.task}.{ending}" for ending in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths


def html_page(title: str, body: str, head: str = "") -> str:
    """A whole HTML document around a body: styles inline, nothing fetched, and a policy that forbids fetching."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{head}</style></head><body><main>{body}</main></body></html>\n"
    )


def show(value: object) -> str:
    """A value as it stands in a table: three decimals, intervals in brackets, a dash for what is not there.

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


def _settings(settings: dict[str, object]) -> str:
    return " · ".join(f"{key} {value}" for key, value in settings.items() if value not in (None, ""))


def markdown_table(table: Table) -> str:
    """The rows of a table as markdown, numbers to the right."""
    rows = [[show(value).replace("|", "\\|") for value in row] for row in table.rows]
    sides = ["---:" if _is_number(table, k) else "---" for k in range(len(table.columns))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(table.columns), sides, *rows])


def html_table(table: Table) -> str:
    """The rows of a table as HTML, everything escaped."""
    sides = ["n" if _is_number(table, k) else "l" for k in range(len(table.columns))]

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag} class={side}>{html.escape(cell)}</{tag}>" for side, cell in zip(sides, row, strict=True)
        )

    rows = "".join(f"<tr>{cells('td', [show(value) for value in row])}</tr>" for row in table.rows)
    return f"<table><thead><tr>{cells('th', table.columns)}</tr></thead><tbody>{rows}</tbody></table>"


def _is_number(table: Table, column: int) -> bool:
    return all(isinstance(row[column], (int, float, tuple, type(None))) for row in table.rows)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
