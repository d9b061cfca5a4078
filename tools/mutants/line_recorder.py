"""A pytest plugin that records which test executes which line, and the seconds of each test.

Each process of a run writes LINE_RECORDS/NAME.json. It is loaded by `-p line_recorder`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

PACKAGES = ("sprintcache", "sprint_ctl")


class LineRecorder:
    """Executed lines by test, of one process."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()
        self._coverage = coverage.Coverage(
            data_file=None,
            config_file=False,
            include=[str(root / package / "*") for package in PACKAGES],
            messages=False,
        )
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if sys.gettrace() is None:  # a test took it away
            self._coverage.stop()
            self._coverage.start()
        self._coverage.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0) + report.duration
        if report.outcome != "passed":
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        tests = sorted(self._seconds.keys() - self._failed)
        number = {test: i for i, test in enumerate(tests)}
        lines: dict[str, dict[int, list[int]]] = {}
        for path in data.measured_files():
            name = Path(path).relative_to(self._root).as_posix()
            lines[name] = {
                line: sorted(number[test] for test in contexts if test in number)
                for line, contexts in data.contexts_by_lineno(path).items()
            }
        seconds = [round(self._seconds[test], 3) for test in tests]
        name = os.environ.get("PYTEST_XDIST_WORKER", "main")
        record = json.dumps({"tests": tests, "seconds": seconds, "lines": lines})
        (self._folder / f"{name}.json").write_text(record, "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the recording before the tests import the packages, in each process with tests."""
    if config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        return
    recorder = LineRecorder(config.rootpath, Path(os.environ["LINE_RECORDS"]))
    config.pluginmanager.register(recorder, "line recorder")
