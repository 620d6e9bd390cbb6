"""The command `fleet`: which agents share the database, and who keeps what."""

import json

import click

from blofin_agent.cli import tables
from blofin_agent.cli.console import opened, read_settings
from blofin_agent.cli.options import symbols_option
from blofin_agent.cli.queries import json_option
from blofin_agent.fleet.overview import FleetOverview, read_fleets
from blofin_agent.runtime.user_errors import INCOMPLETE, Failed, WrongUse


@click.command("fleet")
@symbols_option
@json_option
def fleet(symbols: tuple[str, ...] | None, *, as_json: bool) -> None:
    """Show which agents share the database, and who keeps which symbol. Reads the store only.

    Agents on one PostgreSQL database share the symbols out among themselves. One that was not
    heard of until its lease is over is gone, and the others take over what it kept.

    Exits with 0 when every symbol that an agent is set to watch is kept by one, 3 when some are
    not, 1 when no agent lives.

    Example: blofin-agent fleet --symbols BTC-USDT
    """
    settings = read_settings()
    with opened(settings, read_only=True) as store:
        if store.engine.dialect.name == "sqlite":
            raise WrongUse(
                f"the database {store.where} is a file of SQLite, for one agent; several share one "
                "of PostgreSQL: see BLOFIN_DATABASE_URL"
            )
        fleets = store.read_here(read_fleets)
    if symbols is not None:
        fleets = [each.only(symbols) for each in fleets]
    if as_json:
        click.echo(json.dumps({"fleets": [each.as_json() for each in fleets]}))
    elif fleets:
        tables.print_table(tables.fleet_table(fleets))
        for each in fleets:
            _tell_orphans(each)
    if not any(each.living for each in fleets):
        raise Failed("no agent lives on this database; `blofin-agent run` starts one")
    if any(each.orphaned for each in fleets):
        raise click.exceptions.Exit(INCOMPLETE)


def _tell_orphans(each: FleetOverview) -> None:
    if each.orphaned:
        names = ", ".join(each.orphaned)
        click.echo(f"{each.bar}: nobody keeps {names}")
