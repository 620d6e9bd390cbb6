"""Fleet: keeps this agent's place among those that share the store, and its share of the symbols.

What an agent gives up it lets go of first, and only then does another take it; so a symbol is kept
by one agent, and for a few seconds by none. One that cannot say that it lives shows no coverage
any more once others may have taken its symbols over.
"""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import sqlalchemy as sa
import structlog
import trio

from blofin_agent.domain import symbol_assignment as shares
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.rate_limit import Limit
from blofin_agent.domain.symbol_assignment import AgentRecord, SymbolAssignment
from blofin_agent.fleet.status import FleetStatus
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import fleet as stored
from blofin_agent.store.tables.fleet import AgentIdentity, NameTaken

log = structlog.get_logger()

Keep = Callable[[frozenset[str]], Awaitable[None]]


class InstrumentListing(Protocol):
    """BloFin's instruments, as the roster knows them."""

    listed: dict[str, Instrument]

    async def catch_up(self, seen: int) -> bool:
        """Read the stored list if it was read at BloFin since ours was; return whether it was."""


class FleetMembership:
    """One member of a fleet. `listing` knows BloFin's instruments."""

    def __init__(
        self,
        store: Database,
        me: AgentIdentity,
        listing: InstrumentListing,
    ) -> None:
        self.owned: frozenset[str] = frozenset()
        """The symbols that are ours to keep complete."""
        self.members: list[AgentRecord] = []
        self.settled = trio.Event()
        """Set once we have our share of the symbols for the first time."""
        self.orphaned = 0
        """Symbols that somebody wants and nobody who lives keeps."""
        self._store = store
        self._timing = store.timing
        self._me = me._replace(token=secrets.token_hex(8))
        self._listing = listing
        self._keep: Keep = _keep_none
        self._kept: frozenset[str] | None = None
        """What `keep` was called with last."""
        self._known = False
        self._steady = trio.lowlevel.current_clock().current_time
        self._until = -1.0
        """When our lease is over, by that clock; a little before the server finds so."""
        self._shares = SymbolAssignment(frozenset(), frozenset())
        self._reckoned: object = None
        """From what the shares were reckoned last."""

    @property
    def service(self) -> str:
        """The name we go by."""
        return self._me.service

    @property
    def holds(self) -> bool:
        """Whether what we own is surely ours: the lease lasts, or there is nobody else.

        May be asked in any thread.
        """
        return len(self.members) == 1 or self._steady() < self._until

    @property
    def joined(self) -> bool:
        """Whether we have our share of the symbols."""
        return self.settled.is_set()

    @property
    def neighbours(self) -> int:
        """How many who live send their requests from our address, ourselves among them."""
        return sum(member.egress == self._me.egress for member in self.members)

    async def run(self, keep: Keep) -> None:
        """Take part for ever.

        `keep` is called with the symbols that are ours from now on, and returns once all others
        are let go of.
        """
        self._keep = keep
        while True:
            settled = False
            with suppress(StoreUnavailable):
                settled = await self.turn()
            timing = self._timing
            await trio.sleep(timing.heartbeat_s if settled else timing.heartbeat_retry_s)

    async def turn(self) -> bool:
        """Say that we live, and take or give symbols; return whether there was nothing to wait for.

        Raises StoreUnavailable.
        """
        begun = self._steady()
        try:
            found = await self._store.write("beat", self._beat)
        except NameTaken:
            await self._go_by_another_name()
            return False
        self._known = True
        self._tell(found.members)
        self.members = found.members
        if await self._listing.catch_up(found.listed_at):
            # What one agent was told all know: they are to reckon alike.
            self._kept = None
        mine = await self._reckon()
        self.orphaned = len(self._shares.all - found.claimed)
        ours = found.ours
        give, take = ours - mine, mine - ours
        if not self.owned <= ours & mine:
            # Others may have some of them already, or are to have them next.
            await self._follow(self.owned & ours & mine)
        self._until = begun + self._timing.lease_s
        if give or take:
            claim = partial(stored.claim, me=self._me, wanted=take, given_back=give)
            ours = await self._store.write("beat", claim)
        await self._follow(ours & mine)
        return ours == mine

    def _beat(self, connection: sa.Connection) -> stored.HeartbeatResult:
        # Those who share the symbols go by one clock.
        self._store.clock.measure(connection)
        return stored.heartbeat(connection, self._me, known=self._known, timing=self._timing)

    async def _follow(self, owned: frozenset[str]) -> None:
        """Keep these from now on. Raises StoreUnavailable."""
        self.owned = owned
        if owned == self._kept:
            return
        problem = None
        async with trio.open_nursery() as nursery:
            # To read what is stored of many symbols may take longer than the lease lasts.
            nursery.start_soon(self._live_on)
            try:
                await self._keep(owned)
            except StoreUnavailable as error:
                problem = error
            nursery.cancel_scope.cancel()
        if problem is not None:
            raise problem
        self._kept = owned
        self.settled.set()

    async def _live_on(self) -> None:
        """Say that we live, for ever. What is ours in an unbroken lease stays so."""
        while True:
            await trio.sleep(self._timing.heartbeat_s)
            begun = self._steady()
            with suppress(StoreUnavailable, NameTaken):
                await self._store.write("beat", self._beat)
                if begun < self._until:
                    self._until = begun + self._timing.lease_s

    async def leave(self) -> None:
        """Give all back, so that others need not wait for the end of our lease."""
        if self._known:
            with suppress(StoreUnavailable):
                await self._store.write("beat", partial(stored.leave, me=self._me))

    def fleet_status(self, interval_s: float, limit: Limit) -> FleetStatus:
        """Return how the fleet stands. `limit`: how many requests our address may send.

        May be asked in any thread.
        """
        behind = len(self.owned) * max(1, self.neighbours)
        load = shares.load_of(behind, interval_s, limit.requests, limit.seconds)
        others = tuple(
            (one.service, one.page) for one in self.members if one.service != self._me.service
        )
        owned, orphaned = len(self.owned), self.orphaned
        return FleetStatus(
            len(self.members), owned, orphaned, load, self.holds, self.joined, others
        )

    async def _reckon(self) -> frozenset[str]:
        listed = self._listing.listed
        if (self.members, listed) != self._reckoned:
            reckon = partial(shares.assign_symbols, self._me.service, self.members, listed)
            # Many symbols and agents take longer than the event loop may be held.
            self._shares = await trio.to_thread.run_sync(reckon)
            self._reckoned = (self.members, dict(listed))
        return self._shares.mine

    def _tell(self, members: list[AgentRecord]) -> None:
        before, now = ({one.service for one in these} for these in (self.members, members))
        for service in sorted(now - before - {self._me.service}):
            log.info(
                "agent joined",
                agent=service,
                agents=len(now),
                action="share the symbols among these agents",
            )
        for service in sorted(before - now):
            log.warning(
                "agent left", agent=service, agents=len(now), action="take over its symbols"
            )

    async def _go_by_another_name(self) -> None:
        """Let go of everything, as another process keeps it under the name that was ours."""
        before = self._me.service
        self._me = self._me._replace(service=f"{before.partition('#')[0]}#{secrets.token_hex(3)}")
        log.warning("agent name already in use", agent=before, new_name=self._me.service)
        self._known, self.members = False, []
        await self._follow(frozenset())


async def _keep_none(_owned: frozenset[str]) -> None:
    pass
