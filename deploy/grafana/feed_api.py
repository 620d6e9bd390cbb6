"""Build the dashboard of the websocket feed, BloFin's REST API and the agent's internals."""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.frame import assemble
from deploy.grafana.inside import backfill, itself
from deploy.grafana.panels import LEFT, Panel, lines, number, spread, states, suspended
from deploy.grafana.promql import agent, highest, how_many, increase, quantile, rate, symbols

UID = "blofin-feed-api"

_FAILED = agent("api_requests_total", 'outcome!~"ok|refused"')
_LIMITED = agent("api_requests_total", 'outcome="rate_limited"')
_REQUESTS = agent("api_requests_total")
_SHARE = f"sum({rate(_FAILED)}) / (sum({rate(_REQUESTS)}) > 0) or 0 * sum({rate(_REQUESTS)})"
_PUSHED = f"{symbols('feed_last_push_timestamp_seconds')} > 0"


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    return assemble(
        UID,
        "BloFin: feed and API",
        "What delivers the candles: the websocket feed, the REST API with its rate limits, the "
        "backfill, and the agent's write queue and database.",
        [
            ("Overview", _glance()),
            ("Requests and rate limits", _requests()),
            ("Feed", _feed()),
            ("Backfill", backfill()),
            ("Agent internals", itself()),
        ],
    )


def _glance() -> list[Panel]:
    return [
        number(
            "Failing requests",
            "Share of requests that failed recently. Refused requests do not count as failed. "
            "Above 1 %, check the requests by outcome.",
            "percentunit",
            _SHARE,
            ((None, "green"), (0.01, "orange"), (0.1, "red")),
        ),
        suspended(),
        number(
            "Connections down",
            "Number of websocket connections that are down. Each serves up to 100 symbols, whose "
            "candles are fetched by REST meanwhile.",
            "short",
            how_many(agent("feed_connected"), "== 0"),
            ((None, "green"), (1, "red")),
        ),
        number(
            "Symbols not subscribed",
            "Number of symbols whose subscription BloFin rejected or has not acknowledged. Their "
            "candles are fetched by REST meanwhile.",
            "short",
            how_many(symbols("feed_subscribed"), "== 0"),
            ((None, "green"), (1, "orange")),
        ),
        number(
            "Age of last push",
            "Time since the last websocket push, for the symbol where it is longest. A traded "
            "symbol gets a push about every second.",
            "s",
            f"max(time() - ({_PUSHED}))",
            ((None, "green"), (120, "orange"), (600, "red")),
        ),
        number(
            "Database",
            "Whether the database accepts transactions. If it does not, the agent retries and its "
            "log shows the cause.",
            "short",
            f"min({agent('store_up')})",
            names={"0": ("DOWN", "red"), "1": ("UP", "green")},
        ),
    ]


def _requests() -> list[Panel]:
    used, limit = agent("rate_budget_used"), agent("rate_budget_limit")
    return [
        lines(
            "Requests by outcome",
            "unreachable and timeout: the network. server_error and invalid: BloFin. rate_limited "
            "and banned: BloFin's rate limits. refused: BloFin rejected a symbol or a value.",
            "reqps",
            (f"sum by (outcome) ({rate(_REQUESTS)})", "{{outcome}}"),
        ),
        lines(
            "Failing requests over time",
            "Share of requests that failed. The alert allows 1 % over several days.",
            "percentunit",
            (_SHARE, "failing"),
        ),
        lines(
            "Budget used",
            "Requests in each window divided by the agent's limit. The limit is 95 % of BloFin's "
            "limit, or less after a 429. All processes on the database that use the same IP "
            "address count. With several addresses, the highest value is shown. At 100 % requests "
            "wait.",
            "percentunit",
            (f"max by (window) ({used} / ({limit} > 0))", "{{window}}"),
            span=8,
        ),
        lines(
            "429 responses",
            "Responses with 429 (too many requests). The agent stays within BloFin's limits, so "
            "another program uses the same IP address. All requests wait until the suspension "
            "ends. Then the agent sends fewer requests for a while.",
            "short",
            (f"sum by (endpoint) ({increase(_LIMITED)})", "{{endpoint}}"),
            span=8,
        ),
        lines(
            "Remaining suspension over time",
            "Remaining time of BloFin's suspension of the IP address. Zero: not suspended. The "
            "agent waits automatically and sends no requests meanwhile.",
            "s",
            (f"max by (instance) ({LEFT})", "{{instance}}"),
            span=8,
        ),
        spread(
            "Request latency, distribution",
            "Time from the start of a request to the last byte of its response. Brighter cells: "
            "more requests.",
            "api_request_duration_seconds",
        ),
        lines(
            "Request latency, median and 99th percentile",
            "50 % of the requests are faster than the median, 99 % are faster than the 99th "
            "percentile. Nothing is drawn while the agent sends no requests.",
            "s",
            (quantile(0.5, "api_request_duration_seconds", "endpoint"), "median {{endpoint}}"),
            (
                quantile(0.99, "api_request_duration_seconds", "endpoint"),
                "99th percentile {{endpoint}}",
            ),
        ),
    ]


def _feed() -> list[Panel]:
    lost = increase(agent("feed_disconnects_total"))
    rejected = increase(agent("rows_rejected_total"))
    return [
        states(
            "Connections",
            "State of each websocket connection over time. Candles that a lost connection misses "
            "are fetched by REST.",
            {"0": ("down", "red"), "1": ("up", "green")},
            (
                f"min by (instance, connection) ({agent('feed_connected')})",
                "{{instance}} {{connection}}",
            ),
            height=6,
        ),
        lines(
            "Disconnects by reason",
            "stale: no pushes. silent: no pong. closed, rejected: by BloFin. unreachable, timeout: "
            "the network. A few per day are normal.",
            "short",
            (f"sum by (reason) ({lost})", "{{reason}}"),
        ),
        lines(
            "Messages per second, by kind",
            "About one candle message per second and symbol is normal. invalid: the message does "
            "not follow BloFin's protocol; the log has an example.",
            "short",
            (f"sum by (kind) ({rate(agent('feed_messages_total'))})", "{{kind}}"),
        ),
        lines(
            "Age of last push over time, 20 oldest symbols",
            "A rising line: the symbol gets no pushes. After two minutes the agent reconnects and "
            "fetches the missing candles by REST.",
            "s",
            (highest(f"max by (symbol) (time() - ({_PUSHED}))"), "{{symbol}}"),
        ),
        lines(
            "Candle delay, median and 99th percentile",
            "Time from the close of a live candle to its commit in the database.",
            "s",
            (quantile(0.5, "candle_delay_seconds"), "median"),
            (quantile(0.99, "candle_delay_seconds"), "99th percentile"),
        ),
        lines(
            "Rejected rows, by reason",
            "Rows from BloFin that are not valid candles. Other rows are stored normally. The log "
            "has an example. open: the candle was not complete yet.",
            "short",
            (f"sum by (feed, reason) ({rejected})", "{{feed}} {{reason}}"),
        ),
        spread(
            "Candle delay, distribution",
            "Time from the close of a live candle to its commit. Brighter cells: more candles.",
            "candle_delay_seconds",
        ),
    ]
