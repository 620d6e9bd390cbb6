"""Figure: one thing that was measured, what it is compared with, and what was aimed at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at least or at most so much."""

    sense: Literal["at least", "at most"]
    value: float

    def met(self, value: float) -> bool:
        """Return whether a value is as it should be."""
        return value >= self.value if self.sense == "at least" else value <= self.value

    def __str__(self) -> str:
        return f"{self.sense} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the results."""

    what: str
    value: float
    detail: str
    """What the value was computed from: both sides of a ratio, in absolute terms."""
    unit: str = ""
    """Empty for a ratio."""
    target: Target | None = None

    @property
    def met(self) -> bool:
        """Whether it is as it should be; without a target it is."""
        return self.target is None or self.target.met(self.value)


def at_least(value: float) -> Target:
    """Return a target that is met by this much and more."""
    return Target("at least", value)


def at_most(value: float) -> Target:
    """Return a target that is met by this much and less."""
    return Target("at most", value)
