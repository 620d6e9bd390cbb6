"""Laws of what is under way when a symbol goes to another agent: it ends, and leaves no trace."""

import pytest

from blofin_agent.coverage.gap_reasons import CANCELLED_NOTE
from blofin_agent.domain.backfill_run import RunStatus, RunTrigger
from blofin_agent.domain.errors import RateLimited
from blofin_agent.domain.symbol_coverage import SymbolCoverage


def given_away(place, symbol="BTC-USDT", *, and_back=False):
    """Return what happens while a page is on its way: the symbol goes to another agent."""

    def give(rows):
        history = place.tracker.histories.pop(symbol)
        if and_back:
            place.tracker.histories[symbol] = SymbolCoverage(symbol, history.bar, history.list_time)
        return rows

    return give


@pytest.mark.parametrize("and_back", [False, True])
async def test_no_page_is_asked_for_of_a_symbol_that_was_given_away(house, exchange, and_back):
    """The run says so, and does not say that BloFin lacks what it did not ask for."""
    exchange.longest = 100
    place = house(hours=24)
    exchange.script = [None, None, given_away(place, and_back=and_back)]
    history = place.tracker.histories["BTC-USDT"]
    run = await place.gap_filler.fill(history, place.tracker.window(), RunTrigger.START)
    assert run.requests == len(exchange.log) == 3
    assert place.rows("SELECT count(*) FROM candles") == [(run.rows_inserted,)]
    assert (run.status, run.note) == (RunStatus.PARTIAL, CANCELLED_NOTE)
    assert place.rows("SELECT requests, status, note FROM gap_fill_runs") == [
        (3, "partial", CANCELLED_NOTE)
    ]


async def test_nothing_is_counted_any_more_of_a_symbol_that_was_given_away(house, exchange):
    """Its series have vanished, and an answer that was on its way does not bring them back."""
    place = house(hours=1)
    pages = "blofin_backfill_requests_total"
    assert place.figure(pages, symbol="BTC-USDT") == 0

    def give(rows):
        given_away(place)(rows)
        place.metrics.remove_symbol("BTC-USDT")
        raise RateLimited("slow down", 1.0)

    exchange.script = [give]
    history = place.tracker.histories["BTC-USDT"]
    await place.gap_filler.fill(history, place.tracker.window(), RunTrigger.START)
    assert len(exchange.log) > 1
    left = [
        family.name
        for family in place.metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("symbol") == "BTC-USDT"
    ]
    assert left == []


async def test_a_pass_comes_to_no_symbol_that_was_given_away_meanwhile(house, exchange):
    """Nor to one that is back: what it knows of that is old, and another pass follows."""
    place = house(hours=1, watched=("BTC-USDT", "ETH-USDT", "SOL-USDT"))
    gone, back = given_away(place, "ETH-USDT"), given_away(place, "SOL-USDT", and_back=True)
    exchange.script = [lambda rows: back(gone(rows))]
    done = await place.passes.once(place.tracker.window(), RunTrigger.PERIODIC)
    assert [run.symbol for run in done.runs] == ["BTC-USDT"]
    assert len(exchange.log) == 1
