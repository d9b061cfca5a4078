"""Places of names in lazy sequences, against a dict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprintcache import matching
from sprintcache.matching import Subset, contained, is_same_list, places

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
    import numpy as np

    subset = Subset(["a", "b", "c", "d"], np.array([3, 1]))
    assert (len(subset), subset[0], subset[-1], subset[:1], list(subset)) == (
        2, "d", "b", ["d"], ["d", "b"],
    )  # fmt: skip
    assert repr(subset).startswith("<2 of ")
