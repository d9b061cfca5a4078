"""Changes the sources at one point at a time and counts the changes that the tests notice.

    python tools/mutants/run.py [--python 400] [--compiled 110] [--seed 15] [--workers 2]

Every mutant is made in a copy of the repository and run against the tests that execute its line
(of Python) or cover its area (of compiled sources and of programs that run in child processes),
short tests first, up to the first failure. The results are written to build/mutants/results.json;
survivors that are equivalent are listed with a reason in tools/mutants/equivalent.json.

--again FILE   runs the survivors of an earlier run again, as they are in the present sources
--resume       keeps the results of the output and runs the mutants that are not among them
--only PREFIX  takes the mutants of these sources
--report       prints the table of build/mutants/results.json
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from selection import Mutant, TestTable, choose_all, find_again
from targets import ROOT
from workplace import BuildError, Workplace, check_builds

PRELOADED = ("pytest", "hypothesis", "numpy", "h5py", "torch", "matplotlib.figure")
OUTPUT = ROOT / "build" / "mutants"
EQUIVALENT = ROOT / "tools" / "mutants" / "equivalent.json"
SLOW = ("tests/test_docs.py", "tests/test_examples.py", "tests/sprintcache/test_crashes.py")
STATIC = ("tests/test_layering.py", "tests/test_public_names.py")
Record = dict[str, Any]


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=int, default=400, help="number of mutants of Python")
    parser.add_argument("--compiled", type=int, default=110, help="of Cython and C")
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--test-seconds", type=float, default=150.0, help="of tests per mutant")
    parser.add_argument("--only", default="", metavar="PREFIX")
    parser.add_argument("--again", type=Path, metavar="FILE")
    parser.add_argument("--output", type=Path, default=OUTPUT / "results.json")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/sprintcache-mutants"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--report", action="store_true")
    return parser.parse_args()


def record_lines() -> Path:
    """Runs the tests once and returns the folder of what they execute."""
    folder = OUTPUT / "lines"
    if not list(folder.glob("*.json")):
        folder.mkdir(parents=True, exist_ok=True)
        ignored = [f"--ignore={path}" for path in (*SLOW, *STATIC)]
        environment = {
            **os.environ,
            "CI": "1",
            "LINE_RECORDS": str(folder),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tools' / 'mutants'}",
        }
        options = ["-q", "-n", str(os.cpu_count()), "-p", "no:cacheprovider", "-p", "line_recorder"]
        command = [sys.executable, "-m", "pytest", *options, "tests", *ignored]
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
    return folder


def work(
    folder: Path, mutants: list[Mutant], tasks: Any, results: Any, table: TestTable
) -> None:  # multiprocessing's queues have no useful types
    """Runs mutants in one copy until there are no more."""
    workplace = Workplace(folder)
    workplace.add_switches(mutants)
    while True:
        mutant = tasks.get()
        if mutant is None:
            return
        start = time.monotonic()
        try:
            result, test = workplace.run(mutant, table.stages(mutant))
        except BuildError:
            result, test = "invalid", ""
        except Exception as error:
            result, test = "error", repr(error)
        seconds = round(time.monotonic() - start, 1)
        results.put({**mutant.record(), "result": result, "test": test, "seconds": seconds})


def run(
    mutants: list[Mutant], arguments: argparse.Namespace, known: Sequence[Record] = ()
) -> list[Record]:
    """Runs mutants and returns their records, after those that are known."""
    table = TestTable(record_lines(), arguments.test_seconds)
    context = multiprocessing.get_context("fork")
    tasks, results = context.Queue(), context.Queue()
    for mutant in [*mutants, *[None] * arguments.workers]:
        tasks.put(mutant)
    workers = [
        context.Process(
            target=work, args=(arguments.folder / str(i), mutants, tasks, results, table)
        )
        for i in range(arguments.workers)
    ]
    for worker in workers:
        worker.start()
    records: list[Record] = [*known]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for number in range(len(mutants)):
        record = results.get(timeout=3600)
        records.append(record)
        if record["result"] == "survived":
            show(record)
        if number % 5 == 4 or number + 1 == len(mutants):
            sys.stdout.write(f"{number + 1} of {len(mutants)} {dict(count(records))}\n")
            sys.stdout.flush()
            write(arguments.output, records)
    for worker in workers:
        worker.join()
    return records


def show(record: Record) -> None:
    """Prints a mutant."""
    sys.stdout.write(
        f"{record['result']}: {record['path']}:{record['line']} {record['original']!r} ->"
        f" {record['replacement']!r} in {record['text']!r}\n"
    )


def count(records: Iterable[Record]) -> Counter[str]:
    """The number of mutants by result."""
    return Counter(record["result"] for record in records)


def write(path: Path, records: list[Record]) -> None:
    """Writes records, sorted by source."""
    records = sorted(records, key=lambda r: (r["path"], r["line"], r["column"], r["replacement"]))
    path.write_text(json.dumps(records, indent=1) + "\n", "utf-8")


def equivalents() -> dict[tuple[str, ...], str]:
    """The reasons of mutants that no test can notice."""
    listed = json.loads(EQUIVALENT.read_text("utf-8")) if EQUIVALENT.exists() else []
    return {tuple(e[name] for name in KEY): e["reason"] for e in listed}


ID = ("path", "text", "column", "original", "replacement")
KEY = ("path", "text", "original", "replacement")


def report(records: list[Record]) -> None:
    """Prints the table of the documentation: by folder, and the survivors."""
    reasons = equivalents()
    by_area: dict[str, list[Record]] = {}
    for record in records:
        if record["result"] in ("invalid", "error"):  # not built, or not run
            continue
        path = Path(record["path"])
        area = path.parent.as_posix() + ("" if path.suffix == ".py" else " (compiled)")
        by_area.setdefault(area, []).append(record)
    sys.stdout.write(
        "| sources | mutants | killed | equivalent | survived |\n|---|---|---|---|---|\n"
    )
    totals = [0, 0, 0, 0]
    for area, members in sorted(by_area.items()):
        survivors = [record for record in members if record["result"] == "survived"]
        equal = sum(tuple(record[name] for name in KEY) in reasons for record in survivors)
        row = [len(members), len(members) - len(survivors), equal, len(survivors) - equal]
        totals = [a + b for a, b in zip(totals, row, strict=True)]
        sys.stdout.write(f"| `{area}` | {' | '.join(map(str, row))} |\n")
    sys.stdout.write(f"| all | {' | '.join(map(str, totals))} |\n")
    for record in records:
        if record["result"] == "survived" and tuple(record[n] for n in KEY) not in reasons:
            show(record)


def main() -> None:
    """Runs mutants, or reports on them."""
    arguments = parse_arguments()
    if arguments.report:
        report(json.loads(arguments.output.read_text("utf-8")))
        return
    check_builds()
    for name in PRELOADED:  # once, for all forks
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if arguments.again:
        earlier = json.loads(arguments.again.read_text("utf-8"))
        survivors = [record for record in earlier if record["result"] == "survived"]
        records = run(find_again(survivors), arguments)
    else:
        mutants = choose_all(arguments.python, arguments.compiled, arguments.seed, arguments.only)
        known = []
        if arguments.resume:
            known = json.loads(arguments.output.read_text("utf-8"))
            known = [record for record in known if record["result"] != "error"]
        keys = {tuple(record[name] for name in ID) for record in known}
        records = run([mutant for mutant in mutants if mutant.key not in keys], arguments, known)
    report(records)


if __name__ == "__main__":
    main()
