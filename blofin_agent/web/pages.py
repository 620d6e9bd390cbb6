"""The pages as HTML: the overview at `/`, a symbol's page, the runs, and the runbook."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import NamedTuple

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from blofin_agent import __version__
from blofin_agent.coverage.gap_reasons import Gap
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.domain.symbol_coverage import health
from blofin_agent.runtime.format import clock_text, duration_text, minute_text, percent
from blofin_agent.status.health_summary import bars_text
from blofin_agent.status.snapshot import StatusSnapshot, StatusSnapshotter, SymbolRow

MAX_GAPS = 200
"""Gaps that a symbol's page lists; the API has them all."""

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("blofin_agent.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # An upgrade that changes them under a running agent must not reach it by halves.
    auto_reload=False,
)


def _time(time_ms: float, *, ago: bool = False) -> Markup:
    """Return a moment for machines and people; with `ago`, the script shows its age instead."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    short = moment.strftime("%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        clock_text(int(time_ms)),
        Markup(" data-ago") if ago else "",
        short,
    )


_templates.filters |= {
    "percent": percent,
    "minute": minute_text,
    "duration": duration_text,
    "time": _time,
    "number": "{:,}".format,
    "health": health,
}
_templates.globals |= {"version": __version__, "bars_text": bars_text}


def load() -> None:
    """Read every template, so that none is read later."""
    for name in _templates.list_templates(extensions=["html"]):
        _templates.get_template(name)


def _macro(name: str, *values: object) -> str:
    return str(getattr(_templates.get_template("parts.html").module, name)(*values))


def row_html(row: SymbolRow) -> str:
    """Return one symbol's row of the table."""
    return _macro("symbol_row", row)


def overview_html(overview: StatusSnapshot, snapshotter: StatusSnapshotter) -> str:
    """Return what stands above the gap map."""
    return _macro(
        "overview",
        overview,
        snapshotter.tracker.bar,
        list(snapshotter.not_ready()),
        snapshotter.where,
    )


def coverage(
    health: str, overview: str, rows: Iterable[str], runs: Sequence[BackfillRun] | None
) -> str:
    """Return the page at `/`. `overview`, `rows`: HTML, as `overview_html` and `row_html` make it.

    `runs`: the last ones, None when they cannot be read now.
    """
    return _templates.get_template("page.html").render(
        health=health, overview=overview, rows="".join(rows), runs=runs
    )


def symbol(
    snapshotter: StatusSnapshotter, row: SymbolRow, runs: Sequence[BackfillRun] | None
) -> str:
    """Return the page of one symbol: its figures, gaps, candles and runs."""
    gaps = list(snapshotter.gaps([row.symbol]))
    return _templates.get_template("symbol.html").render(
        row=row,
        gaps=_newest_first(gaps)[:MAX_GAPS],
        more=max(0, len(gaps) - MAX_GAPS),
        runs=runs,
        window=snapshotter.tracker.window(),
        bar=snapshotter.tracker.bar,
    )


def _newest_first(gaps: Sequence[Gap]) -> list[Gap]:
    return sorted(gaps, key=lambda gap: gap.span.start, reverse=True)


def past_runs(
    runs: Sequence[BackfillRun] | None,
    older: int | None,
    symbol: str | None,
    status: RunStatus | None,
) -> str:
    """Return the page of past runs. `older`: the id before which there are more."""
    return _templates.get_template("runs.html").render(
        runs=runs, older=older, symbol=symbol or "", status=status, statuses=list(RunStatus)
    )


def missing(path: str) -> str:
    """Return the page for what is not there."""
    return _templates.get_template("missing.html").render(path=path)


@cache
def runbook() -> str:
    """Return the page of `runbook.md` beside this file. Made once: the file does not change."""
    source = resources.files("blofin_agent.web").joinpath("runbook.md").read_text(encoding="utf-8")
    told = read_markdown(source)
    return _templates.get_template("runbook.html").render(text=told.html, sections=told.sections)


class RenderedText(NamedTuple):
    """A text as HTML, and the ids and titles of its sections."""

    html: str
    sections: list[tuple[str, str]]


def read_markdown(source: str) -> RenderedText:
    """Turn Markdown with tables into HTML; HTML in it is shown as text.

    `## BlofinAgentDown` has the id `blofinagentdown`; what is below it repeats from section to
    section, so `### Meaning` has the id `blofinagentdown-meaning`.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(source)
    sections: list[tuple[str, str]] = []
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        name = _slug(inline.content)
        if opening.tag == "h2":
            sections.append((name, inline.content))
        elif opening.tag != "h1" and sections:
            name = f"{sections[-1][0]}-{name}"
        opening.attrSet("id", name)
    return RenderedText(markdown.renderer.render(tokens, markdown.options, {}), sections)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
