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
    core = a_core(wrong={"AVX512", "BLAS"})
    monkeypatch.setattr(blas, "_cpu", core)
    with pytest.raises(DeviceError, match="OPENBLAS_CORETYPE"):
        blas.check_products("AVX512")


def test_blas_multiplies_where_our_own_product_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    core = a_core(wrong={"AVX512"})
    monkeypatch.setattr(blas, "_cpu", core)
    blas.check_products("AVX512")
    assert core.chosen == ["AVX512", "BLAS"]


def a_core(wrong: set[str]) -> Any:
    """A core whose products are off by one where they are said to be wrong."""
    chosen: list[str] = []
    return SimpleNamespace(
        chosen=chosen,
        choose_product=lambda name: chosen.append(name) is None,
        multiply_all=lambda left, right, threads: left @ right.T + (chosen[-1] in wrong),
        Bank=lambda rows, threads: rows,
        Product=SimpleNamespace(BLAS="BLAS"),
    )


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
