"""Run the benchmarks, all of them or those named, and write what they found into RESULTS.md.

Usage: python -m benchmarks [NAME...]
"""

import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.report import write

NAMES = (
    "fill",
    "least",
    "throttled",
    "live",
    "scrape",
    "steady",
    "start",
    "rows",
    "server",
    "fleet",
)
"""The modules, each with a docstring that says what is measured and a `run() -> list[Figure]`. Of
one that needs more than Python has, `lacking() -> str` says what is not there."""
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(names: Sequence[str]) -> int:
    """Run the benchmarks named, or all. Return 1 when a target was missed."""
    if unknown := [name for name in names if name not in NAMES]:
        print(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
        return 2
    found: dict[str, tuple[str, list[Figure]]] = {}
    for name in names or NAMES:
        module = import_module(f"benchmarks.{name}")
        print(f"{name}: {_title(module.__doc__)}", flush=True)
        if lacking := getattr(module, "lacking", _nothing)():
            print(f"  left out: {lacking}", flush=True)
            continue
        begun = time.perf_counter()
        figures = _figures(module.run)
        found[name] = (module.__doc__ or "", figures)
        write(RESULTS, {name: found[name]}, NAMES)
        print(
            f"  (written to {RESULTS.name} after {time.perf_counter() - begun:.0f} s)", flush=True
        )
    return int(any(not figure.met for _, figures in found.values() for figure in figures))


def _figures(run: Callable[[], list[Figure]]) -> list[Figure]:
    figures = run()
    for one in figures:
        mark = " " if one.target is None else "+" if one.met else "!"
        print(f"{mark} {one.what}: {one.value:.4g}{one.unit} ({one.target or 'no target'})")
        print(f"    {one.detail}", flush=True)
    return figures


def _nothing() -> str:
    return ""


def _title(text: str | None) -> str:
    return (text or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
