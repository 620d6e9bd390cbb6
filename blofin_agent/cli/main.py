"""The command line: every command; what they have in common is in `console`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click

from blofin_agent import __version__
from blofin_agent.cli import backfill, check, progress, queries, verify
from blofin_agent.cli.completion import completion
from blofin_agent.cli.console import opened, read_settings, say
from blofin_agent.cli.export import export
from blofin_agent.cli.fleet import fleet
from blofin_agent.cli.legacy_import import import_command
from blofin_agent.cli.output import OutputLost, writing
from blofin_agent.cli.store_copy import copy_command
from blofin_agent.config import Settings, SettingsError
from blofin_agent.domain.errors import WrongEnvironment
from blofin_agent.domain.sanitize import one_line, shorten
from blofin_agent.exchange.rest_client import client as make_client
from blofin_agent.observability import log_setup
from blofin_agent.runtime import clock
from blofin_agent.runtime.gc_tuning import no_gc
from blofin_agent.runtime.user_errors import FAILED, WRONG_USE, Failed
from blofin_agent.store.database import Database
from blofin_agent.store.errors import InvalidDatabaseUrl, StoreError
from blofin_agent.store.timing import of_environment
from blofin_agent.web.listen import listen

MAX_QUOTED_CHARACTERS = 400
"""Characters of a complaint about the command line, which repeats what is wrong there."""


class _Group(click.Group):
    """Turns what a person can mend into one clear line and an exit code."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            with _in_one_line(), writing():
                return super().make_context(*args, **extra)
        except OutputLost as error:
            say(str(error))
            raise click.exceptions.Exit(error.code) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            clock.speed_up()
            of_environment()
        except ValueError as error:
            say(str(error))
            ctx.exit(WRONG_USE)
        try:
            with _in_one_line(), writing():
                return super().invoke(ctx)
        except (SettingsError, InvalidDatabaseUrl, WrongEnvironment) as error:
            say(f"wrong setting: {error}")
            ctx.exit(WRONG_USE)
        except Failed as error:
            say(str(error))
            ctx.exit(error.code)
        except StoreError as error:
            say(str(error))
            ctx.exit(FAILED)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Let click repeat what was written on the command line short, and without its controls."""
    try:
        yield
    except click.UsageError as error:
        if error.message.isprintable() and len(error.message) <= MAX_QUOTED_CHARACTERS:
            raise
        short = click.UsageError(shorten(error.format_message(), MAX_QUOTED_CHARACTERS), error.ctx)
        raise short from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="blofin-agent")
def main() -> None:
    """Keep a complete BloFin candle history, and know how complete it is.

    Settings come from the environment or from .env; see .env.example.
    """


for _command in (
    backfill.backfill,
    queries.coverage,
    queries.gaps,
    queries.runs,
    verify.verify,
    export,
    fleet,
    copy_command,
    import_command,
    completion,
):
    main.add_command(_command)


@main.command()
def run() -> None:
    """Run the agent: live candles, periodic backfill, metrics.

    Example: BLOFIN_SYMBOLS=BTC-USDT,ETH-USDT blofin-agent run
    """
    # The web server comes with it: no other command should wait for that to load.
    with no_gc():
        from blofin_agent import agent  # noqa: PLC0415

    settings = read_settings()
    bound, url = listen(settings)
    with opened(settings, patient=True) as store:
        # Here, as it reads the machine's certificates: longer than the event loop may be held.
        client = make_client(settings.blofin_rest_url, __version__)

        async def serve() -> None:
            async with client as http:
                await agent.run(
                    settings, store, http, bound, partial(_announce, settings, store, url)
                )

        clock.run(serve)


def _announce(settings: Settings, store: Database, url: str) -> None:
    """Say in three lines where everything is."""
    bars = f"{settings.backfill_timeframe.value} candles, {settings.backfill_lookback_hours} h back"
    progress.print_lines(
        [
            f"page      {url}/   metrics {url}/metrics",
            f"watching  {', '.join(settings.blofin_symbols)}: {bars}",
            f"storing   {store.where}",
        ]
    )


@main.command("check")
def check_command() -> None:
    """Check the settings, the database, the exchange and the symbols, and say what works.

    Exits with 0 when all does, 1 when something does not.

    Example: blofin-agent check
    """
    settings = read_settings()
    findings = clock.run(partial(check.check, settings))
    for finding in findings:
        state = "ok    " if finding.ok else "FAILED"
        click.echo(one_line(f"{state}  {finding.about:<9} {finding.text}"))
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(FAILED)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8790, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--symbols", default="8", show_default=True, metavar="N|LIST", help="How many, or which."
)
@click.option("--seed", default=1, show_default=True, help="Another seed is another market.")
@click.option("--holes", default=0.0005, show_default=True, help="Share of bars that never were.")
@click.option(
    "--page-limit", default=1440, show_default=True, type=click.IntRange(1), help="Rows a page."
)
@click.option("--no-limits", is_flag=True, help="Count requests, and refuse none.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[,name=value...]",
    help="Do this wrong: `--fault list` tells what there is. Can be repeated.",
)
def simulate(
    host: str,
    port: int,
    symbols: str,
    seed: int,
    holes: float,
    page_limit: int,
    *,
    no_limits: bool,
    faults: tuple[str, ...],
) -> None:
    """Run a BloFin of our own: REST and websocket, with candles made from a seed.

    Example: blofin-agent simulate --port 8790 --symbols BTC-USDT,ETH-USDT --seed 7
    """
    from blofin_agent.cli import demo  # noqa: PLC0415 - as above
    from blofin_agent.simulator.faults.registry import KINDS  # noqa: PLC0415 - likewise
    from blofin_agent.simulator.server import SimulatorOptions  # noqa: PLC0415 - likewise

    if "list" in faults:
        progress.print_lines([f"{kind:<24}{what}" for kind, what in KINDS.items()])
        return
    log_setup.configure("console", "info")
    options = SimulatorOptions(
        host,
        port,
        seed=seed,
        hole_rate=holes,
        page_limit=page_limit,
        limits=not no_limits,
        faults=faults,
    )
    demo.simulate(symbols, options)


@main.command("demo")
def demo_command() -> None:
    """Run the agent against the simulator, with gaps in the store, and watch it heal.

    Example: blofin-agent demo
    """
    from blofin_agent.cli import demo  # noqa: PLC0415 - as above

    settings = read_settings()
    bound, url = listen(settings)

    def announce(here: Settings, store: Database) -> None:
        _announce(here, store, url)
        control = f"{here.blofin_rest_url}/control/faults"
        withhold = f"{control}/withhold?symbol={here.blofin_symbols[-1]}"
        progress.print_lines(
            [
                f"exchange  {here.blofin_rest_url} (simulated)",
                f"try       curl -X PUT '{withhold}'   and -X DELETE, to give the symbol again",
            ]
        )

    demo.demo(settings, bound, announce)
