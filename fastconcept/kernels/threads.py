"""How many threads the compiled kernels use when nobody says."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path

from ..errors import InputError

_CGROUP = Path("/sys/fs/cgroup")


def cgroup_cpu_quota(root: Path = _CGROUP) -> float | None:
    """CPUs the control group grants, or None where it grants all.

    Parameters
    ----------
    root : Path
        Mount point of the cgroup file system (v2 ``cpu.max``, or v1 ``cpu/cpu.cfs_quota_us``).

    Returns
    -------
    float or None
        Quota divided by period, for instance 1.5.

    Examples
    --------
    >>> cgroup_cpu_quota(Path("/nonexistent")) is None
    True
    """
    try:
        quota, period = (root / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        granted = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return granted if granted > 0 else None


@functools.lru_cache(maxsize=1)
def default_num_threads() -> int:
    """Threads to use by default: the CPUs this process may run on, at most the cgroup's quota.

    ``FASTCONCEPT_NUM_THREADS`` overrides it.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    InputError
        If ``FASTCONCEPT_NUM_THREADS`` is set to something that is not a positive integer.

    Examples
    --------
    >>> default_num_threads() >= 1
    True
    """
    override = os.environ.get("FASTCONCEPT_NUM_THREADS")
    if override is not None:
        return check_num_threads(int(override) if override.strip().isdigit() else override)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = cgroup_cpu_quota()
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def check_num_threads(num_threads: object) -> int:
    """Resolve ``num_threads``: None means the default, otherwise a positive integer up to 1024.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> check_num_threads(3)
    3
    """
    if num_threads is None:
        return default_num_threads()
    if isinstance(num_threads, bool) or not isinstance(num_threads, int) or not 1 <= num_threads <= 1024:
        raise InputError(f"num_threads must be an integer from 1 to 1024 or None, got {num_threads!r}")
    return num_threads
