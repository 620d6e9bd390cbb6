"""Laws of the runbook: a section for each alert, about things that exist."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from blofin_agent.cli.main import main
from blofin_agent.config import Settings
from blofin_agent.store.database import open_store
from tests.series import SERIES

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "blofin_agent" / "web" / "runbook.md").read_text()
SECTIONS = {
    name.strip(): body for name, body in (one.split("\n", 1) for one in TEXT.split("\n## ")[1:])
}
ALERTS = {
    rule["alert"]
    for path in (ROOT / "deploy/prometheus/rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def test_every_alert_has_one_section_and_every_section_an_alert():
    """Under its own name."""
    assert set(SECTIONS) == ALERTS
    assert TEXT.count("\n## ") == len(ALERTS)


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_a_section_has_its_four_parts(name):
    """In this order, none of them empty."""
    parts = SECTIONS[name].split("\n### ")[1:]
    titles = [part.split("\n", 1)[0] for part in parts]
    assert titles == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(len(part) > 30 for part in parts)


def test_it_speaks_of_metrics_settings_commands_and_alerts_that_exist():
    """Whatever looks like one."""
    assert set(re.findall(r"\bblofin_\w+", TEXT)) - {"blofin_ws"} <= set(SERIES)
    settings = {name.upper() for name in Settings.model_fields}
    named = set(re.findall(r"\b(?:BLOFIN|BACKFILL|API|COVERAGE|LOG)_[A-Z_]+", TEXT))
    assert len(named) > 5
    assert named <= settings
    commands = set(re.findall(r"\bblofin-agent (\w+)", TEXT))
    assert len(commands) > 2
    assert commands <= set(main.commands)
    assert set(re.findall(r"\bBlofin[A-Z]\w+", TEXT)) == {
        name for name in ALERTS if name != "Watchdog"
    }


def test_every_option_it_names_is_one_of_that_command():
    """Within the same quoted command."""
    named = {
        (command, option)
        for command, rest in re.findall(r"`blofin-agent (\w+)([^`]*)`", TEXT)
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)
    }
    assert len(named) > 2
    assert named <= {
        (name, option)
        for name, command in main.commands.items()
        for parameter in command.params
        for option in parameter.opts
    }


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_its_sql_runs_on_a_database_of_ours(database):
    """Tables and columns are those of the schema; on PostgreSQL written as the runbook says."""
    statements = re.findall(r"\bSELECT [^;]+;", TEXT)
    assert statements
    if database.startswith("postgresql"):
        other, ours = re.search(r"write `([^`]+)` where the SQL below has `([^`]+)`", TEXT).groups()
        assert all(ours in statement for statement in statements)
        statements = [statement.replace(ours, other) for statement in statements]
    store = open_store(database)
    try:
        for statement in statements:
            assert store.read_here(lambda db, sql=statement: db.execute(sa.text(sql)).all()) == []
    finally:
        store.close()
