"""Success: when the backfill last succeeded, remembered in the store across restarts.

Without this an agent that is started again, perhaps because the backfill fails, would look as if
it had never succeeded, or, to a rule that is patient with newcomers, as if all were well.
"""

from contextlib import suppress
from functools import partial

from blofin_agent.backfill.scheduler import BackfillPass
from blofin_agent.observability.metrics import Metrics
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import heartbeats
from blofin_agent.store.tables.heartbeats import SERVICE


async def recall(store: Database, metrics: Metrics) -> None:
    """Show the last success that the store knows of. Raises StoreUnavailable."""
    when = await store.read("beat", partial(heartbeats.last_heartbeat, service=SERVICE))
    if when is not None:
        metrics.last_success.set(when / 1000)


async def remember(store: Database, done: BackfillPass) -> None:
    """Write down that a pass succeeded."""
    beat = partial(
        heartbeats.record_heartbeat,
        service=SERVICE,
        started=done.started,
        now_ms=done.ended,
        note="a pass",
    )
    with suppress(StoreUnavailable):
        await store.write("beat", beat)
