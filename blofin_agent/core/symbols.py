"""Symbols: what the setting names, against what BloFin lists."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from blofin_agent.core.instruments import Instrument

_WILD = frozenset("*?[")


class Chosen(NamedTuple):
    """The symbols a setting names: those to watch, and those of them that BloFin does not list."""

    symbols: list[str]
    unknown: list[str]


def needs_listing(wanted: Sequence[str]) -> bool:
    """Return whether only BloFin's list can tell which symbols are meant."""
    return any(name == "all" or _is_pattern(name) for name in wanted)


def choose(wanted: Sequence[str], listed: Mapping[str, Instrument]) -> Chosen:
    """Return the symbols that `wanted` names: names, `all`, or patterns such as `*-USDT`.

    Patterns and `all` mean the live ones in `listed`. A name is taken as it stands, and is
    unknown when it is not listed; while the list is empty nothing is unknown.
    """
    live = sorted(symbol for symbol, one in listed.items() if one.state == "live")
    symbols: dict[str, None] = {}
    unknown = []
    for name in wanted:
        if name == "all":
            symbols |= dict.fromkeys(live)
        elif _is_pattern(name):
            symbols |= dict.fromkeys(symbol for symbol in live if fnmatchcase(symbol, name))
        else:
            symbols[name] = None
            if listed and name not in listed:
                unknown.append(name)
    return Chosen(list(symbols), unknown)


def complain(symbol: str, listed: Collection[str]) -> str:
    """Return a sentence about a symbol that BloFin does not list, with the likeliest one meant."""
    meant = suggest(symbol, listed)
    return f"{symbol} is not a BloFin instrument" + (f"; did you mean {meant}?" if meant else "")


def suggest(symbol: str, listed: Collection[str]) -> str | None:
    """Return the listed symbol that is likeliest meant, if any is near."""
    bare = {_bare(name): name for name in listed}
    wanted = _bare(symbol)
    if wanted in bare:
        return bare[wanted]
    if wanted + "USDT" in bare:
        return bare[wanted + "USDT"]
    near = difflib.get_close_matches(wanted, bare, n=1, cutoff=0.75)
    return bare[near[0]] if near else None


def _bare(symbol: str) -> str:
    """Return the letters and digits: `btc/usdt`, `BTC_USDT` and `BTC-USDT:USDT` are alike."""
    return re.sub(r"[^A-Z0-9]", "", symbol.upper().split(":")[0].removesuffix("-SWAP"))


def _is_pattern(name: str) -> bool:
    return bool(_WILD & set(name))
