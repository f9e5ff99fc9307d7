"""The same few functions three times: compiled (cpu), on the GPU (cuda), plain NumPy in float64 (reference).

``backend("cpu")`` gives the module; :class:`fastconcept.kernels.contract.Kernels` says what its functions do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..errors import DeviceError, InputError
from .contract import Kernels

if TYPE_CHECKING:
    from .cuda.device import Availability

BACKENDS = ("cpu", "cuda", "reference")


def backend(name: str) -> Kernels:
    """The kernels of one backend.

    Parameters
    ----------
    name : {"cpu", "cuda", "reference"}
        Compiled for this machine's CPU, for an NVIDIA GPU, or plain NumPy in float64.

    Returns
    -------
    Kernels
        A module.

    Raises
    ------
    InputError
        If there is no such backend.
    DeviceError
        If it cannot run here; the message says what is missing.

    Examples
    --------
    >>> backend("reference").__name__
    'fastconcept.kernels.reference'
    """
    if name not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    reason = missing_reason(name)
    if reason:
        raise DeviceError(f"backend {name!r} cannot run here: {reason}")
    # Here mypy checks each module against the contract.
    if name == "cpu":
        from . import cpu

        return cpu
    if name == "cuda":
        from . import cuda

        return cuda
    from . import reference

    return reference


def missing_reason(name: str) -> str | None:
    """Why a backend cannot run here, or None where it can.

    Examples
    --------
    >>> missing_reason("reference") is None
    True
    """
    try:
        importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        return f"it was not built ({error.name} is missing)"
    except (ImportError, OSError) as error:
        return str(error)
    return __getattr__("HAS_CUDA").reason if name == "cuda" else None


def __getattr__(name: str) -> Availability:
    """``HAS_CUDA``: true or false, and as a string the reason when false; looked up on first use."""
    if name == "HAS_CUDA":
        from .cuda.device import availability

        return availability()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def cpu_features() -> dict[str, bool | str]:
    """What the compiled kernels make of this CPU.

    Returns
    -------
    dict
        One flag per instruction set the kernels know (``"avx2"``, ``"avx512f"``, ...), and ``"clone"``: the version
        of each kernel that runs, such as ``"x86-64-v3"``.

    Examples
    --------
    >>> cpu_features()["clone"] in ("x86-64-v2", "x86-64-v3", "x86-64-v4", "baseline")
    True
    """
    from . import _cpu

    return _cpu.cpu_features()
