"""Readers of other foreign bytes: any changed byte gives a value or a typed error, fast."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprintcache import FormatError, SprintCacheError, TruncatedError
from sprintcache._attributes import parse
from sprintcache._configuration import Configuration
from sprintcache._dataset.streams.vector import _read_npz as read_vectors
from sprintcache._segment_list import read_segment_list
from sprintcache._text_file import read_prefix
from sprintcache.align.sprint_parameters import read_prior
from sprintcache.convert import convert
from sprintcache.dataset_base import read_seq_lengths
from sprintcache.errors import ConfigurationError
from sprintcache.lexicon import Lexicon
from sprintcache.vocabulary import BytePairEncoding, Vocabulary
from tests.oracle import builder
from tests.paths import DATA

LEXICON = """<?xml version="1.0" encoding="utf-8"?>
<lexicon><phoneme-inventory>
<phoneme><symbol>a</symbol></phoneme><phoneme><symbol>si</symbol><variation>none</variation></phoneme>
</phoneme-inventory>
<lemma special="silence"><orth>[S]</orth><phon score="0.5">si</phon><synt/><eval/></lemma>
<lemma><orth>A</orth><orth>B &amp; C</orth><phon>a a</phon><phon>a</phon></lemma>
</lexicon>
"""


def read_attributes(path: Path) -> Any:
    return parse(path.read_bytes(), path=str(path))


def read_npz(path: Path) -> None:
    convert([path], path.parent / "out.cache", overwrite=True)


def npz(folder: Path) -> bytes:
    np.savez_compressed(folder / "x.npz", a=np.ones((3, 2), np.float32), b=np.arange(4.0))
    return (folder / "x.npz").read_bytes()


INPUTS: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path], Any]]] = {
    "attributes": ("attribs", lambda _: builder.attribs({"a": "b", "c": "<&>"}), read_attributes),
    "segment list": ("list", lambda _: gzip.compress(b"a/1\nb/2\r\n# c\n"), read_segment_list),
    "lexicon": ("lexicon.xml", lambda _: LEXICON.encode(), Lexicon.read),
    "npz": ("in.npz", npz, read_npz),
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("kind", INPUTS)
def test_changed_bytes_and_cuts(scratch: Path, kind: str) -> None:
    name, make, read = INPUTS[kind]
    data, path = make(scratch), scratch / name
    path.write_bytes(data)
    read(path)
    rng = random.Random(kind)
    messages = []
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 4])):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del changed[rng.randrange(len(data)) :]
        path.write_bytes(changed)
        try:
            read(path)
        except SprintCacheError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(name in message for message in messages)


def test_gzip_data_in_a_text_file_are_limited_by_what_deflate_can_reach(scratch: Path) -> None:
    path = scratch / "list"
    path.write_bytes(gzip.compress(b"\0" * 1_000_000))
    with pytest.raises(FormatError, match="zero byte"):
        read_segment_list(path)


def test_configurations_that_double(scratch: Path) -> None:
    """Files that include the next one twice, and values that refer to the next one twice."""
    for number in range(40):
        include = f"include {number + 1}.config\n" * 2 if number < 39 else ""
        (scratch / f"{number}.config").write_text(include)
    with pytest.raises(ConfigurationError, match="more than 1000 files"):
        Configuration.from_sources([scratch / "0.config"], "app")
    values = {f"*.v{number}": f"$(v{number + 1})" * 2 for number in range(60)}
    empty = Configuration.from_sources([{**values, "*.v60": ""}], "app")
    assert empty.get("v0") == ""
    full = Configuration.from_sources([{**values, "*.v60": "x"}], "app")
    assert full.get("v50") == "x" * 1024
    with pytest.raises(ConfigurationError, match="characters"):
        full.get("v0")


def test_configurations_in_each_other(scratch: Path) -> None:
    """64 levels of included files are read, more are refused."""
    for number in range(66):
        include = f"include {number + 1}.config\n"
        (scratch / f"{number}.config").write_text(f"*.v{number} = x\n{include}")
    (scratch / "65.config").write_text("*.v65 = x\n")
    config = Configuration.from_sources([scratch / "1.config"], "app")
    assert config.get("v65") == "x"
    with pytest.raises(ConfigurationError, match=r'more than 64 deep at ".*/65\.config"'):
        Configuration.from_sources([scratch / "0.config"], "app")


def test_a_line_that_is_not_a_setting_is_named_by_its_number(scratch: Path) -> None:
    (scratch / "x.config").write_text("a = b\n= c\n")
    with pytest.raises(ConfigurationError, match=r"x\.config line 2: syntax error"):
        Configuration.from_sources([scratch / "x.config"], "app")


def test_a_pipe_as_configuration(scratch: Path) -> None:
    os.mkfifo(scratch / "pipe")
    with pytest.raises(ConfigurationError, match="a pipe"):
        Configuration.from_sources([scratch / "pipe"], "app")


PIPE_READERS = """
import sys
import sprintcache
from sprint_ctl._sprint.feature_scorer import read_log_priors
from sprint_ctl._trainer.process_output import tail_of
from sprint_ctl.dataset import SprintDatasetBase
from sprintcache.align.sprint_parameters import read_prior
from sprintcache.cli._entry_files import read_file
from sprintcache.convert.hdf_source import HdfSource
from sprintcache.vocabulary import CharacterTargets, Vocabulary

features, pipe = sys.argv[1:]
vectors = {"filename": f"{pipe}.hdf", "type": "vector"}
data = {"data": {"filename": features}, "vector": vectors}
for read in (
    lambda: sprintcache.open_archive(features, index=pipe),
    lambda: sprintcache.write_index(features, pipe),
    lambda: Vocabulary(pipe),
    lambda: CharacterTargets(pipe),
    lambda: SprintDatasetBase(target_maps={"speaker_name": pipe}),
    lambda: read_log_priors(pipe),
    lambda: read_prior(pipe, 3),
    lambda: read_file(pipe, "raw", None),
    lambda: HdfSource(f"{pipe}.hdf"),
    lambda: sprintcache.SprintCacheDataset(data),
):
    try:
        read()
    except sprintcache.FormatError as error:
        print(str(error).partition(": ")[2])
print(repr(tail_of(pipe)))
"""


def test_a_pipe_in_place_of_any_file_is_not_waited_for(scratch: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    os.mkfifo(scratch / "pipe")
    (scratch / "pipe.hdf").symlink_to("pipe")
    done = subprocess.run(
        [sys.executable, "-c", PIPE_READERS, DATA / "features.part1.cache", scratch / "pipe"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    expected = "not a regular file: expected a regular file, found a pipe"
    assert done.stdout.splitlines() == [expected] * 10 + ["''"]


def test_the_beginning_of_a_file(tmp_path: Path) -> None:
    text = bytes(range(256)) * 40
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "gz").write_bytes(gzip.compress(text))
    for name in ("plain", "gz"):
        for size in (0, 1, 5000, len(text), len(text) + 1):
            assert read_prefix(tmp_path / name, size) == text[:size]
    (tmp_path / "cut").write_bytes(gzip.compress(text)[:60])
    with pytest.raises(TruncatedError, match="the gzip file is cut"):
        read_prefix(tmp_path / "cut", len(text))
    (tmp_path / "damaged").write_bytes(b"\x1f\x8b\x08\xff" + bytes(40))
    with pytest.raises(FormatError):
        read_prefix(tmp_path / "damaged", 10)


# ---- vocabularies, lengths, priors, vectors


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 1e400}",
        "{['a']: 0}",
        "{'a': 0",
        "{" * 3000,
        "{'a': 1, 'b': 1}",
        "{'a': '0'}",
        "{1, 2}",
    ],
)
def test_what_is_no_dict_of_labels(tmp_path: Path, text: str) -> None:
    (tmp_path / "v").write_text(text)
    with pytest.raises(FormatError) as error:
        Vocabulary(str(tmp_path / "v"))
    assert error.value.path == str(tmp_path / "v")


@pytest.mark.parametrize(
    "text", [f"{{'a': {10**30}}}", "{{}: 1}", "{'a': 'b'}", "[1]", "{'a': 1", "(" * 3000]
)
def test_what_is_no_dict_of_lengths(tmp_path: Path, text: str) -> None:
    (tmp_path / "lengths").write_text(text)
    with pytest.raises(FormatError, match="not a dict of lengths"):
        read_seq_lengths(tmp_path / "lengths", ["a"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a b\na b c\n", "line 2"),
        ("#version: 0.2\nab\n", "line 2"),
        ("#version: 0.2\n", "line 2"),
        ("", "line 1"),
        ("#version: 0.3\na b\n", "version 0.1 or 0.2"),
        ("#version:0.2\na b\n", "version 0.1 or 0.2"),
    ],
)
def test_codes_on_which_the_library_would_exit(tmp_path: Path, text: str, line: str) -> None:
    pytest.importorskip("subword_nmt", reason="needs the extra bpe")
    (tmp_path / "codes").write_text(text)
    with pytest.raises(FormatError, match=line):
        BytePairEncoding(labels=["a"], bpe_file=str(tmp_path / "codes"))


def test_priors_may_be_gzipped_and_infinite(tmp_path: Path) -> None:
    text = '<vector-f32 size="3"> -1.5 -inf -1e300 </vector-f32>'
    for data in (text.encode(), gzip.compress(text.encode())):
        (tmp_path / "prior").write_bytes(data)
        assert read_prior(tmp_path / "prior", 3).tolist() == [-1.5, -np.inf, -np.inf]


def test_vectors_that_begin_outside_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    at = data.rindex(b"PK\5\6") + 16  # offset of the directory: zipfile shifts all others by it
    data[at + 1] += 0x20
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(FormatError, match="npz"):
        read_vectors(str(tmp_path / "x.npz"))
