"""Copies what a store has beside candles: runs, ticks, proofs, instruments, bans and used budget.

What is there already is not written again, and what the target knows as well is left as it is.
"""

from collections.abc import Collection, Mapping
from functools import partial

import sqlalchemy as sa

from blofin_agent.jobs.store_copy.report import CopiedTable, CopyReport
from blofin_agent.store.bulk_copy import state_copy, table_copy
from blofin_agent.store.bulk_copy.state_copy import NOTHING
from blofin_agent.store.bulk_copy.table_copy import KINDS, PROOFS, TableKind, Values
from blofin_agent.store.retrying import RetryingDatabase
from blofin_agent.store.tables import heartbeats, instruments
from blofin_agent.store.tables.heartbeats import SERVICE

BATCH_ROWS = 1_000
"""Rows that are read and written together."""


class TableCopier:
    """Copies one table after the other.

    `symbols`: only rows of these; None means all. `names`: what the target calls an address that
    the source calls otherwise.
    """

    def __init__(
        self,
        source: RetryingDatabase,
        target: RetryingDatabase,
        report: CopyReport,
        symbols: Collection[str] | None,
        names: Mapping[str, str],
    ) -> None:
        self._source = source
        self._target = target
        self._report = report
        self._symbols = symbols
        self._names = names
        self._engine = target.store.engine.dialect.name

    async def copy(self) -> None:
        """Copy them all. Raises StoreUnavailable."""
        for kind in KINDS:
            await self._rows(kind, self._begin(kind.table.name))
        await self._proofs()
        await self._instruments()
        await self._beat()
        await self._budget()

    def _begin(self, table: str) -> CopiedTable:
        told = CopiedTable(table)
        self._report.tables.append(told)
        return told

    async def _rows(self, kind: TableKind, told: CopiedTable) -> None:
        after: Values | None = None
        read = partial(table_copy.part, kind=kind, most=BATCH_ROWS, symbols=self._symbols)
        while part := await self._source.read("copy", partial(read, after=after)):
            after = part.last
            rows = [row for row in part.rows if table_copy.takes(self._engine, kind, row)]
            told.rows += len(part.rows)
            told.refused += len(part.rows) - len(rows)
            if rows:
                await self._part(kind, told, rows, after)

    async def _part(
        self, kind: TableKind, told: CopiedTable, rows: list[Values], last: Values
    ) -> None:
        look = partial(table_copy.like, kind=kind, rows=rows)
        # Where a key forbids two of a kind there are no others to be counted.
        ours = rows
        if not kind.one_of_each:
            ours = await self._source.read("copy", partial(look, up_to=last))
        theirs = await self._target.read("copy", look)

        def add(connection: sa.Connection) -> int:
            # Once more, now that no other copy adds any.
            table_copy.one_at_a_time(connection, kind)
            lacking = table_copy.lacking(kind, rows, ours, look(connection))
            table_copy.add(connection, kind, lacking)
            return len(lacking)

        if table_copy.lacking(kind, rows, ours, theirs):
            told.copied += await self._target.write("copy", add)
            theirs = await self._target.read("copy", look)
            told.lacking += len(table_copy.lacking(kind, rows, ours, theirs))
        if kind.one_of_each:
            there = {kind.mark(row): row for row in theirs}
            pairs = ((row, there.get(kind.mark(row), row)) for row in rows)
            told.different += sum(
                one != other and table_copy.known(kind, one) != table_copy.known(kind, other)
                for one, other in pairs
            )

    async def _proofs(self) -> None:
        told = self._begin(PROOFS.table.name)
        after: tuple[str, str] | None = None
        while after := await self._source.read(
            "copy", partial(state_copy.next_proven, after=after)
        ):
            symbol, bar = after
            if self._symbols is not None and symbol not in self._symbols:
                continue
            look = partial(state_copy.proven, symbol=symbol, bar=bar)
            every = await self._source.read("copy", look)
            found = [one for one in every if table_copy.takes(self._engine, PROOFS, (*after, *one))]
            there = await self._target.read("copy", look)
            lacking = state_copy.unproven(found, there)
            told.rows += len(every)
            told.refused += len(every) - len(found)
            told.kept += len(found) - len(lacking) - len(set(found) & set(there))
            if lacking:
                add = partial(state_copy.add_proven, symbol=symbol, bar=bar, found=lacking)
                await self._target.write("copy", add)
                left = state_copy.unproven(lacking, await self._target.read("copy", look))
                told.copied += len(lacking) - len(left)
                told.lacking += len(left)

    async def _instruments(self) -> None:
        """Take over BloFin's list as a whole where the source read it later."""
        told = self._begin("instruments")
        found = await self._source.read("copy", instruments.load_instruments)
        told.rows = len(found.instruments)

        def take_over(connection: sa.Connection) -> bool:
            if instruments.load_instruments(connection).seen >= found.seen:
                return False
            instruments.save_instruments(connection, found.instruments.values(), found.seen)
            return True

        there = await self._target.read("copy", instruments.load_instruments)
        if there.seen < found.seen and await self._target.write("copy", take_over):
            told.copied = told.rows
        elif there.instruments != found.instruments:
            told.kept = told.rows

    async def _beat(self) -> None:
        """Take over when a backfill last succeeded, where the source knows of a later one."""
        told = self._begin("service_heartbeats")
        look = partial(state_copy.last_beat, service=SERVICE)
        found, there = await self._source.read("copy", look), await self._target.read("copy", look)
        if found is None:
            return
        told.rows = 1
        if there is None or there.beat < found.beat:
            started, beat, note = found
            await self._target.write(
                "copy",
                partial(
                    heartbeats.record_heartbeat,
                    service=SERVICE,
                    started=started,
                    now_ms=beat,
                    note=note,
                ),
            )
            told.copied = 1
        elif there != found:
            told.kept = 1

    async def _budget(self) -> None:
        """Let no ban and no request of the last minutes be forgotten."""
        bans, requests = (
            self._begin("suspension"),
            self._begin("request_ledger"),
        )
        look = partial(state_copy.accounts, names=self._names)
        theirs = partial(state_copy.accounts, names={}, all_of_them=True)
        found, there = (
            await self._source.read("copy", look),
            await self._target.read("copy", theirs),
        )
        bans.rows = sum(one.suspension != NOTHING.suspension for one in found.values())
        requests.rows = sum(one.requests.total() for one in found.values())
        lacking = {
            egress: account
            for egress, account in found.items()
            if there.get(egress, NOTHING).lacks(account)
        }
        if not lacking:
            return
        await self._target.write("copy", partial(state_copy.add_accounts, found=lacking))
        after = await self._target.read("copy", theirs)
        # What is too old by now may be gone.
        for egress, account in (await self._source.read("copy", look)).items():
            before, now = there.get(egress, NOTHING), after.get(egress, NOTHING)
            requests.copied += (account.requests - before.requests).total()
            requests.lacking += (account.requests - now.requests).total()
            bans.copied += before.graver(account)
            bans.lacking += now.graver(account)
