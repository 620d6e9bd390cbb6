"""Laws of the papers: they name everything there is, and what they lead to is there."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from blofin_agent import __version__
from blofin_agent.cli.main import main
from blofin_agent.config import Settings
from tests.series import SERIES

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAPERS = [
    path for folder in ("*.md", "deploy/**/*.md", "docs/*.md") for path in sorted(ROOT.glob(folder))
]


def test_every_metric_is_in_the_readme():
    """By its name without the prefix."""
    names = {
        re.sub(r"_(bucket|count|sum)$", "", name) for name in SERIES if name.startswith("blofin_")
    }
    assert len(names) > 25
    assert [name for name in sorted(names) if f"`{name[7:]}`" not in README] == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_both_papers(name):
    """With its default in the example."""
    assert f"`{name.upper()}`" in README
    default = Settings.model_fields[name].default
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    shown = shown.lower() if isinstance(default, bool) else shown
    shown = "" if default is None else shown
    assert f"\n{name.upper()}={shown}\n" in (ROOT / ".env.example").read_text()


@pytest.mark.parametrize("name", main.commands)
def test_every_command_is_in_the_readme_and_has_an_example(name):
    """`--help` shows how to call it."""
    assert f"| `{name}` |" in README
    assert "Example: " in (main.commands[name].help or "")


def tokens(path):
    """Return a paper's tokens, those inside of lines too, one after another."""
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text()):
        yield token
        yield from token.children or []


def links(path):
    """Return where a paper's links and pictures lead, less what lies elsewhere."""
    found = []
    for token in tokens(path):
        found += [token.attrs[name] for name in ("href", "src") if name in token.attrs]
        if token.type.startswith("html"):
            found += re.findall(r'(?:href|src)="([^"]+)"', token.content)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(path):
    """Return a paper's headings as links name them."""
    every = list(tokens(path))
    titles = [
        inside.content for heading, inside in pairwise(every) if heading.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_something(path):
    """To a file of the repository, and where it names a heading, to that heading."""
    for link in links(path):
        name, _, anchor = link.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.is_relative_to(ROOT), link
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def test_the_papers_lead_to_one_another():
    """From the README to each of the others, and the laws above have something to judge."""
    there = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}
    assert there <= set(links(ROOT / "README.md"))
    assert {path.name for path in PAPERS} > there - {"LICENSE"}
    assert len(links(ROOT / "CONTRIBUTING.md")) > 30
    assert "who-may-ask" in anchors(ROOT / "README.md")


def test_the_map_has_every_folder():
    """Of the package and of what is deployed, where source lies."""
    named = set(re.findall(r"^\| `([\w/]+)/` \|", CONTRIBUTING, re.MULTILINE))
    sources = [*(ROOT / "blofin_agent").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")]
    folders = {str(path.parent.relative_to(ROOT)) for path in sources} - {
        "blofin_agent/store/migrations/versions"
    }
    assert len(folders) > 10
    assert sorted(folders - named) == []
    assert [name for name in named if not (ROOT / name).is_dir()] == []


def test_the_version_stands_where_the_release_steps_say():
    """So that none is forgotten; that they agree is a law of each."""
    step = CONTRIBUTING[CONTRIBUTING.index("Set the version in") :].partition(";")[0]
    number = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    having = {
        str(path.relative_to(ROOT))
        for folder in ("blofin_agent", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".yml", ".service", ".md", "")
        if path.is_file()
        if number.search(path.read_text())
    }
    assert set(re.findall(r"`(\S+/\S+)`", step)) == having


def test_the_changelog_is_one_by_its_form():
    """Keep a Changelog: Unreleased first, then releases by date; known kinds, each once."""
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *releases = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "Unreleased"
    dates = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d)", one)[1] for one in releases]
    assert dates == sorted(dates, reverse=True)
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for section in text.split("\n## ")[1:]:
        found = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found]
        for part in section.split("\n### ")[1:]:
            assert part.split("\n", 1)[1].startswith("- ")
