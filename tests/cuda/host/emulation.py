"""``fastconcept.kernels.cuda`` over host memory: built once, put in the place of the extension and of CuPy."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.once import made_once

HOST = Path(__file__).parent


def load(path: Path) -> ModuleType:
    """Import a file that is not in a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.lru_cache(maxsize=1)
def native() -> ModuleType:
    """The kernels as a module that works on host memory."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("no C++ compiler to build the kernels for the host")
    build = load(HOST / "build.py")
    sanitized = os.environ.get("FASTCONCEPT_TEST_SANITIZERS") == "inside"
    extra = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined") if sanitized else ()

    def compile_into(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:  # beside it, so that it can be renamed
            library, made = build.build_library(Path(folder), compiler, extra), Path(folder) / "made"
            made.mkdir()
            library.rename(made / library.name)
            made.rename(target)

    sources = [*sorted(build.SOURCES.iterdir()), *sorted(HOST.glob("*.h")), HOST / "build.py"]
    depends = " ".join([str(Path(compiler).resolve()), *extra, sys.version])
    built = made_once("cuda-on-host", sources, compile_into, depends)
    module: ModuleType = build.load_module(built / f"{build.NAME}.so")
    return module


@contextlib.contextmanager
def emulated() -> Iterator[ModuleType]:
    """``fastconcept.kernels.cuda`` on host memory, for as long as the context is open."""
    from fastconcept.kernels import cuda
    from fastconcept.kernels.cuda import arrays, device, resize, saliency

    cupy, kernels = load(HOST / "cupy_on_host.py"), native()

    def forget() -> None:
        for kept in (saliency._coverage, resize._axis, arrays._table, device._attributes):
            kept.cache_clear()
        arrays._noise.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", cupy)
        patch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
        patch.setitem(sys.modules, "fastconcept.kernels._cuda", kernels)
        patch.setattr("fastconcept.kernels._cuda", kernels, raising=False)
        patch.setattr(device, "availability", lambda: device.Availability(None))
        forget()
        yield cuda
    forget()
