"""What goes on inside the agent: backfill passes, the writer's queue, the database, the process."""

from deploy.grafana.panels import Panel, lines
from deploy.grafana.promql import (
    agent,
    highest,
    increase,
    named,
    of_agents,
    quantile,
    rate,
    symbols,
)


def backfill() -> list[Panel]:
    """Return the row of the passes."""
    since = "time() - ({} > 0)"
    return [
        lines(
            "Time since the last pass, and the last good one",
            "Both should be shorter than the period. If only the second grows, symbols fail: "
            "gap_fill_runs says why.",
            "s",
            (since.format(agent("backfill_last_pass_timestamp_seconds")), "pass {{instance}}"),
            (since.format(agent("backfill_last_success_timestamp_seconds")), "good {{instance}}"),
            span=8,
        ),
        lines(
            "Duration of the last pass",
            "Zero to a few seconds when the store is whole.",
            "s",
            (agent("backfill_pass_duration_seconds"), "{{instance}}"),
            span=8,
        ),
        lines(
            "Pages of the last pass, the 20 most",
            "Which symbols cost requests. One that is always on top has gaps that do not heal.",
            "short",
            (
                highest(f"max by (symbol) ({symbols('backfill_last_pass_requests')})"),
                "{{symbol}}",
            ),
            span=8,
        ),
    ]


def itself() -> list[Panel]:
    """Return the row of the queue, the database and the process."""
    errors = increase(agent("store_errors_total"))
    queue, room = agent("writer_queue_length"), agent("writer_queue_capacity")
    return [
        lines(
            "Writer's queue",
            "Batches that wait for the database, over how many may wait. At 100 % live candles "
            "are dropped, and fetched again later.",
            "percentunit",
            (f"max by (instance) ({queue}) / max by (instance) ({room} > 0)", "{{instance}}"),
        ),
        lines(
            "Live candles dropped",
            "They found no room in the queue. They are ordinary gaps, fetched again by REST.",
            "short",
            (f"sum by (instance) ({increase(agent('writer_dropped_total'))})", "{{instance}}"),
        ),
        lines(
            "Transactions, 99 %",
            "How long the database takes, by operation. insert above a second: a slow disk.",
            "s",
            (quantile(0.99, "store_operation_duration_seconds", "operation"), "{{operation}}"),
        ),
        lines(
            "Transactions that failed",
            "The database did not take them; each is tried again. The log says why.",
            "short",
            (f"sum by (operation) ({errors})", "{{operation}}"),
        ),
        lines(
            "Memory",
            "Resident memory of the agent. It grows with symbols and window, not with time.",
            "bytes",
            (of_agents(named("process_resident_memory_bytes")), "{{instance}}"),
        ),
        lines(
            "Processor",
            "The share of one core that the agent uses.",
            "percentunit",
            (of_agents(rate(named("process_cpu_seconds_total"))), "{{instance}}"),
        ),
    ]
