"""What a forked child has to make anew: locks that a thread of the parent may have held, and threads it lacks."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """Something that has to be made anew in a forked child."""

    def renew(self) -> None:
        """Called in the child, before anything else runs there."""


_living: WeakSet[Renewable] = WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have ``thing.renew()`` called in every forked child, for as long as the thing lives."""
    _living.add(thing)


def _renew_all() -> None:
    for thing in list(_living):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
