"""TensorRT plans on disk: where they are stored, and which of them fits a model and a device.

A plan is code for one kind of device, so it is no part of a bundle: ``fastconcept export --tensorrt`` builds it where
it will run, and stores it here.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ...errors import BundleError, DeviceError, MissingDependencyError
from ...files import user_cache

PREFERRED = ("float16", "bfloat16", "float32")
HOW_TO_BUILD = "fastconcept export --tensorrt --bundle BUNDLE --device cuda:N"
_MAX_NOTES_BYTES = 1 << 20
_MODULES = ("tensorrt", "tensorrt_lean")


def import_tensorrt() -> Any:
    """TensorRT, or its lean runtime where only that is installed.

    Raises
    ------
    MissingDependencyError
        If neither is.
    """
    import importlib

    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingDependencyError("tensorrt", "tensorrt")


def plan_directory() -> Path:
    """``FASTCONCEPT_PLANS``, or ``fastconcept/plans`` in the user's cache.

    Raises
    ------
    DeviceError
        If there is neither.
    """
    chosen, cache = os.environ.get("FASTCONCEPT_PLANS"), user_cache()
    if chosen:
        return Path(chosen)
    if cache is None:
        raise DeviceError("there is no home directory for TensorRT plans; set FASTCONCEPT_PLANS to a directory")
    return cache / "plans"


def stored_plans(model_sha256: str, folder: Path | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Plans of one model and the facts they were built from, the preferred precision first; damaged notes are skipped.

    Examples
    --------
    >>> stored_plans("0" * 64, Path("/nonexistent"))
    []
    """
    plans = []
    for notes in sorted((folder or plan_directory()).glob("*.plan.json")):
        plan = notes.with_suffix("")
        try:
            facts = json.loads(notes.read_text(encoding="utf-8")) if notes.stat().st_size <= _MAX_NOTES_BYTES else {}
        except (OSError, ValueError):
            continue
        key = facts.get("key") if isinstance(facts, dict) else None
        if isinstance(key, dict) and key.get("model_sha256") == model_sha256 and plan.is_file():
            plans.append((plan, key))
    order = {precision: place for place, precision in enumerate(PREFERRED)}
    return sorted(plans, key=lambda item: order.get(str(item[1].get("precision")), len(order)))


def find_plan_for(model_sha256: str, compute_capability: str, version: str, folder: Path | None = None) -> Path:
    """The plan of a model for this kind of device and this version of TensorRT.

    Parameters
    ----------
    model_sha256 : str
        Checksum of the bundle's image encoder.
    compute_capability : str
        The device's, such as ``"90"``.
    version : str
        Version of TensorRT.
    folder : Path, optional
        The cache.

    Raises
    ------
    DeviceError
        If there is none; the message lists those there are, and how to build one.
    """
    plans = stored_plans(model_sha256, folder)
    for path, key in plans:
        if (key.get("compute_capability"), key.get("tensorrt")) == (compute_capability, version):
            return path
    others = {f"TensorRT {key.get('tensorrt')} on {key.get('compute_capability')}" for _, key in plans}
    raise DeviceError(
        f"no TensorRT plan of this model for TensorRT {version} on compute capability {compute_capability} in "
        f"{folder or plan_directory()} (there: {', '.join(sorted(others)) or 'none of this model'}); build it here: "
        f"{HOW_TO_BUILD}"
    )


def read_plan(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, Any]]:
    """The content of a plan and the facts it was built from, checked against each other.

    Parameters
    ----------
    path : str or Path
        ``*.plan``; ``*.plan.json`` lies beside it.

    Raises
    ------
    BundleError
        If one of the two is missing or damaged.
    """
    place = Path(path)
    notes = place.with_name(place.name + ".json")
    try:
        plan = place.read_bytes()
        facts = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"the plan {place} cannot be read: {error}; build it again") from None
    if not isinstance(facts, dict) or facts.get("sha256") != hashlib.sha256(plan).hexdigest():
        raise BundleError(f"the plan {place} does not match {notes.name}; build it again")
    return plan, facts


def check_built_for(facts: dict[str, Any], path: str, version: str, compute_capability: str) -> None:
    """Refuse a plan of another TensorRT or another kind of device before TensorRT reads it.

    Raises
    ------
    DeviceError
        If it is one.

    Examples
    --------
    >>> check_built_for({"tensorrt": "10.16.1.11", "compute_capability": "90"}, "a.plan", "10.16.1.11", "90")
    """
    built = (str(facts.get("tensorrt")), str(facts.get("compute_capability")))
    if built != (version, compute_capability):
        raise DeviceError(
            f"the plan {path} was built by TensorRT {built[0]} for compute capability {built[1]}; here is TensorRT "
            f"{version} on {compute_capability}. Build it here: {HOW_TO_BUILD}"
        )
