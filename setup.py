"""Builds the extensions; everything else is in pyproject.toml.

SPRINTCACHE_INFLATE=libdeflate|zlib|python  takes this inflater instead of the best one found
SPRINTCACHE_ONLY=NAME                       builds one extension, such as sprintcache._reader
SPRINTCACHE_EXCEPT=NAME                     builds all other extensions
SPRINTCACHE_OPTIMIZE=1                      compiles with -O1 in half the time of -O3
SPRINTCACHE_CYTHON_CACHE=DIR                keeps C files for further builds with this environment
SPRINTCACHE_DEBUG=1                         no optimization, line tracing for coverage
SPRINTCACHE_SANITIZE=1                      address and undefined-behavior sanitizers
"""

import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

Macros = list[tuple[str, str]]

DEBUG = os.environ.get("SPRINTCACHE_DEBUG") == "1"
SANITIZE = os.environ.get("SPRINTCACHE_SANITIZE") == "1"
INFLATE = os.environ.get("SPRINTCACHE_INFLATE")
OPTIMIZE = os.environ.get("SPRINTCACHE_OPTIMIZE", "3")


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
    libraries = []
    if INFLATE in (None, "libdeflate") and links(
        "libdeflate.h", "libdeflate_alloc_decompressor()", "deflate"
    ):
        libraries.append(("SPRINTCACHE_LIBDEFLATE", "deflate"))
    if INFLATE != "python" and links("zlib.h", "crc32(0, 0, 0)", "z"):
        libraries.append(("SPRINTCACHE_ZLIB", "z"))  # also with libdeflate: inflates only the head
    if INFLATE == "libdeflate" and ("SPRINTCACHE_LIBDEFLATE", "deflate") not in libraries:
        raise SystemExit("SPRINTCACHE_INFLATE=libdeflate, but libdeflate.h was not found")
    return [(macro, "1") for macro, _ in libraries], [library for _, library in libraries]


macros, libraries = inflaters()
# without contraction, a * b + c is rounded twice, as in Sprint, on every processor
# -g takes 40% of the time
flags = ["-O0", "-g"] if DEBUG else [f"-O{OPTIMIZE}", "-g0", "-fno-math-errno"]
flags.append("-ffp-contract=off")
if SANITIZE:
    # a quarter of the time of -O1, and no check is optimized away
    flags += ["-g1", "-O0", "-fsanitize=address,undefined"]
trace: Macros = [("CYTHON_TRACE_NOGIL", "1")] if DEBUG else []


def extension(
    name: str, *sources: str, folder: str, libraries: Sequence[str], macros: Macros
) -> Extension:
    """The extension of a .pyx file and C files of a folder, rebuilt when a header there changes."""
    headers = [
        str(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix in (".pxi", ".pxd", ".h")
    ]
    headers.append("sprintcache/_core/thread_pool.h")
    return Extension(
        name,
        [f"{name.replace('.', '/')}.pyx", *(f"{folder}/{source}" for source in sources)],
        include_dirs=[folder, np.get_include()],
        depends=headers,
        define_macros=[
            ("_GNU_SOURCE", "1"),
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            *macros,
        ],
        libraries=[*libraries, "pthread"],
        extra_compile_args=["-std=gnu11", "-Wall", "-Wno-unused-function", *flags],
        extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
    )


EXTENSIONS = [
    extension(
        "sprintcache.align._search", folder="sprintcache/align", libraries=["m"], macros=trace
    ),
    extension(
        "sprintcache._reader",
        folder="sprintcache/_core",
        libraries=libraries,
        macros=[*macros, *trace],
    ),
    extension(
        "sprintcache.automata._full_sum",
        "_batch.c",
        "_layout.c",
        "_log_kernel.c",
        "_passes.c",
        "_scaled_kernel.c",
        folder="sprintcache/automata",
        libraries=["m"],
        macros=trace,
    ),
    extension(
        "sprintcache.automata._graph",
        "_graph_core.c",
        folder="sprintcache/automata",
        libraries=["m"],
        macros=trace,
    ),
    extension(
        "sprintcache.segmentation._boundaries",
        folder="sprintcache/segmentation",
        libraries=[],
        macros=trace,
    ),
]

ONLY = os.environ.get("SPRINTCACHE_ONLY")
EXCEPT = os.environ.get("SPRINTCACHE_EXCEPT")


class BuildExtensions(build_ext):
    """Runs Cython only where C is compiled: one build runs setup.py three times, for metadata."""

    def build_extensions(self) -> None:
        translated = cythonize(
            self.extensions,
            force=True,  # the C file depends on the switches and on numpy's headers as well
            cache=os.environ.get("SPRINTCACHE_CYTHON_CACHE"),  # which knows these
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
        for extension, result in zip(self.extensions, translated, strict=True):
            extension.sources = result.sources
        super().build_extensions()


setup(
    ext_modules=[each for each in EXTENSIONS if ONLY in (None, each.name) and each.name != EXCEPT],
    cmdclass={"build_ext": BuildExtensions},
    options={"build_ext": {"parallel": True}},
)
