"""Laws of what is shown: foreign text is shown as it is, in its line."""

import io

from rich.console import Console
from rich.progress import Progress, TextColumn

from blofin_agent.commands import tables
from blofin_agent.commands.show import print_above, print_lines
from blofin_agent.core.run import Run, Status, Trigger

HOSTILE = ":boom: [red]x[/red] [/] \x1b[2J\nforged"
SHOWN = ":boom: [red]x[/red] [/] \\x1b[2J\\nforged"


def test_a_line_is_shown_as_it_is(capsys):
    """Plain, and above a bar on a terminal."""
    print_lines([HOSTILE])
    assert capsys.readouterr().out == SHOWN + "\n"
    out = io.StringIO()
    with Progress(TextColumn("x"), console=Console(file=out, width=200)) as bar:
        print_above(bar, HOSTILE)
    assert SHOWN in out.getvalue()


def test_a_note_is_shown_as_it_is(capsys):
    """In a table, whoever wrote it into the database."""
    run = Run("A:boom:-[B]", "1m", Trigger.PERIODIC, 0, 1)
    run.status, run.note = Status.FAILED, HOSTILE
    tables.print_table(tables.runs_table([run]))
    line = capsys.readouterr().out.splitlines()[1]
    assert SHOWN in line
    assert "A:boom:-[B]" in line
