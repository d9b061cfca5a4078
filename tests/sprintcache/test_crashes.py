"""Writers and commands that die, fail or lose power at every call that changes a file.

Some commands and a few calls of each by default; all of them with SPRINTCACHE_CRASHES=all
(`make crashes`), which prints their numbers.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sprintcache import FormatError, open_archive, recover
from sprintcache._files import partial_of
from sprintcache.opening import check_index
from tests.crashes.power_loss import Disk, read_log
from tests.crashes.scenarios import (
    SCENARIOS,
    Contents,
    Scenario,
    check_steps,
    contents,
    digest,
    recovered,
)
from tests.paths import ROOT

COUNT, KILL_BEFORE, KILL_AFTER, KILL_HALFWAY, FAIL_ONCE, FAIL_FROM_THERE, SHORT, INTERRUPT = range(
    8
)
KILLS = (KILL_BEFORE, KILL_AFTER, KILL_HALFWAY)
ALL = os.environ.get("SPRINTCACHE_CRASHES") == "all"
QUICK = (
    *("new", "replace", "remove", "recover a copy", "combine over", "convert to npz", "align"),
    "index over",
)
NAMES = tuple(SCENARIOS) if ALL else QUICK
SOURCE = ROOT / "tests" / "crashes" / "write_faults.c"

pytestmark = [
    pytest.mark.usefixtures("quiet"),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="another library is preloaded"),
]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the status of its process, finished steps, counted calls, its messages."""

    status: int
    steps: list[int]
    num_calls: int
    messages: str


class Runner:
    """A process that runs each scenario in a new child."""

    def __init__(self, folder: Path) -> None:
        library, self.notes = folder / "write_faults.so", folder / "notes"
        self.notes.mkdir()
        compiler = os.environ.get("CC", "cc")
        command = [compiler, "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"]
        subprocess.run(command, check=True)
        self.folder = folder / "work"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        )

    def prepare(self, scenario: Scenario) -> dict[str, bytes]:
        """A fresh folder with the files of a scenario; returns them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        scenario.prepare(self.folder)
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def run(
        self, name: str, mode: int = COUNT, index: int = -1, error: int = 0, record: bool = False
    ) -> Outcome:
        """Runs a scenario in the folder."""
        order = {
            "scenario": name,
            "folder": str(self.folder),
            "notes": str(self.notes),
            "mode": mode,
            "index": index,
            "error": error,
            "record": record,
        }
        for file in self.notes.iterdir():
            file.unlink()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        lines = (self.notes / "progress").read_text().splitlines()
        count = self.notes / "count"
        return Outcome(
            status,
            [int(line or 0) for line in lines],
            int(count.read_text()) if count.exists() else 0,
            (self.notes / "messages").read_text(),
        )


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("no C compiler")
    runner = Runner(tmp_path_factory.mktemp("crashes"))
    try:
        yield runner
    finally:
        assert runner.process.stdin is not None
        assert runner.process.stdout is not None
        runner.process.stdin.close()
        runner.process.stdout.close()
        assert runner.process.wait(60) == 0


@dataclass(frozen=True)
class Expected:
    """What a scenario makes, and in how many calls."""

    scenario: Scenario
    before: dict[str, bytes]
    target: object
    old_target: object
    entries: Contents
    num_calls: int


def complete(runner: Runner, name: str) -> Expected:
    """Runs a scenario to its end."""
    scenario = SCENARIOS[name]
    if scenario.extra is not None and importlib.util.find_spec(scenario.extra) is None:
        pytest.skip(f"{scenario.extra} is not installed")
    before = runner.prepare(scenario)
    path = runner.folder / scenario.target
    old_target = digest(path) if path.exists() else None
    outcome = runner.run(name)
    assert outcome.status == 0, outcome.messages
    entries = contents(path) if path.suffix == ".cache" else {}
    if scenario.steps:
        assert entries == scenario.steps[-1]
    return Expected(scenario, before, digest(path), old_target, entries, outcome.num_calls)


def chosen(num_calls: int) -> list[int]:
    """The calls at which something happens: all, or two, the last among them."""
    if ALL:
        return list(range(num_calls))
    return sorted({num_calls // 2, num_calls - 1})


def check_remains(
    runner: Runner, expected: Expected, done: int, last: int, torn: bool = False
) -> None:
    """Nothing finished is lost, existing files are readable, the command can be repeated."""
    scenario, before = expected.scenario, expected.before
    path = runner.folder / scenario.target
    partial = Path(partial_of(str(path)))
    for name, data in before.items():
        if name not in (path.name, partial.name):
            assert (runner.folder / name).read_bytes() == data
    if scenario.steps:
        if not path.exists() and not partial.exists():
            assert done == 0
            return
        try:
            recovered(path)
        except FormatError:  # without its header, before anything was synced
            assert done == 0
            assert not scenario.in_place
            return
        assert check_steps(path, scenario.steps, done, last, torn) is None
        return
    if path.exists() and path.read_bytes() != before.get(path.name):
        actual = digest(path)
        if scenario.shows_damage and actual != expected.target:
            assert actual in ("damaged", expected.old_target)
            check_archive_of_unusable_index(path)
        else:
            assert actual == expected.target
    elif path.name in before:
        assert path.exists()
    if partial.exists() and path.suffix == ".cache" and not path.exists():
        with suppress(FileNotFoundError, FormatError):  # what is left may lack its header
            shutil.copy(partial, runner.notes / "left.cache")
            recover(runner.notes / "left.cache")
            for name, data in contents(runner.notes / "left.cache").items() if not torn else ():
                assert expected.entries[name] == data


def check_archive_of_unusable_index(path: Path) -> None:
    """Damage and age are noticed, and entries are read as they are or not at all."""
    archive_path = path.with_suffix("")
    assert check_index(archive_path)[1] is not None
    entries = contents(archive_path)
    with open_archive(archive_path) as archive:
        for name, data in entries.items():
            with suppress(FormatError):
                assert archive.read_bytes(name) == data
    with open_archive(archive_path, index=None) as archive:
        assert {name: archive.read_bytes(name) for name in archive} == entries


def check_repeated(runner: Runner, name: str, expected: Expected) -> None:
    """Run again, as the documentation says, the command completes its work."""
    path = runner.folder / expected.scenario.target
    if expected.scenario.steps or (path.exists() and digest(path) == expected.target):
        return
    for file in runner.folder.iterdir():
        if file.name not in expected.before and file.name != path.name:
            file.unlink()
    outcome = runner.run(name)
    assert outcome.status == 0, outcome.messages
    assert digest(path) == expected.target


@pytest.mark.parametrize("name", NAMES)
def test_killed(runner: Runner, name: str, record_property: Any) -> None:
    expected = complete(runner, name)
    num_kills = 0
    for index in chosen(expected.num_calls):
        for mode in KILLS:
            runner.prepare(expected.scenario)
            outcome = runner.run(name, mode, index)
            if mode == KILL_HALFWAY and outcome.status == 0:
                continue  # not a write
            assert outcome.status == -9, outcome.messages
            num_kills += 1
            done = len(outcome.steps)
            # features are buffered: of a killed process, what was flushed is there
            steps = expected.scenario.steps
            flushed = max((step for step in expected.scenario.synced if step <= done), default=0)
            check_remains(runner, expected, flushed, min(done + 1, len(steps) - 1))
            check_repeated(runner, name, expected)
    report(name, "kills", num_kills)


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_the_system(runner: Runner, name: str) -> None:
    """A call fails, or all from there on: a typed error that names a file, and nothing is lost."""
    expected = complete(runner, name)
    num_errors = 0
    for index in chosen(expected.num_calls):
        for mode, error in ((FAIL_ONCE, errno.EIO), (FAIL_FROM_THERE, errno.ENOSPC)):
            runner.prepare(expected.scenario)
            outcome = runner.run(name, mode, index, error)
            num_errors += 1
            assert outcome.status in (0, 1), outcome.messages
            path = runner.folder / expected.scenario.target
            if outcome.status == 0:
                assert digest(path) == expected.target
                continue
            assert str(runner.folder) in outcome.messages or expected.scenario.target in (
                outcome.messages
            ), outcome.messages
            steps = expected.scenario.steps
            done = max((s for s in expected.scenario.synced if s <= len(outcome.steps)), default=0)
            if steps and not is_whole(path):
                assert "recover" in outcome.messages, outcome.messages
            check_remains(runner, expected, done, min(len(outcome.steps) + 1, len(steps) - 1))
            check_repeated(runner, name, expected)
    report(name, "errors", num_errors)


def is_whole(path: Path) -> bool:
    """Whether an archive has a table, or there is nothing of it."""
    if not path.exists():
        partial = Path(partial_of(str(path)))
        return not partial.exists() or partial.stat().st_size == 0
    return path.read_bytes()[8:9] == b"\1"


@pytest.mark.parametrize("mode", [SHORT, INTERRUPT], ids=["short", "interrupted"])
@pytest.mark.parametrize("name", NAMES)
def test_calls_that_are_repeated(runner: Runner, name: str, mode: int) -> None:
    """A write of half the bytes, and a call that a signal interrupts, change nothing."""
    expected = complete(runner, name)
    for index in chosen(expected.num_calls):
        runner.prepare(expected.scenario)
        outcome = runner.run(name, mode, index)
        assert outcome.status == 0, outcome.messages
        assert digest(runner.folder / expected.scenario.target) == expected.target
    report(name, ("short writes", "interrupts")[mode == INTERRUPT], len(chosen(expected.num_calls)))


@pytest.mark.parametrize("name", NAMES)
def test_power_loss(runner: Runner, name: str) -> None:
    """What was not synced is lost, in whole or in part: what was synced is there."""
    expected = complete(runner, name)
    scenario = expected.scenario
    runner.prepare(scenario)
    disk = Disk.of(runner.folder)
    outcome = runner.run(name, record=True)
    assert outcome.status == 0, outcome.messages
    calls = read_log(runner.notes / "log")
    ends = [call.end for call in calls]
    generator = random.Random(1)
    num_losses = 0
    indices = set(chosen(len(calls) + 1))
    for index in range(len(calls) + 1):
        if index in indices:
            now = ends[index - 1] if index else 0
            done = sum(end <= now for end in outcome.steps)
            synced = max((step for step in scenario.synced if step <= done), default=0)
            for left, after in disk.after_power_loss(generator):
                shutil.rmtree(runner.folder)
                runner.folder.mkdir()
                after.write(runner.folder)
                num_losses += 1
                try:
                    last = min(done + 1, len(scenario.steps) - 1)
                    check_remains(runner, expected, synced, last, torn=left in ("zeros", "a part"))
                    if scenario.shows_damage:
                        check_repeated(runner, name, expected)
                    if index == len(calls) and not scenario.shows_damage:
                        assert digest(runner.folder / scenario.target) == expected.target
                except BaseException as failure:
                    failure.add_note(f"{left}, after call {index} of {len(calls)}")
                    raise
        if index < len(calls):
            disk.happens(calls[index])
    report(name, "power losses", num_losses)


def report(name: str, what: str, number: int) -> None:
    """Prints a number that the documentation quotes."""
    if ALL:
        sys.stderr.write(f"crashes: {name}: {number} {what}\n")
