"""What is worked out from evidence once and serves every further question about the same image."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from ..kernels.forks import renew_after_fork

Value = TypeVar("Value")


class Kept:
    """Values by name that belong to one bank; asked about another bank, it starts anew. Threads may share it.

    Examples
    --------
    >>> kept, bank = Kept(), object()
    >>> [kept.of(asked, "answer", lambda n=n: n) for n, asked in enumerate((bank, bank, object()))]
    [0, 0, 2]
    """

    def __init__(self) -> None:
        self._bank: object = None
        self._values: dict[str, Any] = {}
        self.renew()

    def renew(self) -> None:
        """A lock of this process; for a forked child, too."""
        self._lock = Lock()
        renew_after_fork(self)

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        """Copies and other processes start anew."""
        return type(self), ()

    def of(self, bank: object, name: str, make: Callable[[], Value]) -> Value:
        """The value of that name, made now if this bank has none yet."""
        with self._lock:
            if self._bank is not bank:
                self._bank, self._values = bank, {}
            if name not in self._values:
                self._values[name] = make()
            value: Value = self._values[name]
            return value

    @property
    def nbytes(self) -> int:
        """Memory of the values, in bytes."""
        return sum(int(getattr(value, "nbytes", 0)) for value in list(self._values.values()))
