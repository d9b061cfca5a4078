"""Plan: the source archive of every entry when archives are combined."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sprintcache.archive import Archive

__all__ = ["OnDecision", "Plan", "Step", "with_attributes"]

OnDecision = Callable[[str, str], None]


class Step(NamedTuple):
    """The entries to copy from one archive.

    Attributes:
        archive: the source.
        names: its entries, in this order.
        replacing: those of them that replace entries of the archive that is appended to.
    """

    archive: Archive
    names: list[str]
    replacing: frozenset[str]


class Plan:
    """The source archive of every name.

    Args:
        target: the archive that is appended to, or None.
        duplicates, on_decision: as of `combine`.
        new_name: from the name of an entry to its new name; None if names are unchanged.

    Attributes:
        orphans: attributes in the target whose segment is replaced by one without.
        num_kept: entries that are skipped, since their name exists.
        differing: names of skipped entries that differ, by "check".
    """

    def __init__(
        self,
        target: Archive | None,
        duplicates: str,
        new_name: Callable[[str], str] | None,
        on_decision: OnDecision | None,
    ) -> None:
        self._target = target
        self._duplicates = duplicates
        self._new_name = new_name or str
        self._on_decision = on_decision
        self._home: dict[str, int] = {}  # new name -> number of its source
        # new name -> name in its source; None if names are unchanged
        self._old_names: dict[str, str] | None = None if new_name is None else {}
        self._sources: list[tuple[Archive, list[str]]] = []
        self._alone: set[str] = set()  # segments of which the sources have attributes only
        self._replacing: set[str] = set()
        self._has_changed = False  # whether an entry of the plan was replaced later
        self.orphans: set[str] = set()
        self.num_kept = 0
        self.differing: list[str] = []

    @property
    def num_replaced(self) -> int:
        """Number of entries of the target that are replaced."""
        return len(self._replacing)

    def add(self, archive: Archive, names: list[str] | None) -> None:
        """Adds a source; decides on its names, or on these."""
        chosen: list[str] = []
        number = len(self._sources)
        self._sources.append((archive, chosen))
        if names is None and self._has_only_new_segments(archive):
            chosen += archive._names(0, len(archive), False)
            self._home.update(dict.fromkeys(chosen, number))
            return
        selected = archive if names is None else with_attributes(archive, names)
        decided: dict[str, bool] = {}  # name -> whether it is taken from here
        for name in selected:
            owner = name
            if name.endswith(".attribs") and name[:-8] in selected:
                owner = name[:-8]
            if owner not in decided:
                decided[owner] = self._decide(archive, owner)
            if decided[owner]:
                chosen.append(name)
                self._set_home(name, number)
            else:
                self.num_kept += 1

    def _has_only_new_segments(self, archive: Archive) -> bool:
        """Whether each segment, or its attributes, is in no earlier source, and names stay.

        Then there is nothing to decide, which saves most of the time for small entries.
        """
        if self._target is not None or self._old_names is not None:
            return False
        if self._on_decision is not None:
            return False
        alone = set(archive._attributes_alone())
        is_new = (
            self._home.keys().isdisjoint(archive._names(0, len(archive), False))
            and self._home.keys().isdisjoint(alone)
            and not any(segment in archive for segment in self._alone)
        )
        self._alone |= alone
        return is_new

    def steps(self) -> list[Step]:
        """The entries to copy."""
        if not self._has_changed:
            return [Step(archive, chosen, frozenset()) for archive, chosen in self._sources]
        steps = []
        for number, (archive, chosen) in enumerate(self._sources):
            names = [name for name in chosen if self._home.get(self._new_name(name)) == number]
            replacing = {name for name in names if self._new_name(name) in self._replacing}
            steps.append(Step(archive, names, frozenset(replacing)))
        return steps

    def _decide(self, archive: Archive, segment: str) -> bool:
        """Whether a segment with its attributes is taken from this archive."""
        name = self._new_name(segment)
        data = segment.removesuffix(".attribs")
        if data != segment and data not in archive and self._is_taken(self._new_name(data)):
            self._report("keep", name)  # attributes without data, next to other data
            return False
        home = self._home.get(name)
        if home == len(self._sources) - 1:
            old_name = self._old_name(name, segment)
            raise ValueError(
                f"{old_name!r} and {segment!r} of one archive would both be named {name!r}"
            )
        if home is None and not self._is_in_target(name):
            if self._is_taken(f"{name}.attribs"):  # attributes without data
                self._replace(archive, segment)
            self._report("add", name)
            return True
        if self._duplicates == "replace":
            self._replace(archive, segment)
            self._report("replace", name)
            return True
        if self._duplicates == "check":
            existing, existing_name = self._target, name
            if home is not None:
                existing, existing_name = self._sources[home][0], self._old_name(name, segment)
            if existing is not None and not _same(archive, segment, existing, existing_name):
                self.differing.append(name)
                self._report("differ", name)
                return False
        self._report("keep", name)
        return False

    def _replace(self, archive: Archive, segment: str) -> None:
        """Drops a segment and its attributes from the plan, or replaces them in the target."""
        for suffix in ("", ".attribs"):
            name = self._new_name(segment) + suffix
            self._home.pop(name, None)
            self._has_changed = True
            if self._is_in_target(name):
                has_one = segment + suffix in archive
                (self._replacing.add if has_one else self._replacing.discard)(name)
                (self.orphans.discard if has_one else self.orphans.add)(name)

    def _set_home(self, name: str, number: int) -> None:
        new_name = self._new_name(name)
        if self._old_names is not None:
            self._old_names[new_name] = name
        self._home[new_name] = number

    def _old_name(self, new_name: str, default: str) -> str:
        """The name of an entry in its source."""
        return default if self._old_names is None else self._old_names.get(new_name, default)

    def _is_in_target(self, name: str) -> bool:
        return self._target is not None and name in self._target

    def _is_taken(self, name: str) -> bool:
        return name in self._home or self._is_in_target(name)

    def _report(self, decision: str, name: str) -> None:
        if self._on_decision is not None:
            self._on_decision(decision, name)


def with_attributes(archive: Archive, names: Iterable[str]) -> dict[str, None]:
    """Those of the names that the archive has, each once, its attributes right before it."""
    ordered: dict[str, None] = {}
    for name in names:
        if name in archive:
            attribs = name + ".attribs"
            if attribs in archive:
                ordered[attribs] = None
            ordered[name] = None
    return ordered


def _same(archive: Archive, segment: str, other: Archive, other_segment: str) -> bool:
    """Whether data and attributes are equal."""
    for suffix in ("", ".attribs"):
        name, other_name = segment + suffix, other_segment + suffix
        if (name in archive) != (other_name in other):
            return False
        if name in archive and archive.read_bytes(name) != other.read_bytes(other_name):
            return False
    return True
