"""Report: the figures as RESULTS.md, behind them the findings, which a person wrote.

A part that was not measured again stays as it was: each says when and on what it was measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.machine import describe

FINDINGS = Path(__file__).with_name("findings.md")
"""What the time goes to, by the profiles. Kept by hand."""

_HEAD = """# Results

Written by `make bench`; only ratios within one run mean something elsewhere.
"""
_COLUMNS = "| what | measured | target | from |\n| --- | ---: | --- | --- |\n"
_PART = "\n## "
Found = Mapping[str, tuple[str, Sequence[Figure]]]
"""What a benchmark's docstring says, and its figures, by its name."""


def write(path: Path, found: Found, order: Sequence[str]) -> None:
    """Write the parts that were measured into the file, in the order of the names."""
    parts = _parts(path) | {name: _part(*told) for name, told in found.items()}
    told = "".join(f"{_PART}{name}\n\n{parts[name].strip()}\n" for name in order if name in parts)
    path.write_text(f"{_HEAD}{told}\n{FINDINGS.read_text(encoding='utf-8')}", encoding="utf-8")


def _parts(path: Path) -> dict[str, str]:
    """Return what the file has of each benchmark."""
    if not path.exists():
        return {}
    _, *parts = path.read_text(encoding="utf-8").split(_PART)
    return {name: text for name, _, text in (part.partition("\n") for part in parts)}


def _part(about: str, figures: Sequence[Figure]) -> str:
    rows = "".join(_row(figure) for figure in figures)
    return f"{about.strip()}\n\nMeasured {describe()}.\n\n{_COLUMNS}{rows}"


def _row(figure: Figure) -> str:
    target = "" if figure.target is None else str(figure.target)
    missed = "" if figure.met else ", **missed**"
    value = f"{figure.value:.4g}{figure.unit}"
    return f"| {figure.what} | {value} | {target}{missed} | {figure.detail} |\n"
