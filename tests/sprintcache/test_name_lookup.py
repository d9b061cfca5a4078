"""Numbers of names in lazy sequences, against a dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprintcache import open_archive
from sprintcache._dataset import name_lookup
from sprintcache._dataset.name_lookup import NameIndex, NameView, is_same_list
from tests.paths import DATA

NAMES = st.lists(st.text("ab\udc80é", max_size=4), max_size=30)


@given(known=NAMES.map(lambda names: list(dict.fromkeys(names))), searched=NAMES)
def test_numbers_of_names(known: list[str], searched: list[str]) -> None:
    numbers = {name: number for number, name in enumerate(known)}
    actual = NameIndex(known).find(searched)
    assert actual.tolist() == [numbers.get(name, -1) for name in searched]
    assert actual.dtype == np.int64
    assert is_same_list(known, searched) == (known == searched)
    assert is_same_list(known, list(known))


def test_names_with_the_same_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    def weak(text: str) -> int:
        return len(text) if text.endswith("\0") else 7

    monkeypatch.setattr(name_lookup, "hash", weak, raising=False)
    index = NameIndex(["a", "aa", "aaa"])
    assert index.find(["aa", "x", "a", "aaaa"]).tolist() == [1, -1, 0, -1]


def test_a_name_twice() -> None:
    with pytest.raises(ValueError, match="two segments are named 'b'"):
        NameIndex(["a", "b", "c", "b"])


def test_many_names_are_compared_to_the_last() -> None:
    names = [f"s{i}" for i in range(5000)]
    assert is_same_list(names, list(names))
    assert not is_same_list(names, [*names[:-1], "other"])
    assert NameIndex(names).find(names[::-1]).tolist() == list(range(5000))[::-1]


def test_views() -> None:
    with open_archive(DATA / "features.bundle") as archive:
        names = list(archive.segments)
        whole = NameView(archive.segments)
        some = whole.subset(np.array([3, 1, 7]))
        upper = NameView(archive.segments, str.upper).subset(np.array([3, 1, 7, 2]))
        upper = upper.subset(np.array([0, 1, 2]))
        originals = [names[3], names[1], names[7]]
        assert list(whole) == names
        for view, expected in ((some, originals), (upper, [name.upper() for name in originals])):
            assert list(view) == expected
            assert (len(view), view[0], view[-1], view[1:]) == (
                3, expected[0], expected[2], expected[1:],
            )  # fmt: skip
            assert view.at([2, 2, 0]) == [expected[2], expected[2], expected[0]]
            assert NameIndex(view).find(expected[::-1]).tolist() == [2, 1, 0]
        assert whole.at(range(3)) == archive.segments.at(range(3)) == names[:3]
        assert repr(some) == "<3 of " + repr(archive.segments) + ">"
        for lazy in (some, whole, archive.segments):
            for wrong in (24, -1):
                with pytest.raises(IndexError):
                    lazy.at([wrong])
