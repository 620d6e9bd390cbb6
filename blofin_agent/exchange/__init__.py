"""BloFin over the wire. Each file imports exactly one I/O library."""
