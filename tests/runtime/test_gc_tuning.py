"""Laws of loading: what stays is no garbage, and all else still is."""

import gc
import weakref

import pytest

from blofin_agent.runtime.gc_tuning import GC_THRESHOLD, freeze_garbage_collector, no_gc


@pytest.fixture(autouse=True)
def _thaw():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_loaded_is_never_collected():
    """Nor is anything collected meanwhile."""
    before = gc.get_freeze_count()
    with no_gc():
        assert not gc.isenabled()
        loaded = [[number] for number in range(1_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > before + len(loaded)


def test_after_a_failure_garbage_is_collected_again():
    """An import that fails is told, and what comes then is as ever."""
    with pytest.raises(ImportError), no_gc():
        raise ImportError
    assert gc.isenabled()


def test_what_is_garbage_already_is_not_kept():
    """Or an agent whose list of symbols changes every hour would grow."""

    class Knot:
        def __init__(self):
            self.itself = self

    knot = weakref.ref(Knot())
    freeze_garbage_collector()
    assert knot() is None
    assert gc.get_threshold()[0] == GC_THRESHOLD
