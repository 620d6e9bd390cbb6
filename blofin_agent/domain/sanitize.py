"""Foreign: text that others wrote, made fit for one line of a log, a page or a terminal."""

MAX_CHARACTERS = 200
"""Characters of foreign text that are shown; bytes, where it came as bytes."""


def shorten(foreign: str | bytes, most: int = MAX_CHARACTERS) -> str:
    """Return the beginning of foreign text in one line; `...` says that it was cut.

    What is not printed is written as in Python: ends of lines, control characters, which a
    terminal would obey, marks that turn the direction of writing, surrogates. Never raises.
    """
    text = foreign[:most]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return one_line(text) + ("..." if len(foreign) > most else "")


def one_line(text: str) -> str:
    """Return the whole text with what is not printed written as in Python."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


MAX_CODE = 20
"""Characters of a `code` that are shown: BloFin's have six digits."""
