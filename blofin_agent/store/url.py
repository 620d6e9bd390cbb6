"""URL: which database is meant. What is said of a wrong one repeats no credentials."""

import sqlalchemy as sa

from blofin_agent.store.errors import WrongUrl

_ENGINES = ("sqlite", "postgresql")


def parse(url: str) -> sa.URL:
    """Return the parts of a URL of one of our engines. Raises WrongUrl."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise WrongUrl(
            "BLOFIN_DATABASE_URL is no database URL; one looks like sqlite:///data/blofin.db"
        ) from None
    # An @ that does not end user and password is one of a password that was not percent-encoded;
    # what stands behind it would be taken for the host, and shown.
    file = parsed.get_backend_name() == "sqlite"
    stray = not file and url.count("@") > (parsed.username is not None)
    if stray or not url.isprintable():
        raise WrongUrl(
            "BLOFIN_DATABASE_URL has a sign in it that cannot be there; an @ in a password, say, "
            "is to be written %40"
        )
    if parsed.get_backend_name() not in _ENGINES:
        raise WrongUrl(
            f"BLOFIN_DATABASE_URL names {parsed.get_backend_name()!r}; use sqlite or postgresql"
        )
    return parsed
