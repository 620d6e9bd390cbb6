"""The pure core: no I/O, no clock, no logging, no trio. Standard library and msgspec only."""
