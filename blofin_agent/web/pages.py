"""The pages as HTML: the coverage at `/`, and the runbook."""

import re
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import NamedTuple

import jinja2
from markdown_it import MarkdownIt

from blofin_agent.text import minute_text, percent
from blofin_agent.watch import Watch, health_of, worst_first

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("blofin_agent.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
_templates.filters |= {"percent": percent, "minute": minute_text}


def coverage(watch: Watch) -> str:
    """Return the page of every symbol's figures as of now, the worst first."""
    counts = worst_first(watch.counts()) if watch.loaded else []
    return _templates.get_template("page.html").render(
        health=health_of(count for _, count in counts).value.upper(),
        rows=[
            (symbol, count, history.held.newest)
            for symbol, count in counts
            if (history := watch.histories.get(symbol))
        ],
        window=watch.window(),
        bar=watch.bar.value,
        loaded=watch.loaded,
    )


@cache
def runbook() -> str:
    """Return the page of `runbook.md` beside this file. Made once: the file does not change."""
    source = resources.files("blofin_agent.web").joinpath("runbook.md").read_text(encoding="utf-8")
    told = read_markdown(source)
    return _templates.get_template("runbook.html").render(text=told.html, sections=told.sections)


class Told(NamedTuple):
    """A text as HTML, and the ids and titles of its sections."""

    html: str
    sections: list[tuple[str, str]]


def read_markdown(source: str) -> Told:
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
    return Told(markdown.renderer.render(tokens, markdown.options, {}), sections)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
