"""Lexicon: what Sprint's parser accepts, and errors that name the line."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import pytest

from sprintcache.errors import CorruptError, FormatError, TruncatedError
from sprintcache.lexicon import Lemma, Lexicon, Phoneme, Pronunciation

LEXICON = """<?xml version="1.0" encoding="utf-8"?>
<lexicon>
 <phoneme-inventory>
  <phoneme><symbol>[SILENCE]</symbol><variation>none</variation></phoneme>
  <phoneme><symbol> a </symbol><variation>context</variation></phoneme>
  <phoneme><symbol>b</symbol></phoneme>
 </phoneme-inventory>
 <lemma special="silence"><orth>[SILENCE]</orth><orth/><phon>[SILENCE]</phon></lemma>
 <lemma name="ab"><orth> A
 B </orth><phon weight="0.5"> a  b</phon><phon score="1.5">b</phon><synt/><eval/><eval/></lemma>
 <lemma><orth>c</orth></lemma>
</lexicon>
"""


def read(folder: Path, text: str, name: str = "lexicon.xml") -> Lexicon:
    file = folder / name
    file.write_bytes(text.encode("utf-8"))
    return Lexicon.read(file)


def test_phonemes_lemmas_and_pronunciations(tmp_path: Path) -> None:
    lexicon = read(tmp_path, LEXICON)
    assert lexicon.phonemes == [Phoneme("[SILENCE]", False), Phoneme("a"), Phoneme("b")]
    silence, compound, mute = lexicon.lemmas
    assert silence == Lemma(("[SILENCE]", ""), (Pronunciation((1,)),), "silence", None, 8)
    assert compound.orthographies == ("A B",)
    assert compound.pronunciations == (
        Pronunciation((2, 3), 0.5),
        Pronunciation((3,), 1.0, 1.5),
    )
    assert (compound.name, compound.line, compound.symbol) == ("ab", 9, "A B")
    assert mute.pronunciations == ()
    assert lexicon.special("silence") is silence
    assert lexicon.special("unknown") is None
    assert lexicon.symbols((2, 3)) == "a b"
    assert [lemma.symbol for lemma, _ in lexicon.pronunciations()] == ["[SILENCE]", "A B", "A B"]


def test_gzip_and_a_vocabulary(tmp_path: Path) -> None:
    zipped = tmp_path / "lexicon.xml.gz"
    zipped.write_bytes(gzip.compress(LEXICON.encode()))
    words = tmp_path / "words"
    words.write_text("# these\nc\n\nother\n")
    lexicon = Lexicon.read(zipped, words)
    assert [lemma.symbol for lemma in lexicon.lemmas] == ["[SILENCE]", "c"]
    zipped.write_bytes(gzip.compress(LEXICON.encode())[:-20])
    with pytest.raises(TruncatedError, match="cut"):
        Lexicon.read(zipped)


def test_labels_as_a_lexicon(tmp_path: Path) -> None:
    file = tmp_path / "vocab"
    file.write_text("#x\nthe\n")
    lexicon = Lexicon.read(f"vocab-text:{file}")
    assert lexicon.phonemes == [Phoneme("#x", False), Phoneme("the", False)]
    assert lexicon.lemmas[1].pronunciations == (Pronunciation((2,)),)
    for text, line in (("a\nb\na\n", 3), ("a\n \n", 2), ("a b\n", 1)):
        file.write_text(text)
        with pytest.raises(CorruptError, match=f"line {line} "):
            Lexicon.read(f"vocab-txt:{file}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<lexicon>", "<corpus>", "line 2: not a lexicon"),
        ('<lemma name="ab">', '<lemma special="silence">', "line 10.*special='silence'"),
        ('<lemma name="ab">', "<lemma>\n<phon>b</phon>", "line 10: a lemma begins with <orth>"),
        ("> a  b<", "> a x<", "line 10: pronunciation 'a x' has an unknown phoneme 'x'"),
        (">b</phon><synt/>", ">a b</phon><synt/>", "line 10: a pronunciation of 'A B'.*twice"),
        ('weight="0.5"', 'weight="-1"', "line 10: pronunciation weight: expected not negative"),
        ('weight="0.5"', 'weight="0.5" score="1"', "line 10.*not both"),
        ('weight="0.5"', 'weight="much"', "line 10: weight.*expected a number, found 'much'"),
        ("<synt/><eval/>", "<eval/><synt/>", "line 10: <synt> out of order"),
        ("<synt/><eval/>", "<eval/><orth>d</orth>", "line 10: <orth> out of order"),
        ("<synt/><eval/>", "<other/>", "line 10: <other> in a lemma"),
        ("<orth>c</orth>", "", "line 11: a lemma without <orth>"),
        ("<symbol>b</symbol>", "<symbol>[SILENCE]</symbol>", "line 6: two phonemes"),
        ("<symbol>b</symbol>", "", "line 6: a phoneme needs a symbol"),
        (">context<", ">some<", "line 5: variation of a phoneme"),
        ('encoding="utf-8"', 'encoding="unheard"', "not well-formed"),
        ("</lexicon>", "", "not well-formed XML: no element found"),
    ],
)
def test_bad_lexica(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in LEXICON
    with pytest.raises(FormatError, match=message) as caught:
        read(tmp_path, LEXICON.replace(old, new, 1))
    assert "lexicon.xml" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="expected <lexicon>, found <corpus>"):
        read(tmp_path, "<corpus/>")
    with pytest.raises(FileNotFoundError):
        Lexicon.read(tmp_path / "none")
