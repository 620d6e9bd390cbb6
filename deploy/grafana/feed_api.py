"""The dashboard of what brings the candles in: the feed, BloFin's REST interface, and ourselves."""

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
        "What brings the candles in: the websocket feed, the REST interface with its limits, the "
        "backfill, and the agent's own queue and database.",
        [
            ("At a glance", _glance()),
            ("Requests and limits", _requests()),
            ("Feed", _feed()),
            ("Backfill", backfill()),
            ("The agent itself", itself()),
        ],
    )


def _glance() -> list[Panel]:
    return [
        number(
            "Failing requests",
            "The share of requests that failed lately; refusals are answers. Above 1 % look at the "
            "requests by outcome.",
            "percentunit",
            _SHARE,
            ((None, "green"), (0.01, "orange"), (0.1, "red")),
        ),
        suspended(),
        number(
            "Connections down",
            "Websocket connections that do not stand; each carries up to 100 symbols, whose "
            "candles come by REST meanwhile.",
            "short",
            how_many(agent("feed_connected"), "== 0"),
            ((None, "green"), (1, "red")),
        ),
        number(
            "Symbols not subscribed",
            "Refused by BloFin, or not acknowledged. Their candles come by REST meanwhile.",
            "short",
            how_many(symbols("feed_subscribed"), "== 0"),
            ((None, "green"), (1, "orange")),
        ),
        number(
            "Oldest push",
            "How long ago the symbol that is silent the longest was heard of. A traded symbol is "
            "heard of every second or so.",
            "s",
            f"max(time() - ({_PUSHED}))",
            ((None, "green"), (120, "orange"), (600, "red")),
        ),
        number(
            "Database",
            "Whether the database takes transactions. When not, the agent waits and tries again; "
            "its log says what is wrong.",
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
            "and banned: its limits. refused: a symbol or a value it does not take.",
            "reqps",
            (f"sum by (outcome) ({rate(_REQUESTS)})", "{{outcome}}"),
        ),
        lines(
            "Failing requests over time",
            "The share of requests that failed. The alert allows one in a hundred over days.",
            "percentunit",
            (_SHARE, "failing"),
        ),
        lines(
            "Budget used",
            "Requests in each window over what the agent allows itself, 95 % of BloFin's limit or "
            "less after a 429, summed over all processes on the store that use the address; of "
            "several addresses that of the worst. At 100 % requests wait.",
            "percentunit",
            (f"max by (window) ({used} / ({limit} > 0))", "{{window}}"),
            span=8,
        ),
        lines(
            "Answers 429",
            "BloFin says too many requests although the agent keeps to the limits: another program "
            "uses the same address. All requests then wait for the suspension's end, and for a "
            "while fewer go than usual.",
            "short",
            (f"sum by (endpoint) ({increase(_LIMITED)})", "{{endpoint}}"),
            span=8,
        ),
        lines(
            "Suspension left",
            "How long BloFin's suspension of the address still lasted: where it stands at zero, "
            "there was none. The agent waits by itself and sends nothing meanwhile.",
            "s",
            (f"max by (instance) ({LEFT})", "{{instance}}"),
            span=8,
        ),
        spread(
            "Latency",
            "From a request's start to its answer's last byte: the brighter, the more requests.",
            "api_request_duration_seconds",
        ),
        lines(
            "Latency, median and 99 %",
            "Half of the requests are faster than the first, all but one in a hundred than the "
            "second. Nothing is drawn while there are no requests.",
            "s",
            (quantile(0.5, "api_request_duration_seconds", "endpoint"), "median {{endpoint}}"),
            (quantile(0.99, "api_request_duration_seconds", "endpoint"), "99 % {{endpoint}}"),
        ),
    ]


def _feed() -> list[Panel]:
    lost = increase(agent("feed_disconnects_total"))
    rejected = increase(agent("rows_rejected_total"))
    return [
        states(
            "Connections",
            "Each websocket connection over time. What a lost one misses is fetched by REST.",
            {"0": ("down", "red"), "1": ("up", "green")},
            (
                f"min by (instance, connection) ({agent('feed_connected')})",
                "{{instance}} {{connection}}",
            ),
            height=6,
        ),
        lines(
            "Disconnects by reason",
            "stale: no pushes. silent: no pong. closed, rejected: BloFin. unreachable, timeout: "
            "the network. A few a day are normal.",
            "short",
            (f"sum by (reason) ({lost})", "{{reason}}"),
        ),
        lines(
            "Messages by kind, a second",
            "About one candle message a second and symbol is normal. invalid: not in BloFin's "
            "grammar; the log has an example.",
            "short",
            (f"sum by (kind) ({rate(agent('feed_messages_total'))})", "{{kind}}"),
        ),
        lines(
            "Age of the last push, the 20 oldest",
            "A line that climbs: the symbol went silent. After two minutes its connection is made "
            "anew, and REST fetches what is missing.",
            "s",
            (highest(f"max by (symbol) (time() - ({_PUSHED}))"), "{{symbol}}"),
        ),
        lines(
            "Candle delay, median and 99 %",
            "From a live candle's close to its commit in the database.",
            "s",
            (quantile(0.5, "candle_delay_seconds"), "median"),
            (quantile(0.99, "candle_delay_seconds"), "99 %"),
        ),
        lines(
            "Rows not stored, by reason",
            "Rows from BloFin that were no sound candle. They cost no other row; the log has an "
            "example. open: a candle that was not complete yet.",
            "short",
            (f"sum by (feed, reason) ({rejected})", "{{feed}} {{reason}}"),
        ),
        spread(
            "Candle delay, spread",
            "From a live candle's close to its commit: the brighter, the more candles.",
            "candle_delay_seconds",
        ),
    ]
