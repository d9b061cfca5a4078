"""Builds the compiled reader for fuzzing: the reader as it is, followed by fuzz/core/entry.pxi.

    python fuzz/build.py MODE

fast      counters of edges, no sanitizer: for long runs (clang)
address   the same with address and undefined-behavior sanitizers (clang)
replay    sanitizers without libFuzzer: runs inputs one by one (any compiler)
thread    the reader alone under the thread sanitizer (any compiler)

The module is written to build/fuzz/MODE; fuzz/run.py imports it as sprintcache._reader.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "fuzz" / "core"
# the counters of the Python wrappers and of Cython's helpers would only cost time
ALLOWED = "src:*\nfun:__pyx_f_11sprintcache_*\nfun:sc_*\n"
IGNORED = "fun:__pyx_f_11sprintcache_7_reader_fuzz_*\n"
DIRECTIVES = (
    "binding=True,embedsignature=False,auto_pickle=False,boundscheck=True,cdivision=True,"
    "initializedcheck=False,freethreading_compatible=True,emit_code_comments=False"
)
MODES = ("fast", "address", "replay", "thread")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def libfuzzer(compiler: str) -> Path:
    """The library of libFuzzer without its main function, which a shared object can hold."""
    folder = subprocess.run(
        [compiler, "-print-runtime-dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    libraries = sorted(Path(folder).glob("libclang_rt.fuzzer_no_main*.a"))
    libraries = [path for path in libraries if "i386" not in path.name]
    if not libraries:
        raise SystemExit(f"no libFuzzer in {folder}: install clang and its compiler-rt")
    return libraries[0]


def has_header(compiler: str, header: str) -> bool:
    """Whether the compiler finds a header."""
    command = [compiler, "-E", "-include", header, "-x", "c", "/dev/null"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def translate(folder: Path, mode: str) -> Path:
    """The C file of the reader and its entry for fuzzing."""
    source = folder / "_reader.pyx"
    reader = (ROOT / "sprintcache" / "_reader.pyx").read_text("utf-8")
    if mode != "thread":
        reader += '\n\ninclude "entry.pxi"\n'
    source.write_text(reader, "utf-8")
    cython = [sys.executable, "-m", "cython", "-3", "--line-directives", "-X", DIRECTIVES]
    includes = ["-I", str(ROOT / "sprintcache"), "-I", str(CORE), "-I", str(ROOT)]
    subprocess.run(
        [*cython, *includes, "--module-name", "sprintcache._reader", str(source)],
        cwd=ROOT,
        check=True,
    )
    return source.with_suffix(".c")


def build(mode: str) -> Path:
    """Builds the module of a mode and returns its path."""
    folder = ROOT / "build" / "fuzz" / mode
    folder.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CC", "clang" if mode in ("fast", "address") else "cc")
    if shutil.which(compiler) is None:
        raise SystemExit(f"{compiler} is not installed")
    if not has_header(compiler, "zlib.h"):
        raise SystemExit("zlib.h is missing: install the headers of zlib")
    include = [str(CORE), str(ROOT / "sprintcache" / "_core"), np.get_include()]
    include.append(sysconfig.get_paths()["include"])
    flags = ["-g1", "-fPIC", "-std=gnu11", "-ffp-contract=off", "-D_GNU_SOURCE", "-w"]
    flags += [f"-I{path}" for path in include]
    flags.append("-DSPRINTCACHE_ZLIB")
    if has_header(compiler, "libdeflate.h"):
        flags.append("-DSPRINTCACHE_LIBDEFLATE")
    flags.append("-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION")
    flags.append("-O0" if mode == "replay" else "-O1")  # compiles in a quarter of the time
    counters: list[str] = []
    link: list[str] = ["-lz", "-lpthread"]
    if "-DSPRINTCACHE_LIBDEFLATE" in flags:
        link.insert(0, "-ldeflate")
    if mode in ("fast", "address"):
        allowed = folder / "allowed"
        allowed.write_text(ALLOWED)
        ignored = folder / "ignored"
        ignored.write_text(IGNORED)
        counters = ["-fsanitize-coverage=inline-8bit-counters,pc-table"]
        counters.append(f"-fsanitize-coverage-allowlist={allowed}")
        counters.append(f"-fsanitize-coverage-ignorelist={ignored}")
        flags.append("-DSPRINTCACHE_LIBFUZZER")
        # symbolic: the preloaded sanitizer has empty functions of the names of those of libFuzzer
        link = [str(libfuzzer(compiler)), *link, "-lstdc++", "-lm", "-Wl,-Bsymbolic"]
    if mode == "thread":
        flags.append("-fsanitize=thread")
        link.append("-fsanitize=thread")
    elif mode != "fast":
        flags += SANITIZERS
        link += SANITIZERS
        if mode == "address":
            link.append("-shared-libasan")
    objects = []
    sources = [translate(folder, mode)]
    if mode != "thread":
        sources.append(CORE / "reference.c")
    if mode in ("fast", "address"):
        sources.append(CORE / "mutator.c")
    for source in sources:
        objects.append(str(folder / f"{source.stem}.o"))
        extra = counters if source.stem == "_reader" else []
        command = [compiler, *flags, *extra, "-c", str(source), "-o", objects[-1]]
        subprocess.run(command, check=True)
    module = folder / "_reader.so"
    subprocess.run([compiler, "-shared", *objects, "-o", str(module), *link], check=True)
    return module


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in MODES:
        raise SystemExit(__doc__)
    sys.stdout.write(f"{build(sys.argv[1])}\n")
