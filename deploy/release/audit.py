"""Asks for known vulnerabilities of the pinned packages: `python -m deploy.release.audit`.

pip-audit says "No known vulnerabilities found", and exits with 0, of packages that its service had
never heard of. Here only a package that the service answered for counts as audited.

Exit codes: 0 nothing is known against any, 1 something is, 2 not all could be asked for.
"""

import json
import subprocess
import sys
from pathlib import Path

DOCKER = Path(__file__).parents[1] / "docker"
LOCKS = (DOCKER / "requirements.txt", DOCKER / "build-requirements.txt")

OTHER = "audit: nothing is known now; try where it can be reached, or another with SERVICE=osv"


def main(options: list[str]) -> int:
    """Audit the pinned packages with pip-audit's `options`, and return the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--format=json"]
    for lock in LOCKS:
        command += ["--requirement", str(lock)]
    # The names, versions and hashes are all there: pip has nothing to resolve.
    command += ["--require-hashes", "--disable-pip", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines, code = judge(done.stdout, done.stderr)
    print(*lines, sep="\n", file=sys.stderr if code else sys.stdout)
    return code


def judge(report: str, complaints: str) -> tuple[list[str], int]:
    """Return what to say of pip-audit's JSON `report`, and the exit code."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        *_, last = complaints.strip().splitlines() or ["it said nothing"]
        return [f"audit: not done, the vulnerability service could not be asked: {last}", OTHER], 2
    unknown = [one["name"] for one in packages if "vulns" not in one]
    lines = [
        f"{one['name']} {one['version']}: {known['id']}, {_mended(known['fix_versions'])}"
        for one in packages
        for known in one.get("vulns", [])
    ]
    if unknown or not packages:
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")  # noqa: PLR2004
        whole = f"{len(unknown)} of {len(packages)} packages ({shown})"
        told = f"audit: not done, the vulnerability service does not know {whole}"
        return [*lines, told, OTHER], 2
    if lines:
        return [*lines, f"audit: {len(lines)} known in {len(packages)} packages"], 1
    return [f"audit: nothing is known against any of {len(packages)} packages"], 0


def _mended(versions: list[str]) -> str:
    return f"mended in {', '.join(versions)}" if versions else "not mended yet"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
