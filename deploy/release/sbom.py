"""Write the SBOM (CycloneDX 1.6, JSON) of a built wheel: `python -m deploy.release.sbom dist`.

Installs the wheel and the pinned packages into a clean environment and lists what is installed
there: names, versions, licences and dependencies. So the SBOM describes what runs, not what was
requested. If SOURCE_DATE_EPOCH is set, it is the timestamp of the SBOM.
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
    """Write the SBOM of the only wheel in `folder` to `folder`, and return its path."""
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
    """Create a clean environment with the pinned packages and the wheel, without pip."""
    _run("venv", "--without-pip", environment)
    pip = ("pip", "--python", environment, "install", "--quiet", "--no-deps")
    _run(*pip, "--require-hashes", "--only-binary=:all:", "--requirement", LOCK)
    # Install by name, so that the SBOM contains no path of this machine.
    _run(*pip, "--no-index", "--find-links", wheel.parent.resolve(), NAME)
    _run("pip", "--python", environment, "check")


def around(found: dict[str, Any]) -> dict[str, Any]:
    """Make the agent the subject of the SBOM and the other packages its components."""
    (agent,) = [one for one in found["components"] if one["name"] == NAME]
    rest = [one for one in found["components"] if one is not agent]
    metadata = found["metadata"] | {"component": agent | {"type": "application"}}
    return found | {"metadata": metadata, "components": rest}


def _run(*module_and_arguments: str | Path) -> str:
    """Run a module of this Python and return its standard output. Errors go to standard error."""
    command = [sys.executable, "-m", *map(str, module_and_arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    try:
        print(f"SBOM: {main(Path(sys.argv[1]))}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"No SBOM written: `{' '.join(error.cmd[1:4])}` failed, see above")
