"""Builds the one extension, sprintcache._reader; everything else is in pyproject.toml.

SPRINTCACHE_INFLATE=libdeflate|zlib|python  takes this inflater instead of the best one found
SPRINTCACHE_DEBUG=1                         no optimisation, line tracing for coverage
SPRINTCACHE_SANITIZE=1                      address and undefined-behaviour sanitizers
"""

import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("SPRINTCACHE_DEBUG") == "1"
SANITIZE = os.environ.get("SPRINTCACHE_SANITIZE") == "1"
INFLATE = os.environ.get("SPRINTCACHE_INFLATE")


def links(header: str, call: str, library: str) -> bool:
    """Whether a program with this header and call compiles and links against the library."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(f"#include <{header}>\nint main(void) {{ {call}; return 0; }}\n")
        command = [*compiler, str(source), "-o", str(Path(folder, "probe")), f"-l{library}"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def inflaters() -> tuple[list[tuple[str, str]], list[str]]:
    """Macros and libraries of the inflaters to build with; none means Python's zlib."""
    found = []
    if INFLATE in (None, "libdeflate") and links(
        "libdeflate.h", "libdeflate_alloc_decompressor()", "deflate"
    ):
        found.append(("SPRINTCACHE_LIBDEFLATE", "deflate"))
    if INFLATE != "python" and links("zlib.h", "crc32(0, 0, 0)", "z"):
        found.append(("SPRINTCACHE_ZLIB", "z"))  # beside libdeflate: inflates just a beginning
    if INFLATE == "libdeflate" and ("SPRINTCACHE_LIBDEFLATE", "deflate") not in found:
        raise SystemExit("SPRINTCACHE_INFLATE=libdeflate, but libdeflate.h was not found")
    return [(macro, "1") for macro, _ in found], [library for _, library in found]


macros, libraries = inflaters()
flags = ["-O0", "-g"] if DEBUG else ["-O3", "-fno-math-errno"]
if SANITIZE:
    flags += ["-g", "-O1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
if DEBUG:
    macros.append(("CYTHON_TRACE_NOGIL", "1"))

core = Path("sprintcache/_core")
setup(
    ext_modules=cythonize(
        [
            Extension(
                "sprintcache._reader",
                ["sprintcache/_reader.pyx"],
                include_dirs=["sprintcache/_core", np.get_include()],
                depends=[
                    str(p) for ext in ("pxi", "pxd", "h") for p in sorted(core.glob(f"*.{ext}"))
                ],
                define_macros=[
                    ("_GNU_SOURCE", "1"),
                    ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                    *macros,
                ],
                libraries=[*libraries, "pthread"],
                extra_compile_args=["-std=gnu11", "-Wall", "-Wno-unused-function", *flags],
                extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
            )
        ],
        force=True,  # the C file depends on the switches and on numpy's headers as well
        compiler_directives={
            "language_level": 3,
            "binding": True,
            "embedsignature": False,
            "auto_pickle": False,
            "boundscheck": True,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": True,
            "linetrace": DEBUG,
        },
    )
)
