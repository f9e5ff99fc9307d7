"""Builds the CUDA kernels for the host: ``build_module(folder)`` gives the module; see host_emulation.h."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pybind11

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "csrc" / "cuda"
NAME = "cuda_on_host"
FLAGS = ["-std=c++17", "-O1", "-g", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"]
FLAGS += ["-Wno-unknown-pragmas", "-DFASTCONCEPT_HOST_EMULATION", f"-DFASTCONCEPT_MODULE={NAME}"]


def build_library(folder: Path, compiler: str, extra: tuple[str, ...] = ()) -> Path:
    """Compile every kernel and the bindings as C++ and link them into a Python module in `folder`."""
    includes = [HERE, SOURCES, pybind11.get_include(), sysconfig.get_path("include")]
    flags = [*FLAGS, *extra, *(f"-I{path}" for path in includes)]
    sources = sorted([*SOURCES.glob("*.cu"), *SOURCES.glob("*.cpp")])

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.name}.o"
        subprocess.run([compiler, *flags, "-x", "c++", "-c", str(source), "-o", str(target)], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    library = folder / f"{NAME}.so"
    subprocess.run([compiler, "-shared", *extra, *map(str, objects), "-o", str(library)], check=True)
    return library


def load_module(library: Path) -> ModuleType:
    """Import the module that :func:`build_library` made."""
    spec = importlib.util.spec_from_file_location(NAME, library)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
