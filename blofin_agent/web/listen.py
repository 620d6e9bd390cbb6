"""Listen: where the page and /metrics are, and who may ask for them."""

import errno
import socket
from typing import Any

from blofin_agent.config import Settings, SettingsError
from blofin_agent.runtime.user_errors import Failed
from blofin_agent.web.access_control import AccessPolicy, is_loopback


class ListenError(Failed):
    """The address cannot be listened on."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises OSError.

    Made here and not by hypercorn, a port in use is a plain error and no group of exceptions.
    """
    family, kind, protocol, _, address = _resolve(host, port, socket.AI_PASSIVE)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Two programs may bind one port; only one may listen.
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound


def listen(settings: Settings) -> tuple[socket.socket, str]:
    """Return a socket for the page and /metrics, and its URL.

    Raises ListenError, and SettingsError for one that leads outside without a token.
    """
    try:
        bound = bind(settings.api_host, settings.api_port)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {settings.api_host}:{settings.api_port}: {error.strerror or error}; "
            "set API_HOST and API_PORT, or end the program that uses them"
        ) from None
    if settings.api_token is None and not is_loopback(bound.getsockname()[0]):
        bound.close()
        raise SettingsError(without_token(settings.api_host))
    return bound, _url(settings.api_host, bound.getsockname()[1])


def leads_outside(host: str) -> bool:
    """Return whether more than this machine can reach a server at this host. Raises OSError."""
    return not all(is_loopback(str(address[0])) for *_, address in _resolve(host, None))


def _resolve(host: str, port: int | None, flags: int = 0) -> list[Any]:
    """Return the addresses of a host. Raises OSError, also for what can be no host's name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:
        raise OSError(errno.EINVAL, "it can be no host's name") from None


def without_token(host: str) -> str:
    """Return why the agent does not listen there without a token, and what to do."""
    return (
        f"API_HOST={host} lets other machines ask this agent, and API_TOKEN is not set: anybody "
        "there could read everything. Set API_TOKEN (openssl rand -hex 32 makes one), or keep "
        "API_HOST=127.0.0.1"
    )


def access(settings: Settings, bound: socket.socket) -> AccessPolicy:
    """Return who may ask at this socket."""
    token = settings.api_token
    return AccessPolicy(
        names=(settings.api_host, socket.gethostname(), *settings.api_allowed_hosts),
        wide=not is_loopback(bound.getsockname()[0]),
        token=token.get_secret_value() if token else None,
    )


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
    return f"http://[{shown}]:{port}" if ":" in shown.strip("[]") else f"http://{shown}:{port}"
