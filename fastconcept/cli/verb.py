"""How a function becomes a verb: options that verbs share are declared once, and every verb answers the same way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import RenderableType

from . import output

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@dataclass(frozen=True)
class Answer:
    """What a verb has to say.

    Attributes
    ----------
    document : dict
        Plain values, printed under ``--json``.
    text : sequence of str or rich renderables
        What people read instead, one after the other.
    written : sequence of path
        Files that the verb wrote; those that are None were not asked for.
    then : callable, optional
        What the verb goes on to do once this is said, such as to serve until it is stopped.
    """

    document: dict[str, Any]
    text: Sequence[RenderableType] = ()
    written: Sequence[Path | None] = ()
    then: Callable[[], None] | None = None

    def show(self, as_json: bool) -> None:
        """Print the document or the text on stdout."""
        if as_json:
            output.print_json(self.document)
        else:
            written = [f"wrote {output.printable(str(path))}" for path in self.written if path is not None]
            output.print_text([*self.text, *written])
        if self.then is not None:
            self.then()


class Shared:
    """Marks a parameter whose value a function makes out of options of its own.

    ``engine: Annotated[Engine, Shared(open_engine)]`` gives a verb the options of ``open_engine``, and the verb
    receives what ``open_engine`` returns. Such functions may have shared parameters themselves. An option that occurs
    twice, such as a seed, is one option, and both functions receive it.

    Parameters
    ----------
    make : callable
        Its parameters are options as typer takes them.
    **defaults
        Defaults of this verb where they differ from those of ``make``.
    """

    def __init__(self, make: Callable[..., Any], **defaults: Any) -> None:
        self.make, self.defaults = make, defaults


def verb(function: Callable[..., Answer]) -> Callable[..., None]:
    """A command for typer out of a function that returns an :class:`Answer`; it also takes ``--json``."""

    def command(*, as_json: bool, **values: Any) -> None:
        _call(function, values, {}).show(as_json)

    json_option = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption)
    parameters = [*options_of(function).values(), json_option]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = function.__doc__
    return command


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Options of a function by name: its own, then those of its shared parameters."""
    own: dict[str, inspect.Parameter] = {}
    others: dict[str, inspect.Parameter] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if shared := _shared(parameter):
            options = options_of(shared.make)
            assert shared.defaults.keys() <= options.keys(), f"{shared.defaults} are not all options"
            for name, option in options.items():
                others[name] = option.replace(default=shared.defaults.get(name, option.default))
        else:
            own[parameter.name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    return own | {name: option for name, option in others.items() if name not in own}


def _shared(parameter: inspect.Parameter) -> Shared | None:
    return next((part for part in get_args(parameter.annotation) if isinstance(part, Shared)), None)


def _call(function: Callable[..., Any], values: dict[str, Any], made: dict[Callable[..., Any], Any]) -> Any:
    """Call a function with its options; what several functions share is made once."""
    arguments = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if shared := _shared(parameter):
            if shared.make not in made:
                made[shared.make] = _call(shared.make, values, made)
            arguments[parameter.name] = made[shared.make]
        else:
            arguments[parameter.name] = values[parameter.name]
    return function(**arguments)
