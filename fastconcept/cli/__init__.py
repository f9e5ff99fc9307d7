"""The command line: one verb per file, the same words as the Python interface."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import FastconceptError
from ..files import signals_raise
from . import (
    batch,
    bench,
    concepts,
    decompose,
    evaluate,
    explain,
    explore,
    export,
    info,
    output,
    report,
    search,
    serve,
    stream,
)

# Typer may carry a copy of click of its own; this is the base of whichever it raises.
_CLICK_EXCEPTION: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
_INTERRUPTED = 130  # exit code of a process that Ctrl-C ended

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("explain")(explain.command)
app.command("decompose")(decompose.command)
app.command("concepts")(concepts.command)
app.command("stream")(stream.command)
app.command("search")(search.command)
app.command("report")(report.command)
app.command("explore")(explore.command)
app.command("serve")(serve.command)
app.command("export")(export.command)
app.add_typer(batch.app, name="batch")
app.add_typer(evaluate.app, name="evaluate")
app.command("bench")(bench.command)
app.command("info")(info.command)


def _print_version(asked: bool) -> None:
    if asked:
        output.print_text([f"fastconcept {__version__}"])
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Explain what a CLIP model sees, in words."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0, or 2 with one line on stderr (one document under --json).

    An error that is none of ours is reported in the same way if the machine or the input may be to blame: a full disk,
    a file that cannot be read, text in another encoding, too little memory. A traceback means a bug.
    """
    as_json = "--json" in arguments
    try:
        code = app(args=list(arguments), prog_name="fastconcept", standalone_mode=False)
        if code == _INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except output.ReaderGoneError:
        sys.stdout = None  # nobody is left to tell
        return 141
    except FastconceptError as error:
        return _report(type(error).__name__, str(error), as_json)
    except _CLICK_EXCEPTION as error:
        return _report_usage(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        _report("Interrupted", "interrupted; nothing half-written was left", as_json)
        return _INTERRUPTED
    except MemoryError:
        message = "there is not enough memory; try fewer or smaller images, or a larger stride"
        return _report("MemoryError", message, as_json)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return _report(type(error).__name__, message or type(error).__name__, as_json)
    except (UnicodeError, RecursionError) as error:
        return _report(type(error).__name__, str(error), as_json)


def _report(kind: str, message: str, as_json: bool) -> int:
    """Report an error; where stdout is the fault, on stderr."""
    try:
        return output.report_error(kind, message, as_json)
    except (FastconceptError, OSError):
        return output.report_error(kind, message, False)


def _report_usage(error: Any, as_json: bool) -> int:
    """Say what is wrong with a command line, and where its help is; without arguments help was shown already."""
    message = error.format_message()
    if message:
        command = getattr(getattr(error, "ctx", None), "command_path", "fastconcept")
        message += ("" if message.endswith((".", "?")) else ".") + f" See `{command} --help`."
        _report(type(error).__name__, message, as_json)
    return 2


def main() -> None:
    """Entry point of the ``fastconcept`` command."""
    for descriptor in (0, 1, 2):  # one that is closed would be that of the next file, and messages would end up there
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    with signals_raise():
        code = run(sys.argv[1:])
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:
            sys.stdout = None
        if sys.stdout is None:  # what could not be written, the interpreter would try again, and say so
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)
