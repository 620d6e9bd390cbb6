"""Pushgateway: hand metrics to one over HTTP."""

import http.client
import socket
import urllib.error
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

import trio
from prometheus_client import push_to_gateway, pushadd_to_gateway
from prometheus_client.exposition import basic_auth_handler
from prometheus_client.registry import Collector

from blofin_agent.config import split_url
from blofin_agent.domain.sanitize import shorten

JOB = "blofin-backfill"
VERIFY_JOB = "blofin-verify"
"""Of its own: what replaces all that a job told must not replace another's."""
PUSH_TIMEOUT_S = 5.0
"""A push may take so long: after a signal the process still ends within its ten seconds."""


class PushError(Exception):
    """The metrics did not arrive. The text says why, without credentials."""


@dataclass(frozen=True, slots=True)
class Pushgateway:
    """Where a Pushgateway is. `url` has no credentials in it, and so may be shown."""

    url: str
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)


def parse(text: str) -> Pushgateway:
    """Read `http://user:password@host:9091`, with a path where the gateway has one before its own.

    Raises ValueError, which repeats nothing of it.
    """
    parts = split_url(text, "http", "https")
    if parts.query or parts.fragment:
        raise ValueError("it must be a URL without ? and #, such as http://127.0.0.1:9091")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    user = None if parts.username is None else unquote(parts.username)
    return Pushgateway(bare.geturl().rstrip("/"), user, unquote(parts.password or ""))


async def push(
    gateway: Pushgateway,
    families: Collector,
    *,
    whole: bool,
    job: str = JOB,
    within_s: float = PUSH_TIMEOUT_S,
) -> None:
    """Hand over the families of a job, `blofin-backfill` as a rule, on this host. Raises PushError.

    `whole`: they replace all that this host told before (PUT); else only families of the same
    names, and what is not among them stays (POST).
    """
    send = partial(
        push_to_gateway if whole else pushadd_to_gateway,
        gateway.url,
        job,
        families,
        grouping_key={"instance": socket.gethostname()},
        timeout=within_s,
        handler=partial(basic_auth_handler, username=gateway.user, password=gateway.password),
    )
    try:
        # The timeout is that of each step on the socket, and there is none on the host's name.
        with trio.fail_after(within_s):
            await trio.to_thread.run_sync(send, abandon_on_cancel=True)
    except (trio.TooSlowError, TimeoutError):
        raise PushError(f"no answer within {within_s:g} s") from None
    except urllib.error.HTTPError as error:
        raise PushError(_refusal(error)) from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise PushError(_reason(error, within_s)) from None


def _refusal(error: urllib.error.HTTPError) -> str:
    body = b""
    with error, suppress(OSError, http.client.HTTPException):
        body = error.read(200)
    said = shorten(" ".join(body.decode(errors="replace").split()))
    return f"it answered with HTTP {error.code}" + (f": {said}" if said else "")


def _reason(error: Exception, within_s: float) -> str:
    found = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(found, TimeoutError):
        return f"no answer within {within_s:g} s"
    if isinstance(found, http.client.BadStatusLine) and not isinstance(found, OSError):
        return f"it does not speak HTTP ({shorten(str(found))})"
    return getattr(found, "strerror", None) or shorten(str(found)) or type(found).__name__
