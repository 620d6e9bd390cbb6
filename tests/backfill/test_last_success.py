"""Laws of the last success: it outlives the process."""

from functools import partial

import trio

from blofin_agent.backfill import last_success
from blofin_agent.backfill.scheduler import BackfillPass
from blofin_agent.domain.errors import Unreachable

LAST_SUCCESS = "blofin_backfill_last_success_timestamp_seconds"


async def test_a_success_is_recalled_after_a_restart_to_the_millisecond(house):
    """The figure goes on where it was."""
    place = house(hours=1)
    place.passes.succeeded = partial(last_success.remember, place.store)
    with trio.move_on_after(1):
        await place.passes.run(1_800)
    shown = place.figure(LAST_SUCCESS)
    assert shown == place.figure("blofin_backfill_last_pass_timestamp_seconds") > 0
    again = house(hours=1)
    assert again.figure(LAST_SUCCESS) == 0
    await last_success.recall(again.store, again.metrics)
    assert again.figure(LAST_SUCCESS) == shown


async def test_a_pass_with_a_failure_is_not_remembered(house, exchange):
    """What is not known to have worked stays as it was."""
    place = house(hours=1, tries=1)
    place.passes.succeeded = partial(last_success.remember, place.store)
    exchange.script = [Unreachable("no route")]
    with trio.move_on_after(1):
        await place.passes.run(1_800)
    await last_success.recall(place.store, place.metrics)
    assert place.figure("blofin_backfill_last_pass_timestamp_seconds") > 0
    assert place.figure(LAST_SUCCESS) == 0


async def test_without_a_database_it_is_forgotten_and_nothing_else_happens(house, locker):
    """To remember it is no reason to fail."""
    place = house(hours=1)
    locker.execute("BEGIN IMMEDIATE")
    await last_success.remember(place.store, BackfillPass(1, 2))
    locker.execute("ROLLBACK")
    await last_success.recall(place.store, place.metrics)
    assert place.figure(LAST_SUCCESS) == 0
    await last_success.remember(place.store, BackfillPass(1, 2))
    await last_success.recall(place.store, place.metrics)
    assert place.figure(LAST_SUCCESS) == 0.002
