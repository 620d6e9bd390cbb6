"""BloFin's limits, kept by real processes against an exchange that counts by itself."""

import contextlib
import itertools
import json
import socket
import time

import pytest

from blofin_agent.domain.candle import MINUTE
from tests.gate import Gate
from tests.processes import until

pytestmark = pytest.mark.slow("limits count requests of real seconds")

UNDER_WAY_S = 0.3
"""What another process had sent before it could know of a suspension has arrived by then."""

SUSPENDED_S = 10
"""How long the gate suspends: longer than a busy machine takes to send a test request."""
NEARLY = 400
"""So many requests in 60 s are near the limit."""

CONNECTED = 'blofin_feed_connected{connection="1"}'


@pytest.fixture
def gate(place, simulate):
    """Start a simulator without limits behind a gate that has them."""
    opened = []

    def start(symbols, *, options=(), **how):
        simulator = simulate(symbols, options=options)
        opened.append(Gate(simulator.rest_url, **how).open())
        place.env |= {"BLOFIN_REST_URL": opened[0].rest_url, "BLOFIN_WS_URL": opened[0].ws_url}
        return opened[0]

    yield start
    for one in opened:
        one.close()


def log_of(place):
    return (place.folder / "err").read_text()


def test_a_loop_of_kill_9_and_of_failed_starts_never_passes_a_limit(place, gate, ended):
    """15 starts, without any spacing, over more pages than the limit allows."""
    exchange = gate("32", options=("--page-limit", "300"))
    settings = {"BLOFIN_SYMBOLS": "all", "BACKFILL_REQUEST_SLEEP_MS": "0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for number in range(15):
            before = len(exchange.arrivals)
            if number % 5 == 4:
                # Its port is taken: it ends by itself, before it has sent anything.
                process = place.start("run", **settings, API_PORT=str(taken.getsockname()[1]))
                ended.append(process)
                assert process.wait(20) == 1
                assert len(exchange.arrivals) == before
                continue
            process = place.start("run", **settings)
            ended.append(process)
            # Now in the middle of its first requests, now when it has sent many, however slow this
            # machine is; once the limit holds them back it waits in vain.
            enough = before + ((3, 50, 100)[number % 3] if number else 300)
            held_back = before and exchange.most(60) > NEARLY
            with contextlib.suppress(pytest.fail.Exception):
                until(
                    lambda most=enough: len(exchange.rest()) > most,
                    within_s=5 if held_back else 30,
                    every_s=0.02,
                )
            process.kill()
            process.wait()
    assert not [one for one in exchange.arrivals if one.status]
    assert NEARLY < exchange.most(60) <= 475
    entered = place.query("SELECT count(*) FROM request_ledger WHERE endpoint != 'websocket'")
    # Each start may have been killed between the ledger and the wire, once.
    assert 0 <= entered[0][0] - len(exchange.rest()) <= 15


def quiet_then_one(exchange, first, end, answered_after_s):
    """Hold that nothing came from `first` to `end`, then one request, alone until its answer."""
    # The probe may come seconds after the end: what follows it is waited for, too.
    until(lambda: len(exchange.rest(end)) > 1)
    assert exchange.rest(first + UNDER_WAY_S, end) == []
    probe, *others = exchange.rest(end)
    assert probe.at < end + 6
    assert others[0].at >= probe.at + answered_after_s
    return probe


@pytest.mark.timeout(240)
def test_a_bot_that_uses_up_the_address_stops_two_agents_and_a_backfill_and_halves_their_share(
    place, gate, run_agent, ended
):
    """No request into the suspension, one probe after it; when that is refused, one more."""
    exchange = gate("32", options=("--page-limit", "100"), rules=((400, 60, SUSPENDED_S),))
    settings = {"BLOFIN_SYMBOLS": "all", "BACKFILL_REQUEST_SLEEP_MS": "100"}
    agents = [run_agent("run", **settings), run_agent("run", **settings)]
    ended.append(place.start("backfill", **settings))
    until(lambda: len(exchange.rest()) > 30)
    exchange.slow = 1.0
    exchange.use_up()
    end = exchange.suspended
    refused = until(lambda: [one for one in exchange.rest() if one.status == 429])
    # Each process may have had one or two under way: its pass, its healing.
    assert quiet_then_one(exchange, refused[0].at, end, 1.0).status == 0
    assert len([one for one in exchange.rest() if one.status == 429]) <= 3
    for agent in agents:
        told = until(lambda one=agent: one.samples().get("blofin_rate_budget_share") == 0.5)
        assert told
        assert agent.samples()['blofin_rate_budget_limit{window="60s"}'] == 237
    status = json.loads(agents[0].get("/api/v1/status"))
    assert [one["limit"] for one in status["budget"]] == [237, 712]
    assert "another program seems to use this address" in status["budget_note"]

    # It lasts longer than BloFin says: the first probe is refused, and what it says then holds.
    exchange.said = 2.0
    exchange.use_up()
    end = exchange.suspended
    until(lambda: time.monotonic() > end)
    probes = exchange.rest(end - SUSPENDED_S + UNDER_WAY_S, end)
    assert all(later.at - one.at >= 2 for one, later in itertools.pairwise(probes))
    assert 1 <= len([one for one in probes if one.status == 429]) <= 3
    quiet_then_one(exchange, end, end, 1.0)
    assert agents[0].samples()["blofin_rate_budget_share"] == 0.25
    assert all(agent.process.poll() is None for agent in agents)


@pytest.mark.timeout(120)
def test_a_403_over_rest_stops_requests_and_websockets_of_all_processes_until_one_probe(
    place, gate, run_agent, ended
):
    """Nothing is sent into the ban, not even a handshake; after it one goes alone."""
    exchange = gate("2", options=("--page-limit", "20"))
    settings = {"BACKFILL_REQUEST_SLEEP_MS": "100"}
    agent = run_agent("run", **settings)
    ended.append(place.start("backfill", **settings))
    # A handshake that met the ban first would stop REST, and no request would meet it.
    until(lambda: exchange.handshakes() and agent.samples()[CONNECTED] == 1)
    until(lambda: len(exchange.rest()) > 10)
    exchange.slow = 1.0
    exchange.banned = end = time.monotonic() + 6
    refused = until(lambda: [one for one in exchange.rest() if one.status == 403])
    quiet_then_one(exchange, refused[0].at, end, 1.0)
    assert len([one for one in exchange.arrivals if one.status == 403]) <= 3
    assert agent.samples()["blofin_rate_budget_share"] == 1


@pytest.mark.timeout(120)
def test_a_403_at_the_websockets_handshake_stops_rest_of_all_processes_too(
    place, gate, run_agent, ended
):
    """One handshake is refused, and nothing more comes: not from the agent, nor from others."""
    exchange = gate("2", options=("--page-limit", "20"))
    exchange.no_websockets = True
    run_agent("run", BACKFILL_REQUEST_SLEEP_MS="100")
    (handshake,) = until(exchange.handshakes)
    ended.append(place.start("backfill", BACKFILL_REQUEST_SLEEP_MS="0"))
    time.sleep(7)
    assert exchange.rest(0, handshake.at)
    assert [one for one in exchange.arrivals if one.at > handshake.at + UNDER_WAY_S] == []


@pytest.mark.real_time
@pytest.mark.timeout(180)
def test_a_cold_start_of_500_symbols_passes_no_limit_and_loses_no_live_candle(
    place, gate, run_agent
):
    """501 requests where 475 may go in a minute, while five connections bring the live candles."""
    exchange = gate("500")
    begun = time.monotonic()
    agent = run_agent("run", BLOFIN_SYMBOLS="all", BACKFILL_LOOKBACK_HOURS="1")
    slowest = 0.0
    subscribed = 0.0
    while len(exchange.rest()) < 501:
        asked = time.monotonic()
        samples = agent.samples()
        slowest = max(slowest, time.monotonic() - asked)
        subscribed = sum(
            value for name, value in samples.items() if name.startswith("blofin_feed_subscribed{")
        )
        assert time.monotonic() - begun < 100, log_of(place)
        time.sleep(1)
    assert subscribed == 500
    assert slowest < 2
    assert 400 < exchange.most(60) <= 475
    assert not [one for one in exchange.arrivals if one.status]
    opened = [one.at for one in exchange.handshakes()]
    assert len(opened) == 5
    assert all(later - one >= 1 for one, later in itertools.pairwise(opened))
    # The minutes that closed since all stood came live, of every symbol; one at least is awaited.
    stood = int((time.time() - (time.monotonic() - opened[-1]) + 5) * 1000)
    first = -(-stood // MINUTE) * MINUTE - MINUTE
    last = int(time.time() * 1000) // MINUTE * MINUTE - MINUTE
    count = "SELECT count(*) FROM candles WHERE source = 'blofin_ws' AND open_time = ?"
    for open_time in range(first, max(first, last) + 1, MINUTE):
        until(lambda at=open_time: place.query(count, at)[0][0] == 500, within_s=40)
    assert agent.stop() == 0
