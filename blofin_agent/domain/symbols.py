"""Symbols: what the setting names, against what BloFin lists."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from blofin_agent.domain.instrument import Instrument

_WILD = frozenset("*?[")


class SymbolSelection(NamedTuple):
    """The symbols a setting names: those to watch, and those of them that BloFin does not list."""

    symbols: list[str]
    unknown: list[str]


def needs_listing(wanted: Sequence[str]) -> bool:
    """Return whether only BloFin's list can tell which symbols are meant."""
    return any(name == "all" or _is_pattern(name) for name in wanted)


def choose(wanted: Sequence[str], listed: Mapping[str, Instrument]) -> SymbolSelection:
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
    return SymbolSelection(list(symbols), unknown)


def unknown_symbols_text(symbol: str, listed: Collection[str]) -> str:
    """Return a sentence about a symbol that BloFin does not list, with the likeliest one meant."""
    meant = suggest_symbol(symbol, listed)
    return f"{symbol} is not a BloFin instrument" + (f"; did you mean {meant}?" if meant else "")


def suggest_symbol(symbol: str, listed: Collection[str]) -> str | None:
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


MAX_SYMBOL_CHARACTERS = 40


_SIGNS = "A-Z0-9\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
"""Capitals, digits, and the letters without case of East Asian names, which exchanges list too."""


SYMBOL = rf"[{_SIGNS}][{_SIGNS}._-]{{0,{MAX_SYMBOL_CHARACTERS - 1}}}"
"""A symbol, such as BTC-USDT, 1000PEPE-USDT or BTC-USDT-250328, in any dialect of patterns."""


_symbol = re.compile(SYMBOL)


# Other exchanges' ways of writing are let in, so that it can be said which symbol is meant.
_wanted = re.compile(rf"[{_SIGNS}._/:*?!\[\]-]{{1,{MAX_SYMBOL_CHARACTERS}}}")


def is_symbol(name: str) -> bool:
    """Return whether BloFin may list this."""
    return _symbol.fullmatch(name) is not None


def is_symbol_or_pattern(name: str) -> bool:
    """Return whether a setting may name this: a symbol, a pattern, or what comes near to one."""
    return _wanted.fullmatch(name) is not None
