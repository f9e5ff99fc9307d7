"""What is slow to make is made once, in ``.cache``, whichever process of a test run needs it first."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache"


def made_once(name: str, sources: Iterable[Path], make: Callable[[Path], object], more: str = "") -> Path:
    """The path that ``make`` writes, unless the same sources have made it before.

    Parameters
    ----------
    name : str
        What it is; a digest of the sources is appended.
    sources : iterable of Path
        The files that it depends on.
    make : callable
        Called with a path that does not exist.
    more : str
        What else it depends on.
    """
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    key = hashlib.sha256("".join([*digests, more]).encode()).hexdigest()[:16]
    target = CACHE / f"{name}-{key}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:  # the lock of a process that is killed is released
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            make(target)
    return target
