"""The BLAS that the compiled core calls, tile by tile."""

from __future__ import annotations

import ctypes

from .. import _cpu


def load() -> ctypes.CDLL:
    """Hand the core the BLAS of scipy-openblas32, set to one thread (we thread over tiles ourselves)."""
    import scipy_openblas32

    library = ctypes.CDLL(f"{scipy_openblas32.get_lib_dir()}/lib{scipy_openblas32.get_library()}.so")
    library.scipy_openblas_set_num_threads(1)
    names = ("scipy_cblas_sgemm", "scipy_cblas_sgemv")
    sgemm, sgemv = (ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names)
    _cpu.set_blas(sgemm or 0, sgemv or 0)
    return library
