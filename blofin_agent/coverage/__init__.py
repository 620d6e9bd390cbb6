"""Which symbols are tracked, which of their candles are stored, and why the rest is missing."""
