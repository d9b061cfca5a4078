"""Places of names in lazy sequences, against a dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprintcache import open_archive
from sprintcache._dataset import name_lookup as matching
from sprintcache._dataset.name_lookup import Subset, contained, is_same_list, places
from tests.paths import DATA

NAMES = st.lists(st.text("ab\udc80é", max_size=4), max_size=30)


@given(known=NAMES.map(lambda names: list(dict.fromkeys(names))), wanted=NAMES)
def test_places(known: list[str], wanted: list[str]) -> None:
    where = {name: place for place, name in enumerate(known)}
    assert places(wanted, known).tolist() == [where.get(name, -1) for name in wanted]
    assert contained(wanted, known).tolist() == [name in where for name in wanted]
    assert is_same_list(known, wanted) == (known == wanted)
    assert is_same_list(known, list(known))


def test_names_of_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    def weak(text: str) -> int:
        return len(text) if text.endswith("\0") else 7

    monkeypatch.setattr(matching, "hash", weak, raising=False)
    assert places(["aa", "x", "a", "aaaa"], ["a", "aa", "aaa"]).tolist() == [1, -1, 0, -1]


def test_many_names_are_compared_to_the_last() -> None:
    names = [f"s{i}" for i in range(5000)]
    assert is_same_list(names, list(names))
    assert not is_same_list(names, [*names[:-1], "other"])
    assert places(names[::-1], names).tolist() == list(range(5000))[::-1]


def test_a_subset() -> None:
    with open_archive(DATA / "features.bundle") as archive:
        names = list(archive.segments)
        subset = Subset(archive.segments, np.array([3, 1, 7]))
        wanted = [names[3], names[1], names[7]]
        assert list(subset) == wanted
        assert (len(subset), subset[0], subset[-1], subset[1:]) == (
            3, wanted[0], wanted[2], wanted[1:],
        )  # fmt: skip
        assert subset.at([2, 2, 0]) == [wanted[2], wanted[2], wanted[0]]
        assert archive.segments.at(range(3)) == names[:3]
        assert repr(subset) == "<3 of " + repr(archive.segments) + ">"
        for lazy in (subset, archive.segments):
            with pytest.raises(IndexError):
                lazy.at([24])
