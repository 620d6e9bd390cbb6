"""Laws of the commands that look into the store: `coverage`, `gaps`, `runs`."""

import json
from functools import partial

import pytest
from click.testing import CliRunner

from blofin_agent.cli import queries
from blofin_agent.cli.main import main
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger
from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.store.tables import backfill_runs, candles, instruments, unavailable

NOW = 1_790_000_000_000 // HOUR * HOUR + 15_000
START = NOW - 15_000 - HOUR


@pytest.fixture
def look(store, database, monkeypatch):
    """Run a command against a store with an hour of two symbols, one of them with holes."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database)
    monkeypatch.setenv("BLOFIN_SYMBOLS", "A-USDT,B-USDT")
    monkeypatch.setenv("BACKFILL_LOOKBACK_HOURS", "1")
    monkeypatch.setattr(queries, "wall_ms", lambda: NOW)
    listed = [Instrument(name, NOW - 90 * DAY, "live") for name in ("A-USDT", "B-USDT")]
    holes = {"A-USDT": (), "B-USDT": (10, 11, 40)}
    proof = UnavailableRange(
        TimeRange(START + 10 * MINUTE, START + 12 * MINUTE), NOW, 1, NOW + HOUR
    )
    with store.engine.begin() as connection:
        instruments.save_instruments(connection, listed, NOW)
        for symbol, missing in holes.items():
            held = [
                Candle(START + n * MINUTE, 2.5, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)
                for n in range(60)
                if n not in missing
            ]
            candles.insert(connection, Timeframe.M1, [CandleBatch(symbol, Source.FILL, held)])
        unavailable.save_proofs(connection, "B-USDT", Timeframe.M1, [proof], 0)
        for run in (
            BackfillRun("A-USDT", "1m", RunTrigger.START, NOW - MINUTE, NOW - MINUTE + 2_000),
            BackfillRun(
                "B-USDT",
                "1m",
                RunTrigger.HEAL,
                NOW,
                NOW + 500,
                3,
                3,
                2,
                1,
                status=RunStatus.PARTIAL,
            ),
        ):
            run.note = "see [here]" if run.symbol == "B-USDT" else ""
            backfill_runs.record(connection, run)
    return partial(CliRunner().invoke, main)


def test_coverage_is_worst_first_and_three_when_something_is_missing(look):
    """As a table, and as JSON with the same figures."""
    done = look(["coverage"])
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["symbol", "B-USDT", "A-USDT"]
    assert "95.0 %" in lines[1]
    told = json.loads(look(["coverage", "--json"]).stdout)
    assert told["health"] == "critical"
    assert [(one["symbol"], one["missing"]) for one in told["symbols"]] == [
        ("B-USDT", 3),
        ("A-USDT", 0),
    ]
    assert look(["coverage", "--symbols", "A-USDT"]).exit_code == 0


def test_gaps_lists_each_stretch_with_why(look):
    """One line each, oldest first; three when there are any, as for the coverage."""
    done = look(["gaps"])
    assert done.exit_code == 3
    _, proven, open_ = done.stdout.splitlines()
    assert proven.split()[0] == "B-USDT"
    assert proven.split()[5] == "2"
    assert "BloFin has no such candles" in proven
    assert "asked for and not given" in open_
    told = json.loads(look(["gaps", "--json"]).stdout)
    assert told["window"] == {"start": START, "end": START + HOUR}
    assert [(one["start"], one["bars"]) for one in told["gaps"]] == [
        (START + 10 * MINUTE, 2),
        (START + 40 * MINUTE, 1),
    ]
    whole = look(["gaps", "--symbols", "A-USDT"])
    assert (whole.exit_code, whole.stdout) == (0, "nothing is missing\n")


def test_runs_lists_the_newest_first_and_says_what_they_met(look):
    """A note is shown as it is, brackets and all."""
    done = look(["runs"])
    assert done.exit_code == 0
    _, newest, oldest = done.stdout.splitlines()
    assert newest.split()[2:5] == ["B-USDT", "heal", "partial"]
    assert newest.rstrip().endswith("see [here]")
    assert oldest.split()[2:5] == ["A-USDT", "start", "complete"]
    assert len(look(["runs", "--limit", "1"]).stdout.splitlines()) == 2
    told = json.loads(look(["runs", "--failed", "--json"]).stdout)
    assert [(one["symbol"], one["status"], one["requests"]) for one in told["runs"]] == [
        ("B-USDT", "partial", 1)
    ]
    assert look(["runs", "--symbols", "C-USDT"]).stdout == "no such run is written down\n"


@pytest.mark.parametrize("command", ["coverage", "gaps"])
def test_without_a_known_symbol_it_says_where_they_come_from(command, database, monkeypatch):
    """A pattern means nothing before BloFin's list was read."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database)
    monkeypatch.setenv("BLOFIN_SYMBOLS", "all")
    done = CliRunner().invoke(main, [command])
    assert done.exit_code == 1
    assert "no symbol is known yet" in done.stderr


def test_coverage_shows_the_window_as_a_bar(look, store):
    """Full blocks are held, lighter ones lack something, dots are not yet listed."""
    listed = [
        Instrument("A-USDT", NOW - 90 * DAY, "live"),
        Instrument("B-USDT", START + 30 * MINUTE, "live"),
    ]
    with store.engine.begin() as connection:
        instruments.save_instruments(connection, listed, NOW)
    lines = look(["coverage"]).stdout.splitlines()
    bars = {line.split()[0]: line.split()[-1] for line in lines[1:]}
    assert bars == {"A-USDT": "█" * 20, "B-USDT": "·" * 10 + "███▓" + "█" * 6}
