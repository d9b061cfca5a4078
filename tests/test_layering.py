"""Who may import whom, what importing costs, and statements that do not belong in a library."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import sprintcache

PACKAGE = Path(sprintcache.__file__).parent
ROOT = PACKAGE.parent

# rows from the ground up: a module imports from rows below its row only, never from its own row
SPRINTCACHE = """
_interrupts
errors entries alignment batching _checks _dataset.buffers _directory _packing _path_map _threads
_dataset.packed_strings _pickled_list _renaming _signals _text_file _zip_errors _output_folder
label_rates
_label_schemes
_analysis.accumulators _analysis.boundaries _remote.sparse_copy
_chunk_table _analysis.frame_grid _analysis.name_sample _analysis.finite _dataset.name_lookup
_write.combine_plan
_reader _attributes _configuration _files _segment_list bliss lexicon ordering states vocabulary
_write.alignment_encoding
_dataset.corpus_table
_bundle _index_files _analysis.alignment_use _analysis.units _write.encoding _write.partial_file
_write.write_buffer
allophones archive dataset_base sampling
automata _remote.archive
segmentation
align
opening comparison statistics _write.archive_layout _dataset.streams.base
_dataset.streams.archives _dataset.streams.bliss
verification _write.entry_copier _write.recover _write.storing
_dataset.streams.alignment _dataset.streams.audio _dataset.streams.audio_files
_dataset.streams.automaton _dataset.streams.texts _dataset.streams.vector _write.writer
_dataset.streams.soft_alignment _dataset.corpus
_dataset.reader _dataset.selection _dataset.sequences
dataset dataset_reader _write.combine
chunks
plot ray torch compat convert returnn
cli
"""
SPRINT_CTL = """
config errors _pipe.descriptors _pipe.foreign_errors _pipe.plain_values _sequences.spoken_numbers
_pipe.deadline _pipe.shared_memory _sequences.orthography _sprint.trainer_process
_sprint.criterion _sprint.reporting _trainer.automaton _trainer.batch
_trainer.process_output
_pipe.json_framing _pipe.pickle_framing _sequences.predefined_order _sequences.sequence_cache
_sprint.log _sprint.orphan _sprint.segment_request _sprint.sprint_state
_trainer.advice _trainer.forks _trainer.lifeline command engine
_pipe.wire _sequences.targets _sprint.segment_exchange _sprint.segment_order
_sequences.sequence_maker _sprint.link _sprint.request_handler _sprint.segment_calls
_sprint.segment_visits _trainer.child_process
dataset_base _sprint.feature_scorer _sprint.python_control _sprint.segment_sender _trainer.process
extern_interface _sprint.engine_runner _trainer.instance _trainer.segment_receiver
interface _sprint.layer _trainer.batch_run _trainer.doctor _trainer.epoch_reader
_trainer.reader_thread
_trainer.pool
automata control dataset error_signals torch
returnn
fake_sprint
"""
# folders whose modules count as one
FOLDERS = {
    "align",
    "automata",
    "cli",
    "compat",
    "convert",
    "fake_sprint",
    "plot",
    "ray",
    "segmentation",
    "torch",
}
# what Sprint loads, and what a trainer imports: neither side imports the other
SPRINT_SIDE = ("_sprint", "control", "extern_interface", "interface")
TRAINER_SIDE = ("_trainer", "automata", "dataset", "error_signals", "torch", "command")
# sprint_ctl imports these of sprintcache; the stand-in may import all of it
FOR_SPRINT = {
    "errors",
    "_checks",
    "_configuration",
    "_interrupts",
    "_text_file",
    "ordering",
    "dataset_base",
    "vocabulary",
}
# imported where they are used, since the row would not allow it
INSIDE_FUNCTIONS = {
    ("archive", "opening"),  # unpickling opens again
}
FOREIGN = {
    "h5py": {"convert", "_dataset"},
    "k2": {"torch"},
    "obstore": {"_remote"},
    "kaldi_native_io": {"convert"},
    "matplotlib": {"plot"},
    "pyarrow": {"ray"},
    "ray": {"ray"},
    "returnn": {"returnn", "_trainer", "torch"},
    "sentencepiece": {"vocabulary"},
    "soundfile": {"_signals"},
    "subword_nmt": {"vocabulary"},
    "torch": {"torch"},
}


def rows(table: str) -> dict[str, int]:
    """The row of each module."""
    return {name: row for row, line in enumerate(table.split("\n")) for name in line.split()}


LEVELS = {"sprintcache": rows(SPRINTCACHE), "sprint_ctl": rows(SPRINT_CTL)}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


PACKAGE_SOURCES = [*sources("sprintcache"), *sources("sprint_ctl")]


def module_name(path: Path) -> str:
    """The module's name in its package, "" for a package; a folder of FOLDERS is one module."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    if parts[0] in FOLDERS:
        return parts[0]
    return ".".join(part for part in parts if part != "__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """(absolute name, whether inside a function) of every import at run time."""
    package = list(path.relative_to(ROOT).parts[:-1])

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if is_type_checking(child):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                base = base + (child.module.split(".") if child.module else [])
                for alias in child.names:
                    name = ".".join([*base, alias.name])
                    yield (name if exists(name) else ".".join(base)), inside
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, inside or function)

    return tuple(walk(tree(path), False))


def exists(name: str) -> bool:
    """Whether a dotted name is a module of the two packages."""
    path = ROOT.joinpath(*name.split("."))
    return any(path.with_suffix(ending).exists() for ending in (".py", ".pyx")) or path.is_dir()


def target_of(imported: str) -> tuple[str, str]:
    """(package, module as the tables name it) of an imported module."""
    package, _, module = imported.partition(".")
    first = module.partition(".")[0]
    return package, first if first in FOLDERS else module


def check_imports(path: Path) -> None:
    package, name = path.relative_to(ROOT).parts[0], module_name(path)
    levels = LEVELS[package]
    if name in ("", "__main__") or (path.name == "__init__.py" and name not in levels):
        levels = {**levels, name: 99}  # a package's face, and the command
    assert name in levels, f"{path} is a new module: give it a row in the table"
    for imported, inside in imports(path):
        top, target = target_of(imported)
        if top not in LEVELS:
            folder = name.partition(".")[0]
            known = top in sys.stdlib_module_names or top == "numpy"
            allowed = known or folder in FOREIGN.get(top, ()) or package == "sprint_ctl"
            assert allowed, f"{name} imports {imported}"
            continue
        if target in ("", name) or (target.startswith("_") and target not in LEVELS[top]):
            continue
        if top != package:
            assert package == "sprint_ctl", f"{name} imports {imported}"
            on_top = ("automata", "fake_sprint")
            assert target in FOR_SPRINT or name in on_top, f"{name} imports {imported}"
            continue
        if inside and (name, target) in INSIDE_FUNCTIONS:
            continue
        assert LEVELS[top][target] < levels[name], f"{name} imports {imported}"


def test_modules_import_what_is_below_them() -> None:
    for path in PACKAGE_SOURCES:
        check_imports(path)


def reached(package: str, names: Iterable[str]) -> set[str]:
    """These modules and all that they import, directly or not."""
    waiting, seen = set(names), set()
    paths = {module_name(path): path for path in sources(package) if path.name != "__init__.py"}
    while waiting:
        seen |= waiting
        targets = {
            target_of(name) for module in waiting & set(paths) for name, _ in imports(paths[module])
        }
        waiting = {target for top, target in targets if top == package and target} - seen
    return seen


def side(names: Iterable[str], entries: tuple[str, ...]) -> set[str]:
    return {name for name in names if name.partition(".")[0] in entries}


def test_the_two_sides_of_the_pipe_do_not_import_each_other() -> None:
    every = LEVELS["sprint_ctl"]
    inside = reached("sprint_ctl", side(every, SPRINT_SIDE))
    outside = reached("sprint_ctl", side(every, TRAINER_SIDE))
    assert not side(inside, TRAINER_SIDE)
    assert not side(outside, SPRINT_SIDE)
    assert {"_pipe.wire", "errors", "config"} <= inside & outside


def test_what_sprint_loads_is_of_python_3_8() -> None:
    for name in sorted(reached("sprint_ctl", side(LEVELS["sprint_ctl"], SPRINT_SIDE))):
        path = ROOT.joinpath("sprint_ctl", *name.split(".")).with_suffix(".py")
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        source = path.read_text("utf-8")
        ast.parse(source, str(path), feature_version=(3, 8))
        assert "from __future__ import annotations" in source or not source.count("import "), name


def test_what_sprint_imports_of_sprintcache_is_of_python_3_8() -> None:
    for name in sorted(FOR_SPRINT):
        source = (PACKAGE / f"{name}.py").read_text("utf-8")
        ast.parse(source, name, feature_version=(3, 8))
        assert "from __future__ import annotations" in source, name


def test_control_needs_numpy_and_the_standard_library() -> None:
    for name in sorted(reached("sprint_ctl", ("control",))):
        path = ROOT.joinpath("sprint_ctl", *name.split(".")).with_suffix(".py")
        for imported, _ in imports(path) if path.exists() else ():
            top = imported.partition(".")[0]
            is_known = top in sys.stdlib_module_names
            assert is_known or top in ("numpy", "sprint_ctl", "sprintcache"), f"{name}: {imported}"


def test_the_compiled_module_imports_what_is_below_it() -> None:
    modules = set()
    for path in [*PACKAGE.glob("*.pyx"), *(PACKAGE / "_core").glob("*.px[id]")]:
        for line in path.read_text("utf-8").splitlines():
            if re.match(r"\s*(from|c?import) ", line) and "sprintcache" in line:
                modules |= set(re.findall(r"sprintcache\.(\w+)", line))
                names = re.match(r"from sprintcache import (.+)", line)
                modules |= set(names[1].split(", ")) if names else set()
            assert "sprint_ctl" not in line
    levels = LEVELS["sprintcache"]
    assert modules - {"_core"} == {"errors", "alignment", "entries", "_packing", "_text_file"}
    assert all(levels[name] < levels["_reader"] for name in modules - {"_core"})


# ---- what an import does ---------------------------------------------------------------------


def run(code: str) -> str:
    """What a fresh interpreter prints, on either stream."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "statement",
    ["import sprintcache", "import sprintcache.errors", "from sprintcache import FormatError"],
)
def test_importing_is_cheap_and_quiet(statement: str) -> None:
    code = f"import sys; {statement}; print([n for n in {HEAVY} if n in sys.modules])"
    assert run(code).strip() == "[]"
    assert run(f"{statement}") == ""


HEAVY = ["numpy", "sprintcache._reader", "sprintcache.archive", "logging", "multiprocessing"]


def test_pure_modules_work_without_the_compiled_one() -> None:
    names = ["errors", "entries", "alignment", "_attributes", "_bundle", "_directory"]
    lines = [f"import sprintcache.{name}" for name in names]
    assert run("\n".join(["import sys; sys.modules['sprintcache._reader'] = None", *lines])) == ""


def test_a_missing_compiled_module_is_explained() -> None:
    code = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "sprintcache._reader":
            raise ModuleNotFoundError("no " + name, name=name)

sys.meta_path.insert(0, Missing())
import sprintcache
try:
    sprintcache.open_archive
except ImportError as error:
    print(error)
print(sprintcache.FormatError.__name__)
"""
    first, second = run(code).splitlines()
    assert "compiled module" in first
    assert "pip install" in first
    assert second == "FormatError"


def test_the_demo_of_the_readme_needs_only_public_names() -> None:
    used = set()
    for path in [*sources("examples"), ROOT / "README.md"]:
        used |= set(re.findall(r"\bsprintcache\.([A-Za-z_]\w*)", path.read_text("utf-8")))
    modules = {name.partition(".")[0] for name in LEVELS["sprintcache"]}
    assert used <= {*sprintcache.__all__, *modules}, used


# ---- statements that do not belong in a library ------------------------------------------------


def test_input_is_not_checked_with_assert_and_nothing_prints() -> None:
    for path in PACKAGE_SOURCES:
        for node in ast.walk(tree(path)):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
            printing = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
            assert not printing or module_name(path) == "cli", f"{path}"


def test_the_compiled_module_neither() -> None:
    for path in sorted(PACKAGE.rglob("*.px*")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            assert not re.match(r"\s*(assert|print)\b", line), f"{path.name}:{number}"
