"""Settings: from the environment, or from `.env` in the working directory."""

import re
import socket
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blofin_agent.domain.candle import HOUR, Timeframe
from blofin_agent.domain.sanitize import shorten
from blofin_agent.domain.symbols import is_symbol_or_pattern

_TOKEN = re.compile(r"[!-~]+")
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:.]{2,45}(%\w{1,15})?"
)
"""A name, an address, or one of the sixth version."""
_EGRESS = re.compile(r"[\w.:\-]{1,100}")
_URL_SIGNS = re.compile(r"[!-~]{1,2000}")
MAX_SYMBOLS = 1_000
"""Names and patterns of a list: more than BloFin has instruments."""


SECRETS = Path("/run/secrets")
"""Where Docker, Compose and Podman put secrets, a file each."""


class SettingsError(Exception):
    """Settings are wrong. The text has one line for each."""


class Settings(BaseSettings):
    """Every setting, under its public name."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    blofin_symbols: Annotated[tuple[str, ...], NoDecode] = ("BTC-USDT", "ETH-USDT")
    # A URL may hold a password: whoever prints the settings must not print it.
    blofin_rest_url: str = Field("https://openapi.blofin.com", repr=False)
    blofin_ws_url: str = Field("wss://openapi.blofin.com/ws/public", repr=False)
    blofin_database_url: str = Field("sqlite:///data/blofin.db", repr=False)
    blofin_egress: str = ""
    retention_days: float | None = Field(None, gt=0, le=36_600)
    backfill_timeframe: Timeframe = Timeframe.M1
    backfill_lookback_hours: int = Field(168, ge=1, le=24 * 3660)
    backfill_batch_limit: int = Field(1440, ge=1, le=1440)
    backfill_request_sleep_ms: int = Field(250, ge=0, le=60_000)
    backfill_symbol_sleep_ms: int = Field(500, ge=0, le=3_600_000)
    backfill_interval_minutes: float = Field(30, gt=0, le=7 * 24 * 60)
    backfill_skip_coverage: float = Field(0.995, ge=0, le=1)
    backfill_top_up: bool = True
    coverage_settle_seconds: float = Field(15, ge=0, le=3600)
    blofin_store_ticks: bool = False
    ticks_retention_days: float = Field(7, gt=0, le=36_600)
    api_host: str = "127.0.0.1"
    api_port: int = Field(8780, ge=0, le=65535)
    api_token: SecretStr | None = None
    api_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("blofin_symbols", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return parse_symbols(value) if isinstance(value, str) else value

    @field_validator("api_allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())

    @field_validator("api_token")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError(
                "it must be printable ASCII without blanks, or no HTTP header can carry it; make "
                "one with: openssl rand -hex 32"
            )
        return value

    @field_validator("blofin_rest_url", "blofin_ws_url")
    @classmethod
    def _is_url(cls, value: str, info: ValidationInfo) -> str:
        if info.field_name == "blofin_rest_url":
            parts = split_url(value, "http", "https")
            if parts.query or parts.fragment:
                raise ValueError("it must be a URL without ? and #")
        else:
            split_url(value, "ws", "wss")
        return value.rstrip("/")

    @field_validator("api_host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if not _HOST.fullmatch(value):
            raise ValueError("it must be an address or the name of a host, such as 127.0.0.1")
        return value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("blofin_egress")
    @classmethod
    def _is_egress(cls, value: str) -> str:
        if value and not _EGRESS.fullmatch(value):
            raise ValueError("it must be a name or an address without blanks, such as 203.0.113.7")
        return value

    @property
    def egress(self) -> str:
        """The address that requests are sent from, as the budget knows it.

        A SQLite file stays on its machine, whatever that is called today: there is one address.
        """
        if self.blofin_egress or self.blofin_database_url.startswith("sqlite"):
            return self.blofin_egress
        return socket.gethostname()

    @model_validator(mode="after")
    def _keeps_its_window(self) -> "Settings":
        if self.retention_days is not None and (
            self.retention_days * 24 < self.backfill_lookback_hours
        ):
            raise ValueError(
                f"RETENTION_DAYS={self.retention_days:g} is shorter than the window of "
                f"{self.backfill_lookback_hours} h (BACKFILL_LOOKBACK_HOURS): what is deleted "
                "would be fetched again for ever"
            )
        return self

    @model_validator(mode="after")
    def _window_has_bars(self) -> "Settings":
        if self.backfill_lookback_hours * HOUR < self.backfill_timeframe.ms:
            raise ValueError(
                f"BACKFILL_LOOKBACK_HOURS={self.backfill_lookback_hours} is shorter than one "
                f"{self.backfill_timeframe.value} bar (BACKFILL_TIMEFRAME)"
            )
        return self


def parse_symbols(text: str) -> tuple[str, ...]:
    """Split a list of symbols, `all` or patterns.

    Raises ValueError when there is none, or one that can be no symbol.
    """
    names = [name.strip() for name in text.split(",")]
    found = tuple(
        dict.fromkeys("all" if name.lower() == "all" else name.upper() for name in names if name)
    )
    if not found:
        raise ValueError("it names no symbol; list some, such as BTC-USDT,ETH-USDT, or say all")
    if len(found) > MAX_SYMBOLS:
        raise ValueError(f"it names {len(found)} symbols, and {MAX_SYMBOLS} is the most; say all")
    for name in found:
        if not is_symbol_or_pattern(name) and name != "all":
            raise ValueError(f"{shorten(name, 40)!r} can be no symbol; one looks like BTC-USDT")
    return found


def split_url(text: str, *schemes: str) -> SplitResult:
    """Return the parts of a URL of one of these schemes. Raises ValueError, which repeats none.

    Other signs than ASCII's, and an @ in a password, are to be percent-encoded.
    """
    try:
        parts = urlsplit(text)
        sound = (
            parts.scheme in schemes
            and parts.port != 0
            and bool(_URL_SIGNS.fullmatch(text))
            and bool(_HOST.fullmatch(parts.hostname or ""))
            # The rest of a password in which a slash, a ? or a # was not percent-encoded.
            and "@" not in parts.path + parts.query + parts.fragment
        )
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(f"it must be a URL that begins with {' or '.join(schemes)}://")
    return parts


def bare_url(url: str) -> str:
    """Return a URL that may be shown: without user, password and what is asked of it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def load(**overrides: object) -> Settings:
    """Read the settings; `overrides` win. Raises SettingsError.

    What neither the environment nor .env has may be a secret that a container was given: the
    token in a file `api_token`, say.
    """
    secrets = SECRETS if SECRETS.is_dir() else None
    try:
        return Settings(_secrets_dir=secrets, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(_line(problem) for problem in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file .env cannot be read: {error}") from None


def _line(problem: object) -> str:
    location = problem["loc"]  # type: ignore[index]
    message = str(problem["msg"]).removeprefix("Value error, ")  # type: ignore[index]
    if not location:
        return message
    name = str(location[0]).upper()
    # A URL may hold a password, a token is one: they are not repeated.
    value = shorten(str(problem["input"]), 80)  # type: ignore[index]
    shown = "" if name.endswith(("_URL", "_TOKEN")) else f"={value}"
    if name == "BACKFILL_TIMEFRAME":
        message = f"it must be one of {', '.join(Timeframe)}"
    return f"{name}{shown}: {message[0].lower()}{message[1:]}"
