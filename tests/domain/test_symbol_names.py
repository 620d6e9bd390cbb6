"""Laws of naming: what BloFin may list, and what a setting may name."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.symbols import MAX_SYMBOL_CHARACTERS, is_symbol, is_symbol_or_pattern


@given(st.text(st.characters(exclude_categories=[]), max_size=50))
def test_a_symbol_is_fit_for_every_use(name):
    """As a file's name, a label and a word; and what is a symbol may be wanted."""
    if is_symbol(name):
        assert name.isprintable()
        assert name == name.upper()
        assert 1 <= len(name) <= MAX_SYMBOL_CHARACTERS
        assert not set(name) & set("/\\ \"'<>&*?[]{}:%$")
        assert not name.startswith((".", "-", "_"))
        assert is_symbol_or_pattern(name)


def test_patterns_and_other_ways_of_writing_may_be_wanted():
    """They are no symbols. What has a control character in it is neither."""
    for name in ("*-USDT", "[AB]*", "?", "BTC/USDT:USDT", "[!A]-USDT"):
        assert is_symbol_or_pattern(name)
        assert not is_symbol(name)
    for name in ("", "A\n", "A\x00", "\udcff", "A" * 41, "A B", "a"):
        assert not is_symbol_or_pattern(name)
