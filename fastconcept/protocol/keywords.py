"""The engine's keywords as options of requests: names, types, defaults and descriptions are read off its methods."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..doors import PARAMETERS
from ..engine import Engine
from ..errors import InputError

_WHOLE, _NUMBER, _TEXT = {"type": "integer"}, {"type": "number"}, {"type": "string"}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "int": _WHOLE,
    "float": _NUMBER,
    "str": _TEXT,
    "int | Sequence[int]": {"anyOf": [_WHOLE, {"type": "array", "items": _WHOLE, "minItems": 1}]},
    "str | Sequence[str]": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
    "tuple[float, float]": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
}
_NUMBERS: dict[str, tuple[Callable[[str], Any], str, bool]] = {  # how to read one, what it is, and whether several
    "int": (int, "an integer", False),
    "float": (float, "a number", False),
    "int | Sequence[int]": (int, "integers, with commas", True),
    "tuple[float, float]": (float, "numbers, with commas", True),
}


@dataclass(frozen=True)
class Keyword:
    """One keyword of a method.

    Attributes
    ----------
    name : str
    annotation : str
        Its type, None left out.
    default : object
    description : str
        From the method's documentation, on one line.
    choices : tuple of str
        The values that the documentation lists in braces; () if any may be given.
    """

    name: str
    annotation: str
    default: Any
    description: str = field(default="", repr=False)
    choices: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The keyword in JSON Schema."""
        schema = dict(_SCHEMAS[self.annotation])
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.description:
            schema["description"] = self.description
        if self.default is not None:
            schema["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        return schema

    def of_text(self, text: str) -> Any:
        """The value that a form or a query gives as text; several numbers have commas between them.

        Raises
        ------
        InputError
            If it is none.

        Examples
        --------
        >>> Keyword("sizes", "int | Sequence[int]", (128, 64)).of_text("96, 48")
        [96, 48]
        """
        if self.annotation not in _NUMBERS:
            return text
        kind, expected, several = _NUMBERS[self.annotation]
        try:
            values = [kind(part) for part in text.split(",")]
        except ValueError:
            values = []
        if not values or (len(values) > 1 and not several):
            raise InputError(f"{self.name} must be {expected}, got {text[:80]!r}")
        return values if len(values) > 1 else values[0]

    def checked(self, value: Any) -> Any:
        """A value of JSON, of the right type; its range is left to the engine.

        Raises
        ------
        InputError
            If it has another type.
        """
        if value is None and self.default is None:
            return None
        check = PARAMETERS.get(self.name)
        return value if check is None else check(self.name, value)


def keywords_of(*functions: Callable[..., Any], leave: Iterable[str] = ()) -> dict[str, Keyword]:
    """Keywords of methods by name, without those in ``leave``.

    Examples
    --------
    >>> from fastconcept import Engine
    >>> keywords_of(Engine.explain, leave=("image", "concepts"))["score"].choices
    ('log-rank', 'rank', 'similarity')
    """
    found: dict[str, Keyword] = {}
    for function in functions:
        documented = _documented(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if name != "self" and name not in leave and name not in found:
                kind, text = documented.get(name, ("", ""))
                choices = re.fullmatch(r"\{(.*)\}", kind)
                found[name] = Keyword(
                    name,
                    str(parameter.annotation).removesuffix(" | None"),
                    None if parameter.default is parameter.empty else parameter.default,
                    text,
                    tuple(re.findall(r'"(.+?)"', choices[1])) if choices else (),
                )
    return found


def _documented(function: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Type and description of every parameter, as numpydoc has them."""
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^(\S.*?) : (.*)\n((?:    .*\n|\n)*)", section[1] + "\n" if section else "", re.MULTILINE)
    return {
        name: (kind, re.sub(r":\w+:`~?\.?(?:fastconcept\.)?([^`]*)`|``", r"\1", " ".join(lines.split())))
        for names, kind, lines in entries
        for name in names.split(", ")
    }


LAYOUT = keywords_of(Engine.evidence, leave=("image",))
READING = keywords_of(Engine.explain, leave=("image", "concepts", *LAYOUT))
SURVEY = keywords_of(Engine.concepts, leave=("image", *LAYOUT))
SPARSITY = keywords_of(Engine.decompose, leave=("images", "embeddings", "texts"))
