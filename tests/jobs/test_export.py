"""Laws of `export`: files hold what the store holds, and the manifest says what they lack."""

import csv
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from blofin_agent.cli import export
from blofin_agent.cli.main import main
from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.jobs.export import exporter as engine
from blofin_agent.jobs.export import file_formats
from blofin_agent.store.tables import candles, instruments, unavailable

NOW = 1_790_000_000_000 // DAY * DAY + 30 * MINUTE + 15_000
END = NOW - 15_000
START = END - HOUR
HOLES = {"A-USDT": (), "B-USDT": (10, 11, 40)}
ODD = (0.1, 0.30000000000000004, 5e-324, 1.7976931348623157e308, 123456789.123456789, 1e-9)


def made(n):
    """Return a candle with figures that only an exact copy has."""
    odd = ODD[n % len(ODD)]
    return Candle(START + n * MINUTE, 2.5, 3.0, 1.0, 2.0 + n / 3, 10.0, odd, 1 / (n + 3))


@pytest.fixture
def run(store, database, monkeypatch, tmp_path):
    """Run `export` in an empty folder over an hour of two symbols, one of them with holes."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database)
    monkeypatch.setenv("BLOFIN_SYMBOLS", "A-USDT,B-USDT")
    monkeypatch.setenv("BACKFILL_LOOKBACK_HOURS", "1")
    monkeypatch.setattr(export, "wall_ms", lambda: NOW)
    listed = [Instrument(name, NOW - 90 * DAY, "live") for name in ("A-USDT", "B-USDT")]
    listed.append(Instrument("NEW-USDT", START + 20 * MINUTE, "live"))
    proof = UnavailableRange(
        TimeRange(START + 10 * MINUTE, START + 11 * MINUTE), NOW, 1, NOW + HOUR
    )
    with store.engine.begin() as connection:
        instruments.save_instruments(connection, listed, NOW)
        for symbol, holes in HOLES.items():
            held = [made(n) for n in range(60) if n not in holes]
            candles.insert(connection, Timeframe.M1, [CandleBatch(symbol, Source.FILL, held[:30])])
            candles.insert(connection, Timeframe.M1, [CandleBatch(symbol, Source.LIVE, held[30:])])
        unavailable.save_proofs(connection, "B-USDT", Timeframe.M1, [proof], 0)
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words: runner.invoke(main, ["export", *words], catch_exceptions=False)


def stored(store, symbol):
    """Return the table's own rows."""
    query = f"SELECT * FROM candles WHERE symbol = '{symbol}' ORDER BY open_time"
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def read_csv(path):
    """Return the header and the rows, as Python reads them."""
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    typed = [(*row[:2], int(row[2]), *map(float, row[3:10]), *row[10:]) for row in rows]
    return head, typed


def told(folder="export"):
    return json.loads((Path(folder) / "manifest.json").read_text())


def entry(symbol, folder="export"):
    (found,) = [one for one in told(folder)["symbols"] if one["symbol"] == symbol]
    return found


def test_csv_is_the_table_to_the_last_bit(run, store):
    """Its columns, its rows, every double as it was."""
    assert run().exit_code == 3
    for symbol in HOLES:
        head, rows = read_csv(Path(f"export/{symbol}-1m.csv"))
        assert head == [column.name for column in candles.candles.columns]
        assert rows == stored(store, symbol)


def test_parquet_is_the_table_to_the_last_bit(run, store, monkeypatch):
    """With its types; in row groups, so that no more than one is in memory."""
    monkeypatch.setattr(engine, "PART_ROWS", 25)
    assert run("--format", "parquet").exit_code == 3
    for symbol in HOLES:
        file = pq.ParquetFile(f"export/{symbol}-1m.parquet")
        table = file.read()
        assert [tuple(row.values()) for row in table.to_pylist()] == stored(store, symbol)
        types = {field.name: str(field.type) for field in table.schema}
        assert types["open_time"] == "int64"
        assert types["close"] == "double"
        assert file.num_row_groups == math.ceil(len(table) / 25)
        about = json.loads(file.metadata.metadata[b"blofin-agent"])
        assert (about["symbol"], about["since"], about["until"]) == (symbol, START, END)


def test_the_manifest_says_what_is_there_and_what_is_not(run):
    """Counts that add up, each gap with why, each file with its digest."""
    run()
    whole = told()
    assert (whole["bar"], whole["since"], whole["until"]) == ("1m", START, END)
    assert whole["since_utc"] == "2026-09-20T23:30:00Z"
    assert whole["complete"] is False
    assert entry("A-USDT")["gaps"] == []
    found = entry("B-USDT")
    assert found["present"] + found["missing"] == found["expected"] == 60
    assert (found["rows"], found["missing"], found["unavailable"]) == (57, 3, 1)
    assert [(gap["start"], gap["bars"], gap["unavailable"]) for gap in found["gaps"]] == [
        (START + 10 * MINUTE, 1, True),
        (START + 11 * MINUTE, 1, False),
        (START + 40 * MINUTE, 1, False),
    ]
    assert found["gaps"][0]["why"].startswith("BloFin has no such candles")
    assert found["gaps"][1]["why"] == "not asked for yet"
    (file,) = found["files"]
    data = Path("export", file["file"]).read_bytes()
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert (file["rows"], file["first"], file["last"]) == (57, START, END - MINUTE)


def test_a_complete_export_is_zero(run):
    """And says so on the way."""
    done = run("--symbols", "A-USDT")
    assert done.exit_code == 0
    assert done.stderr == "A-USDT: 60 rows, coverage 100.0 %, complete -> A-USDT-1m.csv\n"
    assert told()["complete"] is True


def test_filled_rows_are_marked_and_the_rest_is_as_it_was(run, store):
    """In both formats; the store has none of them."""
    before = stored(store, "B-USDT")
    for kind in ("csv", "parquet"):
        assert run("--fill", "--format", kind, "--output", kind).exit_code == 3
    head, rows = read_csv(Path("csv/B-USDT-1m.csv"))
    assert head[-1] == "synthetic"
    assert [row[:-1] for row in rows if row[-1] == "false"] == before
    synthetic = [row for row in rows if row[-1] == "true"]
    assert [(row[2] - START) // MINUTE for row in synthetic] == [10, 11, 40]
    close = made(9).close
    assert synthetic[0][3:] == (close, close, close, close, 0.0, 0.0, 0.0, "", "true")
    table = pq.read_table("parquet/B-USDT-1m.parquet").to_pylist()
    assert [tuple(row.values())[:-1] for row in table if not row["synthetic"]] == before
    assert [row["open_time"] for row in table if row["synthetic"]] == [row[2] for row in synthetic]
    assert {row["source"] for row in table if row["synthetic"]} == {None}
    assert entry("B-USDT", "csv")["synthetic"] == 3
    assert stored(store, "B-USDT") == before


def test_filling_goes_on_from_the_candle_before(run):
    """From the store's, though it is not exported; nothing is made up before the first."""
    since = "2026-09-20T23:41"
    run("--fill", "--symbols", "B-USDT", "--since", since)
    _, rows = read_csv(Path("export/B-USDT-1m.csv"))
    assert rows[0][2:4] == (START + 11 * MINUTE, made(9).close)
    run("--fill", "--symbols", "B-USDT", "--since", "2026-09-20T22:00", "--output", "all")
    _, rows = read_csv(Path("all/B-USDT-1m.csv"))
    assert rows[0][2] == START
    assert entry("B-USDT", "all")["missing"] == 90 + 3


def test_before_a_listing_nothing_is_expected(run):
    """A symbol without any candle has a file without rows, and all of it is missing since then."""
    assert run("--symbols", "NEW-USDT", "--fill").exit_code == 3
    found = entry("NEW-USDT")
    assert (found["expected"], found["missing"], found["rows"]) == (40, 40, 0)
    assert read_csv(Path("export/NEW-USDT-1m.csv"))[1] == []


def test_a_range_is_of_whole_bars_that_are_over(run):
    """Half-open; the future is cut off."""
    run("--symbols", "A-USDT", "--since", "2026-09-20T23:40:01", "--until", "2026-09-20T23:45:59")
    _, rows = read_csv(Path("export/A-USDT-1m.csv"))
    assert [(row[2] - START) // MINUTE for row in rows] == [11, 12, 13, 14]
    run("--symbols", "A-USDT", "--since", "2026-09-20T23:40", "--until", "2027-01-01")
    assert told()["until"] == END


def test_split_files_are_the_whole_in_order(run, store):
    """By UTC day; the manifest names each."""
    run("--split", "day", "--fill")
    files = entry("B-USDT")["files"]
    assert [one["file"] for one in files] == [
        "B-USDT-1m-2026-09-20.csv",
        "B-USDT-1m-2026-09-21.csv",
    ]
    parts = [read_csv(Path("export", one["file"]))[1] for one in files]
    assert [len(part) for part in parts] == [30, 30]
    times = [row[2] for part in parts for row in part]
    assert times == list(range(START, END, MINUTE))


def test_standard_output_is_csv_and_nothing_else(run, store):
    """All symbols, one header; lines for people go to standard error; a manifest where asked."""
    done = run("--output", "-", "--manifest", "m.json")
    assert done.exit_code == 3
    lines = list(csv.reader(done.stdout.splitlines()))
    assert len(lines) == 1 + 60 + 57
    assert {line[0] for line in lines[1:]} == set(HOLES)
    assert "B-USDT: 57 rows" in done.stderr
    assert json.loads(Path("m.json").read_text())["symbols"][1]["missing"] == 3
    assert not Path("export").exists()


def test_json_is_the_manifest(run):
    """On standard output, alone."""
    done = run("--json")
    assert json.loads(done.stdout) == told()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--symbols", "NOPE-USDT"), 2, "NOPE-USDT is not a BloFin instrument"),
        (("--symbols", "a/usdt"), 2, "did you mean A-USDT?"),
        (("--since", "2999-01-01"), 2, "--since is in the future"),
        (("--since", "2026-09-21T00:29:30", "--until", "2026-09-21T00:29:40"), 2, "that is over"),
        (("--since", "2026-09-02", "--until", "2026-09-01"), 2, "--since must be before --until"),
        (("--since", "x"), 2, "is no date or time"),
        (("--format", "xml"), 2, "'xml' is not one of"),
        (("--output", "-", "--json"), 2, "--output - writes CSV alone"),
        (("--output", "-", "--format", "parquet"), 2, "--output - writes CSV alone"),
        (("--lookback-hours", "1", "--since", "2026-09-01"), 2, "not both"),
        (("--output", "taken"), 1, "cannot write taken: it is no folder"),
        (("--output", "taken/below"), 1, "cannot write taken/below: Not a directory"),
        (("--manifest", "none/m.json"), 1, "No such file or directory"),
    ],
)
def test_what_cannot_be_is_one_line(run, words, code, text):
    """What is wrong, and with what."""
    Path("taken").touch()
    done = run(*words)
    assert done.exit_code == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_an_export_that_breaks_off_leaves_no_half_file(run, monkeypatch):
    """What was there before stays; no temporary file is left."""
    assert run("--symbols", "A-USDT").exit_code == 0
    before = {path.name: path.read_bytes() for path in Path("export").iterdir()}
    monkeypatch.setattr(engine, "PART_ROWS", 20)
    writes = []

    def full(self, *_):
        writes.append(1)
        if len(writes) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(file_formats.CsvWriter, "write", full)
    done = run("--symbols", "A-USDT")
    assert done.exit_code == 1
    assert "No space left on device" in done.stderr
    assert {path.name: path.read_bytes() for path in Path("export").iterdir()} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(request, run, monkeypatch, number):
    """One line, no half file, no manifest."""
    # A shell lets what it starts in the background ignore Ctrl+C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(self, *_):
        signal.raise_signal(number)  # in this thread, at once

    monkeypatch.setattr(file_formats.CsvWriter, "write", interrupted)
    done = run("--symbols", "A-USDT")
    assert done.exit_code == 1
    assert "stopped before the end" in done.stderr
    assert list(Path("export").iterdir()) == []


def test_rows_written_meanwhile_do_not_come_in(run, store, monkeypatch):
    """A symbol is one snapshot: its rows and its manifest agree, whatever the agent does."""
    monkeypatch.setattr(engine, "PART_ROWS", 10)
    real = engine.ForwardFill.over

    def over(self, rows):
        for number, row in enumerate(real(self, rows)):
            if number == 5:
                late = ", ".join(map(str, (START + 40 * MINUTE, *made(40)[1:])))
                with store.engine.begin() as other:
                    other.exec_driver_sql(
                        f"INSERT INTO candles VALUES ('B-USDT', '1m', {late}, 'x')"
                    )
            yield row

    monkeypatch.setattr(engine.ForwardFill, "over", over)
    run("--symbols", "B-USDT")
    found = entry("B-USDT")
    assert (found["rows"], found["missing"]) == (57, 3)
    monkeypatch.setattr(engine.ForwardFill, "over", real)
    run("--symbols", "B-USDT")
    assert entry("B-USDT")["missing"] == 2


@pytest.mark.slow("50,000 rows under tracemalloc")
def test_memory_does_not_grow_with_the_rows(store, database, tmp_path):
    """The peak of ten times as many rows is not even twice as high."""
    step = 5_000
    times = range(END - 10 * step * MINUTE, END, MINUTE)
    with store.engine.begin() as connection:
        held = [made(0)._replace(open_time=time) for time in times]
        candles.insert(connection, Timeframe.M1, [CandleBatch("A-USDT", Source.FILL, held)])
    script = """
import sys, tracemalloc
from pathlib import Path
from blofin_agent.jobs.export import exporter as engine
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.database import open_store
engine.PART_ROWS = 1_250
store = open_store(sys.argv[1], read_only=True)
span = TimeRange(int(sys.argv[3]), int(sys.argv[4]))
work = lambda db: engine.to_folder(
    db, engine.ExportRequest(Timeframe.M1, span), "A-USDT", Path(sys.argv[2]), lambda rows: None
)
tracemalloc.start()
print(store.read_here(work).rows, tracemalloc.get_traced_memory()[1])
"""
    peaks = {}
    for rows in (step, 10 * step):
        command = [sys.executable, "-c", script, database, tmp_path, END - rows * MINUTE, END]
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=True
        )
        told_rows, peak = map(int, done.stdout.split())
        assert told_rows == rows
        peaks[rows] = peak
    assert peaks[10 * step] < 2 * peaks[step]


def test_nothing_else_loads_pyarrow():
    """It is heavy, and the agent runs for months."""
    script = "import sys, blofin_agent.cli.main; print('pyarrow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_finished_file_can_be_read_by_others(run):
    """As any file that this user makes."""
    mask = os.umask(0o022)
    try:
        run("--symbols", "A-USDT")
    finally:
        os.umask(mask)
    assert Path("export/A-USDT-1m.csv").stat().st_mode & 0o777 == 0o644
