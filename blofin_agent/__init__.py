"""Keeps a complete BloFin candle history, and tells how complete it is."""

__version__ = "0.1.0"
