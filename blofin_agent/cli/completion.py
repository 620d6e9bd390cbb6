"""Completion: the shell completes commands, options and symbols."""

import click
from click.shell_completion import CompletionItem, get_completion_class

from blofin_agent import config
from blofin_agent.config import SettingsError
from blofin_agent.store.database import open_store
from blofin_agent.store.errors import StoreError
from blofin_agent.store.tables import instruments

PROGRAM = "blofin-agent"
VARIABLE = "_BLOFIN_AGENT_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete commands, options and symbols.

    \b
    bash: add to ~/.bashrc                     eval "$(blofin-agent completion bash)"
    zsh:  add to ~/.zshrc                      eval "$(blofin-agent completion zsh)"
    fish: blofin-agent completion fish > ~/.config/fish/completions/blofin-agent.fish

    Example: eval "$(blofin-agent completion bash)"
    """  # noqa: D301 - click's mark for lines that are not to be joined
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all of them
    click.echo(made(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())


def complete_symbols(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the symbols of BloFin's list, as stored, that continue a list of symbols.

    Without settings or a database there are none: a completion never complains.
    """
    before, comma, begun = incomplete.rpartition(",")
    try:
        store = open_store(config.load().blofin_database_url, read_only=True)
    except (SettingsError, StoreError):
        return []
    try:
        listed = store.read_here(instruments.load_instruments).instruments
    except StoreError:
        return []
    finally:
        store.close()
    named = set(before.upper().split(","))
    return [
        CompletionItem(f"{before}{comma}{symbol}")
        for symbol in sorted(listed)
        if symbol.startswith(begun.upper()) and symbol not in named
    ]
