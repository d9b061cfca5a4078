"""Audio samples in packets: bytes by hand, a real archive of Sprint, and soundfile as the peer."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import sprintcache
from sprintcache import EntryNotFoundError, FormatError, SprintCacheDataset, UnsupportedError
from sprintcache.dataset import BatchBuffers
from tests.oracle import builder
from tests.paths import DATA

REAL = {"filename": str(DATA / "samples.cache")}
RATE = 16_000
PACKET = 4096


def packets(samples: Sequence[float], datatype: str = "vector-s16") -> list[bytes]:
    """Packets of 4096 samples, the last one shorter, as Sprint's audio nodes make them."""
    return [
        builder.vector(datatype, piece, start / RATE, (start + len(piece)) / RATE)
        for start in range(0, len(samples), PACKET)
        for piece in [samples[start : start + PACKET]]
    ]


def archive(path: Path, entries: dict[str, bytes]) -> dict[str, str]:
    path.write_bytes(builder.archive(list(entries.items())))
    return {"filename": str(path)}


def ramp(size: int) -> list[int]:
    return [(7 * i) % 65536 - 32768 for i in range(size)]


def audio(path: Path, lengths: dict[str, int]) -> dict[str, str]:
    return archive(
        path, {name: builder.block("vector-s16", packets(ramp(n))) for name, n in lengths.items()}
    )


@functools.cache
def joined() -> list[NDArray[np.int16]]:
    """The samples of the real archive, packet by packet."""
    with sprintcache.open_archive(DATA / "samples.cache") as opened:
        return [
            np.concatenate([x for b in opened.read_blocks(name) for x in b.data])
            for name in opened.segments
        ]


# ---- one entry


def test_samples_of_several_packets_and_blocks(tmp_path: Path) -> None:
    samples = ramp(10_000)
    pieces = packets(samples)
    assert len(pieces) == 3
    data = archive(
        tmp_path / "a",
        {
            "one": builder.block("vector-s16", pieces),
            "two": b"".join(builder.block("vector-s16", x) for x in (pieces[:2], pieces[2:])),
            "short": builder.block("vector-s16", packets(samples[:5])),
            "none": builder.block("vector-s16", []),
            "empty": b"",
        },
    )
    with sprintcache.open_archive(data["filename"]) as opened:
        for name, size in {"one": 10_000, "two": 10_000, "short": 5, "none": 0, "empty": 0}.items():
            exact, scaled = opened.read_audio(name, "int16"), opened.read_audio(name)
            assert exact.tolist() == samples[:size]
            assert [exact.dtype, scaled.dtype] == ["int16", "float32"]
            assert scaled.tolist() == [sample / 32768 for sample in samples[:size]]
            assert exact.flags.writeable
            assert scaled.flags.writeable


@pytest.mark.parametrize(
    ("datatype", "stored", "expected"),
    [
        ("vector-s8", [-128, 0, 127], [-1, 0, 127 / 128]),
        ("vector-u8", [0, 128, 255], [-1, 0, 127 / 128]),
        ("vector-s16", [-32768, 1, 32767], [-1, 2**-15, 1 - 2**-15]),
        ("vector-u16", [0, 32769, 65535], [-1, 2**-15, 1 - 2**-15]),
        ("vector-u32", [0, 1 << 31, 3 << 30], [-1, 0, 0.5]),
        ("vector-f32", [-0.5, 0.0, 20000.0], [-0.5, 0, 20000]),
        ("vector-f64", [-0.5, 0.0, 20000.0], [-0.5, 0, 20000]),
        ("f32", [-0.5, 0.0, 0.25], [-0.5, 0, 0.25]),
    ],
)
def test_every_datatype_of_samples(
    tmp_path: Path, datatype: str, stored: list[Any], expected: list[float]
) -> None:
    if datatype == "f32":
        pieces = [builder.scalar(datatype, x, 0.0, 0.1) for x in stored]
    else:
        pieces = [builder.vector(datatype, part, 0.0, 0.1) for part in (stored[:2], stored[2:])]
    data = archive(tmp_path / "a", {"x": builder.block(datatype, pieces)})
    with sprintcache.open_archive(data["filename"]) as opened:
        assert opened.read_audio("x").tolist() == expected
        assert opened.read_audio("x").dtype == np.float32
        if datatype != "vector-s16":
            with pytest.raises(UnsupportedError, match=f"entry 'x'.*found '?{datatype}"):
                opened.read_audio("x", "int16")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8"])
def test_scaling_is_that_of_soundfile(tmp_path: Path, subtype: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    exact = np.array(ramp(9_000), np.int16)
    soundfile.write(tmp_path / "a.wav", exact, RATE, subtype)
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    body = (tmp_path / "a.wav").read_bytes().partition(b"data")[2][4:]  # as stored in the file
    datatype, dtype = {"PCM_16": ("vector-s16", "<i2"), "PCM_U8": ("vector-u8", "u1")}[subtype]
    stored = np.frombuffer(body[: 9_000 * np.dtype(dtype).itemsize], dtype).tolist()
    data = archive(tmp_path / "a", {"x": builder.block(datatype, packets(stored, datatype))})
    with sprintcache.open_archive(data["filename"]) as opened:
        assert np.array_equal(opened.read_audio("x"), expected)


def test_entries_that_are_not_audio(tmp_path: Path) -> None:
    block = builder.block("vector-s16", packets([1, 2]))
    data = archive(
        tmp_path / "a",
        {
            "align": builder.alignment_entry(builder.alignment_rle([(0, 1)])),
            "mixed": block + builder.block("vector-u8", packets([1, 2], "vector-u8")),
            "text": b"neither this nor that",
            "truncated": block[:-3],
        },
    )
    with sprintcache.open_archive(data["filename"]) as opened:
        for name, message in {
            "align": "not audio samples",
            "mixed": "several datatypes",
            "text": "datatype",
            "truncated": "packet 0 of vector-s16 is cut",
        }.items():
            with pytest.raises(FormatError, match=message) as caught:
                opened.read_audio(name)
            assert (caught.value.path, caught.value.entry) == (data["filename"], name)
        with pytest.raises(EntryNotFoundError):
            opened.read_audio("nowhere")
        with pytest.raises(ValueError, match="dtype must be 'float32' or 'int16', not 'int8'"):
            opened.read_audio("mixed", "int8")  # type: ignore[arg-type]


# ---- a dataset


@pytest.mark.parametrize("options", [{}, {"type": "audio"}, {"data_type": "audio"}])
def test_a_dataset_of_a_real_archive(options: dict[str, str]) -> None:
    dataset = SprintCacheDataset({"data": {**REAL, **options}}, seq_ordering="sorted_reverse")
    sizes = [len(samples) for samples in joined()]
    assert sizes == [29_939, 37_098]
    assert dataset.data["data"].type == "audio"
    assert (dataset.num_inputs, dataset.num_outputs) == (1, {"data": (1, 1)})
    assert dataset.get_target_list() == []
    assert not dataset.is_data_sparse("data")
    assert (dataset.get_data_dtype("data"), dataset.get_data_shape("data")) == ("float32", [])
    assert dataset.get_lengths().tolist() == sizes
    dataset.init_seq_order(epoch=1)
    assert dataset.get_current_seq_order().tolist() == [1, 0]
    assert dataset.get_num_timesteps() == {"data": sum(sizes)}
    for seq, index in enumerate([1, 0]):
        assert dataset.get_seq_length(seq) == {"data": sizes[index]}
        dataset.load_seqs(seq, seq + 1)
        assert np.array_equal(dataset.get_data(seq, "data"), joined()[index] / np.float32(32768))
    assert dataset.report() == (2, {"data": 0}, {}, 0, 0, 0)


@settings(max_examples=20)
@given(
    seqs=st.lists(st.integers(0, 1), max_size=4),
    threads=st.integers(1, 3),
    reuse=st.booleans(),
)
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_a_batch_is_its_samples_padded(
    dtype: str, seqs: list[int], threads: int, reuse: bool
) -> None:
    dataset = pickle.loads(pickle.dumps(SprintCacheDataset({"data": {**REAL, "dtype": dtype}})))
    assert dataset.get_data_dtype("data") == dtype
    buffers = BatchBuffers() if reuse else None
    dataset.read_batch([1, 1], buffers=buffers)  # old content must not remain visible
    batch, lengths = dataset.read_batch(seqs, num_threads=threads, buffers=buffers)["data"]
    assert lengths.tolist() == [len(joined()[i]) for i in seqs]
    assert batch.shape == (len(seqs), max(lengths, default=0))
    assert batch.dtype == dtype
    for row, seq, length in zip(batch, seqs, lengths, strict=True):
        expected = joined()[seq]
        assert np.array_equal(row[:length], expected if dtype == "int16" else expected / 32768)
        assert not row[length:].any()


def test_limits_and_orders_count_samples(tmp_path: Path) -> None:
    data = audio(tmp_path / "a", {"a": 9_000, "b": 0, "c": 5, "d": 4_096, "e": 20_000})

    def order(**options: Any) -> list[str]:
        dataset = SprintCacheDataset({"data": data}, seq_ordering="sorted", **options)
        dataset.init_seq_order(epoch=1)
        return [dataset.get_tag(i) for i in range(dataset.num_seqs)]

    assert order() == ["c", "d", "a", "e"]
    assert order(min_seq_length=0) == ["b", "c", "d", "a", "e"]
    assert order(min_seq_length=4_096, max_seq_length=9_000) == ["d", "a"]
    assert order(max_seq_length={"data": 4_095}) == ["c"]


def test_audio_with_labels_of_another_rate(tmp_path: Path) -> None:
    alignment = builder.alignment_rle([(t, t) for t in range(3)], magic=b"ALIGNEMI")
    labels = archive(tmp_path / "l", {"a": builder.alignment_entry(alignment)})
    data = {"data": audio(tmp_path / "a", {"a": 5_000}), "classes": labels}
    for policy in ("error", "trim", "skip"):
        dataset = SprintCacheDataset(data, length_mismatch=policy)
        batch = dataset.read_batch(["a"])
        assert {key: lengths.tolist() for key, (_, lengths) in batch.items()} == {
            "data": [5_000],
            "classes": [3],
        }
    features = archive(tmp_path / "f", {"a": builder.features([[1.0, 2.0]] * 3)})
    dataset = SprintCacheDataset({**data, "data": features, "audio": data["data"]})
    assert dataset.data["audio"].type == "audio"
    assert dataset.get_lengths("audio").tolist() == [5_000]
    dataset.init_seq_order(epoch=1)
    assert dataset.get_num_timesteps() == {"data": 3, "classes": 3, "audio": 5_000}
    assert dataset.get_target_list() == ["classes"]


def test_what_is_recognized_as_audio(tmp_path: Path) -> None:
    floats = [x / 32768 for x in ramp(9_000)]
    frames = [builder.vector("vector-s16", [t, t + 1], t / 100, t / 100 + 0.025) for t in range(5)]
    wide = [builder.vector("vector-s16", ramp(600), t / 100, t / 100 + 0.025) for t in range(5)]
    long = [builder.vector_f32([1.0, 2.0], t / 5, t / 5 + 0.2) for t in range(5)]
    short = [builder.vector("vector-s16", [1, 2], 0.0, 2 / RATE)]
    for payload, options, kind in [
        (builder.block("vector-f32", packets(floats, "vector-f32")), {}, "audio"),
        (builder.block("vector-s16", packets(ramp(8_192))), {}, "audio"),
        (builder.block("vector-s16", frames), {}, "feat"),
        (builder.block("vector-s16", wide), {}, "feat"),
        (builder.block("vector-f32", long), {}, "feat"),
        (builder.block("vector-s16", short), {}, "feat"),
        (builder.block("vector-s16", short), {"type": "audio"}, "audio"),
        (builder.block("vector-s16", packets(ramp(8_192))), {"type": "feat"}, "feat"),
    ]:
        entries = {"empty": b"", "none": builder.block("vector-s16", []), "x": payload}
        data = {**archive(tmp_path / "a", entries), **options}
        assert SprintCacheDataset({"data": data}).data["data"].type == kind
    assert SprintCacheDataset({"data": {"filename": DATA / "energy.cache"}}).num_inputs == 1
    with pytest.raises(ValueError, match="a window needs features"):
        SprintCacheDataset({"data": REAL}, window=3)


# ---- trainers


def test_batches_of_a_loader() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from sprintcache.torch import BatchSampler, MapDataset, collate

    for dtype in ("float32", "int16"):
        train = MapDataset(SprintCacheDataset({"data": {**REAL, "dtype": dtype}}))
        (batch,) = torch.utils.data.DataLoader(
            train, batch_sampler=BatchSampler(train, max_frames=80_000), collate_fn=collate
        )
        order = [train.dataset.get_all_tags().index(tag) for tag in batch.tags]
        single = collate([train[i] for i in order])
        assert batch.data["data"].dtype == getattr(torch, dtype)
        assert torch.equal(batch.data["data"], single.data["data"])
        assert torch.equal(batch.lengths["data"], single.lengths["data"])
        assert batch.lengths["data"].tolist() == [len(joined()[i]) for i in order]
        sampler = BatchSampler(train, max_frames=40_000)
        assert [len(batch) for batch in sampler] == [1, 1]


@pytest.mark.filterwarnings("ignore")
def test_a_dataset_of_returnn() -> None:
    pytest.importorskip("returnn.datasets.sprint", reason="RETURNN is not installed")
    from sprintcache.returnn import SprintCacheDataset as ReturnnDataset

    dataset = ReturnnDataset({"data": {**REAL, "dtype": "int16"}}, seq_ordering="sorted")
    dataset.initialize()
    dataset.init_seq_order(epoch=1)
    dataset.load_seqs(0, 2)
    for seq in range(2):
        samples = dataset.get_data(seq, "data")
        assert (samples.dtype, dataset.get_data_dtype("data")) == (np.int16, "int16")
        assert np.array_equal(samples, joined()[seq])
        assert dataset.get_seq_length(seq)["data"] == len(joined()[seq])
    assert not dataset.is_data_sparse("data")
    assert dataset.get_data_shape("data") == []
