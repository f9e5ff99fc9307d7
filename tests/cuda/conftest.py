"""The CUDA kernels on the host: built once, put in the place of the extension and of CuPy."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

HOST = Path(__file__).parent / "host"


def load(path: Path) -> ModuleType:
    """Import a file that is not in a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The kernels as a module that works on host memory."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("no C++ compiler to build the kernels for the host")
    build = load(HOST / "build.py")
    sanitized = os.environ.get("FASTCONCEPT_TEST_SANITIZERS") == "inside"
    extra = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined") if sanitized else ()
    return build.load_module(build.build_library(tmp_path_factory.mktemp("cuda_on_host"), compiler, extra))


@pytest.fixture(scope="module")
def kernels(native: ModuleType) -> Iterator[ModuleType]:
    """``fastconcept.kernels.cuda`` on host memory."""
    from fastconcept import kernels as kernels_room
    from fastconcept.kernels import cuda, cuda_device, cuda_geometry

    cupy = load(HOST / "cupy_on_host.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", cupy)
        patch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
        patch.setitem(sys.modules, "fastconcept.kernels._cuda", native)
        patch.setattr("fastconcept.kernels._cuda", native, raising=False)
        for module in (cuda_device, kernels_room):
            patch.setattr(module, "availability", lambda: cuda_device.Availability(None))
        cuda_geometry._coverage.cache_clear(), cuda_device._noise.clear()
        yield cuda
    cuda_geometry._coverage.cache_clear(), cuda_device._noise.clear()
