"""The command line: one verb per file, the same words as the Python interface."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import FastconceptError
from . import bench, concepts, decompose, evaluate, explain, export, info, output, report, search

# Typer may carry a copy of click of its own; this is the base of whichever it raises.
_CLICK_EXCEPTION: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("explain")(explain.command)
app.command("decompose")(decompose.command)
app.command("concepts")(concepts.command)
app.command("search")(search.command)
app.command("report")(report.command)
app.command("export")(export.command)
app.add_typer(evaluate.app, name="evaluate")
app.command("bench")(bench.command)
app.command("info")(info.command)


def _print_version(asked: bool) -> None:
    if asked:
        output.console().print(f"fastconcept {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Explain what a CLIP model sees, in words."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0, or 2 with one line on stderr (one document under --json)."""
    as_json = "--json" in arguments
    try:
        code = app(args=list(arguments), prog_name="fastconcept", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except FastconceptError as error:
        return output.report_error(type(error).__name__, str(error), as_json)
    except _CLICK_EXCEPTION as error:
        return _report_usage(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        output.report_error("Interrupted", "interrupted; nothing half-written was left", as_json)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our pipe has gone: nobody is left to tell
        return 141


def _report_usage(error: Any, as_json: bool) -> int:
    """Say what is wrong with a command line, and where its help is; without arguments help was shown already."""
    message = error.format_message()
    if message:
        command = getattr(getattr(error, "ctx", None), "command_path", "fastconcept")
        message += ("" if message.endswith((".", "?")) else ".") + f" See `{command} --help`."
        output.report_error(type(error).__name__, message, as_json)
    return 2


def main() -> None:
    """Entry point of the ``fastconcept`` command."""
    sys.exit(run(sys.argv[1:]))
