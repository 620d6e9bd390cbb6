"""Format numbers as Grafana does, for the units that the dashboards use."""

import math
from collections.abc import Callable

KIBI = 1_024
_STEPS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def seconds(value: float) -> str:
    """Format a duration in the largest unit that fits."""
    if value == 0:
        return "0 s"
    size, unit = next((step for step in _STEPS if abs(value) >= step[0]), _STEPS[-1])
    return f"{value / size:.3g} {unit}"


def size(value: float) -> str:
    """Format a number of bytes."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < KIBI:
            return f"{value:.3g} {unit}"
        value /= KIBI
    return f"{value:.3g} GiB"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"


_WRITERS: dict[str, Callable[[float], str]] = {
    "percentunit": lambda value: f"{math.floor(value * 1_000) / 10:g} %",
    "s": seconds,
    "reqps": lambda value: f"{value:.3g} req/s",
    "bytes": size,
    "bool_yes_no": lambda value: "yes" if value else "no",
}


def write(value: float, unit: str) -> str:
    """Format a value in one of Grafana's units. An unknown unit gives a plain number."""
    return "-" if math.isnan(value) else _WRITERS.get(unit, _plain)(value)
