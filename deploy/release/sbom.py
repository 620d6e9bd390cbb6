"""Writes the SBOM (CycloneDX 1.6, JSON) of a built wheel: `python -m deploy.release.sbom dist`.

The wheel is installed with the pinned packages into an environment of its own, and what is found
there is listed: name, version, licence, and what needs what. So it tells of what runs, not of what
was asked for. SOURCE_DATE_EPOCH, if set, is the time it bears.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "docker/requirements.txt"
NAME = "blofin-agent"


def main(folder: Path) -> Path:
    """Describe the one wheel in `folder`, beside it, and return where."""
    (wheel,) = folder.glob("*.whl")
    with tempfile.TemporaryDirectory() as place:
        environment = Path(place, "environment")
        install(wheel, environment)
        found = json.loads(
            _run("cyclonedx_py", "environment", "--output-reproducible", environment)
        )
    name, version, *_ = wheel.name.split("-")
    path = folder / f"{name}-{version}.cdx.json"
    path.write_text(json.dumps(around(found), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def install(wheel: Path, environment: Path) -> None:
    """Make a clean environment of the pinned packages and the wheel, without pip."""
    _run("venv", "--without-pip", environment)
    pip = ("pip", "--python", environment, "install", "--quiet", "--no-deps")
    _run(*pip, "--require-hashes", "--only-binary=:all:", "--requirement", LOCK)
    # By its name, so that no path of this machine is written down.
    _run(*pip, "--no-index", "--find-links", wheel.parent.resolve(), NAME)
    _run("pip", "--python", environment, "check")


def around(found: dict[str, Any]) -> dict[str, Any]:
    """Make the agent what the list is about, and the rest its components."""
    (agent,) = [one for one in found["components"] if one["name"] == NAME]
    rest = [one for one in found["components"] if one is not agent]
    metadata = found["metadata"] | {"component": agent | {"type": "application"}}
    return found | {"metadata": metadata, "components": rest}


def _run(*module_and_arguments: str | Path) -> str:
    """Run a module of this Python, and return what it printed; its complaints are shown."""
    command = [sys.executable, "-m", *map(str, module_and_arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    try:
        print(f"SBOM: {main(Path(sys.argv[1]))}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"no SBOM was written: `{' '.join(error.cmd[1:4])}` failed, see above")
