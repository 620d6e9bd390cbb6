"""How figures and times are told to a person."""

from datetime import UTC, datetime


def clock_text(time_ms: int) -> str:
    """Return a time as `2026-02-13 00:19:00 UTC`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso_text(time_ms: int) -> str:
    """Return a time as `2026-02-13T00:19:00Z`, for log fields."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def minute_text(time_ms: int) -> str:
    """Return a time as `2026-02-13 00:19`, for times on a bar's grid."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def percent(ratio: float) -> str:
    """Return a ratio as `20.1 %`. Rounded down, so that only a complete one reads 100.0 %."""
    return f"{int(ratio * 1000 + 1e-9) / 10:.1f} %"


def floor_ratio(ratio: float) -> float:
    """Return a ratio with 4 digits, for log fields. Rounded down: only a complete one is 1.0."""
    return int(ratio * 10_000 + 1e-9) / 10_000


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return `1 gap`, `2 gaps`. `nouns`: the plural, where it is no mere s more."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or noun + 's'}"


def duration_text(seconds: float) -> str:
    """Return a length of time as `40 s`, `4 min 10 s` or `1 h 5 min`."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004 - minutes of an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
