"""Builds the compiled core. Everything declarative is in pyproject.toml."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import Extension, find_packages, setup

CPU_SOURCES = sorted(str(path) for path in Path("csrc/cpu").glob("*.cpp"))


def cpu_flags() -> tuple[list[str], list[str]]:
    """Portable baseline flags; hot loops carry wider clones of themselves (csrc/cpu/simd.h)."""
    compile_flags = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-fvisibility=hidden"]
    compile_flags.append("-pthread")
    link_flags = ["-pthread"]
    if platform.machine() in ("x86_64", "AMD64"):
        compile_flags.append("-march=x86-64-v2")
    if os.environ.get("FASTCONCEPT_SANITIZE") == "1":
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
        compile_flags += [*sanitize, "-g", "-O1", "-DFASTCONCEPT_SANITIZE"]
        link_flags += sanitize
    return compile_flags, link_flags


CUDA_MODULE = "fastconcept.kernels._cuda"
CUDA_SOURCES = sorted(str(path) for path in Path("csrc/cuda").glob("*.c*"))
CUDA_ARCHS = "87;90"  # Jetson Orin; H100 and H200. Newer devices compile the PTX of the last one at first use


def find_nvcc() -> str | None:
    """The CUDA compiler that FASTCONCEPT_CUDA (0: none, 1: required, unset: if it is there) leaves us with."""
    wish = os.environ.get("FASTCONCEPT_CUDA", "")
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = os.pathsep.join([*(f"{home}/bin" for home in homes if home), os.environ.get("PATH", os.defpath)])
    nvcc = None if wish == "0" or os.environ.get("FASTCONCEPT_SANITIZE") == "1" else shutil.which("nvcc", path=places)
    if nvcc is None and wish == "1":
        raise SystemExit("FASTCONCEPT_CUDA=1, but no nvcc was found; set CUDA_HOME to a CUDA toolkit")
    return nvcc


def cuda_flags() -> list[str]:
    """Machine code for FASTCONCEPT_CUDA_ARCHS (such as "90" or "87;90") and PTX of the last of them."""
    archs = os.environ.get("FASTCONCEPT_CUDA_ARCHS", CUDA_ARCHS).split(";")
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    ptx = f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"
    return ["-std=c++17", "-O3", *targets, ptx, "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall", "-Icsrc/cuda"]


class BuildExtensions(build_ext):
    """The usual build, and nvcc, one process per file, for the CUDA module."""

    def build_extension(self, ext: Extension) -> None:
        if ext.name != CUDA_MODULE:
            super().build_extension(ext)
            return
        try:
            self._build_cuda(ext)
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("FASTCONCEPT_CUDA") == "1":
                raise
            self.warn(f"{CUDA_MODULE} was not built ({error}); FASTCONCEPT_CUDA=1 makes this an error")

    def _build_cuda(self, ext: Extension) -> None:
        nvcc = str(find_nvcc())
        folder = Path(self.build_temp) / "cuda"
        folder.mkdir(parents=True, exist_ok=True)
        includes = [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"]

        def compile_one(source: str) -> str:
            target = str(folder / f"{Path(source).name}.o")
            subprocess.run([nvcc, *cuda_flags(), *includes, "-c", source, "-o", target], check=True)
            return target

        newest = max(Path(source).stat().st_mtime for source in [*ext.sources, *ext.depends])
        library = Path(self.get_ext_fullpath(ext.name))
        if not self.force and library.exists() and library.stat().st_mtime > newest:
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, ext.sources))
        library.parent.mkdir(parents=True, exist_ok=True)
        # The CUDA runtime is linked in: the module imports on machines that have neither toolkit nor driver.
        link = [nvcc, "-shared", "-cudart=static", *cuda_flags()[2:], *objects, "-o", str(library)]
        subprocess.run(link, check=True)


def cuda_extensions() -> list[Extension]:
    """The CUDA module where it can be built."""
    headers = sorted(str(path) for path in Path("csrc/cuda").glob("*.h"))
    return [Extension(CUDA_MODULE, CUDA_SOURCES, depends=headers)] if find_nvcc() else []


ParallelCompile(default=0).install()  # a file on every core
compile_flags, link_flags = cpu_flags()
# A folder of the top level, installed as fastconcept.export. The link fastconcept/export shows it under that name to
# mypy, import-linter, pytest and editors; packaging goes without links, which archives and installers may lose.
EXPORT = find_packages(include=["export", "export.*"])
ROOMS = find_packages(include=["fastconcept", "fastconcept.*"], exclude=["fastconcept.export*"])
setup(
    packages=[*ROOMS, *(f"fastconcept.{name}" for name in EXPORT)],
    ext_modules=[
        *cuda_extensions(),
        Pybind11Extension(
            "fastconcept.kernels._cpu",
            CPU_SOURCES,
            depends=sorted(str(path) for path in Path("csrc/cpu").glob("*.h")),
            include_dirs=["csrc/cpu"],
            extra_compile_args=compile_flags,
            extra_link_args=link_flags,
            cxx_std=17,
        ),
    ],
    cmdclass={"build_ext": BuildExtensions},
)
