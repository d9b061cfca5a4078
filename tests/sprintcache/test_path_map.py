"""Files that moved: symbolic links to bundles, and path maps as mapping, variable and function."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from sprintcache import ArchiveWriter, open_archive, verify
from tests.oracle import builder


def archive(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(builder.archive([("c/1", text.encode())]))
    return path


def bundle(path: Path, *members: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{member}\n" for member in members))
    return path


def text_of(path: Path, **options: object) -> str:
    with open_archive(path, **options) as opened:  # type: ignore[arg-type]
        return opened.read_text("c/1")


# ---- symbolic links


def test_relative_paths_are_looked_up_where_a_link_leads(tmp_path: Path) -> None:
    """The output folder of a job links to the bundle in its work folder."""
    archive(tmp_path / "job/work/part.cache", "target")
    target = bundle(tmp_path / "job/work/all.bundle", "part.cache")
    (tmp_path / "job/output").mkdir()
    (tmp_path / "job/output/all.bundle").symlink_to("../work/all.bundle")
    (tmp_path / "all.bundle").symlink_to("job/output/all.bundle")
    assert text_of(tmp_path / "all.bundle") == text_of(target) == "target"
    archive(tmp_path / "job/output/part.cache", "link")
    assert text_of(tmp_path / "all.bundle") == "link"  # the nearest link first
    assert text_of(target) == "target"


def test_the_parent_of_a_linked_folder_is_that_of_its_target(tmp_path: Path) -> None:
    archive(tmp_path / "data/part.cache", "right")
    archive(tmp_path / "part.cache", "wrong")
    bundle(tmp_path / "data/bundles/all.bundle", "../part.cache")
    (tmp_path / "link").symlink_to(tmp_path / "data/bundles")
    assert text_of(tmp_path / "link/all.bundle") == "right"


# ---- maps


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A bundle with absolute and relative paths; the archives are in `new`, `old` is gone."""
    old = tmp_path / "old"
    bundle(old / "all.bundle", archive(old / "a.cache", "a"), "deep.bundle")
    bundle(old / "deep.bundle", archive(old / "sub/b.cache", "b"))
    shutil.move(old, tmp_path / "new")
    return tmp_path


def test_a_mapping_leads_to_the_new_folder(moved: Path) -> None:
    for path in (moved / "new/all.bundle", moved / "old/all.bundle"):
        with open_archive(path, path_map={str(moved / "old"): str(moved / "new")}) as opened:
            assert opened.read_text("c/1") == "b"
            new = str(moved / "new")
            assert opened.source_paths == (f"{new}/a.cache", f"{new}/sub/b.cache")
            assert pickle.loads(pickle.dumps(opened)).read_text("c/1") == "b"
    assert verify(moved / "new/all.bundle", path_map={str(moved / "old"): str(moved / "new")}).ok
    with pytest.raises(FileNotFoundError, match=f"no {moved}/old/a.cache"):
        open_archive(moved / "new/all.bundle")


def test_the_longest_old_path_counts_and_whole_names_only(tmp_path: Path) -> None:
    archive(tmp_path / "x/a.cache", "x")
    archive(tmp_path / "y/a.cache", "y")
    archive(tmp_path / "oldest/a.cache", "untouched")
    folders = {f"{tmp_path}/old": f"{tmp_path}/x", f"{tmp_path}/old/sub/": f"{tmp_path}/y/"}
    assert text_of(tmp_path / "old/a.cache", path_map=folders) == "x"
    assert text_of(tmp_path / "old/sub/a.cache", path_map=folders) == "y"
    assert text_of(tmp_path / "oldest/a.cache", path_map=folders) == "untouched"
    one_file = {f"{tmp_path}/old/a.cache": f"{tmp_path}/y/a.cache"}
    assert text_of(tmp_path / "old/a.cache", path_map=one_file) == "y"


def test_the_environment_variable(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINTCACHE_PATH_MAP", f"/none=/where:{moved}/old={moved}/new")
    assert text_of(moved / "old/all.bundle") == "b"
    with pytest.raises(FileNotFoundError):
        open_archive(moved / "old/all.bundle", path_map={})
    monkeypatch.setenv("SPRINTCACHE_PATH_MAP", "old")
    with pytest.raises(ValueError, match="SPRINTCACHE_PATH_MAP"):
        open_archive(moved / "new/a.cache")


def test_writing_ignores_the_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "old/a.cache", "old")
    archive(tmp_path / "new/a.cache", "new, and longer")
    monkeypatch.setenv("SPRINTCACHE_PATH_MAP", f"{tmp_path}/old={tmp_path}/new")
    with ArchiveWriter(tmp_path / "old/a.cache", "a") as writer:
        writer.add_text("c/2", "more")
    with open_archive(tmp_path / "old/a.cache", path_map={}) as opened:
        assert [opened.read_text(name) for name in opened] == ["old", "more"]


def test_a_function_copies_files_to_the_local_disk(tmp_path: Path) -> None:
    """As the cache manager's `cf` does: it is called with existing files only."""
    bundle(tmp_path / "far/all.bundle", "a.cache", archive(tmp_path / "far/b.cache", "b"))
    archive(tmp_path / "far/a.cache", "a")
    (tmp_path / "near").mkdir()
    copied = []

    def cf(path: str) -> Path:
        copied.append(os.path.basename(path))
        return Path(shutil.copy(path, tmp_path / "near"))

    with open_archive(tmp_path / "far/all.bundle", path_map=cf) as opened:
        assert {os.path.dirname(path) for path in opened.source_paths} == {f"{tmp_path}/near"}
        assert opened.read_text("c/1") == "b"
    assert copied == ["all.bundle", "a.cache", "b.cache"]


@pytest.mark.parametrize("wrong", [{"old": "/new"}, {"/old": "new"}, {"": "/new"}])
def test_relative_paths_in_a_map_are_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="absolute"):
        open_archive(archive(tmp_path / "a.cache", "a"), path_map=wrong)
    with pytest.raises(TypeError, match="path_map"):
        open_archive(tmp_path / "a.cache", path_map="/old=/new")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{b"/old": b"/new"}, {"/old": 1}, lambda _: None, lambda _: b"/a"]
)
def test_what_is_not_a_path_is_refused(tmp_path: Path, wrong: Any) -> None:
    path = tmp_path / "a.bundle"
    path.write_text("/old/a.cache\n")
    with pytest.raises(TypeError, match="path_map must"):
        open_archive(path, path_map=wrong)
