"""Laws of `fleet`: who shares the database, who keeps what, and what nobody keeps."""

import json

import pytest
from click.testing import CliRunner

from blofin_agent.cli.main import main
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import fleet as stored
from blofin_agent.store.tables import instruments
from blofin_agent.store.tables.fleet import AgentIdentity
from blofin_agent.store.timing import DEFAULT

LEASE_MS = round(DEFAULT.lease_s * 1000)
BTC, ETH, SOL = "BTC-USDT", "ETH-USDT", "SOL-USDT"


@pytest.fixture
def run(postgres_database, monkeypatch):
    """Run `fleet` on a PostgreSQL database."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", postgres_database)
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    return lambda *words: runner.invoke(main, ["fleet", *words], catch_exceptions=False)


@pytest.fixture
def join(postgres_database):
    """Return a function that lets an agent live, and claim symbols."""
    store = open_store(postgres_database)
    listed = [Instrument(name, None, "live") for name in (BTC, ETH, SOL)]

    def one(service, *symbols, bar=Timeframe.M1, wanted=("all",)):
        page = f"http://{service}"
        me = AgentIdentity(service, 1, "pid 1", f"address of {service}", bar, wanted, page, service)
        with store.engine.begin() as connection:
            instruments.save_instruments(connection, listed, 1)
            stored.heartbeat(connection, me, known=False)
            stored.claim(connection, me, symbols, [])
        return me

    yield one
    store.close()


def test_each_agent_is_shown_with_what_it_keeps(run, join, monkeypatch):
    """Its address, its page, and that it lives."""
    now = 1_000_000_000_000
    monkeypatch.setattr(stored, "now_ms", lambda _connection: now)
    join("tokyo:8780", BTC, SOL)
    join("zurich:8780", ETH)
    now += 3_000
    done = run()
    assert done.exit_code == 0
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["agent", "bar", "address", "state", "kept", "page", "symbols"]
    assert "alive, seen 3 s ago" in lines[0]
    assert lines[0].split()[-3:] == ["http://tokyo:8780", BTC, SOL]
    assert lines[1].startswith("zurich:8780")


def test_json_tells_all_of_it(run, join):
    """Times in ms; each fleet, one a bar, apart."""
    join("tokyo:8780", BTC, ETH, SOL)
    join("lima:8780", ETH, bar=Timeframe.M5, wanted=(ETH,))
    first, second = json.loads(run("--json").stdout)["fleets"]
    assert (first["bar"], second["bar"]) == ("1m", "5m")
    (tokyo,) = first["agents"]
    assert tokyo["symbols"] == [BTC, ETH, SOL]
    assert tokyo["alive"]
    assert tokyo["lease"] - tokyo["beat"] == LEASE_MS
    assert (first["orphaned"], second["orphaned"]) == ([], [])
    assert second["agents"][0]["wanted"] == [ETH]


def test_what_nobody_keeps_is_named(run, join):
    """With exit code 3; of the symbols asked for alone, if some are."""
    join("tokyo:8780", BTC)
    done = run()
    assert done.exit_code == 3
    assert f"1m: nobody keeps {ETH}, {SOL}" in done.stdout
    assert run("--symbols", BTC).exit_code == 0
    assert run("--symbols", SOL).exit_code == 3


def test_one_that_is_not_heard_of_is_gone(run, join, monkeypatch):
    """And what it kept is nobody's while another lives; with none at all that is said."""
    now = 1_000_000_000_000
    monkeypatch.setattr(stored, "now_ms", lambda _connection: now)
    join("tokyo:8780", BTC, ETH, SOL)
    now += LEASE_MS
    done = run()
    assert done.exit_code == 1
    assert "gone, seen 25 s ago" in done.stdout
    assert "no agent lives on this database; `blofin-agent run` starts one" in done.stderr
    join("zurich:8780", ETH)
    done = run()
    assert done.exit_code == 3
    assert f"nobody keeps {BTC}, {SOL}" in done.stdout


def test_a_database_on_which_no_agent_ever_ran_says_so(run):
    """With one line."""
    done = run()
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


def test_a_file_of_sqlite_has_no_fleet(database_file, monkeypatch):
    """It is wrong use, and says what is right."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    done = CliRunner().invoke(main, ["fleet"])
    assert done.exit_code == 2
    assert "several share one of PostgreSQL" in done.stderr
