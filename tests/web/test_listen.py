"""Laws of where the agent listens: for others only with a token, and it says where."""

import socket

import pytest

from blofin_agent.config import SettingsError, load
from blofin_agent.web.listen import ListenError, access, bind, leads_outside, listen


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Return a function that reads settings, any free port."""
    monkeypatch.chdir(tmp_path)
    for name in ("API_HOST", "API_TOKEN", "API_ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: load(api_port=0, **values)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1"), ("localhost", "http://localhost"), ("::1", "http://[::1]")],
)
def test_this_machine_may_ask_without_a_token(settings, host, url):
    """It is where the agent listens by default."""
    bound, told = listen(settings(api_host=host))
    with bound:
        assert told == f"{url}:{bound.getsockname()[1]}"
        found = access(settings(api_host=host, api_allowed_hosts="x.example"), bound)
    assert (found.wide, found.token) == (False, None)
    assert {host, "x.example", socket.gethostname()} == set(found.names)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_others_may_ask_only_with_a_token(settings, host):
    """Without one it refuses to listen, and says what to do."""
    with pytest.raises(SettingsError, match=r"API_TOKEN is not set.*openssl rand -hex 32"):
        listen(settings(api_host=host))
    bound, told = listen(settings(api_host=host, api_token="x"))
    with bound:
        found = access(settings(api_host=host, api_token="x"), bound)
        assert told.startswith(("http://127.0.0.1:", "http://[::1]:"))
    assert (found.wide, found.token) == (True, "x")


@pytest.mark.parametrize(
    ("host", "answer"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("::", True)],
)
def test_where_a_host_leads(host, answer):
    """As `check` tells it before anything listens."""
    assert leads_outside(host) is answer


def test_an_address_that_cannot_be_listened_on_is_one_sentence(settings):
    """A port in use, an address of nobody here."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match="in use; set API_HOST and API_PORT"):
            listen(settings().model_copy(update={"api_port": port}))
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1"):
        listen(settings(api_host="192.0.2.1"))


def test_what_can_be_no_hosts_name_cannot_be_listened_on():
    """The system's library has an error of its own for it."""
    for resolve in (lambda: bind("a" * 64, 0), lambda: leads_outside("a" * 64 + ".x")):
        with pytest.raises(OSError, match="no host's name"):
            resolve()
