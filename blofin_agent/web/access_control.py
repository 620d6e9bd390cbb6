"""Guard: who may ask. It stands before everything that is served.

A browser on this machine can be made to ask the agent under a foreign name (DNS rebinding), so
names that are not its own are refused. With a token, everything but `/healthz` wants it.
"""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blofin_agent.web.problem_details import problem

OPEN_PATH = "/healthz"
REALM = "blofin-agent"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Sent with every answer, unless it says otherwise itself."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may ask; see `AccessControl`."""

    names: tuple[str, ...] = ()
    wide: bool = False
    token: str | None = None


def is_loopback(address: str) -> bool:
    """Return whether an IP address, of either version, leads to this machine only."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


class AccessControl:
    """ASGI middleware. `names`: hosts by which it may be asked, beside this machine's own.

    `wide`: it listens on more than loopback, so that any IP address may be meant. `token`: what
    everybody must show, None for nobody.
    """

    def __init__(
        self, app: ASGIApp, *, names: Iterable[str] = (), wide: bool = False, token: str | None
    ) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names) | {"localhost"}
        self._wide = wide
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refuse(Headers(scope=scope), scope["path"])
        if refusal is None and not scope["query_string"].isascii():
            # Over HTTP/2 there may be any bytes, and what makes URLs of them fails.
            refusal = problem(400, "what stands behind the ? is not percent-encoded")
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refuse(self, headers: Headers, path: str) -> Response | None:
        if not self._is_ours(headers.get("host", "")):
            return problem(
                400,
                "this agent does not go by the name in the header Host; if it should, add the "
                "name to API_ALLOWED_HOSTS",
            )
        if self._token is None or path == OPEN_PATH or self._shown(headers, self._token):
            return None
        answer = problem(
            401,
            "the token in API_TOKEN is wanted: as `Authorization: Bearer ...`, or as the password "
            "of any user in a browser",
        )
        answer.headers.append("WWW-Authenticate", f'Bearer realm="{REALM}"')
        answer.headers.append("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"')
        return answer

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._wide or address.is_loopback

    @staticmethod
    def _shown(headers: Headers, token: bytes) -> bool:
        """Return whether the token is shown. The time it takes tells nothing of the token."""
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        shown = rest.strip().encode("latin-1", "replace")
        if scheme.lower() == "basic":
            try:
                shown = base64.b64decode(shown, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(shown, token)


def _without_port(host: str) -> str:
    """Return a Host header's name or address: `[::1]:8780` is `[::1]`."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
