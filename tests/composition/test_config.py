"""Laws of the settings: the documented defaults, and one clear line for each wrong value."""

import pytest

from blofin_agent.config import Settings, SettingsError, load, parse_symbols
from blofin_agent.domain.candle import Timeframe

DEFAULTS = {
    "BLOFIN_SYMBOLS": ("BTC-USDT", "ETH-USDT"),
    "BLOFIN_REST_URL": "https://openapi.blofin.com",
    "BLOFIN_WS_URL": "wss://openapi.blofin.com/ws/public",
    "BLOFIN_DATABASE_URL": "sqlite:///data/blofin.db",
    "BLOFIN_EGRESS": "",
    "RETENTION_DAYS": None,
    "BACKFILL_TIMEFRAME": "1m",
    "BACKFILL_LOOKBACK_HOURS": 168,
    "BACKFILL_BATCH_LIMIT": 1_440,
    "BACKFILL_REQUEST_SLEEP_MS": 250,
    "BACKFILL_SYMBOL_SLEEP_MS": 500,
    "BACKFILL_INTERVAL_MINUTES": 30,
    "BACKFILL_SKIP_COVERAGE": 0.995,
    "BACKFILL_TOP_UP": True,
    "COVERAGE_SETTLE_SECONDS": 15,
    "BLOFIN_STORE_TICKS": False,
    "TICKS_RETENTION_DAYS": 7,
    "API_HOST": "127.0.0.1",
    "API_PORT": 8_780,
    "API_TOKEN": None,
    "API_ALLOWED_HOSTS": (),
    "LOG_FORMAT": "console",
    "LOG_LEVEL": "info",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    """No setting in the environment, no .env in the working directory."""
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def complaint(**environment):
    with pytest.raises(SettingsError) as caught:
        load()
    return str(caught.value)


def test_every_setting_has_its_documented_default():
    """And there is no other setting."""
    assert {name.upper(): value for name, value in load().model_dump().items()} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("BLOFIN_SYMBOLS", " btc-usdt , ETH-USDT,btc-usdt,", ("BTC-USDT", "ETH-USDT")),
        ("BLOFIN_SYMBOLS", "ALL", ("all",)),
        ("BLOFIN_SYMBOLS", "*-usdt,sol-usdt", ("*-USDT", "SOL-USDT")),
        ("BLOFIN_REST_URL", "http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
        ("BLOFIN_WS_URL", "ws://127.0.0.1:9000/ws/public", "ws://127.0.0.1:9000/ws/public"),
        ("BLOFIN_DATABASE_URL", "postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("BACKFILL_TIMEFRAME", "4H", Timeframe.H4),
        ("BACKFILL_LOOKBACK_HOURS", "8760", 8_760),
        ("BACKFILL_SYMBOL_SLEEP_MS", "0", 0),
        ("BACKFILL_INTERVAL_MINUTES", "0.5", 0.5),
        ("BLOFIN_STORE_TICKS", "true", True),
        ("TICKS_RETENTION_DAYS", "0.5", 0.5),
        ("BACKFILL_TOP_UP", "false", False),
        ("COVERAGE_SETTLE_SECONDS", "0", 0),
        ("API_PORT", "0", 0),
        ("LOG_FORMAT", " JSON ", "json"),
        ("LOG_LEVEL", "Debug", "debug"),
        ("LOG_LEVEL", "", "info"),
    ],
)
def test_a_setting_comes_from_the_environment(monkeypatch, name, text, value):
    """In any case of its letters where that is harmless; empty means the default."""
    monkeypatch.setenv(name, text)
    assert getattr(load(), name.lower()) == value


@pytest.mark.parametrize("bar", Timeframe)
def test_every_bar_of_fixed_length_is_a_timeframe(monkeypatch, bar):
    """By its name on the wire."""
    monkeypatch.setenv("BACKFILL_TIMEFRAME", bar.value)
    assert load().backfill_timeframe is bar


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("BLOFIN_SYMBOLS", " , ", "it names no symbol; list some, such as BTC-USDT,ETH-USDT, or"),
        ("BLOFIN_REST_URL", "ftp://x", "it must be a URL that begins with http or https://"),
        (
            "BLOFIN_REST_URL",
            "openapi.blofin.com",
            "it must be a URL that begins with http or https://",
        ),
        ("BLOFIN_WS_URL", "https://x", "it must be a URL that begins with ws or wss://"),
        ("BLOFIN_WS_URL", "wss://", "it must be a URL that begins with ws or wss://"),
        ("BACKFILL_TIMEFRAME", "1M", "it must be one of 1m, 3m, 5m, "),
        ("BACKFILL_TIMEFRAME", "2m", "it must be one of 1m, 3m, 5m, "),
        ("BACKFILL_LOOKBACK_HOURS", "0", "input should be greater than or equal to 1"),
        ("BACKFILL_LOOKBACK_HOURS", "a week", "input should be a valid integer"),
        ("BACKFILL_BATCH_LIMIT", "1441", "input should be less than or equal to 1440"),
        ("BACKFILL_REQUEST_SLEEP_MS", "-1", "input should be greater than or equal to 0"),
        ("BACKFILL_INTERVAL_MINUTES", "0", "input should be greater than 0"),
        ("TICKS_RETENTION_DAYS", "0", "input should be greater than 0"),
        ("BACKFILL_INTERVAL_MINUTES", "nan", "input should be "),
        ("BACKFILL_SKIP_COVERAGE", "99.5", "input should be less than or equal to 1"),
        ("BACKFILL_SKIP_COVERAGE", "nan", "input should be "),
        ("BACKFILL_TOP_UP", "perhaps", "input should be a valid boolean"),
        ("COVERAGE_SETTLE_SECONDS", "inf", "input should be "),
        ("API_PORT", "70000", "input should be less than or equal to 65535"),
        ("LOG_FORMAT", "xml", "input should be 'console' or 'json'"),
        ("LOG_LEVEL", "loud", "input should be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_setting(monkeypatch, name, text, line):
    """With the value as it was given, save for URLs, and what is allowed."""
    monkeypatch.setenv(name, text)
    told = complaint()
    shown = "" if name.endswith("_URL") else f"={text}"
    assert told.startswith(f"{name}{shown}: {line}")
    assert "\n" not in told


def test_several_wrong_values_are_a_line_each(monkeypatch):
    """So that one start shows them all."""
    monkeypatch.setenv("API_PORT", "x")
    monkeypatch.setenv("LOG_LEVEL", "x")
    assert [line.split("=")[0] for line in complaint().splitlines()] == ["API_PORT", "LOG_LEVEL"]


@pytest.mark.parametrize("url", ["oops://user:secret@host", "http://user:secret/x@host"])
@pytest.mark.parametrize("name", ["BLOFIN_REST_URL", "BLOFIN_WS_URL"])
def test_no_password_is_repeated(monkeypatch, name, url):
    """A URL may hold one, perhaps where a port should be."""
    monkeypatch.setenv(name, url)
    assert "secret" not in complaint()


def test_a_window_shorter_than_a_bar_is_refused(monkeypatch):
    """It would expect nothing for ever."""
    monkeypatch.setenv("BACKFILL_TIMEFRAME", "1W")
    monkeypatch.setenv("BACKFILL_LOOKBACK_HOURS", "167")
    assert complaint() == (
        "BACKFILL_LOOKBACK_HOURS=167 is shorter than one 1W bar (BACKFILL_TIMEFRAME)"
    )
    monkeypatch.setenv("BACKFILL_LOOKBACK_HOURS", "168")
    assert load().backfill_lookback_hours == 168


def test_a_file_in_the_working_directory_counts_and_the_environment_wins(monkeypatch, tmp_path):
    """`.env`, with comments and lines of other programs."""
    (tmp_path / ".env").write_text("# mine\nAPI_PORT=1\nLOG_LEVEL=debug\nOTHER=x\nLOG_FORMAT=\n")
    monkeypatch.setenv("LOG_LEVEL", "error")
    settings = load()
    assert (settings.api_port, settings.log_level, settings.log_format) == (1, "error", "console")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    """It is not UTF-8."""
    (tmp_path / ".env").write_bytes(b"API_PORT=\xff\xfe\n")
    assert complaint().startswith("the file .env cannot be read: ")


def test_what_a_command_gives_wins(monkeypatch):
    """Options of the command line are settings too."""
    monkeypatch.setenv("API_PORT", "1")
    assert load(api_port=2).api_port == 2
    assert load(blofin_symbols="sol-usdt").blofin_symbols == ("SOL-USDT",)
    assert load(blofin_symbols=("A", "B")).blofin_symbols == ("A", "B")
    with pytest.raises(SettingsError, match="API_PORT=-1"):
        load(api_port=-1)


def test_settings_do_not_change():
    """They are read once."""
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.api_port = 1
    assert isinstance(settings, Settings)


def test_symbols_that_name_none_are_refused():
    """An empty list would watch nothing and look healthy."""
    with pytest.raises(ValueError, match="names no symbol"):
        parse_symbols("")


def test_a_token_is_never_shown(monkeypatch):
    """Neither in what is said of a wrong one, nor where the settings are printed."""
    monkeypatch.setenv("API_TOKEN", "open sesame")
    assert complaint() == (
        "API_TOKEN: it must be printable ASCII without blanks, or no HTTP header can carry it; "
        "make one with: openssl rand -hex 32"
    )
    monkeypatch.setenv("API_TOKEN", "open-sesame")
    settings = load()
    assert settings.api_token.get_secret_value() == "open-sesame"
    assert "sesame" not in repr(settings)
    monkeypatch.setenv("API_TOKEN", "")
    assert load().api_token is None


def test_allowed_hosts_are_a_list(monkeypatch):
    """In small letters, as they are compared."""
    monkeypatch.setenv("API_ALLOWED_HOSTS", " Candles.example, agent,")
    assert load().api_allowed_hosts == ("candles.example", "agent")


def test_a_container_may_be_given_secrets(monkeypatch, tmp_path):
    """A file each, by the setting's name; the environment wins."""
    monkeypatch.setattr("blofin_agent.config.SECRETS", tmp_path)
    (tmp_path / "api_token").write_text("from-a-file\n")
    assert load().api_token.get_secret_value() == "from-a-file"
    monkeypatch.setenv("API_TOKEN", "from-outside")
    assert load().api_token.get_secret_value() == "from-outside"


def test_the_address_is_the_hosts_name_save_with_sqlite(monkeypatch):
    """A file of SQLite stays where it is, whatever the host is called after a restart."""
    monkeypatch.setattr("socket.gethostname", lambda: "tokyo")
    assert load().egress == ""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", "postgresql://h/d")
    assert load().egress == "tokyo"
    monkeypatch.setenv("BLOFIN_EGRESS", "203.0.113.7")
    assert load().egress == "203.0.113.7"
    monkeypatch.setenv("BLOFIN_EGRESS", "two words")
    assert complaint().startswith("BLOFIN_EGRESS=two words: it must be a name or an address")


def test_what_is_kept_covers_the_window(monkeypatch):
    """What is deleted inside of it would be fetched again."""
    monkeypatch.setenv("RETENTION_DAYS", "6.9")
    text = complaint()
    assert text.startswith("RETENTION_DAYS=6.9 is shorter than the window of 168 h")
    monkeypatch.setenv("BACKFILL_LOOKBACK_HOURS", "24")
    assert load().retention_days == 6.9
