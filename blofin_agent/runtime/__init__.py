"""Process plumbing that knows nothing of candles: clock, backoff, shutdown, formats."""
