"""Real Sprint archives decode to what the real archiver printed of them (`expected/`).

What is not in the tests is read from the full set of real files, and skipped where that is
absent.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sprintcache import (
    Alignment,
    AllophoneLabeling,
    Archive,
    ScanReport,
    open_archive,
)
from sprintcache import (
    _bundle as bundle,
)
from tests.oracle import reference
from tests.oracle.compare import IOS, READINGS, Checker, Labeling, label_readings
from tests.sprintcache.test_reference import (
    ALIGNMENTS,
    FEATURES,
    KILLED,
    PRINTED,
    SAMPLES,
    allophones,
    listed,
    monophone_tying,
    real_file,
    shown,
)

ARCHIVES = [*ALIGNMENTS, *FEATURES, *SAMPLES]
io_modes = pytest.mark.parametrize("io", IOS)


def opened(name: str, io: str = "auto") -> Archive:
    return open_archive(real_file("archives", name), io)


@pytest.mark.parametrize("name", [*ARCHIVES, KILLED])
def test_every_entry_is_what_the_reference_reads(name: str, scratch: Path) -> None:
    ours = AllophoneLabeling(
        "[SILENCE]",
        real_file(".", "allophones"),
        state_tying_file=real_file("state-tying", "monophone"),
    )
    labeling = Labeling(ours, tuple(allophones()), monophone_tying())
    checker = Checker(scratch / name, (*READINGS, *label_readings(labeling)))
    assert checker.check(real_file("archives", name).read_bytes()) == []


@pytest.mark.parametrize("name", [*ARCHIVES, KILLED, "features.bundle"])
def test_entries_are_what_the_archiver_lists(name: str) -> None:
    with opened(name) as archive:
        entries = [archive.entry(entry) for entry in archive]
    actual = [(entry.name, entry.size, entry.compressed_size) for entry in entries]
    expected = listed(name)
    assert expected
    if name == KILLED:  # Sprint's scan loses sync where ours does not
        assert set(expected) <= set(actual)
    else:
        assert actual == expected


@io_modes
@pytest.mark.parametrize("name", ["features.cache", "features.holes.cache"])
def test_features_are_what_the_archiver_shows(name: str, io: str) -> None:
    expected = shown(f"{name}.show.gz")
    with opened(name, io) as archive:
        assert list(archive.segments) == list(expected)
        for segment, lines in expected.items():
            printed = np.array([line.split() for line in lines], np.float64)
            features = archive.read_features(segment)
            assert features.dtype == np.float32
            np.testing.assert_allclose(features, printed[:, 2:], rtol=0, atol=PRINTED)
            np.testing.assert_allclose(archive.read_times(segment), printed[:, :2], atol=5.1e-4)


@io_modes
@pytest.mark.parametrize(("name", "datatype"), [("energy", "f32"), ("samples", "vector-s16")])
def test_packets_are_what_the_archiver_shows_as_xml(name: str, datatype: str, io: str) -> None:
    expected = shown(f"{name}.cache.flow.gz")
    with opened(f"{name}.cache", io) as archive:
        assert list(archive.segments) == list(expected)
        for segment, lines in expected.items():
            assert "".join(as_xml(archive, segment, datatype)) == "".join(lines).strip()


def as_xml(archive: Archive, segment: str, datatype: str) -> Iterator[str]:
    for block in archive.read_blocks(segment):
        assert block.datatype == datatype
        assert block.times is not None
        for (start, end), packet in zip(block.times, block.data, strict=True):
            size = f' size="{len(packet)}"' if packet.ndim else ""
            text = " ".join(f"{value:g}" for value in np.atleast_1d(packet))
            opening = f'<{datatype} start="{start:g}" end="{end:g}"{size}>'
            yield f"{opening}{text}</{datatype}>"


@io_modes
@pytest.mark.parametrize("kind", ["linear", "viterbi", "viterbi-noalphabet", "bw"])
def test_alignments_are_what_the_archiver_shows(kind: str, io: str) -> None:
    expected = shown(f"alignment.{kind}.cache.show.gz")
    with opened(f"alignment.{kind}.cache", io) as archive:
        assert list(archive.segments) == list(expected)
        for segment, lines in expected.items():
            alignment = archive.read_alignment(segment)
            assert len(alignment) == len(lines)
            assert alignment.is_viterbi == (kind != "bw")
            *printed, printed_weights = zip(*map(printed_item, lines), strict=True)
            *columns, weights = zip(*items(alignment), strict=True)
            assert columns == printed
            np.testing.assert_allclose(weights, printed_weights, rtol=0, atol=PRINTED)


def items(alignment: Alignment) -> Iterator[tuple[int, int, int, int, str, float]]:
    """(time, emission, allophone, state, symbol, weight); the symbol is that of the alphabet."""
    columns = [
        alignment.time.tolist(),
        alignment.emission.tolist(),
        alignment.allophone.tolist(),
        alignment.state.tolist(),
    ]
    for *ids, weight in zip(*columns, alignment.weight.tolist(), strict=True):
        emission = ids[1]
        if alignment.alphabet is None:
            yield (*ids, reference.state_symbol(emission, allophones()), weight)
        else:
            yield (*ids, alignment.alphabet[emission], weight)


def printed_item(line: str) -> tuple[int, int, int, int, str, float]:
    """`time= T emission= E allophone= A index= I state= S`, and the weight where it is not 1."""
    time, emission, allophone, index, state, *weight = re.sub(r"\w+\s*=", " ", line).split()
    symbol = f"{allophone}.{state}"
    return (
        int(time),
        int(emission),
        int(index),
        int(state),
        symbol,
        float(weight[0]) if weight else 1.0,
    )


@io_modes
@pytest.mark.parametrize(
    "name", ["features.gz.cache", "features.gather50.cache", "features.bundle", "parts"]
)
def test_features_are_bit_equal_however_they_are_stored(name: str, io: str) -> None:
    with opened("features.cache", io) as plain:
        if name == "parts":
            parts = [opened(f"features.part{part}.cache", io) for part in (1, 2, 3)]
        else:
            parts = [opened(name, io)]
        assert sorted(entry for part in parts for entry in part) == sorted(plain)
        for part in parts:
            for segment in part.segments:
                features = plain.read_features(segment)
                assert part.read_features(segment).tobytes() == features.tobytes()
                assert part.read_times(segment).tobytes() == plain.read_times(segment).tobytes()
                assert part.num_frames(segment) == len(features) > 0
                assert part.read_attributes(segment) == plain.read_attributes(segment)
            part.close()


def test_a_pass_and_the_counts_agree_with_single_reads() -> None:
    with opened("features.bundle") as archive:
        passed = list(archive.iter_features())
        assert [name for name, _ in passed] == list(archive.segments)
        assert archive.num_frames_all().tolist() == [len(features) for _, features in passed]
        for name, features in passed:
            assert features.tobytes() == archive.read_features(name).tobytes()


def test_gathered_features_have_blocks_of_51_frames() -> None:
    with opened("features.gather50.cache") as archive:
        for segment in archive.segments:
            sizes = [len(block.data) for block in archive.read_blocks(segment)]
            assert set(sizes[:-1]) == {51}
            assert 0 < sizes[-1] <= 51


def test_compressed_alignments_are_the_plain_ones() -> None:
    with opened("alignment.bw.cache") as plain, opened("alignment.bw.gz.cache") as compressed:
        assert list(plain) == list(compressed)
        for segment in plain.segments:
            assert plain.read_alignment(segment) == compressed.read_alignment(segment)


def test_audio_samples_are_equal_in_both_datatypes() -> None:
    with opened("samples.cache") as small, opened("samples-f64.cache") as large:
        assert list(small.segments) == list(large.segments)
        for segment in small.segments:
            for short, double in zip(
                small.read_blocks(segment), large.read_blocks(segment), strict=True
            ):
                assert (short.datatype, double.datatype) == ("vector-s16", "vector-f64")
                assert np.array_equal(short.times, double.times)
                for one, other in zip(short.data, double.data, strict=True):
                    assert one.dtype == np.int16
                    assert other.dtype == np.float64
                    assert np.array_equal(one, other)


@io_modes
def test_the_archive_of_a_killed_writer(io: str) -> None:
    with opened(KILLED, io) as killed, opened("features.bundle", io) as whole:
        assert {name for name, _, _ in listed(KILLED)} <= set(killed)
        assert set(killed) < set(whole)
        for segment in killed.segments:
            ours = killed.read_features(segment)
            assert ours.tobytes() == whole.read_features(segment).tobytes()
        report = killed.scan_report
        ends = [entry.position + 12 + entry.size + 4 for entry in map(killed.entry, killed)]
    path = real_file("archives", KILLED)
    assert isinstance(report, ScanReport)
    assert (report.path, report.num_entries, report.num_holes) == (str(path), len(ends), 0)
    (cut,) = report.skipped
    assert cut.offset == max(ends)
    assert cut.offset + cut.size == path.stat().st_size


def test_removed_entries_are_gone_and_leave_holes() -> None:
    with opened("features.holes.cache") as holes, opened("features.cache") as whole:
        removed = set(whole) - set(holes)
        assert removed == {"espeak/rec002/1", "espeak/rec004/1"}
        assert holes.scan_report is None
        entries = sorted(map(holes.entry, holes), key=lambda entry: entry.position)
    gaps = [
        entry.position - 8 - len(entry.name) - (before.position + 12 + before.size + 4)
        for before, entry in pairwise(entries)
    ]
    assert [gap for gap in gaps if gap] == [
        size + 24 + len(name) for name, size, _ in listed("features.cache") if name in removed
    ]


@pytest.mark.parametrize("name", ["features.part1.cache", "features.gz.cache", "energy.cache"])
def test_attributes(name: str) -> None:
    data = real_file("archives", name).read_bytes()
    texts = {
        row.name.decode(): reference.payload(data, row).decode()
        for row in reference.rows(data)
        if row.name.endswith(b".attribs")
    }
    assert texts
    with opened(name) as archive:
        for entry, text in texts.items():
            pairs = re.findall(r'<flow-attribute name="([^"]*)" value="([^"]*)"/>', text)
            expected = {html.unescape(key): html.unescape(value) for key, value in pairs}
            assert archive.read_attributes(entry) == expected
            assert archive.read_attributes(entry.removesuffix(".attribs")) == expected
            assert archive.read(entry) == text
            assert len(expected) > 1
            segment = entry.removesuffix(".attribs")
            assert archive.read_blocks(segment)[0].datatype == expected["datatype"]


def test_sprints_index_of_the_bundle_is_sound() -> None:
    path = str(real_file("archives", "features.bundle"))
    with open_archive(path) as archive:
        names = set(archive)
    assert bundle.index_problem(path, names) is None
    assert "stale" in (bundle.index_problem(path, names | {"another"}) or "")
