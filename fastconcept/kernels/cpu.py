"""The kernels on the CPU: argument checks in Python, work in ``csrc/cpu`` without the GIL.

Same names, arguments and results as :mod:`fastconcept.kernels.reference`, which holds the definitions.
"""

from __future__ import annotations

import ctypes
from typing import Any

from . import _cpu


def _load_blas() -> Any:
    """Hand the core the BLAS of scipy-openblas32, set to one thread (we thread over tiles ourselves)."""
    import scipy_openblas32

    library = ctypes.CDLL(f"{scipy_openblas32.get_lib_dir()}/lib{scipy_openblas32.get_library()}.so")
    library.scipy_openblas_set_num_threads(1)
    addresses = (ctypes.cast(getattr(library, f"scipy_cblas_{name}"), ctypes.c_void_p).value for name in ("sgemm", "sgemv"))
    _cpu.set_blas(*addresses)
    return library


_BLAS = _load_blas()  # kept alive: the core holds addresses inside it
