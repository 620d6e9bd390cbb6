"""Fleet: how agents that share a store share the symbols, by rendezvous hashing.

Each agent reckons for itself, from the same list of those who live, who is to keep which symbol,
and all come to the same answer. When one goes, only its symbols move; when one comes, each of the
others gives it a few. Agents behind one address share that address's limits, so together they
weigh as much as one alone. Source: Thaler and Ravishankar, "A name-based mapping scheme for
rendezvous", 1996; the weights as in Schindelhauer and Schomaker, 2005.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.symbols import choose

_BITS = 52
"""Of a hash: with one more the middle of the last step would be rounded to 1."""


class AgentRecord(NamedTuple):
    """An agent that lives."""

    service: str
    egress: str
    """The address its requests are sent from."""
    wanted: tuple[str, ...]
    """Names, patterns or `all`: its setting."""
    page: str = ""
    """Where its page is."""


class SymbolAssignment(NamedTuple):
    """Who is to keep what."""

    mine: frozenset[str]
    all: frozenset[str]
    """Every symbol that somebody who lives wants."""


def assign_symbols(
    service: str, members: Sequence[AgentRecord], listed: Mapping[str, Instrument]
) -> SymbolAssignment:
    """Return which symbols are this service's: of each, one of those who want it has it."""
    crowd = Counter(member.egress for member in members)
    chosen = {wanted: choose(wanted, listed).symbols for wanted in {one.wanted for one in members}}
    wanted_by: dict[str, list[AgentRecord]] = {}
    for member in members:
        for symbol in chosen[member.wanted]:
            wanted_by.setdefault(symbol, []).append(member)
    mine = (
        symbol for symbol, these in wanted_by.items() if owner_of(symbol, these, crowd) == service
    )
    return SymbolAssignment(frozenset(mine), frozenset(wanted_by))


def owner_of(symbol: str, members: Iterable[AgentRecord], crowd: Mapping[str, int]) -> str:
    """Return who of these keeps a symbol. `crowd`: how many agents each address has."""
    return max(
        (_score(symbol, member.service) / crowd[member.egress], member.service)
        for member in members
    )[1]


def _score(symbol: str, service: str) -> float:
    """Return a number that is the same everywhere, and like chance from one pair to the next."""
    digest = blake2b(f"{service}\0{symbol}".encode(), digest_size=8).digest()
    steps = int.from_bytes(digest) >> (64 - _BITS)
    return -1 / math.log((steps + 0.5) / 2**_BITS)


def load_of(symbols: int, interval_s: float, requests: int, seconds: float) -> float:
    """Return how much of a budget so many symbols need: 1 is all of it.

    Each may need a page with each periodic pass, `interval_s` apart, as after a loss of the feed.
    `requests` in `seconds` is what is allowed.
    """
    return symbols / (requests / seconds * interval_s)
