"""Garbage: lets Python's collector come seldom, and leave alone what is here to stay."""

import gc

EVERY = 10_000
"""So many new objects are waited for. By default it is 700, and one page of candles is more."""


def settle() -> None:
    """Take all that is here by now, code and symbols, for what stays.

    To go through all of it would hold everything up for 0.1 s and more, now and then.
    """
    gc.freeze()
    gc.set_threshold(EVERY)
