"""Who may import whom, what importing costs, and statements that do not belong in a library."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sprintcache

PACKAGE = Path(sprintcache.__file__).parent
ROOT = PACKAGE.parent

# module -> what it may import of the package; a module that is not here fails the test
CORE = {
    "__init__": set(),
    "errors": set(),
    "entries": set(),
    "alignment": set(),
    "directory": set(),
    "attributes": {"errors"},
    "bliss": {"errors"},
    "bundle": {"errors", "files"},
    "_reader": {"errors", "alignment", "entries"},
    "allophones": {"_reader", "alignment", "errors"},
    "archive": {"_reader", "alignment", "attributes", "entries", "errors", "opening"},
    "opening": {"archive", "bundle", "directory", "files"},
    "alignment_encoding": {"alignment"},
    "files": {"errors"},
    "encoding": {"_reader", "alignment", "alignment_encoding", "entries", "files"},
    "archive_file": {"errors", "files", "output"},
    "output": {"_reader", "files"},
    "partial": {"errors", "files"},
    "recovery": {"archive_file", "entries", "files", "opening", "partial"},
    "storing": {"archive_file", "encoding"},
    "writer": {
        "alignment",
        "archive_file",
        "attributes",
        "encoding",
        "entries",
        "errors",
        "files",
        "opening",
        "partial",
        "recovery",
        "storing",
    },
    "transfer": {"archive_file", "errors"},
    "plan": set(),
    "combining": {"errors", "opening", "plan", "threads", "transfer", "writer", "storing"},
    "convert": {"alignment", "convert", "errors", "files", "opening", "threads", "writer"},
    "options": set(),
    "ordering": {"options"},
    "batching": set(),
    "sampling": {"batching", "ordering"},
    "dataset_base": {"errors", "options", "ordering"},
    "matching": set(),
    "dataset_reader": {"alignment", "allophones", "errors", "opening"},
    "corpus": {"dataset_reader", "errors", "matching", "options"},
    "dataset": {"corpus", "dataset_base", "dataset_reader", "matching", "options"},
    "states": {"alignment"},
    "threads": set(),
    "automata": {"automata", "errors"},
    "accumulators": set(),
    "boundaries": set(),
    "units": {"errors", "states"},
    "statistics": {"accumulators", "errors", "options", "threads", "units"},
    "comparison": {"accumulators", "boundaries", "errors", "options", "threads", "units"},
    "verification": {"bundle", "entries", "errors", "opening", "states", "threads"},
}
# on top: these may import anything, and nothing imports them
TOOLS = {"__main__", "cli", "compat", "plot", "ray", "returnn", "torch"}
INSIDE_FUNCTIONS = {("archive", "opening")}  # unpickling opens again
FOREIGN = {"numpy", "tqdm"}
OF_ONE_MODULE = {
    "h5py": "convert",
    "kaldi_native_io": "convert",
    "matplotlib": "plot",
    "pyarrow": "ray",
    "ray": "ray",
    "returnn": "returnn",
    "torch": "torch",
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def layer(path: Path) -> str:
    """The module's name; everything below a package inside the package counts as that."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(absolute name, whether inside a function) of whatever is imported at run time."""
    package = ["sprintcache", *path.relative_to(PACKAGE).parts[:-1]]

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if is_type_checking(child):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                base = base + (child.module.split(".") if child.module else [])
                if base == ["sprintcache"]:
                    yield from ((f"sprintcache.{alias.name}", inside) for alias in child.names)
                else:
                    yield ".".join(base), inside
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, inside or function)

    yield from walk(tree(path), False)


@pytest.mark.parametrize("path", sources("sprintcache"), ids=lambda path: path.stem)
def test_modules_import_what_is_below_them(path: Path) -> None:
    name = layer(path)
    assert name in CORE or name in TOOLS, "a new module: say in CORE what it may import"
    for imported, inside in imports(path):
        top, _, rest = imported.partition(".")
        assert top != "sprint_ctl"
        if top != "sprintcache":
            known = top in sys.stdlib_module_names or top in FOREIGN
            assert known or OF_ONE_MODULE.get(top) == name, imported
            assert top != "tqdm" or name in TOOLS
            continue
        target = rest.partition(".")[0]
        if name in TOOLS:
            continue
        assert target in CORE[name], f"{name} imports {imported}"
        assert inside == ((name, target) in INSIDE_FUNCTIONS), f"{name} imports {imported}"


def test_the_compiled_module_imports_what_is_below_it() -> None:
    found = set()
    for path in [*PACKAGE.glob("*.pyx"), *PACKAGE.glob("*.px[id]")]:
        for line in path.read_text("utf-8").splitlines():
            if re.match(r"\s*(from|c?import) ", line) and "sprintcache" in line:
                found |= set(re.findall(r"sprintcache\.(\w+)", line))
                names = re.match(r"from sprintcache import (.+)", line)
                found |= set(names[1].split(", ")) if names else set()
            assert "sprint_ctl" not in line
    assert found - {"_cursor"} == CORE["_reader"]


def test_nothing_below_needs_the_compiled_module() -> None:
    """What Sprint's own interpreter may import."""
    below = [name for name in CORE if reaches(name) and name != "_reader"]
    pure = set(CORE) - set(below) - {"_reader"}
    assert {"errors", "alignment", "entries", "attributes", "bundle", "directory"} <= pure


def reaches(name: str, target: str = "_reader") -> bool:
    seen: set[str] = set()
    waiting = {name}
    while waiting:
        seen |= waiting
        waiting = set().union(*(CORE[known] for known in waiting)) - seen
    return target in seen


@pytest.mark.parametrize("name", ["__init__", "errors", "options", "ordering", "dataset_base"])
def test_what_sprint_imports_is_of_python_3_8(name: str) -> None:
    source = (PACKAGE / f"{name}.py").read_text("utf-8")
    ast.parse(source, feature_version=(3, 8))
    assert "from __future__ import annotations" in source


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


@pytest.mark.parametrize(
    "name", ["errors", "entries", "alignment", "attributes", "bundle", "directory"]
)
def test_pure_modules_work_without_the_compiled_one(name: str) -> None:
    blocked = "import sys; sys.modules['sprintcache._reader'] = None; "
    assert run(f"{blocked}import sprintcache.{name}") == ""


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
    modules = set(CORE) | TOOLS
    assert used <= {*sprintcache.__all__, *modules, "_reader"}, used


# ---- statements that do not belong in a library ------------------------------------------------


@pytest.mark.parametrize("path", [*sources("sprintcache"), *sources("sprint_ctl")], ids=str)
def test_input_is_not_checked_with_assert_and_nothing_prints(path: Path) -> None:
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
        printing = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        assert not printing or layer(path) == "cli", f"{path}"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.px*")), ids=lambda path: path.name)
def test_the_compiled_module_neither(path: Path) -> None:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        assert not re.match(r"\s*(assert|print)\b", line), f"{path.name}:{number}"
