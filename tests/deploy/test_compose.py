"""Laws of deploy/compose.yaml: it is well formed, safe, and agrees with the files around it.

No Docker engine is needed for them, and none was; the README says what that leaves open.
"""

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from blofin_agent import __version__, config
from blofin_agent.config import Settings
from blofin_agent.runtime.shutdown import SHUTDOWN_TIMEOUT_S

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


def read(path):
    return yaml.safe_load((DEPLOY / path).read_text())


COMPOSE = read("compose.yaml")
SERVICES = COMPOSE["services"]
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}
PORTS = {"agent": DEFAULTS["api_port"], "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
KEYS = {
    *("image", "build", "user", "command", "environment", "env_file", "volumes", "tmpfs", "ports"),
    *("mem_limit", "healthcheck", "depends_on", "restart", "read_only", "cap_drop"),
    *("security_opt", "logging", "stop_grace_period", "secrets"),
}

each = pytest.mark.parametrize("name", SERVICES)


def mounts(name):
    """Return (source, target, how) of each mount."""
    return [(*mount.split(":"), "rw")[:3] for mount in SERVICES[name]["volumes"]]


def seconds(text):
    assert re.fullmatch(r"\d+s", text)
    return int(text[:-1])


def test_only_known_keys_are_used():
    """Compose refuses a file with a key that it does not know."""
    assert set(COMPOSE) == {"name", "x-service", "services", "secrets", "volumes"}
    assert set(SERVICES) == set(PORTS)
    assert [key for one in SERVICES.values() for key in one if key not in KEYS] == []
    for one in SERVICES.values():
        assert set(one.get("healthcheck", {})) <= {
            *("test", "interval", "timeout", "retries", "start_period")
        }
        assert set(one["logging"]) == {"driver", "options"}


@each
def test_a_service_may_do_no_more_than_it_must(name):
    """No root, no capability, no way to more, a root file system that cannot be written."""
    one = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:\d+", one["user"])
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]


@each
def test_a_service_cannot_fill_the_host(name):
    """Memory and logs have an end, and what stopped by itself is started again."""
    one = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", one["mem_limit"])
    assert one["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert one["restart"] == "unless-stopped"


@each
def test_an_image_is_pinned_to_one_release(name):
    """Ours has the version of the package."""
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)
    assert ("build" in SERVICES[name]) == (name == "agent")
    assert name != "agent" or tag == __version__


@each
def test_a_port_is_published_on_this_machine_only(name):
    """Under its own number, so that a link that works inside works outside."""
    assert SERVICES[name]["ports"] == [f"127.0.0.1:{PORTS[name]}:{PORTS[name]}"]


@each
def test_what_is_mounted_is_there(name):
    """Files of the repository can only be read; what can be written is a named volume."""
    for source, _target, how in mounts(name):
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert how == "ro"
        else:
            assert source in COMPOSE["volumes"]
            assert how == "rw"


def test_each_volume_has_one_owner():
    """All are used, none by two services."""
    used = [m[0] for name in SERVICES for m in mounts(name) if not m[0].startswith(".")]
    assert sorted(used) == sorted(COMPOSE["volumes"])


@pytest.mark.parametrize(
    ("name", "flag"),
    [("prometheus", "--storage.tsdb.path"), ("alertmanager", "--storage.path")],
)
def test_a_server_is_told_of_its_mounts(name, flag):
    """Its configuration and its data are where they are mounted."""
    flags = dict(one.split("=", 1) for one in SERVICES[name]["command"])
    where = {target: source for source, target, _ in mounts(name)}
    assert where[flags["--config.file"]].endswith(f"{name}.yml")
    assert where[flags[flag]] == f"{name}-data"
    assert urlsplit(flags["--web.external-url"]).port == PORTS[name]


@each
def test_a_service_says_whether_it_is_well(name):
    """By a command with its own port; the agent's is in its image."""
    check = SERVICES[name].get("healthcheck")
    if name == "agent":
        assert check is None
        assert "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text()
        return
    command, url = check["test"][:-1], urlsplit(check["test"][-1])
    assert command == ["CMD", "wget", "-q", "-O", "/dev/null"]
    assert (url.hostname, url.port) == ("127.0.0.1", PORTS[name])
    assert seconds(check["timeout"]) < seconds(check["interval"])


def test_nothing_waits_for_the_agent():
    """Prometheus must be there to say that the agent is not."""
    waits = {name: list(one.get("depends_on", {})) for name, one in SERVICES.items()}
    assert waits == {
        "agent": [],
        "prometheus": ["alertmanager"],
        "alertmanager": [],
        "grafana": ["prometheus"],
    }
    for one in SERVICES.values():
        for need in one.get("depends_on", {}).values():
            assert need == {"condition": "service_healthy"}


def test_the_agent_is_where_the_others_look_for_it():
    """Whatever the settings say that a user made for another place."""
    agent = SERVICES["agent"]
    assert agent["env_file"] == [{"path": "../.env", "required": False}]
    assert agent["environment"] == {
        "API_HOST": "0.0.0.0",
        "API_PORT": str(DEFAULTS["api_port"]),
        "API_ALLOWED_HOSTS": "agent",
        "API_TOKEN": "",
        "BLOFIN_DATABASE_URL": DEFAULTS["blofin_database_url"],
    }
    assert seconds(agent["stop_grace_period"]) > SHUTDOWN_TIMEOUT_S


def test_prometheus_has_the_same_configuration_but_for_the_addresses():
    """The agent keeps the name that a person on the host can reach it by."""
    expected, here = read("prometheus/prometheus.yml"), read("docker/prometheus.yml")
    job = next(one for one in expected["scrape_configs"] if one["job_name"] == "blofin-agent")
    known_as = f"127.0.0.1:{PORTS['agent']}"
    assert job["static_configs"] == [{"targets": [known_as]}]
    job["static_configs"] = [
        {"targets": [f"agent:{PORTS['agent']}"], "labels": {"instance": known_as}}
    ]
    job["authorization"] = {"credentials_file": "/run/secrets/api_token"}
    managers = expected["alerting"]["alertmanagers"]
    assert managers == [{"static_configs": [{"targets": [f"127.0.0.1:{PORTS['alertmanager']}"]}]}]
    managers[0]["static_configs"][0]["targets"] = [f"alertmanager:{PORTS['alertmanager']}"]
    assert here == expected


def test_agent_and_prometheus_share_one_secret(tmp_path, monkeypatch):
    """The agent's settings find it under the name that it has; git leaves it out."""
    having = {name for name, one in SERVICES.items() if "secrets" in one}
    assert having == {"agent", "prometheus"}
    (name,) = SERVICES["agent"]["secrets"]
    assert SERVICES["prometheus"]["secrets"] == [name]
    assert COMPOSE["secrets"] == {name: {"file": f"./docker/{name}"}}
    assert f"deploy/docker/{name}" in (ROOT / ".gitignore").read_text().split()
    job = read("docker/prometheus.yml")["scrape_configs"][0]
    assert job["authorization"]["credentials_file"] == str(config.SECRETS / name)
    (tmp_path / name).write_text("0123abcd\n")
    monkeypatch.setattr(config, "SECRETS", tmp_path)
    monkeypatch.chdir(tmp_path)
    for variable, value in SERVICES["agent"]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = config.load()
    assert settings.api_token.get_secret_value() == "0123abcd"
    assert settings.api_allowed_hosts == ("agent",)
    agent = read("docker/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert agent == [f"{settings.api_allowed_hosts[0]}:{PORTS['agent']}"]


@pytest.mark.debian
def test_promtool_accepts_what_prometheus_finds_in_its_container(debian, tmp_path):
    """The mounts, laid out as in the container."""
    for source, target, _how in mounts("prometheus"):
        if source.startswith("."):
            place = tmp_path / target.lstrip("/")
            copy = shutil.copytree if (DEPLOY / source).is_dir() else shutil.copy
            place.parent.mkdir(parents=True, exist_ok=True)
            copy(DEPLOY / source, place)
    path = tmp_path / "etc/prometheus/prometheus.yml"
    (tmp_path / "api_token").write_text("x")
    path.write_text(path.read_text().replace("/run/secrets", str(tmp_path)))
    done = subprocess.run(
        [debian("promtool"), "check", "config", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rules = len(list((DEPLOY / "prometheus/rules").glob("*.yml")))
    assert rules
    assert f"{rules} rule files found" in done.stdout


def test_grafana_finds_dashboards_and_data_sources():
    """Its provisioning names folders that are mounted, and services that are there."""
    where = {target: source for source, target, _ in mounts("grafana")}
    assert where["/etc/grafana/provisioning"] == "./grafana/provisioning"
    for path in (DEPLOY / "grafana/provisioning/dashboards").glob("*.yml"):
        for provider in read(path)["providers"]:
            assert list((DEPLOY / where[provider["options"]["path"]]).glob("*.json"))
    found = {}
    for path in (DEPLOY / "grafana/provisioning/datasources").glob("*.yml"):
        found |= {one["type"]: urlsplit(one["url"]).netloc for one in read(path)["datasources"]}
    assert found == {name: f"{name}:{PORTS[name]}" for name in ("prometheus", "alertmanager")}


def test_whoever_opens_grafana_may_look_and_no_more():
    """No login and no admin, so no default password either."""
    settings = SERVICES["grafana"]["environment"]
    assert settings["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_AUTH_BASIC_ENABLED"] == "false"
    assert settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in settings if "PASSWORD" in name or "SECRET" in name]


def test_grafana_keeps_the_plugins_of_its_image():
    """It would take the data source out of service to update it, where it cannot write."""
    settings = SERVICES["grafana"]["environment"]
    assert settings["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert settings["GF_PLUGINS_PREINSTALL_AUTO_UPDATE"] == "false"
