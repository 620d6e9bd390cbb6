"""Options: what several commands take on the command line, and how it is read."""

from datetime import UTC, datetime
from typing import Any

import click

from blofin_agent import config


class Moment(click.ParamType[int]):
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
                f"{value!r} is no date or time; write 2026-02-12 or 2026-02-12T10:30 (UTC)",
                param,
                ctx,
            )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)


def _symbols(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    if value is None:
        return None
    try:
        return config.parse_symbols(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


symbols_option = click.option(
    "--symbols",
    callback=_symbols,
    metavar="LIST",
    help="Instead of BLOFIN_SYMBOLS, e.g. BTC-USDT,ETH-USDT.",
)
lookback_option = click.option(
    "--lookback-hours",
    type=click.IntRange(1),
    metavar="N",
    help="Instead of BACKFILL_LOOKBACK_HOURS.",
)
