"""The BLAS that the compiled core calls, tile by tile."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ...errors import DeviceError
from .. import _cpu

_CORE = "OPENBLAS_CORETYPE"
_AT_HWCAP2, _SME = 26, 1 << 23  # of Linux on aarch64


def load() -> ctypes.CDLL:
    """Hand the core the BLAS of scipy-openblas32, set to one thread (we thread over tiles ourselves).

    Raises
    ------
    DeviceError
        If its products are wrong on this processor.
    """
    with _without_sme():
        import scipy_openblas32  # loads it already

        library = ctypes.CDLL(f"{scipy_openblas32.get_lib_dir()}/lib{scipy_openblas32.get_library()}.so")
    library.scipy_openblas_set_num_threads(1)
    names = ("scipy_cblas_sgemm", "scipy_cblas_sgemv")
    sgemm, sgemv = (ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names)
    _cpu.set_blas(sgemm or 0, sgemv or 0)
    check_products(_cpu.product())
    return library


def check_products(first: _cpu.Product) -> None:
    """Use a product of our own if it is right about whole numbers, whose products are exact, or else BLAS.

    Examples
    --------
    >>> check_products(_cpu.product())
    """
    left, right = (np.arange(rows * 150, dtype=np.float32).reshape(rows, 150) % 7 for rows in (30, 65))
    bank, expected = _cpu.Bank(right, None), np.einsum("ik,jk->ij", left, right)
    for product in (first, _cpu.Product.BLAS):
        if _cpu.choose_product(product) and np.array_equal(_cpu.multiply_all(left, bank, 1), expected):
            return
    raise DeviceError(f"the BLAS of scipy-openblas32 is wrong on this processor; try another core with {_CORE}=...")


@contextmanager
def _without_sme() -> Iterator[None]:
    """OpenBLAS 0.3.34 multiplies wrongly with the matrix extension of aarch64: choose a core that does without."""
    if platform.machine() != "aarch64" or _CORE in os.environ or not ctypes.CDLL(None).getauxval(_AT_HWCAP2) & _SME:
        yield
        return
    os.environ[_CORE] = "NEOVERSEN1"
    try:
        yield
    finally:
        del os.environ[_CORE]
