"""Compare stored candles with BloFin's: `blofin-agent verify`."""
