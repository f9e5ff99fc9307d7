"""Whether what a model returned are the embeddings that were asked for."""

from __future__ import annotations

from ..errors import InputError


def check_shape(shape: tuple[int, ...] | str, count: int, tokens: bool = False) -> None:
    """Raise unless an array has this many rows, or with `tokens` lists of rows.

    Parameters
    ----------
    shape : tuple of int, or str
        Of the array; what it is instead where it is none.
    count : int
    tokens : bool

    Raises
    ------
    InputError

    Examples
    --------
    >>> check_shape((2, 512), 2)
    """
    if isinstance(shape, str) or len(shape) != (3 if tokens else 2) or shape[0] != count:
        expected = f"({count}, 1 + tokens, d)" if tokens else f"({count}, d)"
        raise InputError(f"the model returned embeddings of shape {shape}, expected {expected}")


def check_directions(all_have_one: bool) -> None:
    """Raise unless every embedding has a direction.

    Raises
    ------
    InputError

    Examples
    --------
    >>> check_directions(True)
    """
    if not all_have_one:
        raise InputError("the model returned an embedding that is zero or not finite")
