"""Laws of deploy/Dockerfile: what it copies is enough, and its commands run as written."""

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from blofin_agent import __version__
from blofin_agent.config import Settings
from tests.deploy import lock
from tests.deploy.image import BUILD, FINAL, ROOT, TEXT, VENV, all_of, build, copied, one_of, pairs
from tests.processes import Place, end, settings, start_simulator, until


def health_check():
    options, command = one_of(FINAL, "HEALTHCHECK").split("CMD ", 1)
    return options, json.loads(command)


def test_it_knows_no_other_instructions():
    """Nothing is downloaded but from the base image's registry and the package index."""
    known = "FROM WORKDIR RUN COPY LABEL VOLUME USER ENV EXPOSE HEALTHCHECK ENTRYPOINT CMD"
    assert {word for stage in (BUILD, FINAL) for word, _ in stage} == set(known.split())
    assert all_of(FINAL, "COPY") == [f"--from=build {VENV} {VENV}"]


def test_both_stages_stand_on_one_pinned_python():
    """Down to the patch, so that the virtual environment fits."""
    images = [one_of(stage, "FROM").removesuffix(" AS build") for stage in (BUILD, FINAL)]
    assert images[0] == images[1]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", images[0])


def test_the_image_says_what_it_is():
    """With the version and the licence of the package."""
    labels = pairs("LABEL")
    prefix = "org.opencontainers.image."
    assert labels[prefix + "version"] == __version__
    assert labels[prefix + "licenses"] == "MIT"
    project = (ROOT / "pyproject.toml").read_text()
    assert f'description = "{labels[prefix + "description"]}"' in project
    assert re.findall(r"blofin-agent:(\S+)", TEXT) == [__version__] * 3


def test_compose_and_the_image_agree():
    """The user, the volume and the port."""
    agent = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["agent"]
    assert agent["user"] == one_of(FINAL, "USER")
    volume = one_of(FINAL, "VOLUME")
    assert agent["volumes"] == [f"agent-data:{volume}"]
    assert f"--owner={agent['user'].split(':')[0]}" in all_of(FINAL, "RUN")[0]
    assert json.loads(all_of(FINAL, "RUN")[0])[-1] == volume
    port = Settings.model_fields["api_port"].default
    assert one_of(FINAL, "EXPOSE") == pairs("ENV")["API_PORT"] == str(port)
    default = Settings.model_fields["blofin_database_url"].default
    assert str(Path(one_of(FINAL, "WORKDIR"), default.removeprefix("sqlite:///")).parent) == volume


def test_the_build_is_sent_what_it_copies_and_nothing_else():
    """No database, no settings, no history."""
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert lines[0] == "*"
    assert sorted(let_in) == sorted(copied())
    assert [line for line in lines[1:] if not line.startswith("!")] == ["**/__pycache__"]


def test_nothing_is_installed_that_is_not_written_down():
    """From the index only files with a known hash, and none whose code runs to install it."""
    installs = [json.loads(rest) for rest in all_of(BUILD, "RUN") if '"install"' in rest]
    assert len(installs) == 3
    for command in installs:
        assert "--no-deps" in command
        if "--no-index" not in command:
            assert {"--require-hashes", "--only-binary=:all:"} < set(command)
            assert command[-2] == "-r"
    (wheel,) = [json.loads(rest) for rest in all_of(BUILD, "RUN") if '"wheel", "--' in rest]
    assert {"--no-deps", "--no-build-isolation"} < set(wheel)
    assert [rest for rest in all_of(FINAL, "RUN") if "pip" in rest] == []


# -- the image's commands, carried out ------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return build(tmp_path_factory.mktemp("image"))


@pytest.fixture
def simulator(tmp_path):
    """A BloFin that has every candle."""
    simulator = start_simulator(Place(tmp_path, settings()))
    yield simulator
    end([simulator.process])


@pytest.mark.index
def test_what_is_copied_is_enough_for_the_whole_package(image):
    """Code, templates, migrations, the licence: what the repository has, the image has."""
    (own,) = image.folder.glob("opt/*/lib/python*/site-packages/blofin_agent")
    package = ROOT / "blofin_agent"
    wanted = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        str(path.relative_to(own))
        for path in own.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } == wanted
    assert list(own.parent.glob("blofin_agent-*.dist-info/licenses/LICENSE"))
    said = image.run("python", "-c", "import blofin_agent; print(blofin_agent.__file__)").stdout
    assert said.strip() == str(own / "__init__.py")


@pytest.mark.index
def test_the_image_has_the_pinned_packages_and_no_others(image):
    """Neither pip nor what built the wheel."""
    found = lock.found(image.argv("python")[0])
    assert found == lock.installed(lock.RUNTIME) | {"blofin-agent": __version__}


@pytest.mark.index
def test_the_agent_runs_as_the_image_starts_it(image, simulator):
    """It is well by the image's own check, writes only its data, and a signal ends it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    image.env |= {
        "API_PORT": port,
        "BACKFILL_LOOKBACK_HOURS": "2",
        "BLOFIN_REST_URL": simulator.rest_url,
        "BLOFIN_WS_URL": simulator.ws_url,
    }
    entry = json.loads(one_of(FINAL, "ENTRYPOINT"))
    _options, check = health_check()
    before = image.files()
    process = subprocess.Popen(
        image.argv(*entry, *json.loads(one_of(FINAL, "CMD"))),
        cwd=image.work,
        env=image.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: process.poll() is not None or image.run(*check).returncode == 0)
        assert process.poll() is None
        filled = image.run(*entry, "backfill")
        assert filled.returncode == 0, filled.stdout + filled.stderr
        # A container's first process gets its signals only if nothing stands between.
        process.send_signal(signal.SIGTERM)
        assert process.wait(12) == 0
    finally:
        process.kill()
        process.wait()
    assert image.run(*check).returncode != 0
    assert image.files() == before
    assert (image.work / "data/blofin.db").is_file()


@pytest.mark.index
def test_an_agent_that_does_not_answer_is_not_well(image):
    """The check gives up before Docker does."""
    options, check = health_check()
    allowed = int(re.search(r"--timeout=(\d+)s", options)[1])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        image.env["API_PORT"] = str(silent.getsockname()[1])
        done = image.run(*check)
    assert done.returncode == 1
    assert "timed out" in done.stderr
    assert int(re.search(r"timeout=(\d+)\)", check[-1])[1]) < allowed
