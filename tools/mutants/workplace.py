"""A copy of the repository in which mutants are made and tested, one at a time."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from selection import Mutant
from targets import EXTENSIONS, ROOT, Extension, extension_of

PARTS = "sprintcache sprint_ctl tests tools fuzz examples docs bench"
DIRECTIVES = (
    "binding=True,embedsignature=False,auto_pickle=False,boundscheck=True,cdivision=True,"
    "initializedcheck=False,freethreading_compatible=True"
)
FLAGS = (  # noqa: SIM905
    "-O0 -g0 -w -fPIC -shared -std=gnu11 -ffp-contract=off -D_GNU_SOURCE"
    " -DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION"
).split()
ENDED_BY_TESTS = (1, 2, 3, 4)  # of pytest: failures of tests, collection, plugins, names
MAX_DATA = 8 << 30
TEST_TIMEOUT = 60
PR_SET_CHILD_SUBREAPER = 36


class BuildError(Exception):
    """A mutant that does not compile."""


def compiles(source: str) -> bool:
    """Whether a source is Python."""
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class FirstFailure:
    """A pytest plugin that writes the name of the first test that fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._path.exists():
            self._path.write_text(report.nodeid, "utf-8")


class Workplace:
    """A copy of the sources with its own builds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copy = folder / "copy"
        self._log = folder / "log"
        self._failure = folder / "failure"
        shutil.rmtree(folder, ignore_errors=True)
        self._copy.mkdir(parents=True)
        for part in PARTS.split():
            shutil.copytree(
                ROOT / part, self._copy / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, self._copy)
        self._translated: set[str] = set()
        # children of tests that are killed are ours, and end with the mutant
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def run(self, mutant: Mutant, stages: list[list[str]]) -> tuple[str, str]:
        """Returns the result of a mutant and the test that killed it.

        Raises:
            BuildError: if the mutant does not compile.
        """
        path = self._copy / mutant.path
        source = path.read_text("utf-8")
        mutated = mutant.mutation.apply(source)
        extension = extension_of(mutant.path)
        if extension is None and not compiles(mutated):
            raise BuildError(mutant.path)
        path.write_text(mutated, "utf-8")
        try:
            if extension is not None:
                self._build(extension, mutant.path)
            result, test, tests = "survived", "", []
            for tests in stages:
                result, test = self.test(tests)
                if result != "survived":
                    break
        finally:
            path.write_text(source, "utf-8")
            if extension is not None:
                shutil.copy(
                    next(ROOT.glob(extension.source.replace(".pyx", ".cpython-*.so"))),
                    self._module(extension).parent,
                )
        if test.startswith("exit status") and self.test(tests)[0] != "survived":
            raise RuntimeError(f"tests fail on the unchanged tree: see {self._log}")
        return result, test

    def test(self, tests: list[str]) -> tuple[str, str]:
        """Runs tests up to the first failure: "killed", "timeout" or "survived", and the test."""
        self._failure.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            self._run_tests(tests)
        deadline = time.monotonic() + 60 + 15 * len(tests)
        while time.monotonic() < deadline:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                self._end_children()
                code = os.waitstatus_to_exitcode(status)
                if code == 0:
                    return "survived", ""
                if self._failure.exists():
                    return "killed", self._failure.read_text("utf-8")
                if code in ENDED_BY_TESTS or code < 0:  # such as an import that fails
                    return "killed", f"exit status {code}"
                raise RuntimeError(f"pytest: exit status {code}: see {self._log}")
            if pid == 0:
                time.sleep(0.02)
        self._end_children()
        return "timeout", tests[0]

    def _run_tests(self, tests: list[str]) -> None:
        """Runs pytest in a child process."""
        status = 99
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA, MAX_DATA))
            os.chdir(self._copy)
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update(CI="1", PYTHONPATH=str(self._copy), PYTHONDONTWRITEBYTECODE="1")
            sys.path[:0] = [str(self._copy)]
            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short"]
            options += [f"--timeout={TEST_TIMEOUT}", f"--basetemp={self._folder / 'temporary'}"]
            options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
            status = int(pytest.main([*options, *tests], plugins=[FirstFailure(self._failure)]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _end_children(self) -> None:
        """Kills all that a test left."""
        while True:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _module(self, extension: Extension) -> Path:
        end = sysconfig.get_config_var("EXT_SUFFIX")
        return self._copy / extension.source.replace(".pyx", end)

    def _build(self, extension: Extension, changed: str) -> None:
        """Compiles one extension without optimization."""
        c_source = extension.source.replace(".pyx", ".c")
        is_cython = changed.endswith((".pyx", ".pxi", ".pxd"))
        if is_cython or extension.source not in self._translated:
            self._translated.discard(extension.source)
            command = [sys.executable, "-m", "cython", "-3", "-X", DIRECTIVES, extension.source]
            self._call([*command, "-o", c_source])
            if not is_cython:
                self._translated.add(extension.source)
        include = [extension.folder, np.get_include(), sysconfig.get_paths()["include"]]
        module = self._module(extension)
        module.unlink(missing_ok=True)
        flags = [*FLAGS, *(f"-I{path}" for path in include)]
        self._call(
            [
                os.environ.get("CC", "cc"),
                *flags,
                c_source,
                *extension.sources,
                "-o",
                str(module),
                *extension.flags,
                "-lpthread",
            ]
        )

    def _call(self, command: list[str]) -> None:
        result = subprocess.run(
            command, cwd=self._copy, capture_output=True, text=True, timeout=300, check=False
        )
        if result.returncode != 0:
            raise BuildError(result.stderr[-2000:])


def check_builds() -> None:
    """Ends the program unless all extensions are built in place."""
    for extension in EXTENSIONS:
        if not list(ROOT.glob(extension.source.replace(".pyx", ".cpython-*.so"))):
            raise SystemExit(f"{extension.module} is not built: python -m pip install -e .")
