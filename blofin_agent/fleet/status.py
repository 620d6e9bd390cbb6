"""Represent what this agent knows of the fleet."""

from typing import NamedTuple


class FleetStatus(NamedTuple):
    """The agents that share the symbols."""

    agents: int
    """How many live, this one among them."""
    owned: int
    """How many symbols are this one's."""
    orphaned: int
    """How many nobody who lives has, although somebody wants them."""
    load: float
    """How much of its address's budget the agents behind it need, about: 1 is all of it."""
    holds: bool
    """Whether what is this one's is surely so."""
    joined: bool
    """Whether this one has its share."""
    others: tuple[tuple[str, str], ...] = ()
    """The names of the others who live, and where their pages are."""
