"""Labels: AllophoneLabeling from its files, and labels of stored alignments."""

from __future__ import annotations

import gzip
import io as streams
import pickle
import struct
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    Alignment,
    AllophoneLabeling,
    Archive,
    FormatError,
    LabelError,
    UnsupportedError,
    open_archive,
    verify,
)
from tests.oracle import builder, reference
from tests.oracle.compare import IOS, Labeling, only_alignment, same_numbers
from tests.oracle.reference import RefError
from tests.paths import DATA, full_data
from tests.sprintcache.test_reference import ALIGNMENTS, allophones, data_entries, real_file

STATE = 1 << 26
ALLOPHONES = ["sil{#+#}@i@f", "a{b+c}@i", "b{a+#}", "\u00e9{#+#}", "raw\udcff{#+#}"]
TYING = {
    "sil{#+#}@i@f.0": 0,
    "a{b+c}@i.0": 3,
    "a{b+c}@i.2": 4,
    "b{a+#}.1": 3,
    "\u00e9{#+#}.15": 9,
    "raw\udcff{#+#}.0": 5,
    "unknown{#+#}.0": 7,
}
MISMATCHES = ("error", "map", "ignore")


def archive_of(folder: Path, *packets: bytes, io: str = "mmap", **options: bool) -> Archive:
    """Entries "0", "1", ..., an alignment each."""
    entries = [(str(at), builder.alignment_entry(packet)) for at, packet in enumerate(packets)]
    path = folder / "x.cache"
    path.write_bytes(builder.archive(entries, **options))
    return open_archive(path, io)


@pytest.fixture
def labeling(tmp_path: Path) -> Labeling:
    return write_labeling(tmp_path, ALLOPHONES, TYING)


def write_labeling(folder: Path, symbols: Sequence[str], tying: dict[str, int]) -> Labeling:
    """As `Labeling.write`, for symbols that are not UTF-8 too."""
    raw = "".join(f"{symbol}\n" for symbol in symbols).encode("utf-8", "surrogateescape")
    (folder / "allophones").write_bytes(raw)
    raw = "".join(f"{key} {label}\n" for key, label in tying.items()).encode(
        "utf-8", "surrogateescape"
    )
    (folder / "tying").write_bytes(raw)
    ours = AllophoneLabeling("sil", folder / "allophones", state_tying_file=folder / "tying")
    return Labeling(ours, tuple(symbols), tying)


# ---- labels of stored alignments -------------------------------------------------------------

KNOWN = [
    ALLOPHONES.index(symbol.rpartition(".")[0]) | int(symbol.rpartition(".")[2]) * STATE
    for symbol in TYING
    if symbol.rpartition(".")[0] in ALLOPHONES
]
IDS = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from(KNOWN),
    st.sampled_from(KNOWN),
    st.integers(0, 7).map(lambda index: index | 2 * STATE),
    st.integers(0, 2**32 - 1),
)


@st.composite
def alignments(draw: st.DrawFn) -> bytes:
    """Mostly one item per frame; alphabets that are mostly right."""
    good = draw(st.booleans())
    ids = draw(st.lists(st.sampled_from(KNOWN) if good else IDS, max_size=12))
    ids = [id_ for id_ in ids for _ in range(draw(st.sampled_from([1, 1, 2, 9, 130])))]
    items = list(enumerate(ids))
    if not good and draw(st.booleans()):
        move = draw(st.integers(-1, 2))
        items = [(max(0, time + move * (time > 2)), id_) for time, id_ in items]
    magic = draw(st.sampled_from([b"ALIGNRLE", b"AALPHRLE", b"AALPHRLE", b"ALIGNEMI"]))
    alphabet = None
    if magic == b"AALPHRLE":
        alphabet = {id_: symbol(id_) for id_ in ids}
        if not good and alphabet:
            change = draw(st.sampled_from([lambda a: a.popitem(), *CHANGES]))
            change(alphabet)
    if draw(st.booleans()):
        return builder.alignment_rle(items, magic=magic, alphabet=alphabet)
    weighted = [(time, id_, 0.5) for time, id_ in items]
    version = draw(st.integers(0, 2))
    return builder.alignment_weighted(weighted, version=version, magic=magic, alphabet=alphabet)


def symbol(id_: int) -> bytes:
    index = id_ & reference.ALLOPHONE_MASK
    name = ALLOPHONES[index] if index < len(ALLOPHONES) else "unknown"
    return f"{name}.{id_ >> 26}".encode("utf-8", "surrogateescape")


CHANGES: list[Callable[[dict[int, bytes]], object]] = [
    lambda alphabet: alphabet.update({next(iter(alphabet)): b"other{#+#}.0"}),
    lambda alphabet: alphabet.update({99: b"unused and unknown.0"}),
    lambda alphabet: alphabet.update({KNOWN[0]: b"sil{#+#}@i@f.00"}),
    lambda alphabet: alphabet.update({KNOWN[-1]: symbol(KNOWN[-1])}),  # unused, but right
]


@settings(max_examples=100)
@given(packet=alignments(), compress=st.booleans())
def test_labels_are_those_of_the_reference(
    scratch: Path, labeling: Labeling, packet: bytes, compress: bool
) -> None:
    payload = builder.alignment_entry(packet)
    try:
        expected = labeling.labels(payload)
    except RefError:
        expected = None
    alignment = only_alignment(payload)
    for io in IOS:
        with archive_of(scratch, packet, packet, io=io, compress=compress) as archive:
            readings = {
                "one": lambda: archive.read_labels("0", labeling.ours),
                "batch": lambda: archive.read_labels_batch(["0", "1"], labeling.ours)[0][1],
                "pass": lambda: dict(archive.iter_labels(labeling.ours))["1"],
                "memory": lambda: labeling.ours.labels(archive.read_alignment("0")),
            }
            for read in readings.values():
                if expected is None:
                    with pytest.raises(LabelError):
                        read()
                else:
                    assert same_numbers(read(), expected)
            ignored = outcome(lambda: archive.read_labels("0", labeling.ours, "ignore"))
            assert ignored == outcome(lambda: without_alphabet(alignment, labeling))


def outcome(read: Callable[[], Any]) -> list[int] | None:
    try:
        labels = read()
    except (RefError, LabelError):
        return None
    return [int(label) for label in labels]


def without_alphabet(alignment: reference.RefAlignment, labeling: Labeling) -> Any:
    """The reference's labels of the same items without their alphabet."""
    magic = b"ALIGNEMI" if alignment.label_type == "emission" else b"ALIGNRLE"
    packet = builder.alignment_weighted(alignment.items, magic=magic)
    return labeling.labels(builder.alignment_entry(packet))


def test_runs_of_every_length(scratch: Path, labeling: Labeling) -> None:
    """Around the limits of the code and of what the compiled loop writes at once."""
    a, sil = KNOWN[1], KNOWN[0]
    for first, second in product([*range(1, 34), 126, 127, 128, 129, 260], [0, 1, 2, 15, 16, 17]):
        ids = [a] * first + [sil, a] * second + [sil] * (second % 3)
        packets = [
            builder.alignment_rle(list(enumerate(ids))),
            builder.alignment_weighted([(time, id_, 1.0) for time, id_ in enumerate(ids)]),
        ]
        expected = [{a: 3, sil: 0}[id_] for id_ in ids]
        with archive_of(scratch, *packets) as archive:
            for name in ("0", "1"):
                assert archive.read_labels(name, labeling.ours).tolist() == expected
            out = np.full((3, len(ids) + 1), -9, np.int32)
            archive.read_labels_batch(["0", "1"], labeling.ours, out=out)
            assert out.tolist() == [[*expected, -9]] * 2 + [[-9] * (len(ids) + 1)]


def test_runs_without_a_time_between_them(scratch: Path, labeling: Labeling) -> None:
    """The id of the second run is its first frame as well, as a time would be."""
    raw = ALLOPHONES.index("raw\udcff{#+#}")
    runs = b"\x04" + struct.pack("<4I", *[KNOWN[0]] * raw) + struct.pack("<bI", -99, raw)
    packet = b"ALIGNRLE" + struct.pack("<I", raw + 99) + runs
    with archive_of(scratch, packet) as archive:
        assert archive.read_labels("0", labeling.ours).tolist() == [0] * raw + [5] * 99


@pytest.mark.parametrize("mode", MISMATCHES)
def test_emission_ids_are_labels(scratch: Path, labeling: Labeling, mode: Any) -> None:
    ids = [5, 5, 0, 2**31 - 1]
    rle = builder.alignment_rle(list(enumerate(ids)), magic=b"ALIGNEMI")
    soft = builder.alignment_weighted(
        [(time, id_, 0.5) for time, id_ in enumerate(ids)], magic=b"ALIGNEMI"
    )
    large = builder.alignment_rle([(0, 1), (1, 2**31)], magic=b"ALIGNEMI")
    with archive_of(scratch, rle, soft, large) as archive:
        for given_labeling in (None, labeling.ours):
            for name in ("0", "1"):
                labels = archive.read_labels(name, given_labeling, on_alphabet_mismatch=mode)
                assert same_numbers(labels, np.array(ids, np.int32))
            with pytest.raises(LabelError, match=r"2147483648.*int32") as caught:
                archive.read_labels("2", given_labeling, on_alphabet_mismatch=mode)
            assert caught.value.entry == "2"


def test_allophone_states_need_a_labeling(scratch: Path) -> None:
    with archive_of(scratch, builder.alignment_rle([(0, 0)])) as archive:
        for read in (
            lambda: archive.read_labels("0", None),
            lambda: archive.read_labels_batch(["0"], None),
            lambda: list(archive.iter_labels(None)),
            lambda: archive.read_labels("0", None, "map"),
        ):
            with pytest.raises(LabelError, match="labeling"):
                read()


@pytest.mark.parametrize("dim", [1, 300])  # a batch looks at the first 512 bytes
def test_what_is_no_alignment(scratch: Path, labeling: Labeling, dim: int) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive([("x", builder.features([[1.0] * dim]))]))
    with open_archive(path) as archive:
        with pytest.raises(UnsupportedError, match="vector-f32"):
            archive.read_labels_batch(["x"], labeling.ours)
        for mode in MISMATCHES:
            with pytest.raises(UnsupportedError, match="vector-f32") as caught:
                archive.read_labels("x", labeling.ours, mode)
            assert (caught.value.path, caught.value.entry) == (str(path), "x")


# ---- errors that say what is wrong -----------------------------------------------------------

UNUSABLE: dict[str, tuple[list[tuple[int, int]], dict[int, bytes] | None, str]] = {
    "starts late": ([(1, 0), (2, 0)], None, "first item.*expected 0, found 1"),
    "gap": ([(0, 0), (1, 0), (3, 0)], None, "frame 2 has no item.*expected 2, found 3"),
    "two in a frame": ([(0, 0), (1, 0), (1, 0)], None, "frame 1 has several items"),
    "backwards": ([(0, 0), (1, 0), (0, 0)], None, "frame 0 has several items"),
    "no label": ([(0, 0), (1, 1 | STATE)], None, r"frame 1.*a\{b\+c\}@i\.1"),
    "no label for a high state": ([(0, 1 | 13 * STATE)], None, r"frame 0.*a\{b\+c\}@i\.13"),
    "no allophone": ([(0, 0)] * 0 + [(0, 5)], None, "frame 0.*allophone 5"),
    "high bit": ([(0, 0), (1, 1 << 30)], None, "frame 1.*40000000|1073741824"),
    "other symbol": (
        [(0, 1)],
        {1: b"z{b+c}@i.0"},
        r"id 1 .*on_alphabet_mismatch='map'.*expected .?a\{b\+c\}@i\.0.?, found .?z\{b\+c\}@i\.0",
    ),
    "other state": ([(0, 1)], {1: b"a{b+c}@i.1"}, r"a\{b\+c\}@i\.0.*a\{b\+c\}@i\.1"),
    "no symbol": ([(0, 0), (1, 1)], {0: b"sil{#+#}@i@f.0"}, "missing from the alphabet"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize(("weighted", "compress"), list(product([False, True], repeat=2)))
def test_errors_name_the_frame_and_the_state(
    scratch: Path, labeling: Labeling, kind: str, weighted: bool, compress: bool
) -> None:
    items, alphabet, message = UNUSABLE[kind]
    magic = b"ALIGNRLE" if alphabet is None else b"AALPHRLE"
    if weighted:
        soft = [(*item, 0.5) for item in items]
        packet = builder.alignment_weighted(soft, magic=magic, alphabet=alphabet)
    else:
        packet = builder.alignment_rle(items, magic=magic, alphabet=alphabet)
    good = builder.alignment_rle([(0, 0)])
    with archive_of(scratch, good, packet, compress=compress) as archive:
        for read in (
            lambda: archive.read_labels("1", labeling.ours),
            lambda: archive.read_labels_batch(["0", "1"], labeling.ours),
            lambda: list(archive.iter_labels(labeling.ours)),
        ):
            with pytest.raises(LabelError, match=message) as caught:
                read()
            assert (caught.value.path, caught.value.entry) == (archive.path, "1")
            assert caught.value.offset is not None
            assert len(str(caught.value).splitlines()) == 1
        shorter = message.replace("missing from the alphabet", "missing from .*alphabet")
        with pytest.raises(LabelError, match=shorter):
            labeling.ours.labels(archive.read_alignment("1"))


# ---- alphabets that contradict the allophone file ----------------------------------------------


def test_a_mismatch_is_an_error_mapped_or_ignored(scratch: Path, labeling: Labeling) -> None:
    """The alignment numbers its allophones in another way."""
    alphabet = {0: b"a{b+c}@i.0", 1: b"sil{#+#}@i@f.0", 2 | STATE: b"b{a+#}.1", 77: b"not used.9"}
    ids = [1, 0, 0, 2 | STATE, 1]
    packet = builder.alignment_rle(list(enumerate(ids)), magic=b"AALPHRLE", alphabet=alphabet)
    without = {key: value for key, value in alphabet.items() if key != 1}
    missing = builder.alignment_rle(list(enumerate(ids)), magic=b"AALPHRLE", alphabet=without)
    with archive_of(scratch, packet, missing) as archive:
        with pytest.raises(LabelError, match="contradicts"):
            archive.read_labels("0", labeling.ours)
        expected = [0, 3, 3, 3, 0]
        assert archive.read_labels("0", labeling.ours, "map").tolist() == expected
        batch, lengths = archive.read_labels_batch(
            ["0", "0"], labeling.ours, on_alphabet_mismatch="map"
        )
        assert (batch.tolist(), lengths.tolist()) == ([expected] * 2, [5, 5])
        mapped = archive.iter_labels(labeling.ours, on_alphabet_mismatch="map")
        name, labels = next(mapped)
        assert (name, labels.tolist()) == ("0", expected)
        with pytest.raises(LabelError, match="id 1 is missing"):
            next(mapped)
        ignored = archive.read_labels("0", labeling.ours, "ignore")
        assert ignored.tolist() == [3, 0, 0, 3, 3]
        alignment = archive.read_alignment("0")
        assert labeling.ours.labels(alignment, "map").tolist() == expected
        assert labeling.ours.labels(alignment, "ignore").tolist() == ignored.tolist()
        for call in (
            lambda: archive.read_labels("0", labeling.ours, "no"),  # type: ignore[arg-type]
            lambda: archive.read_labels_batch(["0"], labeling.ours, on_alphabet_mismatch=""),  # type: ignore[arg-type]
            lambda: archive.iter_labels(labeling.ours, "Error"),  # type: ignore[arg-type]
        ):
            with pytest.raises(ValueError, match="on_alphabet_mismatch"):
                call()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"z{#+#}.0", r"z\{#\+#\}\.0.*not in the allophone file"),
        (b"a{b+c}@i.1", r"no label for a\{b\+c\}@i\.1"),
        (b"a{b+c}@i.x", "not in the allophone file"),
        (b"a{b+c}@i", "not in the allophone file"),
        (b"two\nlines.0", "not in the allophone file"),
        (b"", "not in the allophone file"),
    ],
)
def test_symbols_that_cannot_be_mapped(
    scratch: Path, labeling: Labeling, raw: bytes, message: str
) -> None:
    packet = builder.alignment_rle([(0, 3)], magic=b"AALPHRLE", alphabet={3: raw})
    with archive_of(scratch, packet) as archive:
        for mode in ("map", "error"):
            with pytest.raises(LabelError) as caught:
                archive.read_labels("0", labeling.ours, mode)
            assert (caught.value.path, caught.value.entry) == (archive.path, "0")
            assert len(str(caught.value).splitlines()) == 1
        with pytest.raises(LabelError, match=message):
            archive.read_labels("0", labeling.ours, "map")


def test_one_reader_for_several_labelings(scratch: Path, tmp_path: Path) -> None:
    """What a read remembers of the ids in use must not leak into the next one."""
    labelings = []
    for count in (5, 1, 3, 5):
        folder = tmp_path / str(count)
        folder.mkdir(exist_ok=True)
        labelings.append(write_labeling(folder, ALLOPHONES[:count], TYING))
    used = [0, 1, 1 | 2 * STATE]
    right = builder.alignment_rle(
        list(enumerate(used)), magic=b"AALPHRLE", alphabet={id_: symbol(id_) for id_ in used}
    )
    short = builder.alignment_rle(list(enumerate(used)), magic=b"AALPHRLE", alphabet={0: symbol(0)})
    silence = builder.alignment_rle([(0, 0)], magic=b"AALPHRLE", alphabet={0: symbol(0)})
    with archive_of(scratch, right, short, silence) as archive:
        for _ in range(3):
            for one in labelings:
                for name, packet in zip("012", (right, short, silence), strict=True):
                    expected = outcome(lambda: one.labels(builder.alignment_entry(packet)))  # noqa: B023
                    assert outcome(lambda: archive.read_labels(name, one.ours)) == expected  # noqa: B023


# ---- the labeling's files --------------------------------------------------------------------


def test_comments_blank_lines_blanks_and_duplicates(tmp_path: Path) -> None:
    allophone_lines = [
        "# Number of allophones: 3",
        "",
        " sil{#+#}@i@f ",
        "a{b+c}@i\r",
        "#x",
        "sil{#+#}@i@f",
        "b{a+#}\t",
    ]
    tying_lines = [
        "# dump",
        "sil{#+#}@i@f.0 5",
        "",
        " a{b+c}@i.1   7 ",
        "sil{#+#}@i@f.0 6",
        "b{a+#}.0 1",
        "z{#+#}.2 20",
    ]
    for pack, name in product((bytes, gzip.compress), ("x", "x.gz")):
        (tmp_path / f"a{name}").write_bytes(pack("\n".join(allophone_lines).encode()))
        (tmp_path / f"s{name}").write_bytes(pack("\n".join(tying_lines).encode() + b"\n"))
        ours = AllophoneLabeling("sil", tmp_path / f"a{name}", None, str(tmp_path / f"s{name}"))
        assert ours.allophones == ["sil{#+#}@i@f", "a{b+c}@i", "b{a+#}"]
        assert ours.allophones_idx == {"sil{#+#}@i@f": 0, "a{b+c}@i": 1, "b{a+#}": 2}
        assert ours.state_tying == {
            "sil{#+#}@i@f.0": 6,
            "a{b+c}@i.1": 7,
            "b{a+#}.0": 1,
            "z{#+#}.2": 20,
        }
        assert ours.state_tying_by_allo_state_idx == {0: 6, 2: 1, 1 | STATE: 7}
        assert (ours.sil_allo_state_id, ours.sil_label_idx) == (0, 6)
        assert (ours.num_labels, ours.num_allo_states) == (21, 3)
        assert (ours.phonemes, ours.phoneme_idxs) == (None, None)


@pytest.mark.parametrize("silence", [None, "SIL", "", "a"])
def test_without_silence(tmp_path: Path, silence: str | None) -> None:
    write_labeling(tmp_path, ["None{#+#}@i@f", "{#+#}", "a{b+c}@i"], {"a{b+c}@i.0": 1})
    ours = AllophoneLabeling(silence, tmp_path / "allophones", None, tmp_path / "tying")
    assert (ours.sil_allo_state_id, ours.sil_label_idx) == (None, None)
    assert ours.get_label_idx(2, 0) == 1


def test_a_phoneme_file_labels_by_the_center(tmp_path: Path) -> None:
    (tmp_path / "allophones").write_text("sil{#+#}@i@f\na{b+c}@i\nb{a+#}\na{#+#}\n")
    (tmp_path / "phonemes").write_text("b\nsil\na\n")
    ours = AllophoneLabeling("sil", tmp_path / "allophones", tmp_path / "phonemes")
    assert ours.phonemes == ["b", "sil", "a"]
    assert ours.phoneme_idxs == {"b": 0, "sil": 1, "a": 2}
    assert (ours.num_labels, ours.sil_label_idx, ours.sil_allo_state_id) == (3, 1, 0)
    assert ours.state_tying is None
    assert ours.num_allo_states is None
    for state in range(16):
        assert [ours.get_label_idx(index, state) for index in range(4)] == [1, 2, 0, 2]
        assert ours.get_label_idx_by_allo_state_idx(3 | state * STATE) == 2
    (tmp_path / "phonemes").write_text("sil\na\n")
    with pytest.raises(LabelError, match=r"'b'.*'b\{a\+#\}'"):
        AllophoneLabeling("sil", tmp_path / "allophones", tmp_path / "phonemes")


def test_a_state_tying_wins_over_a_phoneme_file(tmp_path: Path) -> None:
    write_labeling(tmp_path, ALLOPHONES, TYING)
    (tmp_path / "phonemes").write_text("sil\na\n")
    ours = AllophoneLabeling(
        "sil", tmp_path / "allophones", tmp_path / "phonemes", tmp_path / "tying"
    )
    assert ours.phonemes == ["sil", "a"]
    assert ours.num_labels == 10
    assert ours.get_label_idx(1, 0) == 3


def test_a_labeling_needs_labels(tmp_path: Path) -> None:
    (tmp_path / "allophones").write_text("a\n")
    with pytest.raises(ValueError, match="needs a state_tying_file, a phoneme_file or a"):
        AllophoneLabeling("a", tmp_path / "allophones")
    with pytest.raises(FileNotFoundError):
        AllophoneLabeling("a", tmp_path / "absent", None, tmp_path / "allophones")


def test_empty_files(tmp_path: Path, scratch: Path) -> None:
    ours = write_labeling(tmp_path, [], {}).ours
    assert (ours.allophones, ours.num_labels, ours.num_allo_states) == ([], 0, 0)
    with archive_of(scratch, builder.alignment_rle([]), builder.alignment_rle([(0, 0)])) as archive:
        assert archive.read_labels("0", ours).tolist() == []
        with pytest.raises(LabelError):
            archive.read_labels("1", ours)


@pytest.mark.parametrize(
    "line",
    ["a.0", "a.0\t1", "a 1", "a.0 1 2", "a.0 one", "a.0 -1", "a.16 1", "a.0 2147483648", "a. 1"],
)
def test_lines_that_are_no_state_tying(tmp_path: Path, line: str) -> None:
    (tmp_path / "allophones").write_text("a\n")
    (tmp_path / "tying").write_text(f"# comment\na.1 1\n{line}\n")
    with pytest.raises(FormatError, match="line 3") as caught:
        AllophoneLabeling(None, tmp_path / "allophones", None, tmp_path / "tying")
    assert caught.value.path == str(tmp_path / "tying")
    assert len(str(caught.value).splitlines()) == 1


def test_labels_of_single_states(labeling: Labeling) -> None:
    ours = labeling.ours
    for index, name in enumerate(ALLOPHONES):
        for state in range(16):
            expected = TYING.get(f"{name}.{state}")
            if expected is not None:
                assert ours.get_label_idx(index, state) == expected
                assert ours.get_label_idx_by_allo_state_idx(index | state * STATE) == expected
                continue
            for call in (
                lambda: ours.get_label_idx(index, state),  # noqa: B023
                lambda: ours.get_label_idx_by_allo_state_idx(index | state * STATE),  # noqa: B023
            ):
                with pytest.raises(LabelError) as caught:
                    call()
                assert (
                    f"{name}.{state}".encode("ascii", "backslashreplace").decode()
                    in str(caught.value).encode("ascii", "backslashreplace").decode()
                )
    for index, state in ((-1, 0), (0, -1), (0, 16), (2**26, 0)):
        with pytest.raises(LabelError, match="no such state"):
            ours.get_label_idx(index, state)
    with pytest.raises(LabelError):
        ours.get_label_idx(5, 0)
    for id_ in (-1, 1 << 30, 1 << 31, 2**32 + KNOWN[0], 2**70):
        with pytest.raises(LabelError):
            ours.get_label_idx_by_allo_state_idx(id_)


def test_verbose_out_and_pickles(tmp_path: Path, labeling: Labeling) -> None:
    stream = streams.StringIO()
    AllophoneLabeling("sil", tmp_path / "allophones", None, tmp_path / "tying", stream)
    assert "5 allophones" in stream.getvalue()
    assert "10 labels by state tying\n" in stream.getvalue()
    again = pickle.loads(pickle.dumps(labeling.ours))
    assert again.labels(Alignment(np.arange(3), KNOWN[:3])).tolist() == [0, 3, 4]
    assert "5 allophones" in repr(again)


# ---- real files ------------------------------------------------------------------------------


def tyings() -> list[str]:
    full = full_data()
    folder = DATA if full is None else full
    return sorted(path.name for path in (folder / "state-tying").iterdir())


def read_tying(name: str) -> dict[str, int]:
    data = real_file("state-tying", name).read_bytes()
    lines = (gzip.decompress(data) if name.endswith(".gz") else data).decode().splitlines()
    return {symbol: int(label) for symbol, label in map(str.split, lines)}


def real_labeling(name: str) -> AllophoneLabeling:
    return AllophoneLabeling(
        "[SILENCE]",
        real_file(".", "allophones"),
        state_tying_file=real_file("state-tying", name),
    )


@pytest.mark.parametrize("name", tyings())
def test_labeling_of_real_files(name: str) -> None:
    """Every state of every allophone, for every state tying of Sprint."""
    ours, tying = real_labeling(name), read_tying(name)
    assert ours.allophones == allophones()
    assert ours.state_tying == tying
    assert ours.num_labels == max(tying.values()) + 1
    assert ours.sil_label_idx == tying["[SILENCE]{#+#}@i@f.0"]
    assert ours.sil_allo_state_id == allophones().index("[SILENCE]{#+#}@i@f")
    ids = {
        index | state * STATE: tying[f"{symbol}.{state}"]
        for index, symbol in enumerate(allophones())
        for state in range(3)
        if f"{symbol}.{state}" in tying
    }
    assert len(ids) == len(tying)
    assert ours.state_tying_by_allo_state_idx == ids
    actual = ours.labels(Alignment(np.arange(len(ids)), list(ids)))
    assert actual.tolist() == list(ids.values())


@pytest.mark.parametrize("name", tyings())
@pytest.mark.parametrize("archive", ["alignment.linear.cache", "alignment.viterbi.cache"])
def test_labels_of_real_alignments(name: str, archive: str) -> None:
    ours, tying = real_labeling(name), read_tying(name)
    path = real_file("archives", archive)
    with open_archive(path) as opened:
        names = list(opened.segments)
        rows, lengths = opened.read_labels_batch(names, ours, pad=-3, num_threads=2)
        for at, (segment, payload) in enumerate(data_entries(path.read_bytes()).items()):
            expected = reference.labels(payload, allophones(), tying)
            assert segment == names[at]
            assert opened.read_labels(segment, ours).tolist() == expected
            assert rows[at, : lengths[at]].tolist() == expected
            assert (rows[at, lengths[at] :] == -3).all()
            assert opened.read_labels(segment, ours, "map").tolist() == expected


@pytest.mark.parametrize("pad", [1 << 31, -(1 << 31) - 1, 1 << 40])
def test_padding_is_an_int32(pad: int) -> None:
    archive = open_archive(real_file("archives", "alignment.viterbi.cache"))
    with archive, pytest.raises(ValueError, match=f"pad must be an int32, not {pad}"):
        archive.read_labels_batch(archive.segments[:1], real_labeling("monophone"), pad=pad)


@pytest.mark.parametrize("archive", [name for name in ALIGNMENTS if ".bw." in name])
def test_soft_alignments_have_no_labels(archive: str) -> None:
    with open_archive(real_file("archives", archive)) as opened:
        for segment in opened.segments:
            with pytest.raises(LabelError, match="several items"):
                opened.read_labels(segment, real_labeling("monophone"))


def incumbent(name: str, folder: Path) -> Any:
    """RETURNN's labeling of the same files; skips where it is not installed."""
    cache = pytest.importorskip("returnn.sprint.cache", reason="RETURNN is not installed")
    tying = real_file("state-tying", name)
    if name.endswith(".gz"):  # it reads text only
        data = gzip.decompress(tying.read_bytes())
        tying = folder / name.removesuffix(".gz")
        tying.write_bytes(data)
    return cache.AllophoneLabeling(
        silence_phone="[SILENCE]",
        allophone_file=str(real_file(".", "allophones")),
        state_tying_file=str(tying),
    )


def attributes(labeling: Any) -> Iterator[Any]:
    for name in (
        "allophones", "allophones_idx", "sil_allo_state_id", "sil_label_idx", "num_labels",
        "phonemes", "phoneme_idxs", "state_tying", "state_tying_by_allo_state_idx",
        "num_allo_states",
    ):  # fmt: skip
        yield name, getattr(labeling, name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", tyings())
def test_equal_to_the_incumbent(name: str, tmp_path: Path) -> None:
    theirs, ours = incumbent(name, tmp_path), real_labeling(name)
    assert dict(attributes(ours)) == dict(attributes(theirs))
    for id_, label in theirs.state_tying_by_allo_state_idx.items():
        index, state = id_ & reference.ALLOPHONE_MASK, id_ >> 26
        assert ours.get_label_idx(index, state) == theirs.get_label_idx(index, state) == label


@pytest.mark.filterwarnings("ignore")
def test_equal_to_the_incumbent_with_a_phoneme_file(tmp_path: Path) -> None:
    cache = pytest.importorskip("returnn.sprint.cache", reason="RETURNN is not installed")
    centers = list(dict.fromkeys(symbol.partition("{")[0] for symbol in allophones()))
    (tmp_path / "phonemes").write_text("".join(f"{center}\n" for center in centers))
    files = (str(real_file(".", "allophones")), str(tmp_path / "phonemes"))
    theirs, ours = (
        made("[SILENCE]", *files) for made in (cache.AllophoneLabeling, AllophoneLabeling)
    )
    assert dict(attributes(ours)) == dict(attributes(theirs))
    for index in range(len(allophones())):
        assert ours.get_label_idx(index, 2) == theirs.get_label_idx(index, 2)


def test_large_labels_cost_no_memory(tmp_path: Path) -> None:
    """A tying without tying, `index | state << 26`, and the largest label there is."""
    (tmp_path / "allophones").write_text("a{#+#}\nb{#+#}\n")
    lines = [f"{'ab'[i]}{{#+#}}.{state} {i | state << 26}\n" for i in (0, 1) for state in range(3)]
    (tmp_path / "tying").write_text("".join(lines) + "c{#+#}.0 2147483647\na{#+#}.3 2147483646\n")
    items = [(0, 1 | 2 << 26), (1, 0 | 3 << 26)]
    entry = builder.alignment_entry(builder.alignment_rle(items))
    (tmp_path / "x.cache").write_bytes(builder.archive([("c/1", entry)]))
    tracemalloc.start()
    try:
        labeling = AllophoneLabeling(
            None, tmp_path / "allophones", state_tying_file=tmp_path / "tying"
        )
        assert labeling.num_labels == 2**31
        with open_archive(tmp_path / "x.cache") as archive:
            assert archive.read_labels("c/1", labeling).tolist() == [1 | 2 << 26, 2147483646]
        assert verify(tmp_path / "x.cache", labeling=labeling).ok
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
