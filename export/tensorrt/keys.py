"""Names of TensorRT plans in the cache: everything that one depends on, as a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...encoders.tensorrt.plans import plan_directory, read_plan
from ...errors import InputError
from ...files import whole_file
from ..precision import PrecisionReport, require_precision

_MAX_BATCH = 4096


@dataclass(frozen=True)
class PlanKey:
    """Everything a plan depends on; two plans with equal keys are interchangeable."""

    model_sha256: str
    precision: str
    batch_sizes: tuple[int, ...]
    size: tuple[int, int]
    compute_capability: str
    tensorrt: str
    driver: str
    lean: bool = False

    def digest(self) -> str:
        """Name of the plan in the cache.

        Examples
        --------
        >>> key = PlanKey("0" * 64, "float16", (1, 64), (224, 224), "90", "10.16.1.11", "13000")
        >>> len(key.digest()), key.digest() == PlanKey(**{**vars(key), "driver": "13010"}).digest()
        (32, False)
        """
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


def check_batch_sizes(batch_sizes: Sequence[int]) -> tuple[int, ...]:
    """Distinct positive batch sizes in rising order.

    Raises
    ------
    InputError
        If there are none, more than 16, or one is not from 1 to 4096.

    Examples
    --------
    >>> check_batch_sizes([64, 1, 64])
    (1, 64)
    """
    sizes = sorted(set(batch_sizes))
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if not 1 <= len(sizes) <= 16 or not whole or not all(1 <= size <= _MAX_BATCH for size in sizes):
        raise InputError(f"batch sizes must be 1 to 16 integers from 1 to {_MAX_BATCH}, got {list(batch_sizes)!r}")
    return tuple(sizes)


def find_plan(key: PlanKey, folder: Path | None = None) -> Path | None:
    """The plan with this key from the cache, or None; a damaged one counts as none.

    Examples
    --------
    >>> find_plan(PlanKey("0" * 64, "float16", (1,), (8, 8), "90", "10", "13"), Path("/nonexistent")) is None
    True
    """
    path = (folder or plan_directory()) / f"{key.digest()}.plan"
    try:
        _, facts = read_plan(path)
    except Exception:  # a missing, damaged or half-written plan is built again
        return None
    return path if facts.get("key") == json.loads(json.dumps(asdict(key))) else None


def store_plan(content: bytes, key: PlanKey, report: PrecisionReport, folder: Path | None = None) -> Path:
    """Put a plan that passed the gate into the cache.

    Raises
    ------
    ExportError
        If the report does not pass.
    """
    require_precision(report, f"the {key.precision} plan")
    folder = folder or plan_directory()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key.digest()}.plan"
    facts = {"key": asdict(key), "precision": report.to_dict()}
    return write_plan(path, content, key.tensorrt, key.compute_capability, facts)


def write_plan(
    path: Path, content: bytes, version: str, compute_capability: str, facts: dict[str, Any] | None = None
) -> Path:
    """Write a plan and the notes beside it, notes first, each file in one step.

    Parameters
    ----------
    path : Path
        ``*.plan``; the notes go to ``*.plan.json``.
    content : bytes
        The plan as TensorRT serialised it.
    version : str
        TensorRT's.
    compute_capability : str
        The device's, such as ``"90"``.
    facts : dict, optional
        More for the notes.
    """
    notes = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "tensorrt": version,
        "compute_capability": compute_capability,
        **(facts or {}),
    }
    write_whole(path.with_name(path.name + ".json"), json.dumps(notes, indent=1).encode())
    write_whole(path, content)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    with whole_file(path) as stream:
        stream.write(content)
