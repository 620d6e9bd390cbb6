"""Naming: what a symbol may look like. Decided here alone, for what BloFin and users write.

A symbol becomes a file's name, a metric's label, a part of a URL and a word on a terminal.
"""

import re

MOST_CHARACTERS = 40
_SIGNS = "A-Z0-9\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
"""Capitals, digits, and the letters without case of East Asian names, which exchanges list too."""
SYMBOL = rf"[{_SIGNS}][{_SIGNS}._-]{{0,{MOST_CHARACTERS - 1}}}"
"""A symbol, such as BTC-USDT, 1000PEPE-USDT or BTC-USDT-250328, in any dialect of patterns."""

_symbol = re.compile(SYMBOL)
# Other exchanges' ways of writing are let in, so that it can be said which symbol is meant.
_wanted = re.compile(rf"[{_SIGNS}._/:*?!\[\]-]{{1,{MOST_CHARACTERS}}}")


def is_symbol(name: str) -> bool:
    """Return whether BloFin may list this."""
    return _symbol.fullmatch(name) is not None


def may_be_wanted(name: str) -> bool:
    """Return whether a setting may name this: a symbol, a pattern, or what comes near to one."""
    return _wanted.fullmatch(name) is not None
