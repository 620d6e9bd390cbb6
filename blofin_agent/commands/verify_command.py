"""The command `blofin-agent verify`: its options, what it prints, its exit codes."""

import json
import random
from pathlib import Path

import click

from blofin_agent import __version__
from blofin_agent.commands import show, verify_show
from blofin_agent.commands.console import opened, read_settings
from blofin_agent.commands.options import (
    judge_range,
    lookback_option,
    pushgateway_option,
    since_option,
    symbols_option,
    textfile_option,
    until_option,
)
from blofin_agent.exchange.rest_client import client as make_client
from blofin_agent.jobs.verify import job as verifying
from blofin_agent.jobs.verify.job import Order
from blofin_agent.jobs.verify.report import Report
from blofin_agent.observability.push import Targets
from blofin_agent.observability.pushgateway import Gateway
from blofin_agent.runtime import clock
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE

PAGES = 3
"""Pages drawn of each symbol, where nothing else is said."""


@click.command()
@symbols_option
@click.option(
    "--sample",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help=f"N pages of each symbol, drawn at random and spread over the window; {PAGES} unless a "
    "range is given.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), help="Draw the same sample again.")
@lookback_option
@since_option
@until_option
@click.option("--repair", is_flag=True, help="Replace what differs, and store what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and no lines.")
@textfile_option
@pushgateway_option
@click.option("-v", "--verbose", is_flag=True, help="A line for each page.")
def verify(
    symbols: tuple[str, ...] | None,
    sample: int | None,
    seed: int | None,
    lookback_hours: int | None,
    since: int | None,
    until: int | None,
    textfile: Path | None,
    pushgateway: Gateway | None,
    *,
    repair: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Ask BloFin again for stored candles, and compare field by field.

    A random sample of the window; or all that is stored, where --since, --until or
    --lookback-hours names a range. What differs is asked for twice before it is believed. A
    candle that BloFin does not have is told, and never deleted.

    Exits with 0 when all is equal or was repaired, 3 when something still differs or could not be
    compared.

    Example: blofin-agent verify --symbols BTC-USDT --since 2026-02-01 --until 2026-02-02 --repair
    """
    judge_range(since, until, lookback_hours)
    if sample is None and (since, until, lookback_hours) == (None, None, None):
        sample = PAGES
    if sample is None and seed is not None:
        raise click.UsageError("--seed is for a sample; give --sample too, or leave it out")
    settings = read_settings(blofin_symbols=symbols, backfill_lookback_hours=lookback_hours)
    order = Order(
        settings,
        since,
        until,
        named=symbols is not None,
        sample=sample,
        seed=random.randrange(1 << 31) if seed is None else seed,  # noqa: S311 - no secret
        repair=repair,
        targets=Targets(textfile, pushgateway),
    )
    shown = verify_show.VerifyShow(sample=sample, seed=order.seed, verbose=verbose, quiet=as_json)

    async def main() -> Report:
        async with make_client(settings.blofin_rest_url, __version__) as http:
            return await verifying.verify(order, store, http, shown.teller())

    with opened(settings, existing=True) as store, shown:
        report = clock.run(main)
    _tell(report, as_json=as_json)


def _tell(report: Report, *, as_json: bool) -> None:
    """Print what came of it, and exit with what that means."""
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        show.print_lines(verify_show.summary_lines(report))
    if report.failed or not report.published:
        raise click.exceptions.Exit(FAILED)
    if not report.clean:
        raise click.exceptions.Exit(INCOMPLETE)
