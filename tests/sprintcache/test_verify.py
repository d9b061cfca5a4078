"""verify: silent on valid archives, one problem for each thing that is wrong, in archive order."""

from __future__ import annotations

import gzip
import struct
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sprintcache
from sprintcache import AllophoneLabeling, ArchiveWriter, Block, FormatError, Problem, verify
from sprintcache._attributes import parse
from tests.oracle import builder, reference
from tests.paths import DATA, full_data

FEATURES = builder.features([[1, 2], [3, 4]])
ATTRIBS = builder.attribs({"datatype": "vector-f32"})
SOUND = [
    "alignment.bw.gz.cache",
    "alignment.linear.cache",
    "alignment.viterbi.cache",
    "alignment.viterbi-noalphabet.cache",
    "energy.cache",
    "features.bundle",
    "features.part1.cache",
    "samples.cache",
]


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def one_problem(path: str, **options: AllophoneLabeling) -> Problem:
    """The problem of an archive that has exactly one."""
    (problem,) = verify(path, **options).problems
    return problem


@pytest.fixture
def labeling(tmp_path: Path) -> AllophoneLabeling:
    """Two allophones; a{#+#} has states 0 and 1, b{#+#} only state 0."""
    allophones = written(tmp_path / "allophones", b"a{#+#}\nb{#+#}\n")
    tying = written(tmp_path / "tying", b"a{#+#}.0 0\na{#+#}.1 1\nb{#+#}.0 2\n")
    return AllophoneLabeling(None, allophones, state_tying_file=tying)


def with_alignment(
    tmp_path: Path, items: list[tuple[int, int]], alphabet: dict[int, bytes] | None = None
) -> str:
    magic = b"ALIGNRLE" if alphabet is None else b"AALPHRLE"
    packet = builder.alignment_rle(items, magic=magic, alphabet=alphabet)
    entry = builder.alignment_entry(packet)
    return written(tmp_path / "alignment.cache", builder.archive([("c/1", entry)]))


# ---- the real files


@pytest.mark.parametrize("name", SOUND)
def test_real_archives_are_sound(name: str) -> None:
    report = verify(DATA / name)
    assert report.ok
    assert report.problems == ()
    with sprintcache.open_archive(DATA / name) as archive:
        assert report.num_entries == len(archive)
        assert report.num_bytes == sum(archive.entry(entry).size for entry in archive)
    assert report.path == str(DATA / name)


@pytest.mark.parametrize("name", [name for name in SOUND if name.startswith("alignment")])
def test_real_alignments_fit_their_labeling(name: str) -> None:
    labeling = AllophoneLabeling(
        "[SILENCE]", DATA / "allophones", state_tying_file=DATA / "state-tying" / "monophone"
    )
    assert verify(DATA / name, labeling=labeling).ok


def test_an_archive_whose_writer_was_killed() -> None:
    path = str(DATA / "features.killed.cache")
    table, skipped = verify(path).problems
    assert table == Problem(
        path, None, None, "no valid table: the writer did not finish: flag 0, no table"
    )
    assert (skipped.entry, skipped.offset) == (None, 258151)
    assert skipped.reason.startswith("36425 bytes belong to no complete entry: ")
    assert "espeak/rec009/1" in skipped.reason


def test_the_whole_set_is_sound() -> None:
    full = full_data()
    if full is None:
        pytest.skip("the full set of real Sprint files is not here")
    paths = [*sorted((full / "archives").glob("*.cache")), full / "archives" / "features.bundle"]
    assert len(paths) > 15
    damaged = [path.name for path in paths if not verify(path).ok]
    assert damaged == ["features.killed.cache"]


# ---- damage


@pytest.mark.parametrize("compress", [False, True])
def test_a_flipped_end_tag(tmp_path: Path, compress: bool) -> None:
    entries = [("c/1", FEATURES), ("c/2", FEATURES)]
    data = bytearray(builder.archive(entries, compress=compress))
    at = data.index(builder.END_TAG)
    data[at] ^= 1
    path = written(tmp_path / "a.cache", bytes(data))
    problem = one_problem(path)
    assert problem[:3] == (path, "c/1", at)
    assert problem.reason == "end tag of the entry: expected 0x55aa55aa, found 0x55aa55ab"
    assert str(problem) == f"{path}, entry 'c/1', offset {at}: {problem.reason}"


def test_a_flip_inside_compressed_data(tmp_path: Path) -> None:
    data = bytearray(builder.archive([("c/1", FEATURES * 20)], compress=True))
    start = data.index(b"\x1f\x8b")
    data[start + 20] ^= 4
    path = written(tmp_path / "a.cache", bytes(data))
    problem = one_problem(path)
    assert (problem.entry, problem.offset) == ("c/1", start)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_problems_come_in_archive_order(tmp_path: Path, num_threads: int) -> None:
    entries = [
        (f"c/{number}", FEATURES[:-1] if number % 3 == 0 else FEATURES) for number in range(500)
    ]
    path = written(tmp_path / "a.cache", builder.archive(entries))
    report = verify(path, num_threads)
    assert [problem.entry for problem in report.problems] == [f"c/{n}" for n in range(0, 500, 3)]
    assert report.num_entries == 500
    assert report.num_bytes == sum(len(payload) for _, payload in entries)
    assert not report.ok


def test_damaged_attributes(tmp_path: Path) -> None:
    entries = [("c/1.attribs", b"<flow-attributes>"), ("c/1", FEATURES)]
    path = written(tmp_path / "a.cache", builder.archive(entries))
    problem = one_problem(path)
    assert problem.entry == "c/1.attribs"
    assert "not well-formed XML" in problem.reason


@pytest.mark.parametrize("compress", [False, True])
def test_which_entries_are_decoded_in_one_call(tmp_path: Path, compress: bool) -> None:
    """Features and attributes that are whole; all others are looked at one by one."""
    entries = [("a", FEATURES), ("a.attribs", ATTRIBS), ("b", b"text"), ("c", FEATURES), ("d", b"")]
    data = bytearray(builder.archive(entries, compress=compress))
    row = next(row for row in reference.rows(bytes(data)) if row.name == b"c")
    # of the deflate data, or the datatype of the block
    data[row.position + 12 + (14 if compress else 4)] ^= 0xFF
    with sprintcache.open_archive(written(tmp_path / "x.cache", bytes(data))) as archive:
        sizes = archive._sound_entries(0, len(entries))
    assert sizes.tolist() == [len(FEATURES), len(ATTRIBS), -1, -1, -1]


def test_features_that_lost_their_datatype(tmp_path: Path) -> None:
    damaged = b"\x0a\0\0\0victor-f32" + FEATURES[14:]
    entries = [("c/1.attribs", ATTRIBS), ("c/1", damaged), ("text", b"what you like")]
    path = written(tmp_path / "a.cache", builder.archive(entries))
    problem = one_problem(path)
    assert problem.entry == "c/1"
    assert "no known datatype" in problem.reason


def test_entries_that_are_no_flow_caches(tmp_path: Path) -> None:
    entries = [("empty.attribs", ATTRIBS), ("empty", b""), ("text", b"hello"), ("bytes", bytes(9))]
    assert verify(written(tmp_path / "a.cache", builder.archive(entries, compress=True))).ok


def test_no_archive_at_all(tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", b"something else")
    problem = one_problem(path)
    assert problem[:3] == (path, None, 0)
    assert "not a Sprint archive" in problem.reason
    assert verify(path).num_entries == 0


def test_texts_are_finite(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a.cache") as writer:
        writer.add_blocks("c/1", [Block("string", np.zeros((2, 2)), ["nan", ""])])
    assert verify(tmp_path / "a.cache", finite=True).ok


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "absent.cache")
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "absent.bundle")


# ---- alignments


def test_ids_outside_the_alphabet(tmp_path: Path) -> None:
    path = with_alignment(tmp_path, [(0, 0), (1, 7), (2, 9)], {0: b"a{#+#}.0"})
    problem = one_problem(path)
    assert problem.entry == "c/1"
    assert problem.reason == "the alphabet lacks 2 of the ids in use, the first: 7"


def test_an_alphabet_that_contradicts_the_allophones(
    tmp_path: Path, labeling: AllophoneLabeling
) -> None:
    path = with_alignment(tmp_path, [(0, 0), (1, 1)], {0: b"a{#+#}.0", 1: b"c{#+#}.0"})
    assert verify(path).ok
    assert one_problem(path, labeling=labeling).reason == (
        "the alphabet contradicts the allophone file at id 1: expected b{#+#}.0, found c{#+#}.0"
    )


def test_states_without_a_label(tmp_path: Path, labeling: AllophoneLabeling) -> None:
    second, unknown, no_state = 1 | 1 << 26, 5, 1 << 30
    path = with_alignment(tmp_path, [(0, 0), (1, second), (2, unknown), (3, no_state)])
    reason = one_problem(path, labeling=labeling).reason
    assert reason.startswith("no label for 3 of the states in use, the first: ")
    sound = with_alignment(tmp_path, [(0, 0), (1, 1 << 26), (2, 1)])
    assert verify(sound, labeling=labeling).ok


def test_emission_ids_beyond_the_labels(tmp_path: Path, labeling: AllophoneLabeling) -> None:
    packet = builder.alignment_rle([(0, 2), (1, 3)], magic=b"ALIGNEMI")
    path = written(
        tmp_path / "a.cache", builder.archive([("c/1", builder.alignment_entry(packet))])
    )
    assert verify(path).ok
    assert "emission id 3" in one_problem(path, labeling=labeling).reason


# ---- bundles and directories


def bundle_of(tmp_path: Path, *members: bytes) -> str:
    names = []
    for number, data in enumerate(members):
        (tmp_path / f"{number}.cache").write_bytes(data)
        names.append(f"{number}.cache")
    return written(tmp_path / "all.bundle", "\n".join(names).encode())


def test_a_stale_index(tmp_path: Path) -> None:
    path = bundle_of(tmp_path, builder.archive([("c/1", FEATURES), ("c/2", FEATURES)]))
    assert verify(path).ok
    with gzip.open(path + ".idx.gz", "wt") as file:
        file.write("1\n0.cache\n1\nc/1 0\n")
    problem = one_problem(path)
    assert (problem.path, problem.entry) == (path, None)
    assert "stale" in problem.reason


def test_a_bundle_with_a_broken_member(tmp_path: Path) -> None:
    broken = bytearray(builder.archive([("c/2", FEATURES)]))
    broken[-20] ^= 0xFF  # in the table: this one is scanned, and found whole
    path = bundle_of(
        tmp_path, b"no archive", builder.archive([("c/1", FEATURES[:-1])]), bytes(broken)
    )
    report = verify(path)
    first, second, table, rest = report.problems
    assert first.path.endswith("0.cache")
    assert second[:2] == (str(tmp_path / "1.cache"), "c/1")
    assert table.path.endswith("2.cache")
    assert table.reason.startswith("no valid table: ")
    assert rest.reason.startswith("47 bytes belong to no complete entry: ")
    assert report.num_entries == 2


def test_a_bundle_with_a_missing_member(tmp_path: Path) -> None:
    path = written(tmp_path / "all.bundle", b"gone.cache")
    problem = one_problem(path)
    assert problem.path == path
    assert "'gone.cache' is missing" in problem.reason


def test_directories(tmp_path: Path) -> None:
    folder = tmp_path / "entries" / "c"
    folder.mkdir(parents=True)
    (folder / "1").write_bytes(FEATURES)
    (folder / "2").write_bytes(builder.gz(FEATURES)[:-3])
    report = verify(tmp_path / "entries")
    (problem,) = report.problems
    assert problem.entry == "c/2"
    assert report.num_entries == 2


# ---- arguments


def test_progress_counts_up_to_the_number_of_entries(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.cache", builder.archive([(f"c/{n}", FEATURES) for n in range(300)])
    )
    seen: list[tuple[int, int]] = []
    verify(path, 2, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (300, 300)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="num_threads"):
        verify(DATA / "energy.cache", 0)
    with pytest.raises(ValueError, match="io"):
        verify(DATA / "energy.cache", io="fast")


@pytest.mark.parametrize("io", ["mmap", "pread"])
def test_ways_of_reading(io: str) -> None:
    assert verify(DATA / "features.bundle", io=io).num_entries == 48


def test_an_interrupted_verify_leaves_no_threads(tmp_path: Path) -> None:
    entries = [(f"c/{number}", FEATURES) for number in range(5000)]
    path = written(tmp_path / "a.cache", builder.archive(entries))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(path, 4, progress=stop)
    assert not [t for t in threading.enumerate() if t.name.startswith("sprintcache")]


def test_archives_in_a_folder_are_verified_as_archives(tmp_path: Path) -> None:
    sound = builder.archive([("a", FEATURES), ("b", b"text")])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/sound.cache").write_bytes(sound)
    (tmp_path / "text").write_bytes(b"no archive")
    assert verify(tmp_path)[1:] == (3, len(FEATURES) + 4 + 10, ())
    broken = bytearray(sound)
    broken[sound.index(builder.END_TAG)] ^= 1
    (tmp_path / "broken.cache").write_bytes(broken)
    (tmp_path / "killed.cache.partial").write_bytes(builder.archive([("c", b"x")], table=False))
    tag, table = verify(tmp_path).problems
    assert (tag.path, tag.entry) == (str(tmp_path / "broken.cache"), "a")
    assert "end tag" in tag.reason
    assert table.path == str(tmp_path / "killed.cache.partial")
    assert "no table" in table.reason


def test_entries_that_overlap(tmp_path: Path) -> None:
    """An archive stored as an entry of an archive: rows that point into it are not sound."""
    inner = builder.archive([("inner", b"x" * 40)])
    path = written(tmp_path / "x.cache", builder.archive([("b" * 80, b"."), ("outer", inner)]))
    rows = builder.string("outer"), builder.string("inner")
    data = bytearray(Path(path).read_bytes())
    at = data.rindex(builder.string("b" * 80))  # in the table: its row becomes one of "inner"
    position = data.index(builder.string("inner")) + 9
    row = rows[1] + struct.pack("<QII", position, 40, 0)
    data[at : at + 84 + 16] = row.ljust(100, b"\0")
    del data[at + len(row) : at + 100]
    moved = struct.unpack("<Q", data[-16:-8])[0] - (100 - len(row))
    data[-16:-8] = struct.pack("<Q", moved)
    problem = one_problem(written(tmp_path / "y.cache", bytes(data)))
    assert (problem.entry, problem.reason) == ("inner", "it overlaps entry 'outer'")


@given(
    values=st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=0xFF)), max_size=3),
    cut=st.integers(0, 400),
    inserted=st.sampled_from([b"", b" ", b"<", b"&", b'"', b"/", b"\0", b"\x7f", b"\n", b"&lt;"]),
)
def test_attributes_are_sound_where_expat_reads_them(
    values: list[str], cut: int, inserted: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Plain ones are checked in compiled code, others by the XML parser; the answers agree."""
    cells = [f'<flow-attribute name="a{n}" value="{value}"/>' for n, value in enumerate(values)]
    text = f"<flow-attributes>{''.join(cells)}</flow-attributes>".encode("latin-1")
    text = text[:cut] + inserted + text[cut:]
    path = tmp_path_factory.mktemp("attributes") / "a.cache"
    try:
        parse(text)
        is_sound = True
    except FormatError:
        is_sound = False
    archive = builder.archive([("c/1.attribs", text), ("c/1", FEATURES)])
    assert verify(written(path, archive)).ok == is_sound


def test_memory_of_many_alignments(tmp_path: Path) -> None:
    """An alignment needs a row of some arrays, and no object once it is checked."""
    entry = builder.alignment_entry(builder.alignment_rle([(0, 1), (1, 1)]))
    peaks = []
    for count in (8192, 16384):
        entries = [(f"{number}", entry) for number in range(count)]
        path = written(tmp_path / f"{count}.cache", builder.archive(entries))
        tracemalloc.start()
        try:
            assert verify(path, 1).num_entries == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 8192 < 40
