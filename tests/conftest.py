"""What all tests share: a fast scratch folder, a quiet log, the settings of hypothesis."""

from __future__ import annotations

import gc
import logging
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# threads of torch that wait for each other do not spin on cores that other tests need
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# a third of the time in which a child imports NumPy went to threads for its matrix products
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile(
    "tests",
    deadline=None,
    database=None,
    derandomize="CI" in os.environ,  # new examples are for who can mend what they find
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tests")

MEMORY = "/dev/shm"

# a shell without job control lets its background processes, and their children, ignore Ctrl-C
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long tests first: at the end, one process would run them while others wait."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects no garbage while nearly every object that is made stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def frozen_objects() -> None:
    """Exempts what exists from garbage collection, so that it visits only what a module makes.

    Tests collect garbage, and a forked child that visits all objects copies all their memory.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the system has one: some tests write a file 10,000 times."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="sprintcache-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warning for each of thousands of damaged archives."""
    monkeypatch.setattr(logging.getLogger("sprintcache"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("sprintcache.archive"), "disabled", True)
