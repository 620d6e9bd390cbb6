"""Export: stored candles into files by symbol and time, with a manifest of what is missing."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

import sqlalchemy as sa

from blofin_agent import __version__
from blofin_agent.coverage.gap_reasons import explain_missing_ranges
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.forward_fill import FilledRow, ForwardFill
from blofin_agent.domain.symbol_coverage import CoverageCounts, SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.jobs.export.file_formats import (
    CsvWriter,
    FileWriter,
    Format,
    ParquetWriter,
    replacing,
    sha256,
)
from blofin_agent.store.tables import backfill_runs, candles, instruments, unavailable

PART_ROWS = 50_000
"""Rows in memory at a time, about; a row group of a Parquet file."""
MANIFEST = "manifest.json"

Step = Callable[[int], None]
"""Told of rows as they are written."""
Split = Literal["none", "month", "day"]
SPLITS: tuple[Split, ...] = ("none", "month", "day")
_PERIODS = {"none": "", "month": "-%Y-%m", "day": "-%Y-%m-%d"}


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export. Times in ms; `span` is on the bar's grid and over by now."""

    bar: Timeframe
    span: TimeRange
    kind: Format = "csv"
    split: Split = "none"
    fill: bool = False


class WrittenFile(NamedTuple):
    """A file that is there now. Times are open times in ms."""

    file: str
    rows: int
    first: int
    last: int
    sha256: str


@dataclass(slots=True)
class ExportedSymbol:
    """What was exported of one symbol, and what is missing of it."""

    symbol: str
    count: CoverageCounts
    rows: int
    synthetic: int
    gaps: list[dict[str, object]]
    files: list[WrittenFile] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return it as plain data; times in ms, ends not included."""
        return {
            "symbol": self.symbol,
            "rows": self.rows,
            "synthetic": self.synthetic,
            **self.count._asdict(),
            "coverage": self.count.ratio,
            "files": [one._asdict() for one in self.files],
            "gaps": self.gaps,
        }


class _Symbol:
    """One symbol in one transaction: its rows as they are taken, then what is to be said of it."""

    def __init__(self, connection: sa.Connection, wanted: ExportRequest, symbol: str) -> None:
        self._connection = connection
        self._wanted = wanted
        listed = instruments.load_instruments(connection).instruments
        self._history = SymbolCoverage(symbol, wanted.bar)
        self._history.list_time = listed[symbol].list_time if symbol in listed else None
        self._expected = self._history.expected(wanted.span)
        before = candles.newest_before(connection, symbol, wanted.bar, wanted.span.start)
        self._walk = ForwardFill(
            wanted.bar,
            self._expected,
            fill=wanted.fill,
            close=None if before is None else before.close,
        )
        self._rows = 0

    def rows(self) -> Iterator[FilledRow]:
        """Yield its rows."""
        wanted, symbol = self._wanted, self._history.symbol
        parts = candles.stream(self._connection, symbol, wanted.bar, wanted.span, PART_ROWS)
        stored = (FilledRow(*one) for part in parts for one in part)
        for rows in (self._walk.over(stored), self._walk.end()):
            for row in rows:
                self._rows += 1
                yield row

    def entry(self) -> ExportedSymbol:
        """Return what is to be said of it, once all rows were taken."""
        bar, symbol = self._wanted.bar, self._history.symbol
        proofs = unavailable.load_proofs(self._connection, bar, self._wanted.span.start)
        self._history.proofs = proofs.get(symbol, [])
        last = backfill_runs.latest_of_each(self._connection, bar, [symbol]).get(symbol)
        gaps = explain_missing_ranges(self._history, self._walk.missing, last)
        expected = self._expected.bars(bar)
        count = CoverageCounts(
            expected,
            self._walk.present,
            expected - self._walk.present,
            sum(gap.bars for gap in gaps if gap.unavailable),
        )
        told = [
            {name: value for name, value in gap.as_json().items() if name != "symbol"}
            for gap in gaps
        ]
        return ExportedSymbol(symbol, count, self._rows, self._walk.synthetic, told)


def to_folder(
    connection: sa.Connection,
    wanted: ExportRequest,
    symbol: str,
    folder: Path,
    step: Step,
) -> ExportedSymbol:
    """Write a symbol's files into a folder, each whole or not at all.

    Raises OSError.
    """
    source = _Symbol(connection, wanted, symbol)
    form = _PERIODS[wanted.split]
    written: list[WrittenFile] = []

    def period(row: FilledRow) -> str:
        return datetime.fromtimestamp(row.open_time / 1000, UTC).strftime(form) if form else ""

    for name, rows in groupby(source.rows(), period):
        path = folder / f"{symbol}-{wanted.bar.value}{name}.{wanted.kind}"
        written.append(_write(path, wanted, symbol, rows, step))
    if not written and not form:
        path = folder / f"{symbol}-{wanted.bar.value}.{wanted.kind}"
        written.append(_write(path, wanted, symbol, iter(()), step))
    entry = source.entry()
    entry.files = written
    return entry


def to_stream(
    connection: sa.Connection,
    wanted: ExportRequest,
    symbol: str,
    sheet: FileWriter,
    step: Step,
) -> ExportedSymbol:
    """Write a symbol's rows into a sheet that others go into too."""
    source = _Symbol(connection, wanted, symbol)
    for part in _parts(source.rows()):
        sheet.write(symbol, wanted.bar.value, part)
        step(len(part))
    return source.entry()


def open_sheet(text: TextIO, wanted: ExportRequest) -> FileWriter:
    """Return a sheet of CSV on a text stream."""
    return CsvWriter(text, fill=wanted.fill)


def _write(
    path: Path, wanted: ExportRequest, symbol: str, rows: Iterator[FilledRow], step: Step
) -> WrittenFile:
    total, first, last = 0, 0, 0
    with replacing(path) as file:
        if wanted.kind == "csv":
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            sheet: FileWriter = CsvWriter(text, fill=wanted.fill)
        else:
            sheet = ParquetWriter(file, fill=wanted.fill)
        for part in _parts(rows):
            sheet.write(symbol, wanted.bar.value, part)
            first = first or part[0].open_time
            total, last = total + len(part), part[-1].open_time
            step(len(part))
        about = {"version": __version__, "symbol": symbol, "bar": wanted.bar.value, "rows": total}
        sheet.close(about | {"since": wanted.span.start, "until": wanted.span.end})
        if wanted.kind == "csv":
            text.detach()
    return WrittenFile(path.name, total, first, last, sha256(path))


def _parts(rows: Iterator[FilledRow]) -> Iterator[list[FilledRow]]:
    while part := list(islice(rows, PART_ROWS)):
        yield part


def manifest(
    wanted: ExportRequest, where: str, now_ms: int, entries: Sequence[ExportedSymbol]
) -> dict[str, object]:
    """Return what the export holds and what it lacks, as plain data."""
    return {
        "program": f"blofin-agent {__version__}",
        "created": _iso(now_ms),
        "database": where,
        "bar": wanted.bar.value,
        "format": wanted.kind,
        "filled": wanted.fill,
        "since": wanted.span.start,
        "until": wanted.span.end,
        "since_utc": _iso(wanted.span.start),
        "until_utc": _iso(wanted.span.end),
        "complete": not any(entry.count.missing for entry in entries),
        "symbols": [entry.as_json() for entry in entries],
    }


def write_manifest(path: Path, told: dict[str, object]) -> None:
    """Write the manifest, whole or not at all. Raises OSError."""
    with replacing(path) as file:
        file.write(json.dumps(told, indent=1).encode() + b"\n")


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def is_stored(connection: sa.Connection, symbol: str, bar: Timeframe) -> bool:
    """Return whether any candle of the symbol is stored."""
    return candles.newest_before(connection, symbol, bar, 1 << 62) is not None
