"""Console: what every command begins and ends with: settings, logs, the store, exit codes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

import click

from blofin_agent import config
from blofin_agent.config import Settings
from blofin_agent.domain.sanitize import one_line
from blofin_agent.observability import log_setup
from blofin_agent.store.database import Database, open_store
from blofin_agent.store.errors import NoDatabase
from blofin_agent.store.timing import of_environment


def say(text: str) -> None:
    """Tell a person on standard error what is wrong, line by line."""
    for line in text.splitlines():
        click.echo(f"blofin-agent: {one_line(line)}", err=True)


def read_settings(**overrides: object) -> Settings:
    """Read the settings and set up the log; overrides that are None are none.

    Raises SettingsError.
    """
    settings = config.load(
        **{name: value for name, value in overrides.items() if value is not None}
    )
    log_setup.configure(settings.log_format, settings.log_level)
    return settings


@contextmanager
def opened(
    settings: Settings,
    *,
    read_only: bool = False,
    patient: bool = False,
    existing: bool = False,
) -> Iterator[Database]:
    """Open the store for the length of a block; see `open_store`. Raises StoreUnusable."""
    store = open_store(
        settings.blofin_database_url,
        read_only=read_only,
        patient=patient,
        existing=existing,
        timing=of_environment(),
    )
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened_to_plan(settings: Settings) -> Iterator[Database]:
    """Open the store for those who only plan: where there is none yet, none is made.

    They get an empty one that is gone after the block, and it is said. Raises StoreUnusable.
    """
    with ExitStack() as stack:
        try:
            store = stack.enter_context(opened(settings, existing=True))
        except NoDatabase as error:
            say(f"{error}; this is the plan for a new one")
            folder = stack.enter_context(TemporaryDirectory())
            new = {"blofin_database_url": f"sqlite:///{folder}/blofin.db"}
            store = stack.enter_context(opened(settings.model_copy(update=new)))
        yield store
