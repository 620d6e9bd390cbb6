"""Command line: whatever may stand behind `blofin-agent`, on a store of two symbols."""

import contextlib
import os
import tempfile
import time
from functools import cache
from pathlib import Path
from unittest import mock

from click.testing import CliRunner

from blofin_agent.cli.main import main
from blofin_agent.domain.candle import DAY, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.jobs.backfill import job
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import candles, instruments
from tests.fuzz import laws

COMMANDS = (
    *("coverage", "gaps", "runs", "export", "completion", "backfill", "", "--version"),
    *("fleet", "import"),
)
"""Those that end by themselves, and ask nobody but the store."""
SEEDS = (
    b"\x00\x00--symbols\x00BTC-USDT,ETH-USDT\x00--lookback-hours\x0024\x00--json",
    b"\x01\x00--symbols\x00\xff",
    b"\x02\x00--failed\x00--limit\x0050\x00--json",
    b"\x03\x00--since\x000001-01-01\x00--until\x009999-12-31T23:59:59-23:59\x00-o\x00-",
    b"\x03\x00--output\x00out\x00--split\x00day\x00--fill\x00--manifest\x00m.json",
    b"\x03\x00--lookback-hours\x001\x00--format\x00parquet\x00--json",
    b"\x04\x00bash",
    b"\x05\x00--symbols\x00BTC-USDT\x00--since\x001970-01-01\x00--json",
    b"\x05\x00--pushgateway\x00http://u:p@h:1\x00--metrics-textfile\x00x.prom",
    b"\x06\x00--nope\x00\x1b[31m",
    b"\x08\x00--symbols\x00BTC-USDT\x00--json",
    b"\x09\x00old.db\x00--dry-run\x00--json",
)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a working directory whose store holds most of a day."""
    folder = tempfile.TemporaryDirectory()
    now = int(time.time() * 1000) // MINUTE * MINUTE
    store = open_store(f"sqlite:///{folder.name}/blofin.db")
    held = [Candle(now - ago * MINUTE, 1, 2, 1, 2, 1, 1, 1) for ago in range(1, 1_440) if ago % 100]
    listed = [Instrument(name, now - DAY, "live") for name in ("BTC-USDT", "ETH-USDT")]
    with store.engine.begin() as connection:
        instruments.save_instruments(connection, listed, now)
        candles.insert(connection, Timeframe.M1, [CandleBatch("BTC-USDT", Source.LIVE, held)])
    store.close()
    return folder


def command_line(data: bytes) -> None:
    """It ends with one of four exit codes; a fault is told in a few printed lines.

    The first byte draws a command, NULs stand between the arguments.
    """
    if not data:
        return
    head, *rest = data.split(b"\0")[:12]
    # Nothing outside the working directory is written to.
    words = [os.fsdecode(word.replace(b"/", b"_").replace(b"..", b"__")) for word in rest]
    command = COMMANDS[head[0] % len(COMMANDS)] if head else "coverage"
    arguments = [word for word in (command, *words) if word or command]
    if command == "backfill":
        arguments.append("--dry-run")
    environment = {
        "BLOFIN_DATABASE_URL": "sqlite:///blofin.db",
        "BLOFIN_REST_URL": "http://127.0.0.1:1",
        "BLOFIN_WS_URL": "ws://127.0.0.1:1",
    }
    with (
        contextlib.chdir(_folder().name),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(job, "MAX_LISTING_TRIES", 1),
    ):
        ended = CliRunner(catch_exceptions=False).invoke(main, arguments)
        _tidy()
    assert ended.exit_code in (0, 1, 2, 3), ended.exit_code
    assert "Traceback" not in ended.output
    faults = ended.stderr.splitlines()
    assert len(faults) <= 20
    for line in faults:
        laws.is_said_in_one_line(line.expandtabs())
    if ended.exit_code in (1, 2):
        assert ended.stderr.strip()
    for line in ended.stdout.split("\n"):
        assert line.isprintable(), line


def _tidy() -> None:
    """Remove what an export wrote, so that a thousand of them fill no disk."""
    for path in sorted(Path().rglob("*"), reverse=True):
        if not path.name.startswith("blofin.db"):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
