"""Read what the agents of all fleets on a database do."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import groupby

import sqlalchemy as sa

from blofin_agent.domain.symbol_assignment import AgentRecord, assign_symbols
from blofin_agent.store.tables import fleet as fleet_rows
from blofin_agent.store.tables import instruments
from blofin_agent.store.tables.fleet import AgentSeen


@dataclass(frozen=True, slots=True)
class FleetOverview:
    """The agents that keep candles of one bar. Times in ms since the epoch."""

    bar: str
    now: int
    members: list[AgentSeen]
    orphaned: list[str]
    """Symbols that an agent who lives is set to watch, and that none of those keeps."""

    @property
    def living(self) -> list[AgentSeen]:
        """Those whose lease is not over."""
        return [one for one in self.members if one.lease > self.now]

    def only(self, symbols: Collection[str]) -> "FleetOverview":
        """Return the same, of these symbols alone."""
        members = [
            one._replace(symbols=[name for name in one.symbols if name in symbols])
            for one in self.members
        ]
        return replace(
            self, members=members, orphaned=[name for name in self.orphaned if name in symbols]
        )

    def as_json(self) -> dict[str, object]:
        """Return it as plain data."""
        agents = [
            {
                **one._asdict(),
                "wanted": one.wanted.split(","),
                "alive": one.lease > self.now,
            }
            for one in self.members
        ]
        return {"bar": self.bar, "now": self.now, "agents": agents, "orphaned": self.orphaned}


def read_fleets(connection: sa.Connection) -> list[FleetOverview]:
    """Return the fleets of the store, one for each bar that agents keep."""
    found = fleet_rows.read_fleet(connection)
    listed = instruments.load_instruments(connection).instruments
    fleets = []
    for bar, these in groupby(found.members, lambda one: one.bar):
        members = list(these)
        living = [one for one in members if one.lease > found.now]
        wanted = assign_symbols(
            "",
            [AgentRecord(one.service, one.egress, tuple(one.wanted.split(","))) for one in living],
            listed,
        ).all
        kept = {symbol for one in living for symbol in one.symbols}
        fleets.append(FleetOverview(bar, found.now, members, sorted(wanted - kept)))
    return fleets
