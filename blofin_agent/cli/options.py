"""Options: what several commands take on the command line, and how it is read."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from blofin_agent import config
from blofin_agent.cli.completion import complete_symbols
from blofin_agent.domain.candle import LATEST_MS
from blofin_agent.domain.sanitize import shorten
from blofin_agent.observability import pushgateway, textfile
from blofin_agent.runtime.clock import wall_ms

T = TypeVar("T")


class DateTimeParam(click.ParamType[int]):
    """A UTC date or time on the command line; becomes ms since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read `2026-02-12`, `2026-02-12T10:30` or with an offset such as `+01:00` or `Z`."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{shorten(value, 40)!r} is no date or time; write 2026-02-12 or "
                "2026-02-12T10:30 (UTC)",
                param,
                ctx,
            )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        time_ms = int(moment.timestamp() * 1000)
        if not 0 <= time_ms <= LATEST_MS:
            self.fail(f"{shorten(value, 40)!r} is not between 1970 and 9999 (UTC)", param, ctx)
        return time_ms


def _read_by(parse: Callable[[str], T]) -> Callable[[Any, Any, str | None], T | None]:
    """Return a callback that reads an option with a function that raises ValueError."""

    def read(_ctx: click.Context, _param: click.Parameter, value: str | None) -> T | None:
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


def judge_range(since: int | None, until: int | None, lookback_hours: int | None) -> None:
    """Raise UsageError when the options contradict one another or name the future."""
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    if lookback_hours is not None and since is not None:
        raise click.UsageError("give --lookback-hours or --since, not both")
    if since is not None and since > wall_ms():
        raise click.UsageError("--since is in the future: there are no candles yet")


symbols_option = click.option(
    "--symbols",
    callback=_read_by(config.parse_symbols),
    shell_complete=complete_symbols,
    metavar="LIST",
    help="Instead of BLOFIN_SYMBOLS, e.g. BTC-USDT,ETH-USDT.",
)
copied_option = click.option(
    "--symbols",
    callback=_read_by(config.parse_symbols),
    metavar="LIST",
    help="These alone, e.g. BTC-USDT,ETH-USDT or '*-USDC'. All without it.",
)
lookback_option = click.option(
    "--lookback-hours",
    type=click.IntRange(1),
    metavar="N",
    help="Instead of BACKFILL_LOOKBACK_HOURS.",
)
since_option = click.option("--since", type=DateTimeParam(), help="From this UTC date or time on.")
until_option = click.option(
    "--until", type=DateTimeParam(), help="Up to this UTC date or time, not included."
)
textfile_option = click.option(
    "--metrics-textfile",
    "textfile",
    callback=_read_by(textfile.parse),
    metavar="FILE",
    help="Write the metrics to FILE, which ends in .prom, for node_exporter to read.",
)
pushgateway_option = click.option(
    "--pushgateway",
    callback=_read_by(pushgateway.parse),
    metavar="URL",
    help="Push the metrics to a Pushgateway, e.g. http://127.0.0.1:9091.",
)
