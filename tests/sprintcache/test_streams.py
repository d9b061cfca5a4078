"""Streams of a dataset that are no caches: the standard library, soundfile and others as peers."""

from __future__ import annotations

import gzip
import pickle
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sprintcache
from sprintcache import (
    EntryNotFoundError,
    FormatError,
    LabelError,
    SprintCacheDataset,
    UnsupportedError,
)
from sprintcache._dataset.packed_strings import PackedStrings
from sprintcache.automata import Automata, from_padded, to_padded
from sprintcache.batching import make_batches
from sprintcache.dataset import BatchBuffers
from sprintcache.vocabulary import SentencePieces
from tests.oracle import builder
from tests.paths import DATA
from tests.sprintcache.test_automaton_builder import builder as automaton_builder

CORPUS = str(DATA / "corpus" / "corpus.xml.gz")
LEXICON = str(DATA / "corpus" / "lexicon.xml.gz")
FEATURES = {"filename": str(DATA / "features.bundle")}
RATE = 8_000


def tree(path: str) -> ElementTree.Element:
    with gzip.open(path) as file:
        return ElementTree.parse(file).getroot()


def described() -> dict[str, tuple[str, str]]:
    """Segment to words and speaker, by the standard library."""
    return {
        f"espeak/{recording.get('name')}/{segment.get('name')}": (
            segment.findtext("orth", ""),
            segment.find("speaker").get("name", ""),  # type: ignore[union-attr]
        )
        for recording in tree(CORPUS).iter("recording")
        for segment in recording.iter("segment")
    }


def dataset(data: dict[str, Any], **options: Any) -> SprintCacheDataset:
    return SprintCacheDataset({"data": FEATURES, **data}, **options)


def rows(data: SprintCacheDataset, key: str, **options: Any) -> dict[str, Any]:
    """Tag to array, read as one batch."""
    tags = list(data.get_all_tags())
    array, lengths = data.read_batch(range(len(tags)), [key], **options)[key]
    return {tag: row[:n] for tag, row, n in zip(tags, array, lengths, strict=True)}


# ---- texts and speakers


def test_orthographies_are_bytes_phonemes_or_what_a_function_makes_of_them() -> None:
    words = {tag: text for tag, (text, _) in described().items()}
    phonemes = [phoneme.findtext("symbol", "") for phoneme in tree(LEXICON).iter("phoneme")]
    phones = {
        lemma.findtext("orth", ""): lemma.findtext("phon", "").split()
        for lemma in tree(LEXICON).iter("lemma")
    }
    text = {"type": "text", "filename": CORPUS}
    data = dataset(
        {
            "raw": text,
            "upper": {**text, "process": str.upper},
            "phonemes": {**text, "lexicon": LEXICON},
        }
    )
    for key, encode in {
        "raw": lambda line: list(line.encode()),
        "upper": lambda line: list(line.upper().encode()),
        "phonemes": lambda line: [phonemes.index(p) for w in line.split() for p in phones[w]],
    }.items():
        actual = rows(data, key)
        assert {tag: row.tolist() for tag, row in actual.items()} == {
            tag: encode(line) for tag, line in words.items()
        }
        lengths = [len(actual[tag]) for tag in data.get_all_tags()]
        assert data.get_lengths(key).tolist() == lengths
    assert data.labels["phonemes"] == phonemes
    assert (data.num_outputs["raw"], data.num_outputs["phonemes"]) == ((256, 1), (27, 1))
    assert [data.get_data_dtype(k) for k in ("raw", "phonemes")] == ["uint8", "int32"]
    assert data.is_data_sparse("raw")
    assert data.get_target_list() == ["raw", "upper", "phonemes"]
    # beyond the end of bytes is zero, of labels the padding
    batch = data.read_batch([0, 5], pad=-7)
    assert batch["raw"][0][1, 12] == 0
    assert batch["phonemes"][0][1, 10:].tolist() == [-7] * 11


def test_speakers_are_numbered_as_they_are_defined() -> None:
    names = [element.get("name") for element in tree(CORPUS).iter("speaker-description")]
    assert names == ["spk0", "spk1", "spk2", "spk3", "spk4"]
    speaker = {"type": "speaker", "filename": CORPUS}
    data = dataset({"speaker": speaker, "name": {**speaker, "output": "name"}})
    assert data.labels == {"speaker": names}
    assert data.num_outputs["speaker"] == (5, 1)
    speakers = {tag: name for tag, (_, name) in described().items()}
    assert {tag: [names[i] for i in row] for tag, row in rows(data, "speaker").items()} == {
        tag: [name] for tag, name in speakers.items()
    }
    assert {tag: bytes(row).decode() for tag, row in rows(data, "name").items()} == speakers
    assert data.get_lengths("name").tolist() == [4] * 24
    assert data.num_outputs["name"] == (256, 1)
    assert data.is_data_sparse("name")
    tag = "espeak/rec003/1"
    assert bytes(data.data["name"].read(tag)).decode() == speakers[tag]
    with pytest.raises(EntryNotFoundError, match="no such segment"):
        data.data["name"].read("espeak/rec003/2")
    with pytest.raises(ValueError, match="output must be 'index' or 'name', not 'id'"):
        dataset({"speaker": {**speaker, "output": "id"}})


def test_byte_pairs_are_those_of_subword_nmt(tmp_path: Path) -> None:
    learn = pytest.importorskip("subword_nmt.learn_bpe", reason="needs subword-nmt")
    apply = pytest.importorskip("subword_nmt.apply_bpe", reason="needs subword-nmt")
    words = {tag: text for tag, (text, _) in described().items()}
    with (tmp_path / "codes").open("w") as codes:
        learn.learn_bpe(list(words.values()), codes, 60)
    with (tmp_path / "codes").open() as codes:
        peer = apply.BPE(codes)
    pieces = {tag: peer.process_line(line).split() for tag, line in words.items()}
    vocabulary = sorted({piece for line in pieces.values() for piece in line})
    (tmp_path / "vocab").write_text("".join(f"{piece}\n" for piece in vocabulary))
    files = {"bpe_file": str(tmp_path / "codes"), "vocab_file": str(tmp_path / "vocab")}
    data = dataset({"text": {"type": "text", "filename": CORPUS, "vocabulary": files}})
    actual = rows(pickle.loads(pickle.dumps(data)), "text")
    assert {tag: [vocabulary[i] for i in row] for tag, row in actual.items()} == pieces


def test_sentence_pieces_are_those_of_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    words = {tag: text for tag, (text, _) in described().items()}
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(words.values()),
        model_prefix=str(tmp_path / "model"),
        vocab_size=60,
        minloglevel=2,
    )
    path = str(tmp_path / "model.model")
    peer = library.SentencePieceProcessor(model_file=path)
    text = {"type": "text", "filename": CORPUS, "vocabulary": {"model_file": path}}
    data = dataset({"text": text})
    actual = rows(pickle.loads(pickle.dumps(data)), "text")
    assert {tag: row.tolist() for tag, row in actual.items()} == {
        tag: peer.encode(line) for tag, line in words.items()
    }
    assert data.labels["text"] == [peer.id_to_piece(i) for i in range(60)]
    assert SentencePieces(path, seq_postfix=[2]).get_seq("ten") == [*peer.encode("ten"), 2]
    (tmp_path / "broken").write_bytes(b"\x08no model")
    with pytest.raises(FormatError, match="not a SentencePiece model"):
        SentencePieces(str(tmp_path / "broken"))


def corpus(path: Path, segments: str, *, audio: str = "") -> str:
    name = f' audio="{audio}"' if audio else ""
    path.write_text(f'<corpus name="c"><recording name="r"{name}>{segments}</recording></corpus>')
    return str(path)


def test_words_without_a_pronunciation(tmp_path: Path) -> None:
    (tmp_path / "lexicon").write_text(
        "<lexicon><phoneme-inventory><phoneme><symbol>a</symbol></phoneme><phoneme><symbol>b"
        "</symbol></phoneme></phoneme-inventory><lemma><orth>x</orth><phon>a b</phon><phon>b</phon>"
        "</lemma><lemma><orth>x y</orth><phon>b</phon></lemma>{}</lexicon>"
    )
    path = corpus(
        tmp_path / "corpus",
        '<segment name="1"><orth>x y x</orth></segment><segment name="2"><orth>x z</orth></segment>'
        '<segment name="3"></segment>',
    )
    lexicon = tmp_path / "lexicon"
    text = {"type": "text", "filename": path, "lexicon": str(lexicon)}
    template = lexicon.read_text()
    lexicon.write_text(template.format(""))
    data = SprintCacheDataset({"text": text})
    assert list(data.get_all_tags()) == ["c/r/1", "c/r/2"]  # the third has no text
    assert data.read_batch([0])["text"][0].tolist() == [[1, 0, 1]]
    with pytest.raises(LabelError, match="no pronunciation of 'z'") as caught:
        data.read_batch([1])
    assert (caught.value.entry, caught.value.path) == ("c/r/2", path)
    unknown = '<lemma special="unknown"><orth>[U]</orth><phon>a</phon></lemma>'
    lexicon.write_text(template.format(unknown))
    data = SprintCacheDataset({"text": text})
    assert data.read_batch([1])["text"][0].tolist() == [[0, 1, 0]]
    with pytest.raises(ValueError, match="either a lexicon or a vocabulary"):
        SprintCacheDataset({"text": {**text, "vocabulary": {"labels": ["x"]}}})


# ---- segments that a stream lacks


def test_a_segment_that_a_stream_lacks_follows_missing(tmp_path: Path) -> None:
    names = [*described()][:3]
    with gzip.open(tmp_path / "corpus.gz", "wb") as file:
        root = tree(CORPUS)
        for recording in list(root.iter("recording"))[3:]:
            root.remove(recording)
        file.write(ElementTree.tostring(root))
    text = {"type": "text", "filename": str(tmp_path / "corpus.gz")}
    with pytest.raises(EntryNotFoundError, match="no such segment, but 'data' has it; 3 segments"):
        dataset({"text": text})
    data = dataset({"text": text}, missing="skip")
    assert sorted(data.get_all_tags()) == sorted(names)
    assert data.report().missing == {"data": 21, "text": 0}
    # a corpus may describe more than the archive has
    part = {"filename": str(DATA / "features.part1.cache")}
    data = SprintCacheDataset({"data": part, "text": {"type": "text", "filename": CORPUS}})
    assert data.report().missing == {"data": 0, "text": 16}
    assert {tag: bytes(row).decode() for tag, row in rows(data, "text").items()} == {
        tag: described()[tag][0] for tag in data.get_all_tags()
    }
    # but as the reference it is the corpus
    with pytest.raises(EntryNotFoundError, match="8 segments in common, 16 more in 'data'"):
        SprintCacheDataset({"data": {"type": "text", "filename": CORPUS}, "features": part})


# ---- audio files


def write_wav(path: Path, samples: Any, **options: Any) -> None:
    soundfile = pytest.importorskip("soundfile", reason="needs soundfile")
    soundfile.write(path, samples, RATE, **options)


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_segments_of_audio_files(tmp_path: Path, ending: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    samples = rng.integers(-(1 << 15), 1 << 15, (4000, 2), np.int16)
    write_wav(tmp_path / f"a.{ending}", samples)
    path = corpus(
        tmp_path / "corpus.xml",
        '<segment name="1"/><segment name="2" start="0.1" end="0.20006"/>'
        '<segment name="3" start="0.3" end="7" track="1"/><segment name="4" start="0.5"/>',
        audio=f"a.{ending}",
    )
    data = SprintCacheDataset(
        {"data": {"type": "audio", "filename": path, "dtype": dtype}}, min_seq_length=0
    )
    expected = [samples[:, 0], samples[800:1600, 0], samples[2400:, 1], samples[4000:, 0]]
    if dtype == "float32":
        expected = [piece / np.float32(32768) for piece in expected]
    assert data.get_lengths().tolist() == [4000, 800, 1600, 0]
    for source in (data, pickle.loads(pickle.dumps(data))):
        for threads in (1, 3):
            buffers = BatchBuffers()
            source.read_batch([0, 0, 0, 0], buffers=buffers)  # old content must not remain
            batch, lengths = source.read_batch([3, 1, 0, 2], num_threads=threads, buffers=buffers)[
                "data"
            ]
            assert batch.dtype == dtype
            for row, length, index in zip(batch, lengths, [3, 1, 0, 2], strict=True):
                assert np.array_equal(row[:length], expected[index])
                assert not row[length:].any()
    assert (data.num_inputs, data.num_outputs["data"]) == (1, (1, 1))
    assert not data.is_data_sparse("data")
    assert SprintCacheDataset({"data": {"type": "audio", "filename": path}}).chosen is not None


@settings(max_examples=25)
@given(
    st.sampled_from(["PCM_16", "PCM_24", "FLOAT", "ULAW"]),
    st.integers(0, 3000),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
def test_segments_are_what_soundfile_reads(
    scratch: Path, encoding: str, size: int, start: float, length: float
) -> None:
    soundfile = pytest.importorskip("soundfile", reason="needs soundfile")
    signal = np.random.default_rng(size).uniform(-1, 1, size)
    write_wav(scratch / "a.wav", signal, subtype=encoding)
    path = corpus(
        scratch / "corpus",
        f'<segment name="1" start="{start}" end="{start + length}"/>',
        audio="a.wav",
    )
    first, last = round(start * RATE), round((start + length) * RATE)
    data = SprintCacheDataset({"data": {"type": "audio", "filename": path}}, min_seq_length=0)
    if first > size:
        with pytest.raises(FormatError, match="ends before the segment starts"):
            data.read_batch([0])
        return
    expected, _ = soundfile.read(scratch / "a.wav", last - first, first, dtype="float32")
    assert np.array_equal(data.read_batch([0])["data"][0][0], expected)


def test_audio_files_that_do_not_fit(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(100), subtype="PCM_24")
    (tmp_path / "b.wav").write_bytes(b"RIFF no audio")
    segment = '<segment name="1" start="0.001"/>'

    def read(audio: str, segment: str = segment, **options: Any) -> Any:
        path = corpus(tmp_path / "corpus", segment, audio=audio)
        key = {"type": "audio", "filename": path, **options}
        return SprintCacheDataset({"data": key}).read_batch([0])["data"]

    assert read("a.wav", sample_rate=RATE)[1].tolist() == [92]
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'int16', not 'float64'"):
        read("a.wav", dtype="float64")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.wav").rename(tmp_path / "sub" / "a.wav")
    assert read("a.wav", audio_dir=tmp_path / "sub")[1].tolist() == [92]
    assert read("a.wav", path_map={str(tmp_path / "a.wav"): str(tmp_path / "sub" / "a.wav")})
    for options, error, message in [
        ({"audio": "none.wav"}, FileNotFoundError, "none.wav"),
        ({"audio": "b.wav"}, FormatError, "not an audio file"),
        ({"audio": "sub"}, IsADirectoryError, "sub"),
        ({"audio": "sub/a.wav", "dtype": "int16"}, UnsupportedError, "PCM_16, found PCM_24"),
        ({"audio": "sub/a.wav", "sample_rate": 16_000}, UnsupportedError, "16000, found 8000"),
        (
            {"audio": "sub/a.wav", "segment": '<segment name="1" track="1"/>'},
            FormatError,
            "track below 1, found 1",
        ),
    ]:
        with pytest.raises(error, match=message):
            read(**options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="type 'audio' has no option 'io'"):
        read("sub/a.wav", io="mmap")
    with pytest.raises(EntryNotFoundError, match="no segment"):
        read("")


def test_a_shorter_file_than_before_is_an_error(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(100))
    path = corpus(tmp_path / "corpus", '<segment name="1"/>', audio="a.wav")
    data = SprintCacheDataset({"data": {"type": "audio", "filename": path}})
    assert data.get_lengths().tolist() == [100]
    write_wav(tmp_path / "a.wav", np.zeros(60))
    with pytest.raises(sprintcache.ArchiveChangedError, match="expected 100, found 60"):
        data.read_batch([0])


# ---- vectors


def test_vectors_of_all_kinds_of_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    names = list(described())
    vectors = np.random.default_rng(1).standard_normal((24, 5)).astype(np.float32)
    entries = [
        (name, builder.features([row.tolist()])) for name, row in zip(names, vectors, strict=True)
    ]
    (tmp_path / "a.cache").write_bytes(builder.archive(entries))
    by_name = dict(zip(names, vectors, strict=True))
    np.savez(tmp_path / "b.npz", **by_name, **{"other/1": vectors[:1]})
    with h5py.File(tmp_path / "c.hdf", "w") as file:
        file["inputs"] = vectors[::-1]
        file["seqTags"] = np.array(names[::-1], "S")
        file["seqLengths"] = np.ones((24, 2), np.int32)
    for path in tmp_path.iterdir():
        data = dataset({"vector": {"type": "vector", "filename": str(path)}})
        for source in (data, pickle.loads(pickle.dumps(data))):
            actual = rows(source, "vector")
            assert all(np.array_equal(actual[name], by_name[name][None]) for name in names)
        assert data.num_outputs["vector"] == (5, 2)
        assert data.get_lengths("vector").tolist() == [1] * 24
        array, lengths = data.read_batch([], ["vector"])["vector"]
        assert (array.shape, lengths.tolist()) == ((0, 0, 5), [])
        assert data.get_target_list() == []


def test_files_without_one_row_for_each_segment(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    two = np.zeros((2, 3), np.float32)
    np.savez(tmp_path / "shapes.npz", a=two[0], b=two)
    np.savez(tmp_path / "text.npz", a=np.array(["x"]))
    (tmp_path / "broken.npz").write_bytes((tmp_path / "shapes.npz").read_bytes()[:-30])
    (tmp_path / "broken.hdf").write_bytes(b"\x89HDF\r\n\x1a\n nothing")
    with h5py.File(tmp_path / "frames.hdf", "w") as file:
        file["inputs"], file["seqTags"] = two, np.array(["a"], "S")
    with h5py.File(tmp_path / "other.hdf", "w") as file:
        file["x"] = two
    np.save(tmp_path / "array.npy", two)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for path in tmp_path.iterdir():
        with pytest.raises(FormatError, match=re.escape(str(path))):
            SprintCacheDataset({"data": {"type": "vector", "filename": str(path)}})
    data = SprintCacheDataset({"data": {**FEATURES, "type": "vector"}})
    with pytest.raises(FormatError, match="expected 1 frame, found 186"):
        data.read_batch([0])


# ---- automata


def reference_automata() -> Automata:
    with np.load(DATA / "automata" / "tying-eow.npz") as file:
        return Automata.from_edges(
            file["edges"], file["weights"], file["start_end"], tags=file["tags"].tolist()
        )


def test_automata_as_padded_arrays() -> None:
    automata = reference_automata()
    edges, weights, start_end, lengths = padded = to_padded(automata)
    assert lengths.tolist() == np.bincount(automata.edges[3]).tolist()
    for number, one in enumerate(automata):
        expected = one.edges[:3].astype(np.int64).T
        size = lengths[number]
        assert np.array_equal(edges[number, :size, 2], expected[:, 2])
        assert np.array_equal(np.diff(edges[number, :size, :2]), np.diff(expected[:, :2]))
        assert edges[number, :size, :2].min() == 0
        assert (edges[number, size:] == -1).all()
        assert np.array_equal(weights[number, :size], one.weights)
        assert not weights[number, size:].any()
    again = from_padded(*padded, tags=automata.tags)
    assert [again[tag].full_sum(*scores(again[tag])).loss for tag in again.tags or ()] == [
        automata[tag].full_sum(*scores(automata[tag])).loss for tag in automata.tags or ()
    ]
    assert from_padded(*to_padded(again)).edges.tolist() == again.edges.tolist()
    with pytest.raises(ValueError, match="must be"):
        from_padded(edges[:, 1:], weights, start_end, lengths)
    with pytest.raises(ValueError, match="lengths must be between"):
        from_padded(edges, weights, start_end, lengths + 1)


def scores(automata: Automata) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    log_probs = np.log(rng.dirichlet(np.ones(automata.num_labels), (400, 1)))
    return log_probs.astype(np.float32), np.array([400])


def test_automata_that_a_builder_makes(tmp_path: Path) -> None:
    made = automaton_builder("variants")
    tags = made.segments()[:3]
    entries = [(tag, builder.features([[0.5]] * 3)) for tag in tags]
    (tmp_path / "a.cache").write_bytes(builder.archive(entries))
    data = SprintCacheDataset(
        {
            "data": {"filename": str(tmp_path / "a.cache")},
            "automaton": {"type": "automaton", "filename": made},
        }
    )
    assert data.data["automaton"].num_labels == made.num_labels
    batch = data.read_batch([2, 0])
    expected = to_padded(made.build([made.orthography(tags[2]), made.orthography(tags[0])]))
    keys = ("automaton", "automaton[weights]", "automaton[start_end]")
    for key, array in zip(keys, expected, strict=False):
        assert np.array_equal(batch[key][0], array)
    assert batch["automaton"][1].tolist() == expected.lengths.tolist()


def test_automata_of_a_file_and_in_memory(tmp_path: Path) -> None:
    automata = reference_automata()
    automata.save(tmp_path / "automata")
    tags = list(automata.tags or ())
    entries = [(tag, builder.features([[0.5]] * 3)) for tag in reversed(tags)]
    (tmp_path / "a.cache").write_bytes(builder.archive(entries))
    for source in (str(tmp_path / "automata"), automata):
        data = SprintCacheDataset(
            {
                "data": {"filename": str(tmp_path / "a.cache")},
                "automaton": {"type": "automaton", "filename": source},
            }
        )
        data = pickle.loads(pickle.dumps(data))
        buffers = BatchBuffers()
        batch = data.read_batch([2, 0], buffers=buffers)
        expected = to_padded(automata[[tags[-3], tags[-1]]])
        for key, array in zip(
            ("automaton", "automaton[weights]", "automaton[start_end]"), expected, strict=False
        ):
            assert np.array_equal(batch[key][0], array)
        assert batch["automaton"][1].tolist() == expected.lengths.tolist()
        assert batch["automaton[start_end]"][1].tolist() == [2, 2]
        actual = data.get_lengths("automaton")[[2, 0]]
        assert actual.tolist() == expected.lengths.tolist()
        assert data.num_outputs["automaton"] == (3, 2)
    untagged = Automata(automata.edges, automata.weights, automata.start_end)
    with pytest.raises(ValueError, match="automata without tags"):
        SprintCacheDataset({"data": {"type": "automaton", "filename": untagged}})


def test_batches_with_automata_for_the_loss(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    from sprintcache.torch import AutomataCollate, BatchSampler, MapDataset

    automata = reference_automata()
    automata.save(tmp_path / "automata")
    tags = list(automata.tags or ())
    entries = [(tag, builder.features([[0.5]] * 30)) for tag in reversed(tags)]
    (tmp_path / "a.cache").write_bytes(builder.archive(entries))
    data = SprintCacheDataset(
        {
            "data": {"filename": str(tmp_path / "a.cache")},
            "automaton": {"type": "automaton", "filename": str(tmp_path / "automata")},
        }
    )
    train = MapDataset(data)
    sampler = BatchSampler(train, max_seqs=2)
    loader = torch.utils.data.DataLoader(
        train, batch_sampler=sampler, collate_fn=AutomataCollate("automaton"), num_workers=1
    )
    seen = []
    for batch, actual in loader:
        assert list(batch.data) == list(batch.lengths) == ["data"]
        assert list(actual.tags) == batch.tags
        expected = from_padded(*to_padded(automata[batch.tags]))
        for name in ("edges", "weights", "start_end"):
            assert np.array_equal(getattr(actual, name), getattr(expected, name))
        seen += batch.tags
    assert sorted(seen) == sorted(tags)


# ---- any mix of keys

ALL: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "filename": CORPUS},
    "phonemes": {"type": "text", "filename": CORPUS, "lexicon": LEXICON},
    "speaker": {"type": "speaker", "filename": CORPUS},
    "align": {"type": "align", "filename": str(DATA / "alignment.linear.cache")},
    "energy": {"type": "feat", "filename": str(DATA / "energy.cache")},
}
ALL["align"]["allophone_labeling"] = {
    "silence_phone": "[SILENCE]",
    "allophone_file": str(DATA / "allophones"),
    "state_tying_file": str(DATA / "state-tying" / "monophone"),
}


@settings(max_examples=15)
@given(
    st.sets(st.sampled_from(sorted(ALL)), min_size=1),
    st.sampled_from(["default", "random", "laplace:4", "sorted_reverse"]),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_order_parts_and_shards_do_not_depend_on_the_keys(
    keys: set[str], ordering: str, parts: int, shards: int
) -> None:
    options = {"seq_ordering": ordering, "partition_epoch": parts, "num_shards": shards}
    data = dataset({key: ALL[key] for key in keys}, **options, max_seq_length={"data": 400})
    alone = dataset({}, **options, max_seq_length=400)
    for epoch in range(1, parts + 1):
        for each in (data, alone):
            each.init_seq_order(epoch=epoch)
        order = data.get_current_seq_order()
        assert order.tolist() == alone.get_current_seq_order().tolist()
        for seqs in make_batches(order, data.get_lengths(), max_seqs=5):
            batch = data.read_batch(seqs)
            for key in keys:
                for row, length, seq in zip(*batch[key], seqs, strict=True):
                    one, (size,) = data.read_batch([seq], [key])[key]
                    assert size == length
                    assert np.array_equal(row[:length], one[0])


def test_a_training_on_streams_resumes_in_workers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    from sprintcache.torch import BatchSampler, MapDataset, collate

    rng = np.random.default_rng(1)
    files = [*described()]
    recordings = []
    for number, name in enumerate(files):
        write_wav(tmp_path / f"{number}.wav", rng.uniform(-1, 1, 400 + 10 * number))
        recording, segment = name.split("/")[1:]
        recordings.append(
            f'<recording name="{recording}" audio="{number}.wav"><segment name="{segment}"/>'
            "</recording>"
        )
    path = tmp_path / "corpus"
    path.write_text(f'<corpus name="espeak">{"".join(recordings)}</corpus>')
    audio = {"type": "audio", "filename": str(path)}
    keys = {key: ALL[key] for key in ("text", "speaker", "align")}
    data = dataset({"audio": audio, **keys}, seq_ordering="random")
    train = MapDataset(data)

    def loader(sampler: Any, workers: int) -> Any:
        return torch.utils.data.DataLoader(
            train, batch_sampler=sampler, collate_fn=collate, num_workers=workers
        )

    def plain(batch: Any) -> dict[str, Any]:
        arrays = {key: batch.data[key].tolist() for key in data.data}
        return {"tags": batch.tags, "lengths": {k: x.tolist() for k, x in batch.lengths.items()},
                **arrays}  # fmt: skip

    whole, states = [], []
    for batch in loader(BatchSampler(train, max_frames=1500), 0):
        whole.append(plain(batch))
        states.append(batch.state)
    for start in (0, len(whole) // 2):
        sampler = BatchSampler(train, max_frames=1500)
        sampler.load_state_dict(states[start])
        assert list(map(plain, loader(sampler, 2))) == whole[start + 1 :]


def test_limits_of_the_length_of_any_key() -> None:
    lengths = {tag: len(text) for tag, (text, _) in described().items()}
    for limits in ({"min_seq_length": {"text": 40}}, {"max_seq_length": {"text": 40, "data": 300}}):
        data = dataset({"text": ALL["text"]}, **limits)
        data.init_seq_order(epoch=1)
        frames = dataset({}).get_lengths()
        expected = [
            index
            for index, tag in enumerate(data.get_all_tags())
            if (lengths[tag] >= 40 if "min_seq_length" in limits else lengths[tag] <= 40)
            and (frames[index] <= 300 or "min_seq_length" in limits)
        ]
        assert data.get_current_seq_order().tolist() == expected


@given(st.lists(st.text(st.characters(codec="utf-8"))), st.data())
def test_packed_strings(strings: list[str], data: st.DataObject) -> None:
    packed = PackedStrings(strings)
    assert list(packed) == strings == packed[:]
    assert packed[1:-1] == strings[1:-1]
    if strings:
        numbers = data.draw(st.lists(st.integers(0, len(strings) - 1)))
        assert packed.at(np.array(numbers, np.int64)) == [strings[i] for i in numbers]
    with pytest.raises(IndexError):
        packed.at([len(strings)])
    with pytest.raises(IndexError):
        packed.at([-1])
