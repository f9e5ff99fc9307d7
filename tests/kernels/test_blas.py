"""The BLAS is one that multiplies rightly on this processor."""

from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace
from typing import Any

import pytest

from fastconcept.errors import DeviceError

blas: Any = pytest.importorskip("fastconcept.kernels.cpu.blas", exc_type=ImportError)


def test_wrong_products_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_cpu", SimpleNamespace(multiply_all=lambda left, right, threads: left @ right.T + 1))
    with pytest.raises(DeviceError, match="OPENBLAS_CORETYPE"):
        blas.check_products()


@pytest.mark.parametrize(
    ("machine", "capabilities", "core"),
    [("aarch64", 1 << 23, "NEOVERSEN1"), ("aarch64", 1 << 22, None), ("x86_64", 1 << 23, None)],
)
def test_the_matrix_extension_of_aarch64_is_left_alone(
    machine: str, capabilities: int, core: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    libc: Any = SimpleNamespace(getauxval=lambda number: capabilities if number == 26 else 0)
    monkeypatch.setattr(blas.platform, "machine", lambda: machine)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    with blas._without_sme():
        assert os.environ.get("OPENBLAS_CORETYPE") == core
    assert "OPENBLAS_CORETYPE" not in os.environ
