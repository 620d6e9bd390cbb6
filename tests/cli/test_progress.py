"""Laws of what is shown: foreign text is shown as it is, in its line."""

import io

from rich.console import Console
from rich.progress import TextColumn

from blofin_agent.cli import tables
from blofin_agent.cli.progress import TerminalBar
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger

HOSTILE = ":boom: [red]x[/red] [/] \x1b[2J\nforged"
SHOWN = ":boom: [red]x[/red] [/] \\x1b[2J\\nforged"


def test_a_line_is_shown_as_it_is(capsys, monkeypatch):
    """Plain, and above a bar on a terminal."""
    with TerminalBar(TextColumn("x")) as bar:
        bar.line(HOSTILE)
    assert capsys.readouterr() == (SHOWN + "\n", "")
    out = io.StringIO()
    terminal = Console(file=out, width=200, force_terminal=True)
    monkeypatch.setattr("blofin_agent.cli.progress.Console", lambda **_: terminal)
    with TerminalBar(TextColumn("x")) as bar:
        bar.line(HOSTILE)
    assert SHOWN in out.getvalue()


def test_plain_lines_go_where_they_disturb_nothing(capsys):
    """To stderr while stdout has the data, and nowhere where only JSON is wanted."""
    with TerminalBar(TextColumn("x"), aside=True) as bar:
        bar.line("beside")
    assert capsys.readouterr() == ("", "beside\n")
    with TerminalBar(TextColumn("x"), quiet=True) as bar:
        bar.line("not at all")
    assert capsys.readouterr() == ("", "")


def test_a_note_is_shown_as_it_is(capsys):
    """In a table, whoever wrote it into the database."""
    run = BackfillRun("A:boom:-[B]", "1m", RunTrigger.PERIODIC, 0, 1)
    run.status, run.note = RunStatus.FAILED, HOSTILE
    tables.print_table(tables.runs_table([run]))
    line = capsys.readouterr().out.splitlines()[1]
    assert SHOWN in line
    assert "A:boom:-[B]" in line
