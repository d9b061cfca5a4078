"""Weights of transitions: loop, forward, skip and exit, for each kind of state."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sprintcache.errors import AutomatonError

__all__ = ["FORBIDDEN", "Transition", "Transitions"]

FORBIDDEN = float(np.finfo(np.float32).max)  # Sprint's infinity, as a weight
_INFINITY = sys.float_info.max  # Sprint's infinity, as a parameter


@dataclass(frozen=True)
class Transition:
    """Weights of the transitions out of one kind of state, as negative logarithms.

    Attributes:
        loop: remains in the state.
        forward: to the next state.
        skip: over the next state; inf builds no skips.
        exit: out of the last state of a word.
    """

    loop: float = 3.0
    forward: float = 0.0
    skip: float = 3.0
    exit: float = 0.0

    @classmethod
    def of(cls, values: Transition | Sequence[float] | Mapping[str, float]) -> Transition:
        """Returns four numbers, or numbers by their names, as a Transition."""
        if isinstance(values, Transition):
            return values
        return cls(**values) if isinstance(values, Mapping) else cls(*values)

    def scaled(self, scale: float) -> list[float]:
        """Returns the four weights times a scale, as float32 values; inf is `FORBIDDEN`.

        Raises:
            AutomatonError: a product is not a number.
        """
        return [_weight(v, scale) for v in (self.loop, self.forward, self.skip, self.exit)]


def _weight(value: float, scale: float) -> float:
    if value != value:
        raise AutomatonError("a transition weight is not a number")
    product = max(min(value, _INFINITY), -_INFINITY) * scale
    with np.errstate(over="ignore"):
        weight = float(np.float32(product))
    if weight != weight:
        raise AutomatonError(f"transition weight {value} times scale {scale} is not a number")
    return max(min(weight, FORBIDDEN), -FORBIDDEN)


@dataclass(frozen=True)
class Transitions:
    """The transition model.

    Attributes:
        phone: out of a state of any phone but silence.
        silence: out of the state of silence.
        entry: into the first state of a word: its forward and skip.
        classes: weights by class of a separate state tying; class 0 has those of silence.
        scale: factor of all weights.
        applicator: ``"legacy"`` or ``"corrected"``.
    """

    phone: Transition = field(default_factory=Transition)
    silence: Transition = field(default_factory=Transition)
    entry: Transition = field(default_factory=Transition)
    phone_1: Transition | None = None
    entry_2: Transition | None = None
    classes: Mapping[int, Transition] | None = None
    scale: float = 1.0
    applicator: str = "legacy"

    def sets(self, num_classes: int) -> np.ndarray:
        """Returns (S, 4) float32 weights: entry, silence, then phone or one set per class."""
        scale = self.scale
        rows = [self.entry.scaled(scale), self.silence.scaled(scale)]
        rows[0][0] = FORBIDDEN  # Sprint forces the loop of an entry
        if self.classes is None:
            rows.append(self.phone.scaled(scale))
        else:
            rows += [
                self.classes.get(class_, self.phone).scaled(scale)
                for class_ in range(1, num_classes)
            ]
        return np.array(rows, np.float32)

    def check_ctc(self, num_classes: int) -> None:
        """Refuses weights that Sprint does not accept with the topology ctc.

        Raises:
            AutomatonError: names the first weight that is wrong.
        """
        wanted = (0.0, 0.0, FORBIDDEN, 0.0)
        named: dict[str, Transition] = {"entry": self.entry, "silence": self.silence}
        if self.classes is None:
            named["phone"] = self.phone
        else:
            for class_ in range(1, num_classes):
                named[f"class {class_}"] = self.classes.get(class_, self.phone)
        if self.phone_1 is not None and self.classes is None:
            named["state-1"] = self.phone_1
        if self.entry_2 is not None:
            named["entry-m2"] = self.entry_2
        for kind, transition in named.items():
            weights = transition.scaled(self.scale)
            is_entry = kind.startswith("entry")
            for name, weight, value in zip(
                ("loop", "forward", "skip", "exit"), weights, wanted, strict=True
            ):
                if is_entry and name == "loop":
                    continue
                if weight != value and not (name == "skip" and weight >= FORBIDDEN):
                    raise AutomatonError(
                        f"the topology ctc needs fixed transition weights: {kind}, {name}",
                        expected="infinity" if value else "0",
                        found=weight,
                    )
