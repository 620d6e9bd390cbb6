"""Query Prometheus' HTTP API and return plain series."""

from typing import NamedTuple

import httpx


class Series(NamedTuple):
    """One series: its labels and its points as (Unix time in s, value), oldest first."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Prometheus:
    """Client of a Prometheus server. Raises httpx.HTTPError."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def instant(self, expr: str, at: float) -> list[Series]:
        """Return the value of each series at a time (Unix time in s)."""
        found = self._ask("query", {"query": expr, "time": at})
        return [Series(one["metric"], [_point(one["value"])]) for one in found]

    def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Return the points of each series between two times (Unix times in s)."""
        found = self._ask("query_range", {"query": expr, "start": start, "end": end, "step": step})
        return [Series(one["metric"], [_point(pair) for pair in one["values"]]) for one in found]

    def _ask(self, path: str, query: dict[str, str | float]) -> list[dict]:  # type: ignore[type-arg]
        answer = self._client.get(f"/api/v1/{path}", params=query)
        answer.raise_for_status()
        result: list[dict] = answer.json()["data"]["result"]  # type: ignore[type-arg]
        return result


def _point(pair: list[object]) -> tuple[float, float]:
    time, value = pair
    return float(str(time)), float(str(value))
