"""Allowance: what BloFin allows this address now, as far as this process knows.

It is kept in the store, so that it holds for all processes that share the store, and across
restarts; what this one knows better, because the machine's clock was set or the database was
replaced, it tells the others there. What is decided is in `core.budget` and `core.hindsight`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import sqlalchemy as sa
import structlog
import trio

from blofin_agent.domain import rate_limit
from blofin_agent.domain.clock_correction import ClockCorrection, CorrectedLedger, WallAndMonotonic
from blofin_agent.domain.errors import Banned, RequestsSuspended
from blofin_agent.domain.rate_limit import Limit, RateLimitResponse, Suspension
from blofin_agent.ratelimit.describe import limits_text
from blofin_agent.runtime.format import iso_text
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import rate_limit as stored
from blofin_agent.store.tables.rate_limit import Admission, LocalBudget

log = structlog.get_logger()


class SharedRateBudget:
    """Knows what was used, and the suspension. `clock` gives ms since the epoch.

    `egress` is the address whose budget it is.
    """

    def __init__(self, store: Database, clock: Callable[[], int], egress: str = "") -> None:
        self.egress = egress
        self.neighbours: Callable[[], int] = lambda: 1
        """Tells how many agents send their requests from that address, this one among them."""
        self.starts: list[int] = []
        """When the requests of all processes were let go that still count (ms), oldest first."""
        self.suspension = Suspension()
        self._store = store
        self._clock = clock
        self._clock_correction = ClockCorrection()
        self._generation = store.generation
        self._unwritten: Suspension | None = None
        """A suspension that the store was not told yet: entered before the next request goes."""
        self._told_share = 1.0

    def used(self) -> dict[str, int]:
        """Return how many requests count in each window now, by the limit's label."""
        return rate_limit.window_use(self.starts, self._clock())

    def suspended_until(self) -> int:
        """Return when the suspension in force ends (ms), 0 when there is none."""
        until = self.suspension.until
        return until if until > self._clock() else 0

    def share(self) -> float:
        """Return how much of the limits is ours now, 0 to 1; less than 1 after others' use."""
        return self.suspension.share_at(self._clock())

    def part(self) -> float:
        """Return this agent's part of the limits, 0 to 1, when all behind the address have one."""
        return self.share() / max(1, self.neighbours())

    def limits(self) -> Sequence[Limit]:
        """Return the limits in force."""
        return rate_limit.limits_at(self.share())

    def next_at(self, spacing_ms: int) -> int:
        """Return when a request may go (ms), as far as is known without asking the store."""
        now = self._clock()
        return max(
            self.suspension.next_at(now),
            rate_limit.next_request_at(self.starts, now, spacing_ms, self.limits()),
        )

    def holds(self, grant: Admission) -> bool:
        """Return whether a request that was let go may still be sent: nothing was heard since."""
        return self.suspension.strikes in (0, grant.under)

    async def admit(self, endpoints: Sequence[str], spacing_ms: int) -> Admission:
        """Enter as many of these requests as may go now. Raises StoreUnavailable."""
        unwritten = self._unwritten
        moment = self._moments()

        def work(connection: sa.Connection) -> Admission:
            known = self._known(unwritten)
            return stored.admit(connection, endpoints, spacing_ms, known, moment(connection))

        grant = await self._store.write("budget", work)
        self._told(unwritten, grant.view)
        self._tell_share()
        return grant

    async def take_turn(self, every_s: float) -> None:
        """Wait for our turn to make a websocket connection among all who share our address.

        Without a database nobody knows when the others connect: then it is waited for, unless
        there are no others.
        """
        moment = self._moments()

        def work(connection: sa.Connection) -> int:
            now = moment(connection).wall
            return stored.connect_at(connection, self.egress, now, round(every_s * 1000)) - now

        while True:
            with suppress(StoreUnavailable):
                wait_ms = await self._store.write("budget", work)
                break
            if self.neighbours() < 2:  # noqa: PLR2004 - alone
                return
            await self._store.pause(every_s)
        await trio.sleep(wait_ms / 1000)

    async def pause(self, seconds: float) -> None:
        """Wait before a store that was away is asked again: so long, or until it works."""
        await self._store.pause(seconds)

    async def refresh(self) -> None:
        """Read what all processes on the store have used. Raises StoreUnavailable."""
        unwritten = self._unwritten
        moment = self._moments()
        view = await self._store.read(
            "budget",
            lambda connection: stored.read_budget(
                connection, self._known(unwritten), moment(connection)
            ),
        )
        if view.moved or view.lost or self._generation != self._store.generation:
            # Another process that starts now knows of no step of the clock, and of no old file.
            view = await self._store.write(
                "budget",
                lambda connection: stored.reconcile_budget(
                    connection, self._known(unwritten), moment(connection)
                ),
            )
            self._told(unwritten, view)
        else:
            self._adopt(view)
        self._tell_share()

    async def suspend(self, error: RequestsSuspended, under: int) -> None:
        """Note a 429, or a 403. `under`: the strikes under which the request was let go."""
        refusal = RateLimitResponse(under, str(error), isinstance(error, Banned), error.retry_after)
        before = self.suspension.until
        # At once, in memory: what was let go and waits for the wire must not go any more.
        after = rate_limit.suspend(self.suspension, self.starts, refusal, self._clock())
        self._unwritten = self.suspension = after
        moment = self._moments()

        def work(connection: sa.Connection) -> CorrectedLedger:
            return stored.suspend(connection, refusal, self._known(None), moment(connection))

        with suppress(StoreUnavailable):
            self._told(after, await self._store.write("budget", work))
        if self.suspension.until - before > rate_limit.SECOND:
            log.warning(
                "requests paused",
                error=str(error),
                until=iso_text(self.suspension.until),
                retry_after_s=error.retry_after,
                action="send one test request then; candles still come over the websocket",
            )
        self._tell_share()

    async def record_response(self, under: int) -> None:
        """Note that BloFin answered, be it with a no: the probe's answer ends a suspension."""
        if not self.suspension.strikes:
            return
        unwritten = self._unwritten
        moment = self._moments()

        def work(connection: sa.Connection) -> CorrectedLedger:
            return stored.record_response(
                connection, under, self._known(unwritten), moment(connection)
            )

        try:
            view = await self._store.write("budget", work)
        except StoreUnavailable:
            self.suspension = self.suspension.answered(under, self._clock())
            if not self.suspension.strikes:
                self._unwritten = None
        else:
            self._told(unwritten, view)
        if not self.suspension.strikes:
            log.info("suspension ended, requests resumed")

    def _moments(self) -> Callable[[sa.Connection], WallAndMonotonic]:
        """Return what gives the moment in a worker thread, where trio cannot be asked for it."""
        steady = trio.lowlevel.current_clock().current_time

        def moment(connection: sa.Connection) -> WallAndMonotonic:
            # All who share the budget go by one clock.
            self._store.clock.measure(connection)
            return WallAndMonotonic(self._clock(), round(steady() * 1000))

        return moment

    def _known(self, unwritten: Suspension | None) -> LocalBudget:
        """Return what this process knows by itself. Called in a transaction."""
        if self._store.generation == self._generation:
            return LocalBudget(self._clock_correction, unwritten, egress=self.egress)
        # A new database knows nothing of what was sent: it is told first.
        known = unwritten or self.suspension
        return LocalBudget(self._clock_correction, known, elsewhere=True, egress=self.egress)

    def _told(self, unwritten: Suspension | None, view: CorrectedLedger) -> None:
        """Take over what was committed; `unwritten` was told with it."""
        if self._unwritten is unwritten:
            self._unwritten = None
        self._generation = self._store.generation
        self._adopt(view)

    def _adopt(self, view: CorrectedLedger) -> None:
        self.starts, self._clock_correction = view.starts, view.clock_correction
        if self._unwritten is None:
            self.suspension = view.suspension

    def _tell_share(self) -> None:
        share = self.share()
        if share < self._told_share:
            log.warning(
                "rate limit lowered",
                limit_fraction=share,
                limits=limits_text(share),
                cause="BloFin sent a 429 although the agent was within the limits: another program "
                "may use the same IP address",
                action="raise the limit by 10 % every 15 minutes without a 429",
            )
        elif self._told_share < share == 1:
            log.info("rate limit restored", limit_fraction=share, limits=limits_text(share))
        self._told_share = share
