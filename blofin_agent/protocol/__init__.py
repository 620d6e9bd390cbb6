"""BloFin's wire format, in both directions: text in, values out. Pure: no I/O, no clock."""
