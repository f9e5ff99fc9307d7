"""``python -m benchmarks [SUITE ...] --json FILE``: run suites, print tables, write one JSON document."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fastconcept.environment import environment

MODULES = (
    "solve",
    "ranks",
    "resize",
    "files",
    "explain",
    "memory",
    "builtin",
    "batch",
    "batch_cost",
    "modes",
    "stream",
    "int8",
    "serve.load",
)


@dataclass(frozen=True)
class Options:
    """What suites may depend on."""

    quick: bool  # fewer repetitions and smaller batches: checks that a suite runs
    teacher: Path | None  # open_clip-format development model, where it is at hand
    bundle: Path | None  # its bundle
    shared: Path | None  # development data


def suites() -> dict[str, Callable[[Options], list[dict[str, Any]]]]:
    """Every suite by name."""
    found: dict[str, Callable[[Options], list[dict[str, Any]]]] = {}
    for module in MODULES:
        found.update(importlib.import_module(f"benchmarks.{module}").SUITES)
    return found


def print_rows(name: str, rows: list[dict[str, Any]], console: Console) -> None:
    """One table per suite; columns in the order in which the rows name them."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "suite"))
    table = Table(*columns, title=name, title_justify="left", box=None)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


def main() -> int:
    """Run the suites named on the command line, or all of them."""
    every = suites()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of: {', '.join(every)} (default: all)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--quick", action="store_true", help="check that it runs; the figures mean little")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder of the development data")
    parser.add_argument("--bundle", type=Path, help="bundle of the development model (default: exported when needed)")
    arguments = parser.parse_args()
    if unknown := set(arguments.suites) - set(every):
        parser.error(f"unknown suite {', '.join(sorted(unknown))}; there are: {', '.join(every)}")
    shared = arguments.shared if (arguments.shared / "reference").is_dir() else None
    teacher = shared / "models/teacher" if shared else None
    options = Options(arguments.quick, teacher, arguments.bundle, shared)
    console = Console(width=200 if not sys.stdout.isatty() else None)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    report: dict[str, Any] = {"date": now, "quick": options.quick, "environment": environment(), "rows": []}
    for name in arguments.suites or every:
        rows = [{"suite": name, **row} for row in every[name](options)]
        print_rows(name, rows, console)
        report["rows"] += rows
        if arguments.json:  # after every suite, so that a run cut short keeps what it has measured
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
