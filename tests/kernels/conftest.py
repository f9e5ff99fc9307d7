"""A test that takes ``kernels`` is a contract test: it carries the mark ``contract`` and runs over every backend."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fastconcept.kernels import BACKENDS, _cpu, backend, missing_reason
from fastconcept.kernels.contract import Kernels
from tests.cuda.host.emulation import emulated

if (core := os.environ.get("FASTCONCEPT_CORE")) and not _cpu.__file__.startswith(core):
    raise RuntimeError(f"the tests are meant for the core in {core}, but {_cpu.__file__} was imported")

EMULATED = "emulated"  # the CUDA kernels on host memory


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every backend; those that use the CUDA kernels are marked, so that a machine can choose among them."""
    if "kernels" not in metafunc.fixturenames:
        return
    marks = {"cuda": [pytest.mark.gpu], EMULATED: [pytest.mark.emulated]}
    names = [*BACKENDS, EMULATED]
    if metafunc.definition.get_closest_marker("many_blocks"):
        names = [name for name in names if name not in ("reference", EMULATED)]
    backends = [pytest.param(name, marks=[pytest.mark.contract, *marks.get(name, [])]) for name in names]
    metafunc.parametrize("kernels", backends, indirect=True, scope="module")


@pytest.fixture(scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """The kernels of one backend; skipped, saying why, where it cannot run."""
    if request.param == EMULATED:
        with emulated() as cuda:
            yield cuda
        return
    if reason := missing_reason(request.param):
        pytest.skip(f"backend {request.param}: {reason}")
    yield backend(request.param)
