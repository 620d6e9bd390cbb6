"""Laws of completion: a real shell completes commands, options and symbols."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from blofin_agent.cli.completion import SHELLS, complete_symbols
from blofin_agent.cli.main import main
from blofin_agent.domain.instrument import Instrument
from blofin_agent.store.tables import instruments

PROGRAM = Path(sys.executable).with_name("blofin-agent")


@pytest.fixture
def listed(store, database, monkeypatch):
    """A store that knows four instruments."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database)
    names = ("BTC-USDT", "BCH-USDT", "ETH-USDT", "BTC-USDC")
    with store.engine.begin() as connection:
        instruments.save_instruments(connection, [Instrument(one, 0, "live") for one in names], 1)


def completed(text):
    return [item.value for item in complete_symbols(None, None, text)]


def test_symbols_are_completed_in_a_list(listed):
    """In any case, and none twice."""
    assert completed("bt") == ["BTC-USDC", "BTC-USDT"]
    assert completed("") == ["BCH-USDT", "BTC-USDC", "BTC-USDT", "ETH-USDT"]
    assert completed("BTC-USDT,B") == ["BTC-USDT,BCH-USDT", "BTC-USDT,BTC-USDC"]
    assert completed("x") == []


def test_without_a_database_nothing_is_completed_and_nothing_said(tmp_path, monkeypatch, capfd):
    """Nor is one made."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    assert completed("B") == []
    monkeypatch.setenv("BLOFIN_DATABASE_URL", "nonsense")
    assert completed("B") == []
    monkeypatch.setenv("API_PORT", "x")
    assert completed("B") == []
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(shell):
    """Which asks the program by its own name."""
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_BLOFIN_AGENT_COMPLETE={shell}_complete" in done.stdout
    assert "blofin-agent" in done.stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["blofin-agent", "cov"], "coverage"),
        (["blofin-agent", "gaps", "--sym"], "--symbols"),
        (["blofin-agent", "gaps", "--symbols", "ET"], "ETH-USDT"),
    ],
)
@pytest.mark.slow("starts Python anew for each word, as bash does")
def test_bash_completes(listed, words, answer):
    """As when somebody presses Tab."""
    bash = shutil.which("bash")
    script = f"""
        eval "$({PROGRAM} completion bash)"
        COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
        _blofin_agent_completion {PROGRAM}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [bash, "-c", script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [answer], done.stderr
