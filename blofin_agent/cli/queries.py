"""Looking: the commands that read the store and change nothing."""

import json
from dataclasses import asdict
from functools import partial

import click
import sqlalchemy as sa

from blofin_agent.cli import tables
from blofin_agent.cli.console import opened, read_settings, say
from blofin_agent.cli.options import lookback_option, symbols_option
from blofin_agent.coverage import gap_reasons as gap_list
from blofin_agent.coverage.loader import read_coverage
from blofin_agent.coverage.tracker import CoverageTracker, health_of, worst_first
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE
from blofin_agent.store.tables import backfill_runs as run_list

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@symbols_option
@lookback_option
@json_option
def coverage(symbols: tuple[str, ...] | None, lookback_hours: int | None, *, as_json: bool) -> None:
    """Show how complete each symbol is, the worst first. Reads the store only.

    The bar is the window: a full block is held, a lighter one lacks something (yellow: BloFin does
    not have it), a dot is not yet listed.

    Exits with 0 when nothing is missing, 3 when something is.

    Example: blofin-agent coverage --symbols BTC-USDT --lookback-hours 24
    """
    settings = read_settings(blofin_symbols=symbols, backfill_lookback_hours=lookback_hours)
    with opened(settings, read_only=True) as store:
        tracker = store.read_here(partial(read_coverage, settings=settings, clock=wall_ms))
    counts = tracker.counts()
    if as_json:
        click.echo(json.dumps(_coverage_json(tracker)))
    else:
        _known(tracker)
        tables.print_table(tables.coverage_table(tracker, tables.bar_columns()))
    if any(count.missing for count in counts.values()):
        raise click.exceptions.Exit(INCOMPLETE)


@click.command()
@symbols_option
@lookback_option
@json_option
def gaps(symbols: tuple[str, ...] | None, lookback_hours: int | None, *, as_json: bool) -> None:
    """List each missing stretch, and why it is missing. Reads the store only.

    Times are UTC, "to" is the last minute missing. Exits with 0 when nothing is missing, 3 when
    something is.

    Example: blofin-agent gaps --symbols PEPE-USDT
    """
    settings = read_settings(blofin_symbols=symbols, backfill_lookback_hours=lookback_hours)

    def read(connection: sa.Connection) -> tuple[CoverageTracker, dict[str, BackfillRun]]:
        tracker = read_coverage(connection, settings=settings, clock=wall_ms)
        return tracker, run_list.latest_of_each(connection, tracker.bar, tracker.histories)

    with opened(settings, read_only=True) as store:
        tracker, last = store.read_here(read)
    window = tracker.window()
    found = [
        gap
        for symbol in sorted(tracker.histories)
        for gap in gap_list.explain_gaps(tracker.histories[symbol], window, last.get(symbol))
    ]
    if as_json:
        listed = [gap.as_json() for gap in found]
        click.echo(
            json.dumps({"window": {"start": window.start, "end": window.end}, "gaps": listed})
        )
    else:
        _known(tracker)
        if found:
            tables.print_table(tables.gaps_table(found))
        else:
            click.echo("nothing is missing")
    if found:
        raise click.exceptions.Exit(INCOMPLETE)


@click.command()
@symbols_option
@click.option("--failed", is_flag=True, help="Only those that failed or left something.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def runs(symbols: tuple[str, ...] | None, limit: int, *, failed: bool, as_json: bool) -> None:
    """List the last runs of the backfill, the newest first. Reads the store only.

    Example: blofin-agent runs --symbols PEPE-USDT --failed --limit 50
    """
    settings = read_settings()
    statuses = (RunStatus.FAILED, RunStatus.PARTIAL) if failed else None
    read = partial(
        run_list.latest,
        bar=settings.backfill_timeframe,
        most=limit,
        symbols=symbols,
        statuses=statuses,
    )
    with opened(settings, read_only=True) as store:
        found = store.read_here(read)
    if as_json:
        click.echo(json.dumps({"runs": [asdict(run) for run in found]}))
    elif found:
        tables.print_table(tables.runs_table(found))
    else:
        click.echo("no such run is written down")


def _known(tracker: CoverageTracker) -> None:
    if not tracker.histories:
        say("no symbol is known yet; `blofin-agent backfill` reads BloFin's list of them")
        raise click.exceptions.Exit(FAILED)


def _coverage_json(tracker: CoverageTracker) -> dict[str, object]:
    """Return the coverage as plain data; times in ms, coverage from 0 to 1."""
    window, counts = tracker.window(), tracker.counts()
    return {
        "window": {"start": window.start, "end": window.end},
        "health": health_of(counts.values()).value,
        "symbols": [
            {
                "symbol": symbol,
                "coverage": count.ratio,
                **count._asdict(),
                "newest": tracker.histories[symbol].held.newest,
            }
            for symbol, count in worst_first(counts)
        ],
    }
