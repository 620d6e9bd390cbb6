"""From a gap to stored candles: pages, retries, backfill passes and runs."""
