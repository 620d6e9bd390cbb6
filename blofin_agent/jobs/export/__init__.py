"""Write candles to files: `blofin-agent export`."""
