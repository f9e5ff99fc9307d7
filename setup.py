"""Builds the compiled core. Everything declarative is in pyproject.toml."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

CPU_SOURCES = sorted(str(path) for path in Path("csrc/cpu").glob("*.cpp"))


def cpu_flags() -> tuple[list[str], list[str]]:
    """Portable baseline flags; hot loops carry wider clones of themselves (csrc/cpu/simd.h)."""
    compile_flags = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"]
    link_flags = ["-pthread"]
    if platform.machine() in ("x86_64", "AMD64"):
        compile_flags.append("-march=x86-64-v2")
    if os.environ.get("FASTCONCEPT_SANITIZE") == "1":
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
        compile_flags += [*sanitize, "-g", "-O1", "-DFASTCONCEPT_SANITIZE"]
        link_flags += sanitize
    return compile_flags, link_flags


compile_flags, link_flags = cpu_flags()
setup(
    ext_modules=[
        Pybind11Extension(
            "fastconcept.kernels._cpu",
            CPU_SOURCES,
            depends=sorted(str(path) for path in Path("csrc/cpu").glob("*.h")),
            include_dirs=["csrc/cpu"],
            extra_compile_args=compile_flags,
            extra_link_args=link_flags,
            cxx_std=17,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
