"""Laws of the JSON API: the same figures as everywhere, paged whole, errors as problems."""

import json

import pytest

from blofin_agent.domain.backfill_run import RunStatus
from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.rate_limit import Suspension
from blofin_agent.domain.symbol_coverage import Health
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.live.connection_status import ConnectionStatus
from blofin_agent.store.tables.candles import StoredCandle


@pytest.fixture
def api(site, client_of):
    """A function that asks the API, and gives the answer's JSON or its status and problem."""
    http = client_of(site.app)

    async def ask(path, status=200):
        answer = await http.get(path if path.startswith("/") else f"/api/v1/{path}")
        assert answer.status_code == status, answer.text
        kind = "json" if status == 200 else "problem+json"
        assert answer.headers["Content-Type"] == f"application/{kind}"
        return answer.json()

    return ask


async def follow(api, path, key):
    """Return the rows of all pages, and how many rows each page had."""
    rows, sizes = [], []
    while path:
        page = await api(path)
        rows += page[key]
        sizes.append(len(page[key]))
        path = page["next_url"]
    return rows, sizes


async def test_status_tells_how_everything_is(site, api, end):
    """Health and why, the sums, the budget, the feed; null where there is nothing."""
    site.hold("BTC-USDT")
    site.hold("ETH-USDT", but=(5,))
    site.snapshotter.links = lambda: [ConnectionStatus("1", True, 2, 1, end, "closed by BloFin")]
    site.passes.next_at = end + 60 * MINUTE
    told = await api("status")
    assert told["health"] == "warn"
    assert told["reason"] == "ETH-USDT 98.3 %, 1 minute missing; asked for again in 59 min 45 s"
    assert told["window"] == {"start": end - 60 * MINUTE, "end": end}
    assert told["total"] == {
        "coverage": 119 / 120,
        "expected": 120,
        "present": 119,
        "missing": 1,
        "unavailable": 0,
    }
    assert (told["symbols"], told["below_good"], told["below_warn"]) == (2, 1, 0)
    assert told["budget"] == [
        {"window": "60s", "seconds": 60, "used": 12, "limit": 475},
        {"window": "300s", "seconds": 300, "used": 34, "limit": 1425},
    ]
    assert (told["budget_share"], told["budget_note"]) == (1, "")
    assert told["healing"] == {
        "state": "waiting",
        "eta_seconds": 40.0,
        "next_pass": end + 60 * MINUTE,
    }
    assert told["connections"][0]["lost"] == "closed by BloFin"
    assert told["passes"] == {"last": None, "last_success": None}
    assert told["suspension"] is None
    assert told["ready"] is True
    assert told["store_up"] is True


async def test_status_tells_the_limits_in_force_and_why_they_are_less_than_usual(site, api):
    """After a 429 that others seem to have caused."""
    site.shared_budget.suspension = Suspension(share=0.5)
    told = await api("status")
    assert [one["limit"] for one in told["budget"]] == [237, 712]
    assert told["budget_share"] == 0.5
    assert told["budget_note"].startswith("another program seems to use this address")
    assert "at most 237 requests in 60 s and 712 in 300 s" in told["budget_note"]


async def test_status_tells_of_a_suspension_and_of_passes(site, api, end):
    """Until when and why; when the last pass ended, to the millisecond."""
    site.hold("BTC-USDT")
    site.hold("ETH-USDT", but=(5,))
    site.shared_budget.until = end + 5 * MINUTE
    site.shared_budget.suspension = Suspension(end + 5 * MINUTE, 1, 0, True, "BloFin says 403")
    site.metrics.last_pass.set(end / 1000)
    site.metrics.last_success.set(end / 1000 - 60)
    site.reasons = ["the database cannot be used now"]
    told = await api("status")
    assert told["suspension"] == {
        "until": end + 5 * MINUTE,
        "banned": True,
        "reason": "BloFin says 403",
    }
    assert told["healing"]["state"] == "suspended"
    assert told["passes"] == {"last": end, "last_success": end - MINUTE}
    assert (told["ready"], told["not_ready"]) == (False, ["the database cannot be used now"])


async def test_coverage_is_worst_first_with_the_figures_of_metrics(site, api, end):
    """And the last run of each."""
    site.hold("BTC-USDT")
    site.hold("ETH-USDT", but=(5, 6)).hold([end - 6 * MINUTE], live=True)
    run = site.ran("ETH-USDT", RunStatus.PARTIAL, "why", requests=3)
    told = await api("coverage")
    assert told["health"] == Health.WARN.value
    assert [one["symbol"] for one in told["symbols"]] == ["ETH-USDT", "BTC-USDT"]
    worst = told["symbols"][0]
    for name, metric in [
        ("coverage", "blofin_coverage_ratio"),
        *((name, f"blofin_candles_{name}") for name in ("expected", "present", "missing")),
        ("unavailable", "blofin_candles_unavailable"),
    ]:
        labels = {"symbol": "ETH-USDT"}
        assert worst[name] == site.metrics.registry.get_sample_value(metric, labels)
    assert worst["newest"] == end - MINUTE
    assert worst["live_share"] == 1 / 59
    assert worst["last_run"]["id"] == run.id
    assert worst["last_run"]["requests"] == 3
    assert worst["last_run"]["status"] == "partial"
    assert told["symbols"][1]["last_run"] is None
    assert await api("coverage/ETH-USDT") == worst
    assert (await api("coverage?symbol=BTC-USDT"))["symbols"] == told["symbols"][1:]
    assert (await api("coverage?symbol=BTC-USDT"))["health"] == "good"


async def test_gaps_are_paged_whole(site, api, end):
    """By symbol and time, each once, with why; an empty list when there is none."""
    site.hold("BTC-USDT", but=(3, 5, 6, 50))
    history = site.hold("ETH-USDT", but=(7, 8, 20))
    history.proofs = [
        UnavailableRange(TimeRange(end - 8 * MINUTE, end - 7 * MINUTE), end, 1, end + MINUTE)
    ]
    whole = (await api("gaps"))["gaps"]
    assert [(gap["symbol"], (end - gap["start"]) // MINUTE, gap["bars"]) for gap in whole] == [
        *(("BTC-USDT", 50, 1), ("BTC-USDT", 6, 2), ("BTC-USDT", 3, 1)),
        *(("ETH-USDT", 20, 1), ("ETH-USDT", 8, 1), ("ETH-USDT", 7, 1)),
    ]
    assert [gap["unavailable"] for gap in whole] == [False] * 4 + [True, False]
    for limit, sizes in ((1, [1] * 6), (4, [4, 2]), (6, [6])):
        assert await follow(api, f"gaps?limit={limit}", "gaps") == (whole, sizes)
    chosen = await follow(api, "gaps?symbol=ETH-USDT&symbol=BTC-USDT&limit=4", "gaps")
    assert chosen == (whole, [4, 2])
    site.hold("BTC-USDT")
    assert (await api("gaps?symbol=BTC-USDT"))["gaps"] == []


async def test_the_map_adds_up_to_the_coverage(site, api, end):
    """Its columns tile the window; its cells are the four kinds of bars."""
    history = site.hold("ETH-USDT", but=(7, 8, 20, *range(41, 61)))
    history.list_time = end - 50 * MINUTE
    history.proofs = [
        UnavailableRange(TimeRange(end - 8 * MINUTE, end - 7 * MINUTE), end, 1, end + MINUTE)
    ]
    site.hold("BTC-USDT")
    told = await api("map?columns=7")
    assert told["columns"][0] == told["window"]["start"] == end - 60 * MINUTE
    assert len(told["columns"]) <= 7
    strips = {strip["symbol"]: strip["cells"] for strip in told["strips"]}
    assert list(strips) == ["ETH-USDT", "BTC-USDT"]
    sums = [sum(cell[1] * cell[n] for cell in strips["ETH-USDT"]) for n in (2, 3, 4, 5)]
    assert sums == [37, 12, 1, 10]
    assert sum(cell[1] for cell in strips["ETH-USDT"]) == len(told["columns"])
    only = await api("map?symbol=BTC-USDT")
    assert [strip["symbol"] for strip in only["strips"]] == ["BTC-USDT"]


async def test_runs_are_paged_whole(site, api):
    """The newest first, by symbol and status where asked."""
    for number in range(7):
        status = RunStatus.FAILED if number % 2 else RunStatus.COMPLETE
        site.ran("BTC-USDT" if number < 4 else "ETH-USDT", status)
    whole, sizes = await follow(api, "runs?limit=3", "runs")
    assert [run["id"] for run in whole] == [7, 6, 5, 4, 3, 2, 1]
    assert sizes == [3, 3, 1]
    failed, _ = await follow(api, "runs?status=failed&symbol=BTC-USDT&limit=1", "runs")
    assert [run["id"] for run in failed] == [4, 2]
    assert (await api("runs?limit=7"))["next_url"] is None
    assert (await api("runs?symbol=NEVER-USDT"))["runs"] == []


async def test_candles_are_paged_whole(site, api, end):
    """The oldest first; `until` is not in it; no row where none is held."""
    rows = [
        StoredCandle(
            end - ago * MINUTE, 1.1, 2.5, 0.1, 0.30000000000000004, 5e-9, 1e21, 7.0, "blofin_ws"
        )
        for ago in (9, 8, 6, 5, 4)
    ]
    site.store_reader.stored["BTC-USDT"] = rows
    whole, sizes = await follow(api, "candles?symbol=BTC-USDT&limit=2", "candles")
    assert whole == [row._asdict() for row in rows]
    assert sizes == [2, 2, 1]
    span = f"since={end - 8 * MINUTE}&until={end - 4 * MINUTE}"
    some, _ = await follow(api, f"candles?symbol=BTC-USDT&limit=1&{span}", "candles")
    assert some == whole[1:4]
    assert (await api("candles?symbol=ETH-USDT"))["candles"] == []
    site.store_reader.stored["OLD-USDT"] = rows[:1]
    assert len((await api("candles?symbol=OLD-USDT"))["candles"]) == 1


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("coverage?symbol=NOPE-USDT", 404, "NOPE-USDT is not watched here"),
        ("coverage/NOPE-USDT", 404, "NOPE-USDT is not watched here"),
        ("gaps?symbol=BTC-USDT&symbol=NOPE", 404, "NOPE is not watched here"),
        ("map?symbol=NOPE", 404, "NOPE is not watched here"),
        ("candles?symbol=NOPE", 404, "NOPE is not watched here"),
        ("candles", 422, "symbol"),
        ("candles?symbol=BTC-USDT&since=yesterday", 422, "since"),
        ("candles?symbol=BTC-USDT&until=-1", 422, "until"),
        ("candles?symbol=BTC-USDT&limit=10081", 422, "limit"),
        ("gaps?after=x", 422, "after"),
        ("runs?status=odd", 422, "status"),
        ("runs?limit=0", 422, "limit"),
        ("map?columns=1", 422, "columns"),
        ("coverage?symbols=BTC-USDT", 422, "symbols"),
        ("coverage/%2e%2e", 422, "these parameters cannot be: symbol"),
        ("coverage/<b>", 422, "symbol"),
        ("nothing", 404, "Not Found"),
        ("", 404, "Not Found"),
    ],
)
async def test_errors_are_problems(site, api, path, status, words):
    """RFC 9457: type, title, status, detail; and each wrong parameter."""
    site.hold("BTC-USDT")
    told = await api(path, status)
    assert told["type"] == "about:blank"
    assert told["status"] == status
    assert told["title"]
    assert words in told["detail"]
    if status == 422:
        assert told["errors"]
        assert {"parameter", "detail"} == set(told["errors"][0])


async def test_a_database_that_is_away_is_a_problem_that_passes(site, api, client_of):
    """503 with the reason and when to come again; what is in memory is told all the same."""
    site.hold("BTC-USDT")
    site.store_reader.away = "database data/blofin.db: another program keeps it locked"
    for path in ("runs", "candles?symbol=BTC-USDT"):
        assert "keeps it locked" in (await api(path, 503))["detail"]
    answer = await client_of(site.app).get("/api/v1/runs")
    assert answer.headers["Retry-After"] == "5"
    await api("coverage")


async def test_nothing_can_be_changed(site, client_of):
    """Every other method is refused, and told which there is."""
    http = client_of(site.app)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await http.request(method, "/api/v1/coverage")
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET"
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_fault_of_our_own_is_a_problem_without_details(site, client_of, monkeypatch):
    """What went wrong stands in the log, not in the answer."""

    def broken():
        raise ZeroDivisionError("secret")

    site.hold("BTC-USDT")
    monkeypatch.setattr(site.snapshotter, "overview", broken)
    http = client_of(site.app)
    with pytest.raises(ZeroDivisionError):
        await http.get("/api/v1/status")
    http._transport.raise_app_exceptions = False
    answer = await http.get("/api/v1/status")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.text


async def test_before_the_store_is_counted_nothing_is_made_up(site, api):
    """No symbol, no gap, and health says why."""
    site.reasons = ["the stored candles are being counted"]
    told = await api("status")
    assert (told["health"], told["reason"]) == ("critical", "the stored candles are being counted")
    assert (await api("coverage"))["symbols"] == []
    assert (await api("gaps"))["gaps"] == []
    assert (await api("map"))["strips"] == []
    await api("coverage/BTC-USDT", 404)


async def test_the_document_describes_what_there_is(site, api, client_of):
    """Every path with its answers; problems as problem+json; found where one looks first."""
    document = await api("openapi.json")
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "/api/v1"}]
    assert set(document["paths"]) == {
        *("/status", "/coverage", "/coverage/{symbol}", "/gaps", "/map", "/runs", "/candles")
    }
    for path in document["paths"].values():
        assert list(path) == ["get"]
        for status, answer in path["get"]["responses"].items():
            kind = "application/json" if status == "200" else "application/problem+json"
            assert list(answer["content"]) == [kind]
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"]
    assert "HTTPValidationError" not in text
    answer = await client_of(site.app).get("/openapi.json", follow_redirects=True)
    assert answer.json() == document


async def test_another_bar_is_named(make_site, client_of):
    """By its name at BloFin."""
    site = make_site(bar=Timeframe.M5)
    site.tracker.loaded = True
    told = (await client_of(site.app).get("/api/v1/coverage")).json()
    assert told["bar"] == "5m"
    assert told["symbols"][0]["expected"] == 12
