"""Bodies: whatever may come with a REST answer of status 200."""

from blofin_agent.cli.progress import page_line
from blofin_agent.domain import unavailability
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.errors import ExchangeError
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.protocol.instruments import parse_instruments
from blofin_agent.protocol.rest import open_envelope, parse_page
from tests.fuzz import laws

SEEDS = (
    b'{"code":"0","msg":"success","data":[%s,%s]}'
    % (
        b'["1789999920000","2","3","1","2","10","0.5","20","1"]',
        b'["1789999800000","2","3","1","2","10","0.5","20","1"]',
    ),
    b'{"code":"0","msg":"","data":[%s,%s]}'
    % (
        b'{"instId":"BTC-USDT","listTime":"1600000000000","state":"live"}',
        b'{"instId":"1000PEPE-USDT","listTime":null,"state":"suspend"}',
    ),
    b'{"code":"152014","msg":"Instrument does not exist"}',
    b'{"code":500,"msg":"internal"}',
)


def bodies(data: bytes) -> None:
    """An answer is a page, a list of instruments, or an error of ours with a plain sentence."""
    for read in (open_envelope, _instruments, *(_page(bar) for bar in laws.BARS)):
        try:
            read(data)
        except ExchangeError as error:
            laws.is_an_error_of_ours(error)


def _instruments(data: bytes) -> None:
    found, bad = parse_instruments(data)
    laws.are_instruments(found)
    for row in bad:
        laws.is_rejected_with_a_reason(row)


def _page(bar: Timeframe):
    end = bar.floor(laws.NOW)
    wanted = TimeRange(end - 1_000 * bar.ms, end)

    def read(data: bytes) -> None:
        answer = parse_page(data, bar, wanted, end)
        times = [candle.open_time for candle in answer.candles]
        assert times == sorted(set(times))
        assert all(wanted.start <= time < wanted.end for time in times)
        assert all(0 <= time < end and bar.floor(time) == time for time in answer.times)
        laws.are_candles(answer.candles, bar, end)
        for row in answer.bad:
            laws.is_rejected_with_a_reason(row)
        laws.is_said_in_one_line(page_line("BTC-USDT", PageRequest(end, 100), answer))
        if answer.clean:
            history = SymbolCoverage("BTC-USDT", bar)
            for _ in range(2):
                history.learn(unavailability.page_holes(answer.times, bar), laws.NOW)
            laws.are_proofs(history.proofs, bar)
            count = history.count(wanted)
            assert 0 <= count.unavailable <= count.missing <= count.expected == 1_000

    return read
