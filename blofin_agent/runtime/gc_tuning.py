"""Loading: Python's collector of garbage leaves alone what is loaded for good.

It would look through all of it again and again while modules load, which takes a seventh of that
time, and now and then later, which holds everything up for 0.1 s and more.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

GC_THRESHOLD = 10_000
"""New objects that the collector waits for. By default it is 700: one page of candles is more."""


@contextmanager
def no_gc() -> Iterator[None]:
    """Collect nothing inside the block, and never what is there at its end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def freeze_garbage_collector() -> None:
    """Never collect what is there now, once what is garbage by now is gone; then come seldom.

    After `loading` there is little to look through.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
