"""The report of an evaluation: one JSON document, markdown, and one HTML page that needs nothing else."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingDependencyError
from ..files import whole_file
from .plots import Plot
from .shell import html_page
from .tables import Table, code, escape

_SHOWN_BAD = 20  # bad rows listed in markdown and on the page; JSON has them all


@dataclass(frozen=True)
class Report:
    """The result of an evaluation, ready to be written.

    Attributes
    ----------
    task : str
        The verb, which also names the files.
    title : str
    finding : str
        The answer in a sentence or two.
    settings : dict
        The model, the data and the options; empty ones are not shown.
    tables : list of Table
    plots : list of (title, Plot)
    values : dict
        All numbers, as plain values for JSON.
    bad : sequence of (name, reason)
        Rows that were skipped.
    seconds : float
        Duration of the run.
    """

    task: str
    title: str
    finding: str
    settings: dict[str, object]
    tables: list[Table]
    plots: list[tuple[str, Plot]]
    values: dict[str, Any]
    bad: Sequence[tuple[str, str]]
    seconds: float

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
        parts = [f"## {escape(self.title)}", escape(self.finding), escape(self._settings())]
        for table in self.tables:
            parts += [f"### {escape(table.title)}", table.to_markdown(), escape(table.note)]
        if self.bad:
            listed = [f"* {code(name)}: {escape(reason)}" for name, reason in self.bad[:_SHOWN_BAD]]
            more = [f"* and {len(self.bad) - _SHOWN_BAD} more"] if len(self.bad) > _SHOWN_BAD else []
            parts += [f"### {len(self.bad)} rows skipped", "\n".join(listed + more)]
        parts.append(f"Took {self.seconds:.1f} s.")
        return "\n\n".join(part for part in parts if part) + "\n"

    def to_html(self) -> str:
        """The body of a page; :func:`fastconcept.pages.shell.html_page` makes a whole document of it.

        Raises
        ------
        MissingDependencyError
            If there is a plot and matplotlib is not installed.
        """
        parts = [f"<h2>{html.escape(self.title)}</h2><p class=lead>{html.escape(self.finding)}</p>"]
        parts.append(f"<p class=soft>{html.escape(self._settings())}</p>")
        parts += [f"<div class=card><h3>{html.escape(title)}</h3>{plot.svg()}</div>" for title, plot in self.plots]
        for table in self.tables:
            note = f"<p class=soft>{html.escape(table.note)}</p>" if table.note else ""
            parts.append(f"<h3>{html.escape(table.title)}</h3><div class=wide>{table.to_html()}</div>{note}")
        if self.bad:
            entries = [f"<li><code>{html.escape(name)}</code>: {html.escape(reason)}</li>" for name, reason in self.bad]
            shown = "".join(entries[:_SHOWN_BAD]) + ("<li>…</li>" if len(entries) > _SHOWN_BAD else "")
            parts.append(f"<details><summary>{len(entries)} rows skipped</summary><ul>{shown}</ul></details>")
        parts.append(f"<p class=soft>Took {self.seconds:.1f} s.</p>")
        return "".join(parts)

    def save(self, folder: Path) -> list[Path]:
        """Write ``TASK.json``, ``TASK.md`` and ``TASK.html`` into a directory, and return their paths.

        Raises
        ------
        MissingDependencyError
            If there is a plot and matplotlib is not installed; JSON and markdown are written all the same.
        InputError
            If a file cannot be written; those of an earlier run are then as they were.
        """
        document = json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)
        if not _is_text(document):  # a file name may hold what is no text; JSON has an escape for it
            document = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        texts, missing = {"json": document + "\n", "md": self.to_markdown()}, None
        try:
            texts["html"] = html_page(f"{self.title} · fastconcept", self.to_html())
        except MissingDependencyError as error:
            missing = error
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write into {folder}: {error.strerror}") from None
        with ExitStack() as stack:  # all of them take their names when all are written
            for ending, text in texts.items():
                stream = stack.enter_context(whole_file(folder / f"{self.task}.{ending}"))
                stream.write(text.encode("utf-8", "backslashreplace"))
        if missing is not None:
            raise missing
        return [folder / f"{self.task}.{ending}" for ending in texts]

    def _settings(self) -> str:
        return " · ".join(f"{key} {value}" for key, value in self.settings.items() if value not in (None, ""))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
