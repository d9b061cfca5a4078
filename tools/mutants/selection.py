"""Which mutants are made, and which tests run on each."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from c_mutations import c_mutations
from mutation import Mutation
from python_mutations import python_mutations
from targets import ROOT, compiled_sources, python_sources, test_files

FIRST_SECONDS = 10.0
FIRST_FILES = 5
MAX_SECONDS = 40.0  # of one test


@dataclass(frozen=True)
class Mutant:
    """A mutation of a source."""

    path: str
    mutation: Mutation

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        """What identifies the mutant in later versions of its source."""
        m = self.mutation
        return (self.path, m.text, m.column, m.original, m.replacement)

    def record(self) -> dict[str, object]:
        """Returns the mutant as JSON."""
        values = asdict(self.mutation)
        del values["start"], values["end"]
        return {"path": self.path, **values}


def all_mutants(path: str) -> list[Mutant]:
    """Returns all mutants of a source."""
    source = (ROOT / path).read_text("utf-8")
    if path.endswith(".py"):
        mutations = python_mutations(source)
    else:
        mutations = c_mutations(source, not path.endswith((".c", ".h")))
    return [Mutant(path, mutation) for mutation in mutations]


def choose(paths: Iterable[str], count: int, seed: int) -> list[Mutant]:
    """Returns `count` mutants at random, as many of each source as its size asks for."""
    by_path = {path: all_mutants(path) for path in paths}
    total = sum(map(len, by_path.values()))
    chosen = []
    seen = taken = 0
    for path, mutants in by_path.items():
        seen += len(mutants)
        quota = seen * count // max(total, 1) - taken
        taken += quota
        chosen += random.Random(f"{seed} {path}").sample(mutants, min(quota, len(mutants)))
    return chosen


def choose_all(num_python: int, num_compiled: int, seed: int, prefix: str) -> list[Mutant]:
    """Returns the mutants of a run, those of Python first."""
    python = [path for path in python_sources() if path.startswith(prefix)]
    compiled = [path for path in compiled_sources() if path.startswith(prefix)]
    return choose(python, num_python, seed) + choose(compiled, num_compiled, seed)


def find_again(records: Iterable[dict[str, object]]) -> list[Mutant]:
    """Returns the mutants of earlier records in the present sources; those gone are left out."""
    keys: dict[str, set[tuple[object, ...]]] = defaultdict(set)
    names = ("path", "text", "column", "original", "replacement")
    for record in records:
        keys[str(record["path"])].add(tuple(record[name] for name in names))
    mutants = []
    for path, keys_left in sorted(keys.items()):
        if (ROOT / path).exists():
            for mutant in all_mutants(path):
                if mutant.key in keys_left:
                    keys_left.discard(mutant.key)
                    mutants.append(mutant)
    return mutants


class TestTable:
    """Which tests execute a line, from the records of `line_recorder`."""

    def __init__(self, folder: Path, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self.seconds: dict[str, float] = {}
        self._lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for path in sorted(folder.glob("*.json")):
            record = json.loads(path.read_text("utf-8"))
            tests = record["tests"]
            self.seconds.update(zip(tests, record["seconds"], strict=True))
            for name, lines in record["lines"].items():
                for line, numbers in lines.items():
                    self._lines[name][int(line)].update(tests[number] for number in numbers)

    def stages(self, mutant: Mutant) -> list[list[str]]:
        """Returns the tests to run on a mutant: few ones, then the shortest of the others."""
        tests = self._tests(mutant)
        first: list[str] = []
        files: set[str] = set()
        spent = 0.0
        for test in tests:
            files.add(test.partition("::")[0])
            spent += self.seconds[test]
            if len(first) == 60 or (first and (len(files) > FIRST_FILES or spent > FIRST_SECONDS)):
                break
            first.append(test)
        rest: set[str] = set()
        spent = 0.0
        for test in sorted(tests[len(first) :], key=self.seconds.__getitem__):
            spent += self.seconds[test]
            if spent < self._max_seconds:
                rest.add(test)
        others = [test for test in tests if test in rest]
        return [stage for stage in (first, others) if stage]

    def _tests(self, mutant: Mutant) -> list[str]:
        path, mutation = mutant.path, mutant.mutation
        area = {name: number for number, name in enumerate(test_files(path))}
        covering: set[str] = set()
        if path.endswith(".py"):
            lines = self._lines.get(path, {})
            num_lines = mutation.original.count("\n") + 1
            for line in range(mutation.line, mutation.line + num_lines):
                covering |= lines.get(line, set())
        # threads of libraries and child processes execute lines unseen
        tests = covering | {test for test in self.seconds if test.partition("::")[0] in area}

        def order(test: str) -> tuple[bool, int, float]:
            name = test.partition("::")[0]
            return (test not in covering, area.get(name, len(area)), self.seconds[test])

        return sorted((t for t in tests if self.seconds[t] < MAX_SECONDS), key=order)
