"""What holds of a fleet whatever happens to its members, looked at from outside."""

import contextlib
import itertools
import re
import time
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

import psycopg

from blofin_agent.domain.candle import MINUTE, Candle, Timeframe
from blofin_agent.domain.time_range import window_at
from tests.integration.fleet.crew import MOVED_WITHIN_S, SETTLE_MS

OF_SYMBOL = re.compile(r'symbol="([^"]*)"')
NAMES = ", ".join(f'"{name}"' for name in Candle._fields)


def never_two(crew):
    """No symbol's coverage was ever shown by two.

    They are looked at one after another, so it is two when one showed it before and after the
    moment when the other did.
    """
    by_process = defaultdict(list)
    for look in crew.looks:
        by_process[look.name, look.pid].append(look)
    for (name, _), looks in by_process.items():
        for before, after in itertools.pairwise(looks):
            both = before.shows & after.shows
            for other in crew.looks:
                if other.name != name and before.ended < other.at and other.ended < after.at:
                    assert not both & other.shows, (name, before.at, other)


def nothing_of_others(crew):
    """An agent has series of its own symbols alone."""
    for one in crew.living():
        look = one.look()
        told = {found[1] for name in look.samples if (found := OF_SYMBOL.search(name))}
        assert told == look.shows, told ^ look.shows


def longest_unowned(crew, since):
    """Return for how long (s) a symbol was shown by nobody at most, from a moment on."""
    longest = 0.0
    for symbol in crew.symbols:
        shown = [look.ended for look in crew.looks if symbol in look.shows]
        times = [since, *(at for at in shown if at > since), time.monotonic()]
        longest = max(longest, *(after - at for at, after in itertools.pairwise(times)))
    return longest


def counted_unowned(crew):
    """Return for how long (s) an agent said at most that somebody's symbols are nobody's."""
    longest, since = 0.0, {}
    for look in crew.looks:
        if look.samples.get("blofin_fleet_symbols_orphaned"):
            longest = max(longest, look.at - since.setdefault(look.name, look.at))
        else:
            since.pop(look.name, None)
    return longest


def stored(crew):
    """Return all candles that are stored of what is traded, by symbol and open time."""
    return {
        (symbol, row[0]): Candle(*row)
        for symbol, *row in crew.query(f"SELECT symbol, {NAMES} FROM candles WHERE bar = '1m'")
        if symbol in crew.symbols
    }


def begin(crew):
    """Return when the window begins now (ms)."""
    return window_at(round(time.time() * 1000), Timeframe.M1, crew.hours, SETTLE_MS).start


def expected(crew):
    """Return the symbol and time of each candle that the exchange has of the window until now."""
    end, market = round(time.time() * 1000) // MINUTE * MINUTE, crew.simulator.market
    return {
        (symbol, at)
        for symbol in crew.symbols
        for at in range(begin(crew), end, MINUTE)
        if market.exists(symbol, Timeframe.M1, at)
    }


def nothing_is_lost(crew, within_s=90):
    """Each minute of the window is stored, save real holes, and each row is the exchange's.

    What has left the window meanwhile nobody need fetch any more.
    """
    end, wanted = time.monotonic() + within_s, expected(crew)
    lacking = wanted
    while lacking and time.monotonic() < end:
        with contextlib.suppress(psycopg.Error):
            there = stored(crew)
            lacking = {one for one in wanted - there.keys() if one[1] >= begin(crew)}
        time.sleep(1)
    assert not lacking, sorted(lacking, key=lambda one: one[1])[-9:]
    for (symbol, at), candle in stored(crew).items():
        assert candle == crew.simulator.market.candle(symbol, Timeframe.M1, at)
    assert crew.too_early == []


def no_traceback(crew):
    """Nobody met what it did not expect."""
    for one in crew.members.values():
        assert "Traceback" not in one.log()


def asked_twice(crew, older_than_ms):
    """Return how many pages of old candles were asked for that mostly had been asked for before."""
    heard = sorted(one for cable in crew.cables for one in cable.heard)
    asked, twice = defaultdict(set), 0
    for _, path in heard:
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if "after" not in query:
            continue
        after, limit = int(query["after"]), int(query["limit"])
        page = {at for at in range(after - limit * MINUTE, after, MINUTE) if at < older_than_ms}
        twice += len(page & asked[query["instId"]]) > limit / 2
        asked[query["instId"]] |= page
    return twice


def all_is_well(crew, since):
    """All of it holds in the end, of the time from a moment on (by `time.monotonic`)."""
    nothing_is_lost(crew)
    nothing_of_others(crew)
    never_two(crew)
    assert longest_unowned(crew, since) < MOVED_WITHIN_S
    assert counted_unowned(crew) < MOVED_WITHIN_S
    no_traceback(crew)
