"""Laws of stopping: what hangs is cut off first, and the process ends in any case."""

import os
import signal
import threading

import pytest
import trio

from blofin_agent.runtime.shutdown import ShutdownState, run_until_signal


@pytest.fixture
def happened():
    """What happens after a signal."""
    return []


@pytest.fixture
def ended(happened, monkeypatch):
    """Set when the process would have ended."""
    ended = threading.Event()

    def end(code):
        happened.append(f"exit {code}")
        ended.set()

    monkeypatch.setattr(os, "_exit", end)
    return ended


async def signalled(stop):
    """Come out of a block that a signal ends."""
    async with run_until_signal(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep_forever()


async def test_what_hangs_after_a_signal_is_cut_off_and_then_the_process_ends(
    happened, ended, events
):
    """Aloud: that is no success."""
    stop = ShutdownState(lambda: happened.append("cut"), cut_s=0.1, stop_s=0.9)
    assert not stop.requested
    await signalled(stop)
    assert stop.requested
    assert ended.wait(30)
    assert happened == ["cut", "exit 1"]
    assert events("info") == [{"event": "shutdown started", "signal": "SIGTERM", "timeout_s": 0.9}]
    assert events("error") == [
        {
            "event": "shutdown timed out, forcing exit",
            "timeout_s": 0.9,
            "action": "unsaved candles are refetched at the next start",
        }
    ]


async def test_who_has_ended_in_time_is_left_alone(happened, ended):
    """Neither cut off nor ended."""
    stop = ShutdownState(lambda: happened.append("cut"), cut_s=0.1, stop_s=0.9)
    await signalled(stop)
    stop.done()
    assert not ended.wait(1.2)
    assert happened == []
