"""Every contract test runs over every backend that can run here."""

from __future__ import annotations

from types import ModuleType

import pytest

from fastconcept.kernels import BACKENDS, backend, missing_reason


@pytest.fixture(params=BACKENDS, scope="session")
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    """The kernels of one backend; skipped, saying why, where it cannot run."""
    reason = missing_reason(request.param)
    if reason:
        pytest.skip(f"backend {request.param}: {reason}")
    return backend(request.param)
