"""Keeps a complete BloFin candle history, and tells how complete it is."""
