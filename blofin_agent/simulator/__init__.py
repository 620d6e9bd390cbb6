"""A BloFin that runs here: for the demo, the tests and the benchmarks."""
