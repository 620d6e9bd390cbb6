"""Check: what works and what does not, one finding a line."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import trio

from blofin_agent import __version__
from blofin_agent.config import Settings, bare_url
from blofin_agent.coverage.reconciler import SERVICE
from blofin_agent.domain.errors import ExchangeError
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.symbols import choose, unknown_symbols_text
from blofin_agent.exchange.rest_client import client
from blofin_agent.exchange.websocket_session import FeedDisconnected, SessionTiming, session
from blofin_agent.fleet.overview import read_fleets
from blofin_agent.live.connection_manager import CONNECT_INTERVAL_S
from blofin_agent.protocol.subscriptions import Subscriptions
from blofin_agent.protocol.websocket import channel
from blofin_agent.runtime.format import clock_text, plural
from blofin_agent.store.database import Database, open_store
from blofin_agent.store.errors import StoreError
from blofin_agent.store.tables import heartbeats
from blofin_agent.store.timing import of_environment
from blofin_agent.web.listen import leads_outside, without_token
from blofin_agent.wiring import Services, build_services

FEED_TIMEOUT_S = 20.0


class Finding(NamedTuple):
    """What was looked at, whether it works, and what to know of it."""

    about: str
    ok: bool
    text: str


async def check(settings: Settings) -> list[Finding]:
    """Look at everything, in the order in which it matters. Asks BloFin one REST question."""
    findings = [
        Finding(
            "settings",
            ok=True,
            text=f"{', '.join(settings.blofin_symbols)}: {settings.backfill_timeframe.value} "
            f"candles, {settings.backfill_lookback_hours} h back",
        )
    ]
    findings.append(_page(settings))
    try:
        store = open_store(settings.blofin_database_url, timing=of_environment())
    except StoreError as error:
        return [*findings, Finding("database", ok=False, text=str(error))]
    try:
        findings.append(Finding("database", ok=True, text=store.where))
        findings.append(await _agent(store))
        async with client(settings.blofin_rest_url, __version__) as http:
            parts = build_services(
                settings, store, http, tries=1, what_next="see below", store_patience_s=0
            )
            findings += await _exchange(settings, parts)
    except StoreError as error:
        findings.append(Finding("database", ok=False, text=str(error)))
    finally:
        store.close()
    return findings


def _page(settings: Settings) -> Finding:
    """Say who may ask. Whether the port is free is not tried: the agent may run."""
    where = f"{settings.api_host}:{settings.api_port}"
    try:
        outside = leads_outside(settings.api_host)
    except OSError as error:
        return Finding("page", ok=False, text=f"API_HOST={settings.api_host}: {error.strerror}")
    if not outside:
        return Finding("page", ok=True, text=f"{where}, for this machine alone")
    if settings.api_token is None:
        return Finding("page", ok=False, text=without_token(settings.api_host))
    return Finding("page", ok=True, text=f"{where}, for whoever shows API_TOKEN")


async def _agent(store: Database) -> Finding:
    if store.engine.dialect.name != "sqlite":
        living = [one for each in await store.read("beat", read_fleets) for one in each.living]
        names = ", ".join(one.service for one in living)
        text = f"{plural(len(living), 'agent')} on this database: {names}" if living else "none"
        return Finding("agents", ok=True, text=text)
    beat = await store.read("beat", partial(heartbeats.last_heartbeat, service=SERVICE))
    if beat is None:
        return Finding("agent", ok=True, text="has not run on this database yet")
    return Finding("agent", ok=True, text=f"last seen alive at {clock_text(beat)}")


async def _exchange(settings: Settings, parts: Services) -> list[Finding]:
    shared_budget = parts.rate_limiter.shared_budget
    await shared_budget.refresh()
    until = shared_budget.suspended_until()
    if until:
        text = f"{shared_budget.suspension.reason}; not asked before {clock_text(until)}"
        return [Finding("exchange", ok=False, text=text)]
    where = bare_url(settings.blofin_rest_url)
    try:
        found = await parts.rate_limiter.request("instruments", parts.rate_limiter.rest.instruments)
    except ExchangeError as error:
        return [Finding("exchange", ok=False, text=f"{error} ({where})")]
    listed = {one.symbol: one for one in found.instruments}
    text = f"{where} lists {plural(len(listed), 'instrument')}"
    return [
        Finding("exchange", ok=True, text=text),
        *_symbols(settings, listed),
        await _feed(settings, listed),
    ]


def _symbols(settings: Settings, listed: Mapping[str, Instrument]) -> list[Finding]:
    chosen = choose(settings.blofin_symbols, listed)
    wrong = [
        Finding("symbols", ok=False, text=unknown_symbols_text(one, listed))
        for one in chosen.unknown
    ]
    good = len(chosen.symbols) - len(wrong)
    if not good:
        return wrong or [Finding("symbols", ok=False, text="BLOFIN_SYMBOLS names no instrument")]
    return [*wrong, Finding("symbols", ok=True, text=f"{plural(good, 'symbol')} to watch")]


async def _feed(settings: Settings, listed: Mapping[str, Instrument]) -> Finding:
    """Subscribe one symbol and wait for its first frame."""
    wanted = [one for one in choose(settings.blofin_symbols, listed).symbols if one in listed]
    subscriptions = Subscriptions(wanted[:1] or sorted(listed)[:1])
    heard = trio.Event()
    # BloFin allows an address one new connection a second; another may have been made just now.
    await trio.sleep(CONNECT_INTERVAL_S)
    url = settings.blofin_ws_url
    with trio.move_on_after(FEED_TIMEOUT_S):
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                try:
                    await session(
                        url,
                        channel(settings.backfill_timeframe),
                        subscriptions,
                        opened=lambda: None,
                        handle=lambda _frame, _now: heard.set(),
                        per_message=1,
                        timing=SessionTiming(),
                    )
                except FeedDisconnected as error:
                    lost.append(str(error))
                    nursery.cancel_scope.cancel()

            lost: list[str] = []
            nursery.start_soon(listen)
            await heard.wait()
            nursery.cancel_scope.cancel()
    if heard.is_set():
        return Finding("websocket", ok=True, text=f"{bare_url(url)} answers")
    reason = lost[0] if lost else f"no answer to a subscription within {FEED_TIMEOUT_S:g} s"
    return Finding("websocket", ok=False, text=f"{reason} ({bare_url(url)})")
