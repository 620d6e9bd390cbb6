"""Build the coverage dashboard. Its rows follow the questions of an on-call engineer."""

from grafana_foundation_sdk.builders import dashboard

from blofin_agent.domain.symbol_coverage import GOOD_COVERAGE, WARN_COVERAGE
from deploy.grafana.fleet import fleet
from deploy.grafana.frame import assemble
from deploy.grafana.panels import COVERAGE, ZERO_IS_GOOD, Panel, lines, number, states, suspended
from deploy.grafana.promql import agent, how_many, increase, lowest, named, of_agents, rate, symbols
from deploy.grafana.symbol_table import symbol_table

UID = "blofin-coverage"

_RATIO = symbols("coverage_ratio")
_MISSING = symbols("candles_missing")
_UNAVAILABLE = symbols("candles_unavailable")
_WORST = f"min({_RATIO})"
_EACH = f"min by (symbol) ({_RATIO})"
_UP = of_agents(named("up"), seen="1d")
_ALLOWED = f"min({agent('api_suspended_until_timestamp_seconds')} <= bool time())"
_CANDLE_FEED = agent("feed_connected", 'connection!~"trades-.+"')
_STORING = f"min({agent('store_up')})"
_REQUESTS = rate(agent("api_requests_total"))
# Rate-limited and banned requests are shown under Rate limit.
_FAILED = rate(agent("api_requests_total", 'outcome!~"ok|refused|rate_limited|banned"'))
_FINE = {"0": ("problem", "red"), "1": ("OK", "green")}


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    return assemble(
        UID,
        "BloFin: coverage",
        "How complete the candle history of each symbol is, why candles are missing, and when the "
        "gaps will be filled.",
        [
            ("Is there a problem, and since when?", _is_it_bad()),
            ("Which symbols are affected?", [symbol_table(), _coverage_over_time(), _gaps()]),
            ("What is the cause?", [_why(), suspended().height(8)]),
            ("When will the gaps be filled?", _healing()),
            ("Fleet: which agent owns which symbols?", fleet()),
        ],
    )


def _is_it_bad() -> list[Panel]:
    good = f"{GOOD_COVERAGE:.1%}".replace("%", " %")
    warn = f"{WARN_COVERAGE:.0%}".replace("%", " %")
    state = 'blofin_health="{}"'
    return [
        number(
            "Health",
            f"Health of the worst symbol: GOOD from {good}, WARN from {warn}, CRITICAL below.",
            "short",
            f"clamp_max(max({agent('health', state.format('warn'))}) "
            f"+ 2 * max({agent('health', state.format('critical'))}), 2)",
            names={
                "0": ("GOOD", "green"),
                "1": ("WARN", "orange"),
                "2": ("CRITICAL", "red"),
            },
        ),
        number(
            "Worst symbol",
            "The symbol with the lowest coverage. Coverage is stored candles divided by expected "
            "candles.",
            "percentunit",
            f"bottomk(1, {_EACH})",
            COVERAGE,
            legend="{{symbol}}",
        ),
        number(
            "Not GOOD for",
            f"Time since all symbols were last at {good} or better. If they never were in the time "
            "shown: time since the first data. 0: all symbols are GOOD now.",
            "s",
            f"clamp_min(time() - (max_over_time(timestamp({_WORST} >= {GOOD_COVERAGE})"
            f"[$__range:$__interval]) or min_over_time(timestamp({_WORST})"
            "[$__range:$__interval])) - $__interval_ms / 1000, 0)",
            ZERO_IS_GOOD,
        ),
        number(
            "Gaps being filled",
            "NOT NEEDED: all candles that BloFin has are stored. YES: the agent is fetching the "
            "missing candles. BLOCKED: by a suspension, failing requests or the database (see the "
            "causes below). The agent continues automatically when that ends.",
            "short",
            f"(sum({_MISSING}) - sum({_UNAVAILABLE}) > bool 0) * (2 - {_ALLOWED} * {_STORING} * "
            f"(sum({_FAILED}) <= bool 0.5 * sum({_REQUESTS})))",
            names={
                "0": ("NOT NEEDED", "green"),
                "1": ("YES", "blue"),
                "2": ("BLOCKED", "red"),
            },
        ),
        number(
            "Time to fill gaps",
            "Minimum time: pages still to fetch divided by pages allowed per second. A suspension "
            "or a BloFin outage adds to it.",
            "s",
            f"max({agent('backfill_heal_eta_seconds')})",
            ZERO_IS_GOOD,
        ),
        number(
            "Agents down",
            "Agents that ran within the last day and that Prometheus cannot reach now. The other "
            "panels do not show them. On their host, check whether they run and read their log.",
            "short",
            how_many(_UP, "== 0"),
            ((None, "green"), (1, "red")),
        ).no_value("no agent"),
        number(
            f"Symbols below {good}",
            "Number of symbols that are not GOOD. The table below lists them first.",
            "short",
            how_many(_EACH, f"< {GOOD_COVERAGE}"),
            ((None, "green"), (1, "orange")),
        ),
        number(
            f"Symbols below {warn}",
            "Number of symbols that are CRITICAL. The table below lists them first.",
            "short",
            how_many(_EACH, f"< {WARN_COVERAGE}"),
            ((None, "green"), (1, "red")),
        ),
        number(
            "Missing minutes",
            "Expected candles that are not stored, over all symbols. With 1m bars, one candle is "
            "one minute.",
            "short",
            f"sum({_MISSING})",
        ),
        number(
            "Confirmed unavailable",
            "Missing candles that are confirmed unavailable at BloFin. Nobody can fetch them. The "
            "agent rechecks them periodically.",
            "short",
            f"sum({_UNAVAILABLE})",
        ),
        number(
            "Age of newest candle",
            "Time since the newest candle opened, for the symbol where it is oldest. With 1m bars, "
            "up to about 80 seconds is normal. If it is more, no new candles arrive.",
            "s",
            f"max(time() - ({symbols('last_candle_timestamp_seconds')} > 0))",
        ),
        number(
            "Last successful pass",
            "Time since the last backfill pass without a failed symbol ended. If there was none: "
            "time since the agent started. If it is more than two periods, check the requests by "
            "outcome.",
            "s",
            f"max(time() - (({agent('backfill_last_success_timestamp_seconds')} > 0) "
            f"or on (job, instance) {of_agents(named('process_start_time_seconds'))}))",
        ),
    ]


def _why() -> Panel:
    return states(
        "Possible causes",
        "Feed: a websocket connection for candles is down. Subscriptions: BloFin has not "
        "acknowledged a symbol. Rate limit: BloFin has suspended the IP address. Exchange: more "
        "than 5 % of the requests fail, because of the network or BloFin. Database: it accepts no "
        "transactions. Agent: it is unreachable. The runbook describes what to do.",
        _FINE,
        (f"min({_CANDLE_FEED})", "Feed"),
        (f"min({symbols('feed_subscribed')})", "Subscriptions"),
        (_ALLOWED, "Rate limit"),
        (f"sum({_FAILED}) <= bool 0.05 * sum({_REQUESTS})", "Exchange"),
        (_STORING, "Database"),
        (f"min({_UP})", "Agent"),
        span=20,
    )


def _gaps() -> Panel:
    complete = f"max by (symbol) ({_MISSING}) == bool 0"
    some = f"max by (symbol) ({_MISSING}) > bool 0"
    confirmed = f"max by (symbol) ({_MISSING} - {_UNAVAILABLE}) == bool 0"
    return states(
        "Gaps",
        "State of each symbol over time. complete: nothing is missing. unavailable only: all "
        "missing candles are confirmed unavailable at BloFin. gaps: the agent is filling them. "
        "Nothing is drawn for times when the agent was not running.",
        {
            "0": ("gaps", "red"),
            "1": ("unavailable only", "yellow"),
            "2": ("complete", "green"),
        },
        (f"2 * ({complete}) + ({confirmed}) * ({some})", "{{symbol}}"),
        height=9,
    )


def _coverage_over_time() -> Panel:
    return lines(
        "Coverage over time, 20 worst symbols",
        "A falling line: new candles do not arrive. A line that stays low: see the possible "
        "causes. The colored lines are the thresholds of WARN and CRITICAL.",
        "percentunit",
        (lowest(_EACH), "{{symbol}}"),
        span=24,
        colors=COVERAGE,
    )


def _healing() -> list[Panel]:
    written = rate(symbols("candles_written_total"))
    pages = increase(symbols("backfill_requests_total"))
    limited = increase(symbols("backfill_rate_limited_total"))
    return [
        lines(
            "Missing minutes over time",
            "The first line should drop after each gap. It cannot drop below the second line: "
            "those candles are confirmed unavailable at BloFin.",
            "short",
            (f"sum({_MISSING})", "missing"),
            (f"sum({_UNAVAILABLE})", "confirmed unavailable"),
        ),
        lines(
            "Time to fill gaps over time",
            "Minimum time that the pages still to fetch need. It should drop steadily while the "
            "agent fills gaps.",
            "s",
            (f"max by (instance) ({agent('backfill_heal_eta_seconds')})", "{{instance}}"),
        ),
        lines(
            "Candles stored per minute",
            "By source: blofin_ws are live candles, historical_fill are candles fetched by REST. "
            "With 1m bars, one live candle per symbol is normal. If there are none, check the "
            "feed.",
            "short",
            (f"60 * sum by (source) ({written})", "{{source}}"),
        ),
        lines(
            "Backfill requests and 429s",
            "Requests that fill gaps. If nothing is missing, the agent sends none. 429: BloFin's "
            "rate limit was reached, probably by another program on the same IP address.",
            "short",
            (f"sum({pages})", "pages"),
            (f"sum({limited})", "429"),
        ),
    ]
