"""Laws of the papers: the README and .env.example name everything there is."""

import re
from pathlib import Path

import pytest

from blofin_agent.cli import main
from blofin_agent.config import Settings
from tests.series import SERIES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


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
