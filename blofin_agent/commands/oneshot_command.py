"""The command `blofin-agent backfill`: its options, what it prints, its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx

from blofin_agent import __version__
from blofin_agent.commands import show
from blofin_agent.commands.console import opened, opened_to_plan, read_settings
from blofin_agent.commands.options import (
    judge_range,
    lookback_option,
    pushgateway_option,
    since_option,
    symbols_option,
    textfile_option,
    until_option,
)
from blofin_agent.config import Settings
from blofin_agent.exchange.rest_client import client as make_client
from blofin_agent.jobs.backfill import job
from blofin_agent.jobs.backfill.report import Need, Report, plan_json
from blofin_agent.observability.push import NOWHERE, Targets
from blofin_agent.observability.pushgateway import Gateway
from blofin_agent.runtime import clock
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE


@click.command()
@symbols_option
@lookback_option
@since_option
@until_option
@click.option("--dry-run", is_flag=True, help="Print the plan and fetch nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and no lines.")
@textfile_option
@pushgateway_option
@click.option("-v", "--verbose", is_flag=True, help="A line for each page.")
def backfill(
    symbols: tuple[str, ...] | None,
    lookback_hours: int | None,
    since: int | None,
    until: int | None,
    textfile: Path | None,
    pushgateway: Gateway | None,
    *,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Fill the gaps once, and exit.

    Exits with 0 when nothing is missing, 3 when something still is.

    Example: blofin-agent backfill --symbols BTC-USDT --since 2026-02-01 --until 2026-02-08
    """
    judge_range(since, until, lookback_hours)
    targets = Targets(textfile, pushgateway)
    if dry_run and targets != NOWHERE:
        raise click.UsageError(
            "--dry-run does nothing that metrics could tell of; leave out --metrics-textfile and "
            "--pushgateway"
        )
    settings = read_settings(blofin_symbols=symbols, backfill_lookback_hours=lookback_hours)
    order = job.Order(settings, since, until, symbols is not None, targets)
    if dry_run:
        with opened_to_plan(settings) as store:
            _tell_plan(
                *_with_client(settings, lambda http: job.plan(order, store, http)),
                as_json=as_json,
            )
        return
    with opened(settings) as store, show.BackfillShow(verbose=verbose, quiet=as_json) as shown:
        report = _with_client(
            settings, lambda http: job.backfill(order, store, http, shown.teller())
        )
    _tell(report, as_json=as_json)


def _tell_plan(needs: list[Need], seconds: float, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan_json(needs, seconds)))
    else:
        show.print_lines(show.plan_lines(needs, seconds))


def _tell(report: Report, *, as_json: bool) -> None:
    """Print what came of it, and exit with what that means."""
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        show.print_lines(show.summary_lines(report))
    if report.stopped or report.failed or not report.published:
        raise click.exceptions.Exit(FAILED)
    if not report.complete:
        raise click.exceptions.Exit(INCOMPLETE)


def _with_client(settings: Settings, work: Callable[[httpx.AsyncClient], Any]) -> Any:
    async def main() -> Any:
        async with make_client(settings.blofin_rest_url, __version__) as http:
            return await work(http)

    return clock.run(main)
