"""Build the rows of the backfill passes, the write queue, the database and the process."""

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
    """Return the panels of the backfill row."""
    since = "time() - ({} > 0)"
    return [
        lines(
            "Time since last pass and last successful pass",
            "Both should be shorter than the backfill interval. If only the second grows, symbols "
            "fail: the table gap_fill_runs shows why.",
            "s",
            (since.format(agent("backfill_last_pass_timestamp_seconds")), "pass {{instance}}"),
            (
                since.format(agent("backfill_last_success_timestamp_seconds")),
                "successful {{instance}}",
            ),
            span=8,
        ),
        lines(
            "Duration of the last pass",
            "Zero to a few seconds if no candles are missing.",
            "s",
            (agent("backfill_pass_duration_seconds"), "{{instance}}"),
            span=8,
        ),
        lines(
            "Pages in last pass, 20 highest symbols",
            "Requests per symbol. A symbol that is always at the top has gaps that do not get "
            "filled.",
            "short",
            (
                highest(f"max by (symbol) ({symbols('backfill_last_pass_requests')})"),
                "{{symbol}}",
            ),
            span=8,
        ),
    ]


def itself() -> list[Panel]:
    """Return the panels of the write queue, the database and the process."""
    errors = increase(agent("store_errors_total"))
    queue, room = agent("writer_queue_length"), agent("writer_queue_capacity")
    return [
        lines(
            "Write queue",
            "Batches that wait for the database, divided by the queue's capacity. At 100 % live "
            "candles are dropped and refetched later.",
            "percentunit",
            (f"max by (instance) ({queue}) / max by (instance) ({room} > 0)", "{{instance}}"),
        ),
        lines(
            "Live candles dropped",
            "Live candles that were dropped because the write queue was full. They are ordinary "
            "gaps and are refetched by REST.",
            "short",
            (f"sum by (instance) ({increase(agent('writer_dropped_total'))})", "{{instance}}"),
        ),
        lines(
            "Transaction time, 99th percentile",
            "How long database transactions take, by operation. insert above one second: a slow "
            "disk.",
            "s",
            (quantile(0.99, "store_operation_duration_seconds", "operation"), "{{operation}}"),
        ),
        lines(
            "Failed transactions",
            "Failed database transactions, by operation. Each one is retried. The log shows the "
            "cause.",
            "short",
            (f"sum by (operation) ({errors})", "{{operation}}"),
        ),
        lines(
            "Memory",
            "Resident memory of the agent. It grows with the number of symbols and the window, not "
            "with time.",
            "bytes",
            (of_agents(named("process_resident_memory_bytes")), "{{instance}}"),
        ),
        lines(
            "CPU",
            "CPU usage of the agent. 100 % is one core.",
            "percentunit",
            (of_agents(rate(named("process_cpu_seconds_total"))), "{{instance}}"),
        ),
    ]
