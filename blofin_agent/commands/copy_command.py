"""The command `blofin-agent copy`: its options, what it prints, its exit codes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import click

from blofin_agent.commands import show
from blofin_agent.commands.console import read_settings
from blofin_agent.commands.copy_show import CopyShow, summary_lines
from blofin_agent.commands.looking import json_option
from blofin_agent.commands.options import copied_option
from blofin_agent.jobs.store_copy import job
from blofin_agent.jobs.store_copy.job import Order
from blofin_agent.runtime import clock
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE, WrongUse
from blofin_agent.store.database import Store, open_store
from blofin_agent.store.errors import WrongUrl
from blofin_agent.store.timing import of_environment


@click.command("copy")
@click.option("--from", "source", required=True, metavar="URL", help="The store to copy from.")
@click.option("--to", "target", required=True, metavar="URL", help="The store to copy into.")
@copied_option
@json_option
def copy_command(
    source: str, target: str, symbols: tuple[str, ...] | None, *, as_json: bool
) -> None:
    """Copy a whole store into another: from SQLite to PostgreSQL, back, or to one of its kind.

    Candles are compared by count and checksum, symbol by symbol and day by day: a day that is
    equal on both sides is not written again, so after `kill -9`, a signal or an outage run it again
    and it goes on. What the target has is never overwritten: a candle that it has with other
    figures is told, and kept. Runs, verifications, replaced candles, proofs, ticks, BloFin's list
    of instruments, bans and used budget come too; who keeps which symbol does not.

    The source is only read, and must have been made or migrated by this version. The target is
    made where there is none. Agents may run on both meanwhile; what they store while this runs
    comes with the next run of it. So copy once while the agent runs, stop it, copy once more,
    which takes little time, and start it on the target.

    A password need not stand in a URL, where others on this machine may see it: PGPASSWORD and
    ~/.pgpass do as well.

    Exits with 0 when all of the source is in the target, 3 when something of it is not, as the
    target has other figures for a candle or cannot hold it, 1 when it was broken off.

    Example: blofin-agent copy --from sqlite:///data/blofin.db --to postgresql://blofin@db/blofin
    """
    shown = CopyShow(quiet=as_json)
    with (
        _opened(source, "--from", read_only=True) as one,
        _opened(target, "--to", read_only=False) as other,
        shown,
    ):
        here = read_settings(blofin_database_url=source).egress
        there = read_settings(blofin_database_url=target).egress
        order = Order.of(one, other, symbols, {"": there, here: there})
        report = clock.run(partial(job.copy, order, shown.teller()))
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        show.print_lines(summary_lines(report))
    if report.stopped:
        raise click.exceptions.Exit(FAILED)
    if not report.complete:
        raise click.exceptions.Exit(INCOMPLETE)


@contextmanager
def _opened(url: str, option: str, *, read_only: bool) -> Iterator[Store]:
    """Open a store for the length of a block. Raises StoreUnusable, and WrongUse for its URL."""
    try:
        store = open_store(url, read_only=read_only, timing=of_environment())
    except WrongUrl as error:
        raise WrongUse(str(error).replace("BLOFIN_DATABASE_URL", option)) from None
    try:
        yield store
    finally:
        store.close()
