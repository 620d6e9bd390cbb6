"""Laws of the runs that are written down."""

from functools import partial
from itertools import product

import sqlalchemy as sa

from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger
from blofin_agent.domain.candle import Timeframe
from blofin_agent.store.tables import backfill_runs


def write(store, run):
    with store.engine.begin() as connection:
        backfill_runs.record(connection, run)


def test_a_run_comes_back_column_by_column(store, rows):
    """With public words for trigger and status, and its own number."""
    run = BackfillRun("A", "1m", RunTrigger.HEAL, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0.25, 0.5)
    run.status, run.note = RunStatus.PARTIAL, "why"
    write(store, run)
    write(store, BackfillRun("B", "5m", RunTrigger.ONESHOT, 3))
    assert rows("SELECT * FROM gap_fill_runs ORDER BY id") == [
        (1, 1, 2, "A", "1m", "heal", 3, 4, 5, 6, 7, 8, 9, 10, 11, 0.25, 0.5, "partial", "why"),
        (2, 3, 0, "B", "5m", "oneshot", 0, 0, 0, 0, 0, 0, 0, None, None, 1.0, 1.0, "complete", ""),
    ]


def test_the_latest_come_first_and_can_be_chosen(store):
    """By symbol and by how they ended; another bar's are others."""
    told = [
        BackfillRun("A", "1m", RunTrigger.START, 1, status=RunStatus.FAILED, note="away"),
        BackfillRun("B", "1m", RunTrigger.HEAL, 2, status=RunStatus.PARTIAL, first_gap=60_000),
        BackfillRun("A", "1m", RunTrigger.PERIODIC, 3),
        BackfillRun("A", "5m", RunTrigger.PERIODIC, 4),
    ]
    for number, run in enumerate(told, 1):
        write(store, run)
        run.id = number

    def latest(**chosen):
        return store.read_here(lambda db: backfill_runs.latest(db, Timeframe.M1, **chosen))

    assert latest(most=9) == [told[2], told[1], told[0]]
    assert latest(most=1) == [told[2]]
    assert latest(most=9, symbols=["B", "C"]) == [told[1]]
    assert latest(most=9, statuses=[RunStatus.FAILED, RunStatus.PARTIAL]) == [told[1], told[0]]
    assert latest(most=9, before=3) == [told[1], told[0]]
    assert latest(most=9, before=1) == []


def test_the_last_run_of_each_symbol_costs_the_same_however_many_there_are(store, steps):
    """The table holds millions of them after some years."""
    write(store, BackfillRun("A", "1m", RunTrigger.PERIODIC, 1))
    few = steps(lambda db: backfill_runs.latest_of_each(db, Timeframe.M1, ["A", "B"]))
    with store.engine.begin() as connection:
        for started in range(2, 1_000):
            for symbol in "AC":
                backfill_runs.record(
                    connection, BackfillRun(symbol, "1m", RunTrigger.PERIODIC, started)
                )
    # PostgreSQL reads some 32 of them at once.
    assert steps(lambda db: backfill_runs.latest_of_each(db, Timeframe.M1, ["A", "B"])) < few + 100


def test_no_choice_of_runs_sorts_or_looks_through_them_all(store, plan):
    """However many there are: each choice is a short look into an index."""
    for symbol, status in product("AB", (RunStatus.FAILED, RunStatus.COMPLETE)):
        write(store, BackfillRun(symbol, "1m", RunTrigger.PERIODIC, 1, status=status))
    asked = []
    sa.event.listen(store.engine, "before_cursor_execute", lambda *how: asked.append(how[2:4]))
    for symbols in (None, ["A"], ["A", "B"]):
        for statuses in (None, [RunStatus.FAILED], [RunStatus.FAILED, RunStatus.PARTIAL]):
            for before in (None, 9):
                chosen = {"symbols": symbols, "statuses": statuses, "before": before}
                store.read_here(partial(backfill_runs.latest, bar=Timeframe.M1, most=9, **chosen))
    looks = [one for one in asked if "gap_fill_runs" in one[0]]
    assert looks
    ways = [way for one in looks for way in plan(*one)]
    if store.engine.dialect.name == "sqlite":
        assert all(way.startswith("SEARCH gap_fill_runs USING") for way in ways), set(ways)
    else:
        assert not [way for way in ways if "Seq Scan" in way or "Sort" in way]
        assert [way for way in ways if "Index" in way]


def test_the_last_run_of_each_symbol(store):
    """By when it started; of those asked for that have one, of this bar."""
    told = [
        BackfillRun("A", "1m", RunTrigger.PERIODIC, 3),
        BackfillRun("A", "1m", RunTrigger.HEAL, 1),
        BackfillRun("B", "1m", RunTrigger.HEAL, 2),
        BackfillRun("A", "5m", RunTrigger.PERIODIC, 4),
        BackfillRun("C", "1m", RunTrigger.HEAL, 5),
    ]
    for number, run in enumerate(told, 1):
        write(store, run)
        run.id = number
    found = store.read_here(
        lambda db: backfill_runs.latest_of_each(db, Timeframe.M1, ["A", "B", "D"])
    )
    assert found == {"A": told[0], "B": told[2]}
