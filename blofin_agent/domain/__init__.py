"""What a candle, a gap, a page and a limit are, and what follows from them, without I/O."""
