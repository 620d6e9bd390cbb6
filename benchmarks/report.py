"""Report: the figures as RESULTS.md, behind them the findings, which a person wrote."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.machine import describe

FINDINGS = Path(__file__).with_name("findings.md")
"""What the time goes to, by the profiles. Kept by hand."""

_HEAD = """# Results

Written by `make bench`; only ratios within one run mean something elsewhere. Measured on:

"""
_COLUMNS = "| what | measured | target | from |\n| --- | ---: | --- | --- |\n"


def write(path: Path, found: Mapping[str, tuple[str, list[Figure]]]) -> None:
    """Write the figures of each benchmark, by its name, with what its docstring says."""
    parts = [_HEAD + "".join(f"- {line}\n" for line in describe())]
    for name, (about, figures) in found.items():
        rows = "".join(_row(figure) for figure in figures)
        parts.append(f"## {name}\n\n{about.strip()}\n\n{_COLUMNS}{rows}")
    parts.append(FINDINGS.read_text(encoding="utf-8"))
    path.write_text("\n".join(parts), encoding="utf-8")


def _row(figure: Figure) -> str:
    target = "" if figure.target is None else str(figure.target)
    missed = "" if figure.met else ", **missed**"
    value = f"{figure.value:.4g}{figure.unit}"
    return f"| {figure.what} | {value} | {target}{missed} | {figure.detail} |\n"
