"""Every contract test runs over every backend that can run here."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from fastconcept.kernels import BACKENDS, _cpu, backend, missing_reason

if (core := os.environ.get("FASTCONCEPT_CORE")) and not _cpu.__file__.startswith(core):
    raise RuntimeError(f"the tests are meant for the core in {core}, but {_cpu.__file__} was imported")


@pytest.fixture(params=BACKENDS, scope="session")
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    """The kernels of one backend; skipped, saying why, where it cannot run."""
    reason = missing_reason(request.param)
    if reason:
        pytest.skip(f"backend {request.param}: {reason}")
    return backend(request.param)
