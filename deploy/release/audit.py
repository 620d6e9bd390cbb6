"""Check the pinned packages for known vulnerabilities: `python -m deploy.release.audit`.

pip-audit reports "No known vulnerabilities found" and exits with 0 even for packages that its
service does not know. Here a package counts as audited only if the service has a result for it.

Exit codes: 0 no known vulnerabilities, 1 known vulnerabilities, 2 some packages were not audited.
"""

import json
import subprocess
import sys
from pathlib import Path

DOCKER = Path(__file__).parents[1] / "docker"
LOCKS = (DOCKER / "requirements.txt", DOCKER / "build-requirements.txt")

OTHER = "audit: no result; retry where the service is reachable, or use another: SERVICE=osv"


def main(options: list[str]) -> int:
    """Audit the pinned packages with pip-audit's `options` and return the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--format=json"]
    for lock in LOCKS:
        command += ["--requirement", str(lock)]
    # The lock files contain all names, versions and hashes, so pip has nothing to resolve.
    command += ["--require-hashes", "--disable-pip", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines, code = judge(done.stdout, done.stderr)
    print(*lines, sep="\n", file=sys.stderr if code else sys.stdout)
    return code


def judge(report: str, complaints: str) -> tuple[list[str], int]:
    """Return the output lines for pip-audit's JSON `report`, and the exit code."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        *_, last = complaints.strip().splitlines() or ["pip-audit printed nothing"]
        return [f"audit failed: cannot query the vulnerability service: {last}", OTHER], 2
    unknown = [one["name"] for one in packages if "vulns" not in one]
    lines = [
        f"{one['name']} {one['version']}: {known['id']}, {_fixed(known['fix_versions'])}"
        for one in packages
        for known in one.get("vulns", [])
    ]
    if unknown or not packages:
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")  # noqa: PLR2004
        count = f"{len(unknown)} of {len(packages)} packages ({shown})"
        failure = f"audit failed: the vulnerability service does not know {count}"
        return [*lines, failure, OTHER], 2
    if lines:
        return [*lines, f"audit: {len(lines)} known vulnerabilities in {len(packages)} packages"], 1
    return [f"audit: no known vulnerabilities in {len(packages)} packages"], 0


def _fixed(versions: list[str]) -> str:
    return f"fixed in {', '.join(versions)}" if versions else "no fix yet"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
