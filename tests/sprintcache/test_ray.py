"""Archives as a Ray Data dataset, on a local cluster of two workers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sprintcache
from sprintcache import AllophoneLabeling, open_archive
from tests.oracle import builder
from tests.paths import DATA

ALIGNED = DATA / "alignment.viterbi.cache"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ray_statistics.py"

pytestmark = pytest.mark.filterwarnings("ignore")


def test_without_ray_the_extra_is_named() -> None:
    code = "import sys; sys.modules['ray'] = None; import sprintcache.ray"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "pip install 'sprintcache[ray]'" in done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def read() -> Iterator[Any]:
    """`read_archives`, with the cluster that it needs."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        try:
            from sprintcache.ray import read_archives

            yield read_archives
        finally:
            ray.shutdown()


@pytest.fixture(scope="module")
def labeling() -> AllophoneLabeling:
    tying = DATA / "state-tying" / "monophone"
    return AllophoneLabeling("[SILENCE]", DATA / "allophones", state_tying_file=tying)


@pytest.mark.parametrize("block_frames", [1, 1000])
def test_rows_of_segments(read: Any, labeling: AllophoneLabeling, block_frames: int) -> None:
    actual = read(
        DATA / "features.bundle",
        alignments=ALIGNED,
        labeling=labeling,
        block_frames=block_frames,
        override_num_blocks=4,
    )
    assert actual.count() == 24
    with open_archive(DATA / "features.bundle") as features, open_archive(ALIGNED) as alignments:
        rows = actual.take_all()
        assert [row["segment"] for row in rows] == [*features.segments]
        for row in rows:
            expected = features.read_features(row["segment"])
            assert row["features"].dtype == np.float32
            assert np.array_equal(row["features"], expected)
            assert row["labels"].dtype == np.int32
            expected_labels = alignments.read_labels(row["segment"], labeling)
            assert np.array_equal(row["labels"], expected_labels)


def test_rows_of_frames(read: Any) -> None:
    actual = read(DATA / "features.bundle", rows="frames", block_frames=700, override_num_blocks=3)
    batch = actual.take_batch(10_000, batch_format="numpy")
    with open_archive(DATA / "features.bundle") as archive:
        matrices = {name: archive.read_features(name) for name in archive.segments}
    assert list(batch) == ["segment", "frame", "features"]
    assert np.array_equal(batch["features"], np.concatenate([*matrices.values()]))
    assert batch["features"].dtype == np.float32
    names = [name for name, matrix in matrices.items() for _ in matrix]
    assert batch["segment"].tolist() == names
    assert batch["frame"].tolist() == [i for m in matrices.values() for i in range(len(m))]


def write(path: Path, entries: dict[str, bytes]) -> Path:
    path.write_bytes(builder.archive([*entries.items()]))
    return path


def test_several_archives_count_as_a_bundle(read: Any, tmp_path: Path) -> None:
    frames = {name: builder.features([[float(value)]]) for value, name in enumerate("abc")}
    first = write(tmp_path / "1.cache", {"x": frames["a"], "y": frames["b"], "empty": b""})
    second = write(tmp_path / "2.cache", {"y": frames["c"], "z": frames["a"]})
    actual = read([first, str(second)], block_frames=1, override_num_blocks=5).take_all()
    assert {row["segment"]: row["features"].tolist() for row in actual} == {
        "x": [[0.0]], "y": [[2.0]], "empty": [], "z": [[0.0]],
    }  # fmt: skip
    by_frame = read([first, second], rows="frames").take_all()
    assert [(row["segment"], row["frame"]) for row in by_frame] == [("x", 0), ("y", 0), ("z", 0)]


def test_archives_that_moved(read: Any, tmp_path: Path) -> None:
    write(tmp_path / "1.cache", {"x": builder.features([[2.5]])})
    actual = read("/old/1.cache", path_map={"/old": str(tmp_path)}).take_all()
    assert [(row["segment"], row["features"].tolist()) for row in actual] == [("x", [[2.5]])]


def test_what_the_driver_passes_to_ray(read: Any, labeling: AllophoneLabeling) -> None:
    from sprintcache.ray import ArchiveDatasource, EntryLocation, Options, SegmentRef

    options = Options("segments", 1000, "error", "auto")
    locations = [EntryLocation(f"{i // 4}.cache", 100) for i in range(12)]
    segments = [
        SegmentRef(f"s{i}", location, EntryLocation("a.cache", 5))
        for i, location in enumerate(locations)
    ]
    source = ArchiveDatasource(segments, None, options)
    assert source.estimate_inmemory_data_size() == 1200
    tasks = source.get_read_tasks(3)
    assert [task.metadata.num_rows for task in tasks] == [4, 4, 4]
    assert [task.metadata.size_bytes for task in tasks] == [400, 400, 400]
    assert list(tasks[1].metadata.input_files) == ["1.cache", "a.cache"]
    by_frames = ArchiveDatasource(segments, None, options._replace(rows="frames"))
    assert by_frames.get_read_tasks(1)[0].metadata.num_rows is None
    assert len(source.get_read_tasks(100)) == 12
    assert ArchiveDatasource([], None, options).get_read_tasks(3) == []


@settings(max_examples=100)
@given(st.lists(st.integers(0, 1000), max_size=50), st.integers(1, 60))
def test_ranges_have_everything_once(sizes: list[int], parts: int) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    from sprintcache.ray import _ranges

    ranges = _ranges(np.array(sizes, np.int64), parts)
    assert [i for start, stop in ranges for i in range(start, stop)] == [*range(len(sizes))]
    assert len(ranges) <= parts
    assert all(start < stop for start, stop in ranges)
    biggest = max((sum(sizes[start:stop]) for start, stop in ranges), default=0)
    assert biggest <= sum(sizes) / parts + max(sizes, default=0)


def test_segments_without_alignment(
    read: Any, labeling: AllophoneLabeling, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_archive(DATA / "features.part1.cache") as archive:
        name = archive.segments[0]
        entries = {n: archive.read_bytes(n) for n in (name, archive.segments[1])}
    features = write(tmp_path / "f.cache", {"unaligned": entries[name], **entries})
    options = {"alignments": ALIGNED, "labeling": labeling}
    with pytest.raises(sprintcache.EntryNotFoundError, match=r"'unaligned'.*nor of 0 other"):
        read(features, **options)
    with caplog.at_level("WARNING", "sprintcache"):
        actual = read(features, missing="skip", **options)
    assert "1 of 3 segments" in caplog.text
    assert [row["segment"] for row in actual.take_all()] == [*entries]


def test_errors_of_tasks_are_ours(read: Any, labeling: AllophoneLabeling, tmp_path: Path) -> None:
    one = builder.features([[1.0]])
    items = builder.alignment_entry(builder.alignment_rle([(0, 7), (1, 7)], magic=b"ALIGNEMI"))
    aligned = write(tmp_path / "a.cache", {"x": items})
    ragged = {"x": one, "y": builder.features([[1.0, 2.0]])}
    cases = [
        (ragged, {}, sprintcache.FormatError, "entry 'y'.*expected 1, found 2"),
        ({"x": one[:-1]}, {}, sprintcache.TruncatedError, "entry 'x'"),
        ({"x": one}, {"alignments": aligned}, sprintcache.LabelError, "expected 1 frames, found 2"),
    ]
    for entries, options, kind, message in cases:
        path = write(tmp_path / "f.cache", entries)
        with pytest.raises(kind, match=message):
            read(path, override_num_blocks=1, **options).take_all()
    for wrong in ({"rows": "bytes"}, {"missing": "no"}, {"block_frames": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            read(path, **wrong)


def test_the_example_equals_one_process(read: Any, labeling: AllophoneLabeling) -> None:
    from ray import cloudpickle

    spec = importlib.util.spec_from_file_location("ray_statistics", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = example
    spec.loader.exec_module(example)
    cloudpickle.register_pickle_by_value(example)  # the workers cannot import it by name
    files = str(DATA / "features.bundle"), str(ALIGNED), labeling
    actual, expected = example.with_ray(*files), example.alone(*files)
    assert actual.frames == expected.frames == 7465
    assert np.array_equal(actual.labels, expected.labels)
    assert actual.labels.sum() == 7465
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(actual.variance, expected.variance, rtol=1e-12)
    assert np.allclose(actual.variance, 1, atol=1e-5)  # Sprint normalized these features
