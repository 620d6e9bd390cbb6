"""The dashboard of coverage, in the order in which somebody who was woken up asks."""

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
# What its limits refuse stands under Limit.
_FAILED = rate(agent("api_requests_total", 'outcome!~"ok|refused|rate_limited|banned"'))
_FINE = {"0": ("trouble", "red"), "1": ("fine", "green")}


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    return assemble(
        UID,
        "BloFin: coverage",
        "How complete the candle history is, per symbol; why it is not; and when it will be.",
        [
            ("Is it bad, and since when?", _is_it_bad()),
            ("Which symbols?", [symbol_table(), _coverage_over_time(), _gaps()]),
            ("Why?", [_why(), suspended().height(8)]),
            ("Will it heal by itself, and when?", _healing()),
            ("Fleet: who keeps which symbols?", fleet()),
        ],
    )


def _is_it_bad() -> list[Panel]:
    good = f"{GOOD_COVERAGE:.1%}".replace("%", " %")
    warn = f"{WARN_COVERAGE:.0%}".replace("%", " %")
    state = 'blofin_health="{}"'
    return [
        number(
            "Health",
            f"That of the worst symbol: GOOD from {good}, WARN from {warn}, CRITICAL below.",
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
            "The least complete symbol and its coverage: candles held over candles expected.",
            "percentunit",
            f"bottomk(1, {_EACH})",
            COVERAGE,
            legend="{{symbol}}",
        ),
        number(
            "Not good for",
            f"How long ago all symbols were last at {good} or better; if never in the time shown, "
            "since when there are figures. 0: they are now.",
            "s",
            f"clamp_min(time() - (max_over_time(timestamp({_WORST} >= {GOOD_COVERAGE})"
            f"[$__range:$__interval]) or min_over_time(timestamp({_WORST})"
            "[$__range:$__interval])) - $__interval_ms / 1000, 0)",
            ZERO_IS_GOOD,
        ),
        number(
            "Heals by itself",
            "NO NEED: nothing is missing that BloFin has. YES: the agent fetches it. NOT NOW: a "
            "suspension, failing requests or the database is in the way (see why, below); when "
            "that ends the agent goes on by itself.",
            "short",
            f"(sum({_MISSING}) - sum({_UNAVAILABLE}) > bool 0) * (2 - {_ALLOWED} * {_STORING} * "
            f"(sum({_FAILED}) <= bool 0.5 * sum({_REQUESTS})))",
            names={
                "0": ("NO NEED", "green"),
                "1": ("YES", "blue"),
                "2": ("NOT NOW", "red"),
            },
        ),
        number(
            "Heals in at least",
            "Pages still to fetch over pages allowed a second. The agent does it by itself. A "
            "suspension or an outage of BloFin comes on top.",
            "s",
            f"max({agent('backfill_heal_eta_seconds')})",
            ZERO_IS_GOOD,
        ),
        number(
            "Agents down",
            "Agents that ran within a day and that Prometheus does not reach now; the other panels "
            "show nothing of them. See on their machine whether they run, and their last log.",
            "short",
            how_many(_UP, "== 0"),
            ((None, "green"), (1, "red")),
        ).no_value("no agent"),
        number(
            f"Symbols below {good}",
            "How many symbols are not GOOD. The table below has them on top.",
            "short",
            how_many(_EACH, f"< {GOOD_COVERAGE}"),
            ((None, "green"), (1, "orange")),
        ),
        number(
            f"Symbols below {warn}",
            "How many symbols are CRITICAL. The table below has them on top.",
            "short",
            how_many(_EACH, f"< {WARN_COVERAGE}"),
            ((None, "green"), (1, "red")),
        ),
        number(
            "Missing minutes",
            "Candles that should be there and are not, of all symbols; with 1m bars, minutes.",
            "short",
            f"sum({_MISSING})",
        ),
        number(
            "Of these unavailable",
            "The part that BloFin was proven not to have: nobody can fetch it. It is asked for "
            "again now and then.",
            "short",
            f"sum({_UNAVAILABLE})",
        ),
        number(
            "Oldest newest candle",
            "How long ago the newest candle of the worst symbol opened. With 1m bars up to some 80 "
            "seconds are normal; more means that nothing new arrives.",
            "s",
            f"max(time() - ({symbols('last_candle_timestamp_seconds')} > 0))",
        ),
        number(
            "Last good backfill",
            "How long ago the last pass ended in which no symbol failed; without one, how long the "
            "agent runs. More than two periods: look at the requests by outcome.",
            "s",
            f"max(time() - (({agent('backfill_last_success_timestamp_seconds')} > 0) "
            f"or on (job, instance) {of_agents(named('process_start_time_seconds'))}))",
        ),
    ]


def _why() -> Panel:
    return states(
        "What is in the way",
        "Feed: a websocket connection for candles is down. Subscriptions: a symbol is not "
        "acknowledged. Limit: BloFin has suspended the address. Exchange: more than 5 % of the "
        "requests fail, by the network or at BloFin. Store: our database takes nothing. Agent: it "
        "cannot be reached. The runbook has what to do.",
        _FINE,
        (f"min({_CANDLE_FEED})", "Feed"),
        (f"min({symbols('feed_subscribed')})", "Subscriptions"),
        (_ALLOWED, "Limit"),
        (f"sum({_FAILED}) <= bool 0.05 * sum({_REQUESTS})", "Exchange"),
        (_STORING, "Store"),
        (f"min({_UP})", "Agent"),
        span=20,
    )


def _gaps() -> Panel:
    whole = f"max by (symbol) ({_MISSING}) == bool 0"
    some = f"max by (symbol) ({_MISSING}) > bool 0"
    proven = f"max by (symbol) ({_MISSING} - {_UNAVAILABLE}) == bool 0"
    return states(
        "Gaps",
        "Each symbol over time: whole, with gaps that BloFin was proven not to fill, or with gaps "
        "that the agent is after. Where nothing is drawn, the agent did not run.",
        {
            "0": ("gaps", "red"),
            "1": ("unavailable only", "yellow"),
            "2": ("whole", "green"),
        },
        (f"2 * ({whole}) + ({proven}) * ({some})", "{{symbol}}"),
        height=9,
    )


def _coverage_over_time() -> Panel:
    return lines(
        "Coverage over time, the 20 worst",
        "A line that falls: something is not arriving. A line that stays low: see what is in the "
        "way. The coloured lines are the bounds of WARN and CRITICAL.",
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
            "It should sink after each gap. What stays at the height of the second line is "
            "unavailable at BloFin.",
            "short",
            (f"sum({_MISSING})", "missing"),
            (f"sum({_UNAVAILABLE})", "of these unavailable"),
        ),
        lines(
            "Time to heal",
            "The least time that the pages still to fetch need. It should sink second by second "
            "while the agent is at work.",
            "s",
            (f"max by (instance) ({agent('backfill_heal_eta_seconds')})", "{{instance}}"),
        ),
        lines(
            "Candles stored a minute",
            "By source: blofin_ws are live ones, historical_fill came by REST. With 1m bars one "
            "live candle a symbol is normal; if they end, look at the feed.",
            "short",
            (f"60 * sum by (source) ({written})", "{{source}}"),
        ),
        lines(
            "Pages asked for, and 429s among them",
            "Requests that fill gaps. A complete store costs none. 429: BloFin's limit was "
            "reached, probably by another program behind the same address.",
            "short",
            (f"sum({pages})", "pages"),
            (f"sum({limited})", "429"),
        ),
    ]
