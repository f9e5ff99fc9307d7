"""The types that public functions accept, checked once at their door, by the name of the parameter.

A parameter has the same meaning wherever its name occurs, so that one table serves all of them. Ranges are checked
where they are known; here a wrong type becomes an :class:`InputError`, and numbers of NumPy become Python's.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from .errors import InputError

_MOST_BITS = 1024  # of an integer; numbers of thousands of digits cannot even be printed
P = ParamSpec("P")
R = TypeVar("R")


def is_visible(text: str) -> bool:
    """Whether a text has anything that prints: not only spaces, control and zero-width characters.

    Examples
    --------
    >>> is_visible(" dog"), is_visible(" \\u200b")
    (True, False)
    """
    return any(character.isprintable() and not character.isspace() for character in text)


def plain(value: Any) -> Any:
    """A scalar of NumPy, torch or another library as Python's; anything else as it is.

    Examples
    --------
    >>> import numpy as np
    >>> plain(np.int64(3)), plain("cat")
    (3, 'cat')
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        try:
            return value.item()
        except Exception:  # a tensor without data, or a library of somebody else
            pass
    return value


def iterable(name: str, value: Any) -> Iterable[Any]:
    """The value, if it can be iterated over and is neither a text nor a mapping.

    Raises
    ------
    InputError
        If not.
    """
    if not isinstance(value, (str, bytes, Mapping)):
        try:
            return value if iter(value) is not None else ()
        except TypeError:
            pass  # an array without axes is an Iterable that cannot be iterated over
    raise _wrong(name, "a list", value)


def position(value: Any, length: int) -> int:
    """An index into a sequence, as a number from 0 to ``length - 1``.

    Raises
    ------
    InputError
        If it is no integer.
    IndexError
        If it is out of range.

    Examples
    --------
    >>> position(-1, 3)
    2
    """
    index = whole("a position", value)
    if not -length <= index < length:
        raise IndexError(f"position {index} is out of range of {length}")
    return index % length


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a string", value)
    return value


def whole(name: str, value: Any) -> int:
    """An integer of Python, NumPy or another library; anything else is an :class:`InputError`."""
    scalar = plain(value)
    if isinstance(scalar, bool) or not isinstance(scalar, Integral):
        raise _wrong(name, "an integer", value)
    if (integer := int(scalar)).bit_length() > _MOST_BITS:
        raise InputError(f"{name} is an integer of more than {_MOST_BITS} bits")
    return integer


def number(name: str, value: Any) -> float:
    """A real number of Python, NumPy or another library; anything else is an :class:`InputError`."""
    scalar = plain(value)
    if isinstance(scalar, bool) or not isinstance(scalar, Real):
        raise _wrong(name, "a number", value)
    try:
        return float(scalar)
    except (OverflowError, ValueError):  # an integer of hundreds of digits
        raise InputError(f"{name} is too large for a number with a point") from None


def _wholes(name: str, value: Any) -> int | tuple[int, ...]:
    if isinstance(plain(value), Integral):
        return whole(name, value)
    return _counts(name, value)


def _counts(name: str, value: Any) -> tuple[int, ...]:
    return tuple(whole(name, item) for item in iterable(name, value))


def _several(name: str, value: Any) -> list[Any]:
    return list(iterable(name, value))


def _strings(name: str, value: Any) -> list[str]:
    strings = _several(name, value)
    for index, item in enumerate(strings):
        _text(f"{name}[{index}]", item)
    return strings


def _texts(name: str, value: Any) -> str | list[str]:
    texts = [value] if isinstance(value, str) else _strings(name, value)
    if not texts:
        raise InputError(f"{name} is empty; give at least one string")
    for index, text in enumerate(texts):
        if not is_visible(text):
            raise InputError(f"{name}[{index}] is empty or has nothing that prints: {text!r}")
    return value if isinstance(value, str) else texts


def _concepts(name: str, value: Any) -> str | list[Any]:
    return value if isinstance(value, str) else _several(name, value)


def _patterns(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong(name, "a dict of columns and patterns", value)
    for key, pattern in value.items():
        _text(f"a column of {name}", key)
        _text(f"{name}[{key!r}]", pattern)
    return dict(value)


def _flag(name: str, value: Any) -> bool:
    flag = plain(value)
    if not isinstance(flag, (bool, int)):
        raise _wrong(name, "True or False", value)
    return bool(flag)


def _engine(name: str, value: Any) -> Any:
    if not hasattr(value, "parts") and not callable(value):  # bulk jobs take a function that opens one
        raise _wrong(name, "an engine", value)
    return value


def _dataset(name: str, value: Any) -> Any:
    if not hasattr(value, "bad_rows"):
        raise _wrong(name, "a dataset, as open_dataset returns it", value)
    return value


def _function(name: str, value: Any) -> Any:
    if not callable(value):
        raise _wrong(name, "a function", value)
    return value


def _path(name: str, value: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)):
        raise _wrong(name, "a string or a path", value)
    return value


def shown(value: Any) -> str:
    """A value in an error: at most 80 characters, and never another error.

    Examples
    --------
    >>> shown([1, "a"]), shown(10**5000)
    ("[1, 'a']", 'int')
    """
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, or an object of somebody else
        return type(value).__name__
    return text if len(text) < 80 else text[:76] + " ..."


def _wrong(name: str, expected: str, value: Any) -> InputError:
    return InputError(f"{name} must be {expected}, got {shown(value)}")


PARAMETERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("mode", "fit", "border", "score", "aggregate", "scale_weights"), _text),
    **dict.fromkeys(("below", "device", "kind", "name", "text", "word", "decode"), _text),
    **dict.fromkeys(("by", "concept", "inside", "nuisance", "part", "protocol", "target"), _text),
    **dict.fromkeys(("sizes", "stride"), _wholes),
    **dict.fromkeys(("l0s", "dictionary_sizes"), _counts),
    **dict.fromkeys(("short_side", "seed", "top", "batch", "max_pixels", "embedding_dim", "l0", "k", "every"), whole),
    **dict.fromkeys(
        ("count", "choices", "folds", "limit", "null_seeds", "num_threads", "repeats", "shard_rows", "wsol_steps"),
        whole,
    ),
    **dict.fromkeys(("l1_penalty", "threshold", "max_age_ms", "tolerance", "smoothing_ms", "score_age_ms"), number),
    **dict.fromkeys(("class_bias", "max_area", "scale"), number),
    **dict.fromkeys(("progress", "on_error"), _function),
    **dict.fromkeys(("words", "phrases", "columns"), _strings),
    **dict.fromkeys(("dictionaries", "modes", "nulls", "vocabularies"), _strings),
    **dict.fromkeys(("bundle", "encoder", "path", "masks"), _path),
    **dict.fromkeys(("box", "on_device", "smooth", "spaces", "strict"), _flag),
    "concepts": _concepts,
    "dataset": _dataset,
    "engine": _engine,
    "labels": iterable,
    "providers": _several,
    "texts": _texts,
    "where": _patterns,
}


def door(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function by their names; None passes where it is the default.

    Examples
    --------
    >>> @door
    ... def first(words, k=1):
    ...     return words[:k]
    >>> first(("cat", "dog"))
    ['cat']
    >>> first("cat")
    Traceback (most recent call last):
        ...
    fastconcept.errors.InputError: words must be a list, got 'cat'
    """
    signature = inspect.signature(function)
    checks = {name: PARAMETERS[name] for name in signature.parameters if name in PARAMETERS}
    optional = {name for name in checks if signature.parameters[name].default is None}
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    places = [name for name, kind in kinds.items() if kind is not inspect.Parameter.VAR_POSITIONAL]
    spread = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL), "")
    if spread:  # what follows it is named
        places = places[: list(kinds).index(spread)]

    def passed(name: str, value: Any) -> Any:
        return checks[name](name, value) if name in checks and not (value is None and name in optional) else value

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:  # binding a signature would take longer than most lookups
        placed = [passed(name, value) for name, value in zip(places, args, strict=False)]
        given: Any = (*placed, *passed(spread, args[len(placed) :]))
        named: Any = {name: passed(name, value) for name, value in kwargs.items()}
        return function(*given, **named)

    return checked
