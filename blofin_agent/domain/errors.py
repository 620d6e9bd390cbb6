"""What can go wrong with the exchange, named by what the agent can do about it.

ExchangeError
 |- Unreachable       no connection, or it broke
 |- TimedOut          no answer in time
 |- ServerFault       BloFin's own fault (5xx, code 500)
 |- Invalid           an answer that is not BloFin's grammar
 |- Refused           BloFin's no to this request (a code of its own)
 |- Stopped           all requests must stop until a suspension is over
     |- RateLimited   429
     |- Banned        403, the firewall
"""


class ExchangeError(Exception):
    """Anything that went wrong between us and BloFin. Its text is a sentence for a person."""

    outcome = "invalid"


class Unreachable(ExchangeError):
    """There is no connection, or it broke."""

    outcome = "unreachable"


class RequestTimedOut(ExchangeError):
    """No answer came in time."""

    outcome = "timeout"


class ServerError(ExchangeError):
    """BloFin says that it failed: HTTP 5xx, or `code` 500."""

    outcome = "server_error"


class InvalidResponse(ExchangeError):
    """The answer is not in BloFin's grammar: no JSON, no envelope, rows that were not asked for."""

    outcome = "invalid"


class RequestRejected(ExchangeError):
    """BloFin refused this request, with a `code` of its own."""

    outcome = "refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"BloFin refused the request: {message or 'no reason given'} ({code})")
        self.code = code


class WrongEnvironment(Exception):
    """BloFin cannot be asked at all as things are set up here. A sentence for a person."""


class RequestsSuspended(ExchangeError):
    """All requests of this address must stop for a while."""

    outcome = "rate_limited"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(RequestsSuspended):
    """HTTP 429. `retry_after`: seconds, where BloFin named them."""

    outcome = "rate_limited"


class Banned(RequestsSuspended):
    """HTTP 403: the firewall's ban."""

    outcome = "banned"


OUTCOMES = (
    "ok",
    "invalid",
    "refused",
    "rate_limited",
    "banned",
    "timeout",
    "unreachable",
    "server_error",
)
"""Every value of the label `outcome`."""
