"""Metrics, logs, outage reports, and publishing metrics."""
