"""Laws of `make audit`: only what a service answered for counts as audited."""

import contextlib
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.release.audit import judge
from tests.deploy import lock

HELD = {"name": "httpx", "version": "0.28.1", "vulns": []}
KNOWN = {"id": "PYSEC-2026-1", "fix_versions": ["0.28.2"], "aliases": [], "description": "bad"}
UNHEARD = {"name": "trio", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def judged(*packages, complaints="No known vulnerabilities found"):
    """Judge a report as pip-audit writes it."""
    lines, code = judge(json.dumps({"dependencies": packages, "fixes": []}), complaints)
    return "\n".join(lines), code


def test_all_is_well_when_every_package_was_answered_for():
    assert judged(HELD) == ("audit: no known vulnerabilities in 1 packages", 0)


def test_a_known_vulnerability_fails():
    """It is named with its package, its version and what mends it."""
    said, code = judged(HELD | {"vulns": [KNOWN, KNOWN | {"id": "B", "fix_versions": []}]})
    assert code == 1
    assert "httpx 0.28.1: PYSEC-2026-1, fixed in 0.28.2\n" in said
    assert "httpx 0.28.1: B, no fix yet\n" in said
    assert said.endswith("audit: 2 known vulnerabilities in 1 packages")


def test_a_package_that_the_service_does_not_know_is_not_well():
    """Whatever pip-audit says itself, and beside whatever is known of the others."""
    said, code = judged(HELD | {"vulns": [KNOWN]}, UNHEARD)
    assert code == 2
    assert "PYSEC-2026-1" in said
    assert "audit failed: the vulnerability service does not know 1 of 2 packages (trio)" in said


def test_nothing_audited_is_not_well():
    assert judged()[1] == 2


@pytest.mark.parametrize("report", ["", "{}", "no JSON"])
@pytest.mark.parametrize("complaints", ["", "Traceback:\n  File\nConnectionError: no route\n"])
def test_a_service_that_cannot_be_asked_is_said_in_a_line(report, complaints):
    """With the last words of the one that tried, and not its traceback."""
    (said, advice), code = judge(report, complaints)
    assert code == 2
    assert said.startswith("audit failed: cannot query the vulnerability service: ")
    assert said.endswith("ConnectionError: no route" if complaints else "pip-audit printed nothing")
    assert "SERVICE=osv" in advice


# -- with pip-audit, and a service of our own on loopback -----------------------------------------


@contextlib.contextmanager
def service(**vulnerable):
    """Answer as OSV does; `vulnerable`: the version that mends a package, by its name."""

    class Osv(BaseHTTPRequestHandler):
        asked: list = []  # noqa: RUF012 - one server, one list

        def do_POST(self):
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = query["package"]["name"]
            self.asked.append((name, query["version"]))
            body = json.dumps({"vulns": [known(name)]} if name in vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def known(name):
        events = [{"introduced": "0"}, {"fixed": vulnerable[name]}]
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        return {"id": "PYSEC-2026-1", "summary": "bad", "affected": [affected]}

    with HTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query", Osv.asked
        finally:
            server.shutdown()
            thread.join()


def audit(shipped, url):
    """Ask the service at `url` as `make audit` does."""
    command = shipped.tool("python", "-m", "deploy.release.audit")
    command += ["--vulnerability-service=osv", f"--osv-url={url}"]
    return subprocess.run(command, cwd=shipped.tree, capture_output=True, text=True, check=False)


def test_every_pinned_package_is_asked_for(shipped):
    """In its pinned version: what runs, and what builds."""
    with service() as (url, asked):
        done = audit(shipped, url)
    assert done.returncode == 0, done.stderr
    assert dict(asked) == lock.installed(lock.RUNTIME) | lock.installed(lock.BUILD)
    assert done.stdout == f"audit: no known vulnerabilities in {len(asked)} packages\n"


def test_what_the_service_knows_is_told(shipped):
    """One line, and exit code 1."""
    with service(hatchling="99.0") as (url, _asked):
        done = audit(shipped, url)
    assert done.returncode == 1
    assert "hatchling" in done.stderr
    assert "PYSEC-2026-1, fixed in 99.0\n" in done.stderr


def test_a_service_that_is_away_is_not_taken_for_good_news(shipped):
    """No traceback, no word that all is well, and exit code 2."""
    with service() as (url, _asked):
        pass
    done = audit(shipped, url)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert "cannot query the vulnerability service" in done.stderr
