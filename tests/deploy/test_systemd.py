"""Laws of deploy/systemd: systemd accepts the units, and they call a command line that exists."""

import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from blofin_agent.cli.main import main
from blofin_agent.config import Settings
from blofin_agent.observability import textfile
from blofin_agent.runtime.shutdown import SHUTDOWN_TIMEOUT_S
from blofin_agent.runtime.user_errors import INCOMPLETE, WRONG_USE

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy/systemd"
AGENT, BACKFILL = "blofin-agent.service", "blofin-agent-backfill.service"
TIMER = "blofin-agent-backfill.timer"
PROGRAM = "/opt/blofin-agent/bin/blofin-agent"
STATE = Path("/var/lib/blofin-agent")
OF_THE_TASK = {
    *("Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus"),
    *("SuccessExitStatus", "TimeoutStartSec", "StateDirectory"),
}
"""What an agent and a one-shot need not have in common."""

each = pytest.mark.parametrize("name", [AGENT, BACKFILL])


def read(name):
    """Return a unit's settings by section, each a list: some stand in it twice."""
    sections = defaultdict(lambda: defaultdict(list))
    section = None
    for line in (FOLDER / name).read_text().splitlines():
        if line.startswith("["):
            section = sections[line.strip("[]")]
        elif line and not line.startswith("#"):
            key, value = line.split("=", 1)
            section[key].append(value)
    return sections


def only(name, key, section="Service"):
    (value,) = read(name)[section][key]
    return value


def seconds(text):
    assert text.isdecimal()
    return int(text)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.fixture
def units(tmp_path):
    """The units in a folder of their own, with a program that is there."""
    here = Path(sys.executable).with_name("blofin-agent")
    for path in [*FOLDER.glob("*.service"), *FOLDER.glob("*.timer")]:
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, str(here)))
    return tmp_path


@pytest.mark.debian
def test_systemd_accepts_every_unit(debian, units):
    """Without a word: an unknown setting or a program that is not there is told, not refused."""
    paths = sorted(map(str, units.iterdir()))
    assert [Path(path).name for path in paths] == sorted([AGENT, BACKFILL, TIMER])
    assert run(debian("systemd-analyze"), "verify", "--man=no", *paths) == ""


@pytest.mark.debian
@each
def test_a_service_is_hardened(debian, units, name):
    """An exposure of 2.0 or better, by systemd's own reckoning; 10 is the worst."""
    command = [debian("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    said = run(*command, "--threshold=20", str(units / name))
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", said)[1]) <= 2.0


def test_both_services_are_hardened_alike():
    """The same user and sandbox, so that the one can do no more than the other."""
    agent, backfill = (
        {key: value for key, value in read(name)["Service"].items() if key not in OF_THE_TASK}
        for name in (AGENT, BACKFILL)
    )
    assert agent == backfill
    assert agent["ProtectSystem"] == ["strict"]
    assert "ReadWritePaths" not in agent


@each
def test_the_command_line_takes_what_a_service_asks_of_it(name):
    """Commands and options as they are."""
    program, command, *options = shlex.split(only(name, "ExecStart"))
    assert program == PROGRAM
    main.commands[command].make_context(command, options)


@each
def test_a_service_has_the_time_to_store_what_it_holds(name):
    """Longer than it takes at most to end by itself."""
    assert seconds(only(name, "TimeoutStopSec")) > SHUTDOWN_TIMEOUT_S


def test_what_trying_again_cannot_mend_is_not_tried_again():
    """A wrong setting ends the agent for good; other failures have some minutes to pass."""
    assert only(AGENT, "Restart") == "on-failure"
    assert only(AGENT, "RestartPreventExitStatus") == str(WRONG_USE)
    burst = int(only(AGENT, "StartLimitBurst", "Unit"))
    interval = re.fullmatch(r"(\d+)min", only(AGENT, "StartLimitIntervalSec", "Unit"))
    # A failure at once, again and again, comes to its end; so the limit is no dead letter.
    assert burst * seconds(only(AGENT, "RestartSec")) < int(interval[1]) * 60


def test_a_backfill_that_left_something_missing_has_not_failed():
    """The metrics tell what is missing; the unit fails when the backfill does."""
    assert only(BACKFILL, "SuccessExitStatus") == str(INCOMPLETE)
    assert only(BACKFILL, "Type") == "oneshot"
    assert "Restart" not in read(BACKFILL)["Service"]


@each
def test_the_database_is_in_the_state_directory(name):
    """The settings' default is relative to it, so both services have the same one."""
    assert only(name, "WorkingDirectory") == str(STATE)
    assert only(name, "StateDirectory").split()[0] == STATE.name
    default = Settings.model_fields["blofin_database_url"].default
    assert not default.removeprefix("sqlite:///").startswith("/")
    assert only(name, "EnvironmentFile") == "-/etc/blofin-agent.env"


def test_another_user_can_read_the_textfile(tmp_path):
    """node_exporter runs as one; no folder on the way keeps it out, nor does the umask."""
    options = shlex.split(only(BACKFILL, "ExecStart"))
    path = textfile.parse(options[options.index("--metrics-textfile") + 1])
    made = [STATE.parent / name for name in only(BACKFILL, "StateDirectory").split()]
    assert path.parent in made
    assert made[0] == STATE
    assert int(only(BACKFILL, "StateDirectoryMode"), 8) & 0o005 == 0o005
    before = os.umask(int(only(BACKFILL, "UMask"), 8))
    try:
        textfile.write(tmp_path / path.name, b"")
    finally:
        os.umask(before)
    assert (tmp_path / path.name).stat().st_mode & 0o004


@pytest.mark.debian
def test_the_timer_goes_off_as_often_as_the_agents_pass(debian):
    """Every 30 minutes; what was missed while the machine was off is made up for."""
    when = only(TIMER, "OnCalendar", "Timer")
    minutes = Settings.model_fields["backfill_interval_minutes"].default
    said = run(
        debian("systemd-analyze"),
        *("calendar", "--base-time=2026-02-01 00:10:00 UTC", "--iterations=3", when),
    )
    times = re.findall(r"\d\d:\d\d:\d\d UTC", said)
    assert list(dict.fromkeys(times)) == ["00:30:00 UTC", "01:00:00 UTC", "01:30:00 UTC"]
    assert minutes == 30
    assert only(TIMER, "Persistent", "Timer") == "true"
    assert seconds(only(TIMER, "RandomizedDelaySec", "Timer")) < minutes * 60 / 10


@pytest.mark.debian
def test_systemd_makes_the_user_that_the_services_run_as(debian, tmp_path):
    """And its group; on a machine of its own, below a folder."""
    (tmp_path / "etc").mkdir()
    run(
        debian("systemd-sysusers"),
        f"--root={tmp_path}",
        str(FOLDER / "blofin-agent.sysusers"),
    )
    user = dict(line.split(":", 1) for line in (tmp_path / "etc/passwd").read_text().splitlines())
    assert list(user) == [only(AGENT, "User")]
    assert str(STATE) in user[only(AGENT, "User")]
    group = (tmp_path / "etc/group").read_text().split(":")[0]
    assert group == only(AGENT, "Group")


def test_its_readme_names_what_there_is():
    """Every file of the folder is installed by it, and its paths are those of the units."""
    text = (FOLDER / "README.md").read_text()
    named = set()
    for pattern in re.findall(r"deploy/systemd/(\S+)", text):
        found = list(FOLDER.glob(pattern))
        assert found, pattern
        named.update(found)
    assert named == {path for path in FOLDER.iterdir() if path.name != "README.md"}
    for path in (PROGRAM, "/etc/blofin-agent.env", f"{STATE}/data/blofin.db"):
        assert path in text
    assert only(BACKFILL, "ExecStart").split()[-1] in text
    for unit in re.findall(r"(?:--now|start|-u) (\S+\.(?:service|timer))", text):
        assert (FOLDER / unit).is_file()
