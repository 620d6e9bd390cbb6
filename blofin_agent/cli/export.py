"""The command `blofin-agent export`: its options, what it prints, its exit codes."""

import errno
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import sqlalchemy as sa
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from blofin_agent.cli.console import opened, read_settings, say
from blofin_agent.cli.options import (
    judge_range,
    lookback_option,
    since_option,
    symbols_option,
    until_option,
)
from blofin_agent.cli.progress import TerminalBar
from blofin_agent.config import Settings
from blofin_agent.domain.symbols import choose, is_symbol, unknown_symbols_text
from blofin_agent.domain.time_range import TimeRange, window_at
from blofin_agent.jobs.export import exporter as engine
from blofin_agent.jobs.export.exporter import MANIFEST, SPLITS, ExportedSymbol, ExportRequest, Split
from blofin_agent.jobs.export.file_formats import FORMATS, Format, standard_output
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.runtime.format import percent, plural
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE, Failed
from blofin_agent.store.database import Database
from blofin_agent.store.tables import instruments

STDOUT = "-"


class ExportError(Failed):
    """The files cannot be written. The text is a sentence for a person."""


@click.command()
@symbols_option
@lookback_option
@since_option
@until_option
@click.option("--format", "kind", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option(
    "-o",
    "--output",
    default="export",
    show_default=True,
    metavar="DIR",
    help="The folder for the files, which is made; - writes CSV to standard output.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="none",
    show_default=True,
    help="A file for each month or day, too.",
)
@click.option("--fill", is_flag=True, help="Add rows for what is missing, marked synthetic.")
@click.option(
    "--manifest",
    "manifest",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the manifest goes instead of DIR/manifest.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest on standard output.")
def export(
    symbols: tuple[str, ...] | None,
    lookback_hours: int | None,
    since: int | None,
    until: int | None,
    kind: Format,
    output: str,
    split: Split,
    manifest: Path | None,
    *,
    fill: bool,
    as_json: bool,
) -> None:
    """Write stored candles into files: one a symbol, CSV or Parquet, with a manifest.

    The manifest lists what each file holds and each stretch that is missing, with why. Files that
    are there already are replaced. Reads the store only; the agent may run meanwhile.

    With --fill each missing bar becomes a row at the last close before it, with no volume and no
    source, and the column "synthetic" tells such rows from candles. The store has none of them.

    Exits with 0 when nothing is missing in what was exported, 3 when something is.

    Example: blofin-agent export --symbols BTC-USDT --since 2026-02-01 --format parquet
    """
    if output == STDOUT and (kind != "csv" or split != "none" or as_json):
        raise click.UsageError("--output - writes CSV alone: no --format, --split or --json")
    judge_range(since, until, lookback_hours)
    settings = read_settings(blofin_symbols=symbols, backfill_lookback_hours=lookback_hours)
    wanted = ExportRequest(
        settings.backfill_timeframe, _span(settings, since, until), kind, split, fill
    )
    with opened(settings, read_only=True) as store:
        chosen = store.read_here(partial(_choose, settings=settings, named=symbols is not None))
        try:
            with _ended_by_sigterm():
                entries = _write(store, wanted, chosen, output)
            told = engine.manifest(wanted, store.where, wall_ms(), entries)
            if manifest is None and output != STDOUT:
                manifest = Path(output) / MANIFEST
            if manifest is not None:
                engine.write_manifest(manifest, told)
        except BrokenPipeError:
            raise
        except KeyboardInterrupt:
            raise ExportError(
                "stopped before the end: files that were finished are whole, no half one is left, "
                "and no manifest was written"
            ) from None
        except OSError as error:
            place = error.filename or output
            raise ExportError(
                f"cannot write {place}: {error.strerror or error}; the files that were finished "
                "before are whole, and no half one is left"
            ) from None
    if as_json:
        click.echo(json.dumps(told))
    if not told["complete"]:
        raise click.exceptions.Exit(INCOMPLETE)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that no half file is left."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _span(settings: Settings, since: int | None, until: int | None) -> TimeRange:
    """Return the bars to export: whole ones, that are over. Raises click.UsageError."""
    bar = settings.backfill_timeframe
    settle = int(settings.coverage_settle_seconds * 1000)
    moving = window_at(wall_ms(), bar, settings.backfill_lookback_hours, settle)
    end = moving.end if until is None else min(moving.end, bar.floor(until))
    start = end - (moving.end - moving.start) if since is None else bar.floor(since + bar.ms - 1)
    if start >= end:
        raise click.UsageError("there is no bar between --since and --until that is over")
    return TimeRange(start, end)


def _choose(connection: sa.Connection, settings: Settings, *, named: bool) -> list[str]:
    """Return the symbols to export. Raises click.UsageError for one that nobody knows."""
    listed = instruments.load_instruments(connection).instruments
    chosen = choose(settings.blofin_symbols, listed)
    for symbol in chosen.symbols:
        known = symbol in listed or not named
        if not known and not engine.is_stored(connection, symbol, settings.backfill_timeframe):
            raise click.UsageError(
                f"{unknown_symbols_text(symbol, listed)}, and nothing of it is stored"
            )
    if not chosen.symbols:
        say("no symbol is known yet; `blofin-agent backfill` reads BloFin's list of them")
        raise click.exceptions.Exit(FAILED)
    return chosen.symbols


def _write(
    store: Database, wanted: ExportRequest, symbols: list[str], output: str
) -> list[ExportedSymbol]:
    """Write every symbol, each from one snapshot of the store. Raises OSError."""
    if output == STDOUT:
        sheet = engine.open_sheet(standard_output(), wanted)
        work = partial(engine.to_stream, sheet=sheet)
    else:
        folder = Path(output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder", output) from None
        work = partial(engine.to_folder, folder=folder)
    entries = []
    shown = TerminalBar(
        TextColumn("rows"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}, left"),
        TimeRemainingColumn(),
        aside=True,
    )
    shown.total(len(symbols) * wanted.span.bars(wanted.bar))
    with shown:
        for symbol in symbols:
            if not is_symbol(symbol):
                raise click.UsageError(f"{symbol!r} cannot be the name of a file")
            entry = store.read_here(partial(work, wanted=wanted, symbol=symbol, step=shown.advance))
            entries.append(entry)
            shown.line(_told(entry))
    return entries


def _told(entry: ExportedSymbol) -> str:
    """Return the line about one symbol."""
    count = entry.count
    made = f", {entry.synthetic} of them synthetic" if entry.synthetic else ""
    lacking = f"{count.missing} missing" if count.missing else "complete"
    rows = f"{plural(entry.rows, 'row')}{made}"
    text = f"{entry.symbol}: {rows}, coverage {percent(count.ratio)}, {lacking}"
    if not entry.files:
        return text
    several = f"{entry.files[0].file} to {entry.files[-1].file}"
    return f"{text} -> {entry.files[0].file if len(entry.files) == 1 else several}"
