"""Settings: whatever may stand in the environment, or in a file `.env`."""

import os
import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

from blofin_agent.config import Settings, SettingsError, bare_url, load
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.symbols import choose, is_symbol_or_pattern, unknown_symbols_text
from blofin_agent.domain.time_range import window_at
from blofin_agent.exchange.rest_client import client
from tests.fuzz import laws

NAMES = tuple(name.upper() for name in Settings.model_fields)
LISTED = {name: Instrument(name, None, "live") for name in ("BTC-USDT", "ETH-USDT", "龙-USDT")}
SEEDS = (
    b"API_PORT=8780\nLOG_LEVEL=debug\nLOG_FORMAT=json",
    b"BLOFIN_SYMBOLS=*-USDT,btc/usdt,[AB]-USDT,all",
    b"BLOFIN_REST_URL=https://user:secret@host:1/a\nBLOFIN_WS_URL=wss://host/ws/public?a=b",
    b"BLOFIN_DATABASE_URL=sqlite:///data/blofin.db\nBACKFILL_TIMEFRAME=1W",
    b"COVERAGE_SETTLE_SECONDS=nan\nBACKFILL_LOOKBACK_HOURS=1e300\nBACKFILL_SKIP_COVERAGE=0.5",
    b"API_HOST=::1\nAPI_TOKEN=secret\nAPI_ALLOWED_HOSTS=a,b\nTICKS_RETENTION_DAYS=inf",
)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def settings(data: bytes) -> None:
    """Each way settings are either sound or one printed line for each wrong one."""
    file = Path(_folder().name) / "env"
    file.write_bytes(data)
    with mock.patch.dict(os.environ, clear=True):
        _read(_env_file=file)
    environment = {}
    for line in data.replace(b"\0", b"").split(b"\n"):
        name, _, value = line.partition(b"=")
        text = os.fsdecode(name).upper()
        environment[text if text in NAMES else NAMES[len(name) % len(NAMES)]] = os.fsdecode(value)
    with mock.patch.dict(os.environ, environment, clear=True):
        told = _read(_env_file=None)
    for name, value in environment.items():
        if name.endswith(("_URL", "_TOKEN")) and "secret" in value:
            others = (text for other, text in environment.items() if other != name)
            assert "secret" not in told or any("secret" in text for text in others)


def _read(**how: object) -> str:
    """Read the settings, and return what is said of them."""
    try:
        found = load(**how)
    except SettingsError as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= len(NAMES) + 1
        for line in lines:
            laws.is_said_in_one_line(line, 1_200)
        return str(error)
    _are_sound(found)
    return repr(found)


def _are_sound(found: Settings) -> None:
    assert 1 <= len(found.blofin_symbols) <= 1_000
    assert all(name == "all" or is_symbol_or_pattern(name) for name in found.blofin_symbols)
    for name in choose(found.blofin_symbols, LISTED).unknown[:3]:
        laws.is_said_in_one_line(unknown_symbols_text(name, LISTED), 200)
    settle = int(found.coverage_settle_seconds * 1000)
    bar, hours = found.backfill_timeframe, found.backfill_lookback_hours
    assert 1 <= window_at(laws.NOW, bar, hours, settle).bars(bar) <= 6_000_000
    CoverageTracker(bar, hours, settle, lambda: laws.NOW).counts()
    for url in (found.blofin_rest_url, found.blofin_ws_url):
        laws.is_said_in_one_line(bare_url(url), 2_100)
        assert "@" not in bare_url(url)
    assert found.blofin_rest_url not in repr(found) or "@" not in found.blofin_rest_url
    client(found.blofin_rest_url, "1")
    laws.is_said_in_one_line(found.api_host, 253)
