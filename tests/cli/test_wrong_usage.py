"""Words and settings that cannot be: one clear line, exit code 2, and no password in it."""

import os

import pytest
from click.testing import CliRunner

from blofin_agent.cli.main import main

SECRET = "s3cr3t-p4ss"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command in an empty folder with settings; return its code and what it said."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("BLOFIN_", "API_"))]:
        monkeypatch.delenv(name)

    def start(*words, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        # Bytes as the system hands them over.
        given = [os.fsdecode(word) for word in words]
        ended = CliRunner(catch_exceptions=False).invoke(main, given)
        assert len(ended.stderr) < 1_000
        assert ended.stderr.replace("\n", "").isprintable()
        return ended.exit_code, ended.stdout + ended.stderr

    return start


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["coverage", "--symbols", b"\xff"], 2, "can be no symbol"),
        (["backfill", "--symbols", b"\xff", "--dry-run"], 2, "can be no symbol"),
        (["export", "--symbols", b"A\x1b[31m\n"], 2, "can be no symbol"),
        (["coverage", "--lookback-hours", "9" * 6_000], 2, "--lookback-hours"),
        (["backfill", "--since", "0001-01-01", "--dry-run"], 2, "not between 1970 and 9999"),
        (["export", "--until", "9999-12-31T23:59:59-23:59"], 2, "not between 1970 and 9999"),
        (["simulate", "--symbols", "9" * 5_000], 2, "fewer than"),
        (["simulate", "--host", b"\xff", "--port", "0"], 1, "cannot listen"),
    ],
)
def test_words_that_cannot_be_are_one_line(run, words, code, says):
    """Bytes that are no text, figures without end, times that no calendar has."""
    ended, said = run(*words)
    assert ended == code
    assert says in said


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"BLOFIN_SYMBOLS": ",".join(f"A{n}" for n in range(2_000))}, "1000 is the most"),
        ({"BLOFIN_SYMBOLS": "\x1b[31m"}, "can be no symbol"),
        ({"API_HOST": "a" * 64}, "API_HOST="),
        ({"API_PORT": "9" * 5_000}, "API_PORT="),
        ({"BLOFIN_REST_URL": f"http://me:12/{SECRET}@host"}, "must be a URL"),
        ({"BLOFIN_DATABASE_URL": f"postgresql://me:{SECRET}"}, "no database URL"),
        ({"BLOFIN_DATABASE_URL": f"postgresql://me:a@{SECRET}@h/d"}, "%40"),
        ({"BLOFIN_DATABASE_URL": f"sqlite:///x.db?timeout={SECRET}"}, "a path alone"),
        ({"BLOFIN_DATABASE_URL": f"sqlite://me:{SECRET}@h/x.db"}, "a path alone"),
        ({"ALL_PROXY": f"socks5://me:{SECRET}@127.0.0.1:1"}, "a proxy"),
        ({"HTTPS_PROXY": f"ftp://me:{SECRET}@127.0.0.1:1"}, "a proxy"),
        ({"SSL_CERT_FILE": "/nowhere"}, "SSL_CERT_FILE"),
    ],
)
def test_settings_that_cannot_be_are_one_line_without_a_password(run, settings, says):
    """Whatever the library says that reads them."""
    ended, said = run("backfill", "--dry-run", **settings)
    assert ended == 2
    assert says in said
    assert SECRET not in said
