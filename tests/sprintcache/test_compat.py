"""The old names: one script, run over RETURNN's reader, i6_core's and ours."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprintcache import compat
from tests.oracle import builder
from tests.paths import DATA, full_data

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning"
)

FEATURES = ["features.bundle", "features.part1.cache"]
ALIGNMENTS = ["alignment.linear.cache", "alignment.viterbi.cache", "alignment.bw.gz.cache"]
ALIGNMENTS.append("alignment.viterbi-noalphabet.cache")  # compressed
FULL = ["features.cache", "features.gz.cache", "features.holes.cache", "alignment.bw.cache"]


@pytest.fixture(autouse=True)
def closed_files() -> Iterator[None]:
    """Collects the files that the peers leave open, while their warning is ignored."""
    yield
    gc.collect()


def returnn_reader() -> ModuleType:
    return pytest.importorskip("returnn.sprint.cache", reason="the peer is not installed")


def i6_reader() -> ModuleType:
    """Of a checkout, since it is in no package index."""
    path = Path(os.environ.get("I6_CORE", ""), "lib", "rasr_cache.py")
    if not path.is_file():
        pytest.skip("I6_CORE names no checkout of i6_core")
    spec = importlib.util.spec_from_file_location("rasr_cache", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=[returnn_reader, i6_reader], ids=["returnn", "i6_core"])
def peer(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param()
    return module


def same(ours: Any, theirs: Any) -> bool:
    """Equal, and of the same types, dtypes and shapes all the way down."""
    if isinstance(theirs, compat.FileInfo) or type(theirs).__name__ == "FileInfo":
        return same(vars(ours), vars(theirs))
    if type(ours) is not type(theirs):
        return False
    if isinstance(theirs, np.ndarray):
        return bool(ours.dtype == theirs.dtype and np.array_equal(ours, theirs))
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and same([*ours.values()], [*theirs.values()])
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def script(cache: ModuleType, path: Path) -> dict[str, Any]:
    """What a script does with an archive: every call that gives a value."""
    archive = cache.open_file_archive(str(path))
    camel = hasattr(archive, "setAllophones") and not hasattr(archive, "set_allophones")
    (archive.setAllophones if camel else archive.set_allophones)(str(DATA / "allophones"))
    names = list(archive.file_list())
    actual: dict[str, Any] = {"names": names, "has": archive.has_entry(names[0])}
    actual["has not"] = archive.has_entry("unknown")
    archives = [archive]
    if isinstance(archive, cache.FileArchiveBundle):
        archives = list(archive.archives.values())
    actual["tables"] = [part.ft for part in archives]
    actual["allophones"] = [part.allophones for part in archives]
    kinds = ["align", "align_raw"] if "alignment" in path.name else ["feat"]
    if ".bw." in path.name:
        kinds.remove("align_raw")  # theirs decodes the state
    for name in names:
        for kind in ["str"] if name.endswith(".attribs") else kinds:
            actual[f"{name} as {kind}"] = archive.read(name, kind)
    with pytest.raises(KeyError):
        archive.read("unknown", "str")
    return actual


@pytest.mark.parametrize("name", [*FEATURES, *ALIGNMENTS, *FULL])
def test_a_script_gets_the_same_from_both(
    peer: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DATA
    if name in FULL:
        full = full_data()
        if full is None:
            pytest.skip("the full set of real files is not here")
        folder = full / "archives"
    monkeypatch.chdir(folder)  # i6_core's paths in a bundle
    ours, theirs = script(compat, folder / name), script(peer, folder / name)
    assert list(ours) == list(theirs)
    for what, value in theirs.items():
        assert same(ours[what], value), what


def test_scalars_and_bytes_as_in_i6_core() -> None:
    theirs = i6_reader().open_file_archive(str(DATA / "energy.cache"))
    ours = compat.open_file_archive(DATA / "energy.cache")
    for name in ours.file_list():
        kind = "bytes" if name.endswith(".attribs") else "feat"
        assert same(ours.read(name, kind), theirs.read(name, kind)), name


def test_short_names_are_found_where_one_entry_has_them(tmp_path: Path, peer: ModuleType) -> None:
    path = tmp_path / "short.cache"
    path.write_bytes(builder.archive([("corpus/a", b"first"), ("corpus/b", b"second")]))
    for cache in (compat, peer):
        assert cache.open_file_archive(str(path)).read("b", "str") == "second"
    path.write_bytes(builder.archive([("x/a", b"first"), ("y/a", b"second"), ("y/b", b"")]))
    for cache in (compat, peer):
        with pytest.raises(KeyError):
            cache.open_file_archive(str(path)).read("a", "str")
        assert cache.open_file_archive(str(path)).read("y/b", "feat") is None


def write(cache: ModuleType, path: Path, features: list[Any], times: list[Any]) -> None:
    archive = cache.FileArchive(str(path), must_exists=False)
    camel = not hasattr(archive, "add_feature_cache")
    for name, rows, pairs in zip("abc", features, times, strict=True):
        (archive.addFeatureCache if camel else archive.add_feature_cache)(name, rows, pairs)
    archive.finalize()


def test_what_a_script_writes_is_the_same(peer: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    features = [rng.standard_normal((size, 3), np.float32) for size in (4, 1, 0)]
    times = [[(0.01 * t, 0.01 * t + 0.025) for t in range(len(f))] for f in features]
    paths = [tmp_path / "ours.cache", tmp_path / "theirs.cache"]
    write(compat, paths[0], features, times)
    write(peer, paths[1], features, times)
    for reader in (compat, peer):  # each reads both
        ours, theirs = (reader.open_file_archive(str(path)) for path in paths)
        assert list(ours.file_list()) == list(theirs.file_list())
        for name in ours.file_list():
            kind = "str" if name.endswith(".attribs") else "feat"
            assert same(ours.read(name, kind), theirs.read(name, kind)), name
    with (
        sprintcache.open_archive(paths[0]) as first,
        sprintcache.open_archive(paths[1]) as second,
    ):
        assert all(first.read_bytes(name) == second.read_bytes(name) for name in second)


def test_writing_as_scripts_do_it(tmp_path: Path) -> None:
    path = tmp_path / "new.cache"
    archive = compat.FileArchive(path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        archive.file_list()
    frames = np.arange(6.0).reshape(2, 3)
    archive.addFeatureCache("a", iter(frames), zip(range(2), range(1, 3), strict=True))
    assert archive.has_entry("a")
    assert not archive.has_entry("b")
    archive.addAttributes("b", 4, 0.5)
    archive.add_feature_cache("c", [[1], [2, 3]], [(0, 1), (1, 2)])  # theirs states a wrong size
    with pytest.raises(ValueError, match="entry 'a'"):
        archive.add_feature_cache("a", frames, [(0, 1), (1, 2)])
    with pytest.raises(sprintcache.SprintCacheError, match="after finalize"):
        archive.read("a", "feat")
    archive.finalize()
    times, features = archive.read("a", "feat")
    assert np.array_equal(times, [(0, 1), (1, 2)])
    assert np.array_equal(features, frames)
    assert [*archive.ft] == ["a", "a.attribs", "b.attribs", "c", "c.attribs"]
    with sprintcache.open_archive(path) as opened:
        assert [row.tolist() for row in opened.read("c")] == [[1], [2, 3]]
    with pytest.raises(FileExistsError):
        archive.add_feature_cache("d", frames, [(0, 1), (1, 2)])
    with pytest.raises(FileNotFoundError):
        compat.open_file_archive(tmp_path / "missing.cache")


def test_a_bundle_that_grows(tmp_path: Path) -> None:
    for number in range(2):
        entries = [("same", b"from %d" % number), (f"only{number}", b"x")]
        (tmp_path / f"{number}.cache").write_bytes(builder.archive(entries))
    (tmp_path / "first.bundle").write_text("0.cache\n")
    bundle = compat.FileArchiveBundle()
    assert list(bundle.file_list()) == []
    bundle.add_bundle_or_archive(tmp_path / "first.bundle")
    assert bundle.read("same", "str") == "from 0"
    bundle.add_bundle_or_archive(tmp_path / "1.cache")
    assert bundle.read("same", "str") == "from 1"  # as theirs: the last archive
    assert list(bundle.file_list()) == ["same", "only0", "only1"]
    homes = {name: os.path.basename(home.filename) for name, home in bundle.files.items()}
    assert homes == {"same": "1.cache", "only0": "0.cache", "only1": "1.cache"}


def test_frames_of_different_size(peer: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "ragged.cache"
    payload = builder.features([[1.0, 2.0, 3.0], [4.0]])
    path.write_bytes(builder.archive([("a", payload)]))
    ours, theirs = (cache.open_file_archive(str(path)) for cache in (compat, peer))
    assert same(ours.read("a", "feat"), theirs.read("a", "feat"))
    path.write_bytes(builder.archive([("a", payload + payload)]))  # theirs stops after a block
    times, frames = compat.open_file_archive(path).read("a", "feat")
    assert [frame.tolist() for frame in frames] == [[1, 2, 3], [4]] * 2
    assert len(times) == 4
    path.write_bytes(builder.archive([("a", payload[:-1])]))
    with pytest.raises(sprintcache.TruncatedError):
        compat.open_file_archive(path).read("a", "feat")


def test_a_bundle_of_another_name(
    peer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made as a bundle is one, by the name of the class."""
    (tmp_path / "0.cache").write_bytes(builder.archive([("a", b"x")]))
    (tmp_path / "list.txt").write_text("0.cache\n")
    monkeypatch.chdir(tmp_path)  # i6_core's paths in a bundle
    for cache in (compat, peer):
        bundle = cache.FileArchiveBundle(str(tmp_path / "list.txt"))
        assert list(bundle.file_list()) == ["a"]
        assert bundle.read("a", "str") == "x"


def test_what_is_wrong_and_what_is_left_out(tmp_path: Path) -> None:
    archive = compat.open_file_archive(DATA / "alignment.linear.cache")
    name = next(iter(archive.file_list()))
    with pytest.raises(sprintcache.FormatError):
        archive.read(name, "feat")
    with pytest.raises(ValueError, match="'align_raw'"):
        archive.read(name, "flow")
    with pytest.raises(AttributeError, match="left out"):
        archive.read_u32()
    with pytest.raises(ValueError, match="UTF-8"):
        compat.open_file_archive(DATA / "energy.cache", encoding="latin-1")
    emissions = builder.alignment_rle([(0, 40), (1, 41)], magic=b"ALIGNEMI")
    path = tmp_path / "emissions.cache"
    path.write_bytes(builder.archive([("a", builder.alignment_entry(emissions))]))
    ids = compat.open_file_archive(path)
    assert ids.read("a", "align_raw") == [(0, 40, None, 1), (1, 41, None, 1)]
    with pytest.raises(sprintcache.UnsupportedError, match="align_raw"):
        ids.read("a", "align")
    assert compat.AllophoneLabeling is sprintcache.AllophoneLabeling
    for left_out in (compat.MixtureSet, compat.WordBoundaries):
        with pytest.raises(NotImplementedError, match="RETURNN"):
            left_out("file")


def test_which_files_are_archives(peer: ModuleType) -> None:
    theirs = getattr(peer, "is_sprint_cache_file", None) or peer.is_rasr_cache_file
    for path in DATA.iterdir():
        if path.suffix == ".gz":  # theirs decodes the first bytes as ASCII
            assert not compat.is_sprint_cache_file(path)
            continue
        for ours in (compat.is_sprint_cache_file, compat.is_rasr_cache_file):
            assert ours(path) == theirs(str(path)), path
    with pytest.raises(FileNotFoundError):
        compat.is_sprint_cache_file(DATA / "missing")


def test_a_bundle_has_one_path_a_line_with_blanks(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    for part in ("a b.cache", "c.cache"):
        (folder / part).write_bytes(builder.archive([(f"from {part}", b"x")]))
    (folder / "all.bundle").write_bytes(os.fsencode(f"{folder}/a b.cache\r\n\nc.cache\n"))
    names = ["from a b.cache", "from c.cache"]
    assert list(compat.FileArchiveBundle(folder / "all.bundle").file_list()) == names
    assert list(compat.open_file_archive(str(folder / "all.bundle")).file_list()) == names


def test_repeated_allophones_count_once(tmp_path: Path) -> None:
    """As in Sprint: the index of a later allophone does not move."""
    (tmp_path / "allophones").write_text("a{#+#}\nb{#+#}\na{#+#}\nc{#+#}\n")
    archive = compat.FileArchiveBundle()
    archive.set_allophones(tmp_path / "allophones")
    assert archive.get_allophones_list() == ["a{#+#}", "b{#+#}", "c{#+#}"]
