"""The public names, and the signatures that the contract promises."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sprintcache
from sprintcache import Alignment, AllophoneLabeling, Archive, Block, EntryInfo, open_archive

PACKAGE = Path(sprintcache.__file__).parent

READING = {
    "Alignment", "AllophoneLabeling", "Archive", "ArchiveChangedError", "Block",
    "ClosedArchiveError", "CorruptError", "EntryInfo", "EntryNotFoundError", "FormatError",
    "LabelError", "ScanReport", "SkippedRange", "SprintCacheError", "TruncatedError",
    "UnsupportedError", "open_archive", "verify",
}  # fmt: skip

# as in the design's contract, without annotations
SIGNATURES = {
    "open_archive": "path, io='auto', *, path_map=None, index='auto'",
    "write_index": "path, to=None, *, path_map=None, num_threads=None",
    "Archive.entry": "self, name",
    "Archive.read": "self, name",
    "Archive.datatype": "self, name",
    "Archive.read_blocks": "self, name",
    "Archive.read_bytes": "self, name",
    "Archive.read_text": "self, name",
    "Archive.read_attributes": "self, name",
    "Archive.read_features": "self, name, out=None, *, start=0, stop=None",
    "Archive.read_times": "self, name",
    "Archive.num_frames": "self, name",
    "Archive.num_frames_all": "self, num_threads=1",
    "Archive.read_features_batch": (
        "self, names, out=None, num_threads=1, *, starts=None, stops=None"
    ),
    "Archive.read_alignment": "self, name",
    "Archive.read_labels": (
        "self, name, labeling, on_alphabet_mismatch='error', *, start=0, stop=None"
    ),
    "Archive.read_labels_batch": (
        "self, names, labeling, pad=-1, out=None, num_threads=1, on_alphabet_mismatch='error',"
        " *, starts=None, stops=None"
    ),
    "Archive.iter_features": "self, prefetch=...",
    "Archive.iter_labels": "self, labeling, on_alphabet_mismatch='error', prefetch=...",
    "Archive.close": "self",
    "Archive.check_unchanged": "self",
    "Alignment": (
        "time, emission, weight=None, *, alphabet=None, label_type='allophone-state',"
        " start=None, end=None, weighted=None"
    ),
    "AllophoneLabeling": (
        "silence_phone, allophone_file, phoneme_file=None, state_tying_file=None, verbose_out=None,"
        " *, label_scheme=None, lexicon_file=None, num_states=3"
    ),
    "AllophoneLabeling.get_label_idx": "self, allo_idx, state_idx",
    "AllophoneLabeling.get_label_idx_by_allo_state_idx": "self, allo_state_idx",
    "AllophoneLabeling.labels": "self, alignment, on_alphabet_mismatch='error'",
}
ATTRIBUTES = {
    Alignment: "time emission weight alphabet label_type start end weighted allophone state"
    " is_viterbi num_frames",
    Archive: "segments scan_report path io is_closed __len__ __contains__ __iter__ __enter__"
    " __exit__",
}


def test_all_is_sorted_and_complete() -> None:
    assert sprintcache.__all__ == sorted(set(sprintcache.__all__))
    assert set(sprintcache.__all__) >= READING
    public = {name for name in dir(sprintcache) if not name.startswith("_")}
    modules = {path.stem for path in PACKAGE.iterdir()} | {
        "annotations",
        "importlib",
        "Any",
        "TYPE_CHECKING",
    }
    assert public - modules == set(sprintcache.__all__)


@pytest.mark.parametrize("name", sprintcache.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(sprintcache, name)
    assert value.__doc__
    assert value.__module__.startswith("sprintcache.")
    home = importlib.import_module(value.__module__)
    assert name in home.__all__
    assert getattr(home, name) is value
    assert pickle.loads(pickle.dumps(value)) is value


PUBLIC = ["sprintcache.bliss", "sprintcache.comparison", "sprintcache.statistics"]


@pytest.mark.parametrize("module", ["sprintcache", *PUBLIC])
def test_properties_are_documented_without_a_type(module: str) -> None:
    """Text before a colon in their first line would be rendered as their type."""
    home = importlib.import_module(module)
    for name in home.__all__:
        for attribute, value in vars(getattr(home, name)).items():
            is_property = isinstance(value, property) or inspect.isgetsetdescriptor(value)
            if is_property and not attribute.startswith("_"):
                assert value.__doc__, f"{name}.{attribute}"
                assert ": " not in value.__doc__.splitlines()[0], f"{name}.{attribute}"


def test_types_see_the_names_that_are_loaded_later() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = [
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(names) == sprintcache.__all__


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_archives'"):
        sprintcache.open_archives  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    value = sprintcache
    for part in name.split("."):
        value = getattr(value, part)
    parameters = inspect.signature(value).parameters.values()  # type: ignore[arg-type]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    actual = re.sub(r"prefetch=\d+", "prefetch=...", str(inspect.Signature(bare)))
    assert actual == f"({SIGNATURES[name]})"
    assert value.__doc__


@pytest.mark.parametrize("cls", ATTRIBUTES)
def test_attributes(cls: type) -> None:
    assert [name for name in ATTRIBUTES[cls].split() if not hasattr(cls, name)] == []


def test_plain_data() -> None:
    assert EntryInfo._fields == ("name", "position", "size", "compressed_size", "archive_path")
    assert Block._fields == ("datatype", "times", "data")
    assert inspect.isclass(Archive)
    assert open_archive.__module__ == "sprintcache.opening"
    assert AllophoneLabeling.__init__.__doc__


@pytest.mark.parametrize("name", sorted(vars(Archive)))
def test_every_method_says_what_it_does(name: str) -> None:
    if not name.startswith("_"):
        assert inspect.getdoc(getattr(Archive, name))


@pytest.mark.long
def test_the_stubs_of_the_compiled_modules(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in sorted(PACKAGE.rglob("*.pyx"))
    ]
    assert all(path.with_suffix(".pyi").is_file() for path in PACKAGE.rglob("*.pyx"))
    # names and parameters are compared; NumPy's own stubs would take two thirds of the time
    settings = tmp_path / "mypy.ini"
    settings.write_text(
        "[mypy]\n[mypy-numpy.*]\nfollow_imports = skip\nfollow_imports_for_stubs = true\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "mypy.stubtest", *modules),
            *("--concise", "--mypy-config-file", str(settings)),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PACKAGE.parent,
        env={**os.environ, "MYPY_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
