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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from selection import Mutant
from switches import VARIABLE, declare, switched
from targets import EXTENSIONS, ROOT, Extension, extension_of

PARTS = "sprintcache sprint_ctl tests tools fuzz examples docs bench"
DIRECTIVES = (
    "binding=True,embedsignature=False,auto_pickle=False,boundscheck=True,cdivision=True,"
    "initializedcheck=False,freethreading_compatible=True"
)
FLAGS = (  # noqa: SIM905
    "-O0 -g0 -w -fPIC -std=gnu11 -ffp-contract=off -D_GNU_SOURCE"
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
        for extension in EXTENSIONS:  # of another version, or optimized
            (self._copy / self._sources(extension)[0]).unlink(missing_ok=True)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, self._copy)
        self._objects = folder / "objects"
        self._objects.mkdir()
        self._switched: dict[Mutant, tuple[int, Path]] = {}
        # without caches, each mutant takes as long to compile the tests as to run them
        collect = ["-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", "tests"]
        environment = {**os.environ, "CI": "1", "PYTHONPATH": str(self._copy)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._call([sys.executable, *collect], environment)
        # children of tests that are killed are ours, and end with the mutant
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def add_switches(self, mutants: Sequence[Mutant]) -> None:
        """Builds each extension once with its mutants of Cython, as far as switches can do them."""
        for extension in EXTENSIONS:
            numbered = {
                number: mutant
                for number, mutant in enumerate(mutants, 1)
                if mutant.path.endswith((".pyx", ".pxi")) and extension_of(mutant.path) is extension
            }
            if numbered:
                self._build_switches(extension, numbered)

    def _build_switches(self, extension: Extension, numbered: dict[int, Mutant]) -> None:
        sources: dict[Path, str] = {}
        numbers: set[int] = set()
        try:
            for name in {extension.source, *(mutant.path for mutant in numbered.values())}:
                path = self._copy / name
                sources[path] = source = path.read_text("utf-8")
                mutations = {n: m.mutation for n, m in numbered.items() if m.path == name}
                source, done = switched(source, mutations)
                path.write_text(declare(source) if name == extension.source else source, "utf-8")
                numbers |= done
            self._build(extension, extension.source)
        except BuildError as error:
            sys.stderr.write(f"{extension.module}: no switches: {error}\n")
        else:
            module = self._folder / f"switched-{extension.module}.so"
            shutil.copy(self._module(extension), module)
            self._switched |= {numbered[number]: (number, module) for number in numbers}
        finally:
            for path, source in sources.items():
                path.write_text(source, "utf-8")
            self._restore(extension, extension.source)

    def run(self, mutant: Mutant, stages: list[list[str]]) -> tuple[str, str]:
        """Returns the result of a mutant and the test that killed it.

        Raises:
            BuildError: if the mutant does not compile.
        """
        if mutant not in self._switched:
            return self._run_alone(mutant, stages)
        number, module = self._switched[mutant]
        extension = extension_of(mutant.path)
        if extension is None:
            raise ValueError(mutant.path)
        shutil.copy(module, self._module(extension))
        os.environ[VARIABLE] = str(number)
        try:
            result, test = self._test_stages(stages)
        finally:
            del os.environ[VARIABLE]
            self._restore(extension, mutant.path)
        return self._confirmed(result, test, stages)

    def _run_alone(self, mutant: Mutant, stages: list[list[str]]) -> tuple[str, str]:
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
            result, test = self._test_stages(stages)
        finally:
            path.write_text(source, "utf-8")
            if extension is not None:
                self._restore(extension, mutant.path)
        return self._confirmed(result, test, stages)

    def _test_stages(self, stages: list[list[str]]) -> tuple[str, str]:
        """Runs the tests of all stages up to the first failure."""
        for tests in stages:
            result, test = self.test(tests)
            if result != "survived":
                return result, test
        return "survived", ""

    def _confirmed(self, result: str, test: str, stages: list[list[str]]) -> tuple[str, str]:
        """Runs the tests on the unchanged tree if a mutant failed without a test."""
        if test.startswith("exit status") and self._test_stages(stages)[0] != "survived":
            raise RuntimeError(f"tests fail on the unchanged tree: see {self._log}")
        return result, test

    def test(self, tests: list[str]) -> tuple[str, str]:
        """Runs tests up to the first failure: "killed", "timeout" or "survived", and the test."""
        self._failure.unlink(missing_ok=True)
        self._log.write_bytes(b"")
        child = os.fork()
        if child == 0:
            self._run_tests(tests)
        while not self._is_stalled():
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

    def _is_stalled(self) -> bool:
        """Whether no test has ended for a long time, as in a loop of compiled code."""
        return time.time() - self._log.stat().st_mtime > 2 * TEST_TIMEOUT

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
            data = ROOT.parent / "shared" / "rasr-data"  # next to the repository, not to its copy
            os.environ.setdefault("SPRINTCACHE_RASR_DATA", str(data))
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

    def _restore(self, extension: Extension, changed: str) -> None:
        """Puts the module of the repository back, and drops what was compiled from a mutant."""
        built = next(ROOT.glob(extension.source.replace(".pyx", ".cpython-*.so")))
        self._module(extension).unlink(missing_ok=True)
        shutil.copy(built, self._module(extension))
        for source in self._sources(extension):
            if not changed.endswith(".c") or source == changed:
                self._object(source).unlink(missing_ok=True)
        if changed.endswith((".pyx", ".pxi", ".pxd")):
            (self._copy / self._sources(extension)[0]).unlink(missing_ok=True)

    def _sources(self, extension: Extension) -> list[str]:
        return [extension.source.replace(".pyx", ".c"), *extension.sources]

    def _object(self, source: str) -> Path:
        return self._objects / f"{source.replace('/', '-')}.o"

    def _build(self, extension: Extension, changed: str) -> None:
        """Compiles one extension without optimization: what is changed, or was not compiled."""
        is_cython = changed.endswith((".pyx", ".pxi", ".pxd"))
        include = [extension.folder, np.get_include(), sysconfig.get_paths()["include"]]
        compiler = [os.environ.get("CC", "cc"), *FLAGS]
        translated, *_ = sources = self._sources(extension)
        if is_cython or not (self._copy / translated).exists():
            command = [sys.executable, "-m", "cython", "-3", "-X", DIRECTIVES, extension.source]
            self._call([*command, "-o", translated])
        for source in sources:
            compiled = self._object(source)
            if compiled.exists() and source != changed and not changed.endswith(".h"):
                continue
            folders = [f"-I{path}" for path in include]
            macros = [flag for flag in extension.flags if flag.startswith("-D")]
            self._call([*compiler, *folders, *macros, "-c", source, "-o", str(compiled)])
        module = self._module(extension)
        module.unlink(missing_ok=True)
        libraries = [flag for flag in extension.flags if not flag.startswith("-D")]
        objects = [str(self._object(source)) for source in sources]
        self._call([*compiler, "-shared", *objects, "-o", str(module), *libraries, "-lpthread"])

    def _call(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        result = subprocess.run(
            command,
            cwd=self._copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if result.returncode != 0:
            raise BuildError(result.stderr[-2000:])


def check_builds() -> None:
    """Ends the program unless all extensions are built in place."""
    for extension in EXTENSIONS:
        if not list(ROOT.glob(extension.source.replace(".pyx", ".cpython-*.so"))):
            raise SystemExit(f"{extension.module} is not built: python -m pip install -e .")
