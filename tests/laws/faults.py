"""The simulator's faults, each with the agent's metric that shows it."""

REST = {
    "429,times=2": "api_requests_total{outcome=rate_limited}",
    "429,times=1,seconds=300": "api_requests_total{outcome=rate_limited}",
    "403,times=1,seconds=300": "api_requests_total{outcome=banned}",
    "5xx": "api_requests_total{outcome=server_error}",
    "hang,times=2": "api_requests_total{outcome=timeout}",
    "reset": "api_requests_total{outcome=unreachable}",
    "truncated": "api_requests_total{outcome=unreachable}",
    "html": "api_requests_total{outcome=invalid}",
    "not-json": "api_requests_total{outcome=invalid}",
    "code": "api_requests_total{outcome=refused}",
    "garbage-rows": "rows_rejected_total{feed=rest}",
    "repeated-rows": "rows_rejected_total{reason=repeated}",
    "foreign-rows": "rows_rejected_total{reason=conflicting}",
    "shuffled-rows": "oddities_total{kind=unordered}",
    "edge-hole": "oddities_total{kind=starts_late}",
    "empty": "oddities_total{kind=empty}",
    "late,seconds=90": "candles_missing",
    "slow,seconds=3": "api_request_duration_seconds_sum",
}
"""Faults of REST, and the series that rises."""

FEED = {
    "ws-drop,times=3": "feed_disconnects_total{reason=closed}",
    "ws-cut,times=3": "feed_disconnects_total{reason=closed}",
    "ws-oversize,times=3": "feed_disconnects_total{reason=closed}",
    "ws-silent": "feed_disconnects_total{reason=silent}",
    "ws-silent,symbol=ETH-USDT": "candles_written_total{source=historical_fill,symbol=ETH-USDT}",
    "ws-pongs-only": "feed_disconnects_total{reason=stale}",
    "ws-garbage": "feed_messages_total{kind=invalid}",
    "ws-no-complete": "candles_written_total{source=historical_fill}",
    "ws-repeated": "oddities_total{feed=ws,kind=repeated}",
    "ws-shuffled": "oddities_total{feed=ws,kind=unordered}",
    "ws-foreign": "rows_rejected_total{reason=doubtful}",
}
"""Faults of the websocket, and the series that rises."""

RECONNECTED = {
    "ws-refuse": "feed_disconnects_total{reason=rejected}",
    "ws-no-pong": "feed_messages_total{kind=candle}",
    "ws-no-ack": "feed_messages_total{kind=candle}",
    "ws-refuse-subscription": "feed_messages_total{kind=refused}",
}
"""Faults that show only on a new connection."""

GOES_ON = ("ws-no-pong", "ws-no-ack")
"""Harmless faults: candles arrive as before."""

LEAST = {"slow,seconds=3": 3.0}
"""The least increase, for a series that rises without the fault too."""

CLOCKS = {"clock,seconds=45": -1, "clock,seconds=-45": 1}
"""The sign of the clock offset of 45 s that the agent must detect."""


def options(fault):
    """Return the options of a fault's text: {"times": "2"} of `429,times=2`."""
    return dict(one.split("=") for one in fault.split(",")[1:])


def matches(series, sample, labels):
    """Return whether a sample (its name, its labels) is part of a series of the tables."""
    name, _, wanted = series.rstrip("}").partition("{")
    pairs = (label.split("=") for label in wanted.split(",") if label)
    return sample == f"blofin_{name}" and all(labels.get(key) == value for key, value in pairs)
