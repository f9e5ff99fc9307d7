"""The CUDA kernels on host memory."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.cuda.host.emulation import emulated


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    """``fastconcept.kernels.cuda`` on host memory."""
    with emulated() as cuda:
        yield cuda
