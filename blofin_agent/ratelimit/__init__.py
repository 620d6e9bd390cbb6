"""Every request waits here until BloFin's limits, shared by all processes, allow it."""
