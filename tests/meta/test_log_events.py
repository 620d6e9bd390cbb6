"""Log calls, read off the source: an event is a constant phrase, what varies is in fields."""

import ast
import re
from pathlib import Path

import pytest

import blofin_agent

ROOT = Path(blofin_agent.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
EVENT = re.compile(r"(BloFin|[a-z])[A-Za-z', -]+")
"""Lower-case words without digits and values; names are written as they are."""
FIELD = re.compile(r"[a-z]+(_[a-z]+)*")

HELPERS = {("observability/outage.py", "self._event"), ("observability/outage.py", "self._over")}
"""First arguments that are no literals: those who make an Outage give it literals."""


def calls(tree):
    """Return the log calls, as (node, level); whatever else is done with a logger's methods too."""
    called = {id(one.func): one for one in ast.walk(tree) if isinstance(one, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "log":
            yield called.get(id(node)), node


def complaint(path, call, attribute):
    """Return what is wrong with a log call; "" if nothing is."""
    if call is None:
        return "the method is not called here"
    if attribute.attr not in LEVELS:
        return f"{attribute.attr} is no level"
    if len(call.args) != 1:
        return "an event is the only positional argument"
    (event,) = call.args
    if (path, ast.unparse(event)) not in HELPERS and not is_event(event):
        return f"{ast.unparse(event)} is no plain phrase"
    bad = [one.arg for one in call.keywords if one.arg and not FIELD.fullmatch(one.arg)]
    return f"{bad} are no names of fields" if bad else ""


def is_event(node):
    return isinstance(node, ast.Constant) and bool(EVENT.fullmatch(str(node.value)))


def trees():
    """Return the modules that log, by path."""
    for path in sorted(ROOT.rglob("*.py")):
        if "structlog" in (text := path.read_text()):
            yield path.relative_to(ROOT).as_posix(), ast.parse(text)


def test_every_event_is_a_plain_phrase():
    """It can be counted and searched for."""
    found, wrong = 0, []
    for path, tree in trees():
        for call, attribute in calls(tree):
            found += 1
            if told := complaint(path, call, attribute):
                wrong.append(f"{path}:{attribute.lineno}: {told}")
    assert wrong == []
    assert found >= 30


def test_every_outage_gets_plain_phrases():
    """Its helpers log what it was made with: the beginning and the end."""
    made = []
    for file in sorted(ROOT.rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and (
                ast.unparse(node.func) == "Outage"
                or (path.endswith("_outage.py") and ast.unparse(node.func) == "super().__init__")
            ):
                made.append(path)
                assert all(is_event(one) for one in node.args[:2]), f"{path}:{node.lineno}"
    assert sorted(made) == [
        "live/trade_handler.py",
        "observability/database_outage.py",
        "wiring.py",
    ]


def test_every_logger_is_called_log():
    """So none is overlooked here."""
    for path, tree in trees():
        made = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and "get_logger" in ast.unparse(node)
        ]
        used = (ROOT / path).read_text().count("get_logger")
        assert made == ["log = structlog.get_logger()"] * used, path


@pytest.mark.parametrize(
    "line",
    [
        'log.info(f"{symbol}: stored")',
        'log.info("stored %s", symbol)',
        'log.info("5 stored")',
        'log.info("Stored")',
        'log.info("stored: BTC/USDT")',
        "log.info(text)",
        "log.info()",
        "tell = log.info",
        'log.info("stored" + symbol)',
        'log.info(event="stored")',
        'log.info("stored", Symbol=1)',
        'log.bind(a=1).info("stored")',
    ],
)
def test_what_is_no_plain_phrase_is_found(line):
    """The laws above find what they are to find."""
    assert any(complaint("x.py", *one) for one in calls(ast.parse(line)))


def test_a_plain_phrase_with_fields_passes():
    """As it should be written."""
    (one,) = calls(ast.parse('log.info("gap filled", symbol=name, duration_s=1.5, **more)'))
    assert complaint("x.py", *one) == ""
