"""Runs the fuzzers, or replays inputs.

    python fuzz/run.py TARGET [--build fast] [--corpus DIR] [-- -runs=N ...]
    python fuzz/run.py TARGET ... --replay [--build replay]

core       the compiled reader, in process, against fuzz/core/reference.c
archives   whole archives through the Python interface, against tests/oracle/reference.py
NAME       a reader of fuzz/texts.py, guided by atheris: python -m pip install atheris

What follows -- are options of libFuzzer, such as -max_total_time=60. An input on which two readings
disagree, or that crashes or hangs, ends the run and is saved as crash-* in the working directory.
Builds are made by fuzz/build.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
SPEED = ["-entropic=0", "-reload=0", "-reduce_inputs=0"]  # bookkeeping that costs more than a run
Check = Callable[[bytes], None]


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    parser.add_argument("--build", choices=["fast", "address", "replay", "installed"])
    parser.add_argument("--corpus", type=Path, help="new inputs are added to it")
    parser.add_argument("--replay", action="store_true", help="run the inputs of the corpus once")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parsed = parser.parse_args(arguments[:end])
    parsed.options = arguments[end + 1 :]
    return parsed


def inputs(target: str, corpus: Path | None) -> list[bytes]:
    """The inputs of a corpus, in the order of their names."""
    folder = corpus or CORPUS / target
    if not folder.is_dir():
        return []
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def replay(target: str, build: str, corpus: Path | None) -> int:
    """Runs each input once; returns their number."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        check = check_of(target, build, Path(folder))
        contents = inputs(target, corpus)
        for data in contents:
            check(data)
    return len(contents)


def memory() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def check_of(target: str, build: str, folder: Path) -> Check:
    """The function that checks an input of a target."""
    if build != "installed":
        from loading import load_reader

        reader = load_reader(build)
        if target == "core":
            check: Check = reader.fuzz_one
            return check
    else:
        sys.path.insert(0, str(ROOT))
    if target == "core":
        raise SystemExit("the core needs a build of fuzz/build.py")
    if target == "archives":
        from archives import Archives

        return Archives(folder)
    from texts import TARGETS, Texts

    if target not in TARGETS:
        raise SystemExit(f"no target {target!r}: core, archives, {', '.join(TARGETS)}")
    return Texts(target, folder)


def fuzz(target: str, build: str, corpus: Path | None, options: list[str]) -> None:
    """Runs libFuzzer; it ends the process."""
    folders = [str(folder) for folder in (corpus, CORPUS / target) if folder and folder.is_dir()]
    if not corpus:  # the first folder gets new inputs
        folders.insert(0, tempfile.mkdtemp(prefix="fuzz-"))
    # the command with which libFuzzer starts itself again, with -merge=1 for example
    again = f"{sys.executable} {ROOT / 'fuzz' / 'run.py'} {target} --build {build} --"
    arguments = [again, *SPEED, *options, *folders]
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        if target in ("core", "archives"):
            from loading import load_reader

            reader = load_reader(build)
            check = None if target == "core" else check_of(target, build, Path(folder))
            raise SystemExit(reader.fuzz(arguments, check))
        fuzz_text(target, Path(folder), arguments)


def fuzz_text(target: str, folder: Path, arguments: list[str]) -> None:
    """Fuzzes a reader that is written in Python, guided by its branches."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=["sprintcache", "sprint_ctl"]):
        from texts import TARGETS, Texts

    seeds = folder / "seeds"
    seeds.mkdir()
    for number, data in enumerate(TARGETS[target].seeds()):
        (seeds / str(number)).write_bytes(data)
    arguments.append(str(seeds))
    words = folder / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in TARGETS[target].words)
    if TARGETS[target].words:
        arguments.append(f"-dict={words}")
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    grammar = TARGETS[target].grammar

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """A third of the inputs by the grammar, or two of them spliced."""
        chance = Random(seed)
        if grammar is None or chance.random() < 0.67:
            return bytes(atheris.Mutate(data, max_size))
        new = grammar(chance)
        if chance.random() < 0.2:
            new = data[: chance.randint(0, len(data))] + new
        return new[:max_size]

    atheris.Setup(arguments, Texts(target, folder), custom_mutator=mutate)
    atheris.Fuzz()


def main() -> None:
    """Runs or replays a target."""
    arguments = parse_arguments()
    build = arguments.build or ("replay" if arguments.replay else "fast")
    if not arguments.replay:
        (target,) = arguments.targets
        fuzz(target, build, arguments.corpus, arguments.options)
    for target in arguments.targets:
        count = replay(target, build, arguments.corpus)
        sys.stdout.write(f"{target}: {count} inputs replayed\n")


if __name__ == "__main__":
    main()
