"""Hostile: valid documents, spoilt here and there."""

import json
from copy import deepcopy

from hypothesis import strategies as st

TEXTS = st.one_of(
    st.sampled_from(
        [
            *("", "\0", "\n", "\x1b[31m", "\u202e", "\ud800", ":boom:", "[red]x[/red]", "<q\"'&>"),
            *("../../x", "A" * 10_000, "9" * 5_000, "1e400", "-1", "nan", "inf", "0x10", " 7 "),
            *(str(1 << 63), str(-1 << 63), str(1 << 70), "253402300800000", "1_000", "١٢", "true"),
            *("龙-USDT", "1000PEPE-USDT", "BTC-USDT-250328", "*", "[", "%00", "${x}", "s3cr3t"),
        ]
    ),
    st.text(st.characters(exclude_categories=[]), max_size=20),
)
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1 << 53, (1 << 63) - 1, 1 << 63, 1 << 64, -(1 << 63), 1 << 70]),
    st.integers(),
    st.floats(),
)
VALUES = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def spoilt(draw, document):
    """Draw a document with some of its parts replaced, removed or repeated, as JSON in bytes."""
    whole = [deepcopy(document)]
    for _ in range(draw(st.integers(0, 4))):
        place, key = draw(st.sampled_from(_places(whole)))
        what = draw(st.sampled_from(["replace", "remove", "repeat"]))
        if what == "remove" and place is not whole:
            del place[key]
        elif what == "repeat" and isinstance(place, list) and place is not whole:
            place.insert(key, deepcopy(place[key]))
        else:
            place[key] = draw(VALUES)
    return draw(
        cut(json.dumps(whole[0], ensure_ascii=draw(st.booleans())).encode(errors="replace"))
    )


def _places(node):
    """Return every place of a tree where something stands: its list or dictionary, and the key."""
    keys = range(len(node)) if isinstance(node, list) else list(node)
    found = [(node, key) for key in keys]
    for key in keys:
        if isinstance(node[key], list | dict):
            found += _places(node[key])
    return found


@st.composite
def cut(draw, body):
    """Draw bytes as they are, as a rule; or cut, or with something else in their midst."""
    if draw(st.integers(0, 3)):
        return body
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=8)) + body[at + draw(st.integers(0, 9)) :]


def encoded(text):
    """Return text as bytes of a command line or the environment: with no NUL in it."""
    return text.replace("\0", "").encode(errors="surrogatepass")


WORDS = st.one_of(TEXTS.map(encoded), st.binary(max_size=20))
