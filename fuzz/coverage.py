"""The edges of the compiled reader that the corpus reaches, and those it does not.

    python fuzz/coverage.py [DIR ...]

Replays the inputs of fuzz/corpus/core, or of folders, in the build "fast". Prints the number of
edges reached of all, then each function with edges that were not reached, and their lines.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from loading import load_reader

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "build" / "fuzz" / "fast" / "_reader.so"


def symbols() -> dict[str, int]:
    """Addresses of the symbols of the module, from its beginning."""
    lines = subprocess.run(["nm", str(MODULE)], capture_output=True, text=True, check=True)
    addresses = {}
    for line in lines.stdout.splitlines():
        fields = line.split()
        if len(fields) == 3:
            addresses[fields[2]] = int(fields[0], 16)
    return addresses


def base() -> int:
    """Where the module is loaded."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(MODULE)):
            return int(line.split("-")[0], 16)
    raise SystemExit("the module is not loaded")


def lines_of(addresses: list[int]) -> list[tuple[str, str]]:
    """Function and line of each address."""
    command = ["addr2line", "-f", "-e", str(MODULE), *map(hex, addresses)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return list(zip(lines[::2], lines[1::2], strict=True))


def main() -> None:
    """Prints the report."""
    reader = load_reader("fast")
    known, start = symbols(), base()
    begin, end = known["__start___sancov_cntrs"], known["__stop___sancov_cntrs"]
    count = end - begin
    counters = (ctypes.c_uint8 * count).from_address(start + begin)
    pcs = (ctypes.c_uint64 * (2 * count)).from_address(start + known["__start___sancov_pcs"])
    reached = [False] * count
    folders = [Path(name) for name in sys.argv[1:]] or [ROOT / "fuzz" / "corpus" / "core"]
    for folder in folders:
        for path in sorted(folder.iterdir()):
            ctypes.memset(counters, 0, count)
            reader.fuzz_one(path.read_bytes())
            for index, value in enumerate(bytes(counters)):
                reached[index] |= value > 0
    functions: dict[str, list[int]] = defaultdict(list)
    missed: dict[str, set[str]] = defaultdict(set)
    places = lines_of([pc - start for pc in pcs[::2]])
    for index, (function, line) in enumerate(places):
        name = function.split("_reader_")[-1]
        functions[name].append(index)
        if not reached[index]:
            missed[name].add(line.split("/")[-1].split(" ")[0])
    fuzzed = {name for name, edges in functions.items() if any(reached[edge] for edge in edges)}
    edges = sum(len(functions[name]) for name in fuzzed)
    sys.stdout.write(
        f"{sum(reached)} of {edges} edges in {len(fuzzed)} functions that run,"
        f" of {count} in {len(functions)}\n"
    )
    for name in sorted(missed, key=lambda name: (name not in fuzzed, name)):
        if name in fuzzed:
            lines = " ".join(sorted(missed[name])[:12])
            sys.stdout.write(f"{name}: {len(missed[name])} of {len(functions[name])}: {lines}\n")
    sys.stdout.write(f"never called: {' '.join(sorted(set(functions) - fuzzed))}\n")


if __name__ == "__main__":
    main()
