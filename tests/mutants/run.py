"""Applies one mutant of the code at a time and reports which test notices it.

    .venv/bin/python -m tests.mutants.run --map        first, and after each change of the package
    .venv/bin/python -m tests.mutants.run              all mutants of mutants.toml
    .venv/bin/python -m tests.mutants.run NAME...      some of them
    .venv/bin/python -m tests.mutants.run --full NAME  with the whole suite

The map records which test executes which line. For each mutant this program runs the test files
that execute the mutated lines: the module's own file first, then by number of such tests. The tests
of processes come last, because the map lacks lines that only a child process executes. A test that
fails is run a second time, with the mutant and without it. All of this happens in copies of the
repository.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MAP = ROOT / ".mutants.json"
PROCESSES = ("tests/integration", "tests/laws")
"""Run last: they execute nearly every line, most of them in other processes."""
ELSEWHERE = {"browser", "deploy", "integration", "laws", "mutants"}
IN_PROCESS = sorted(
    {
        f"tests/{path.parent.relative_to(ROOT / 'tests')}"
        for path in (ROOT / "tests").glob("*/test_*.py")
        if path.parent.name not in ELSEWHERE
    }
)
WORKERS = os.environ.get("WORKERS", "6")
MAX_RUN_S = 1_800
ENV = os.environ | {"BLOFIN_TESTS_ALONE": "0", "PYTHONDONTWRITEBYTECODE": ""}


def mutants():
    return {
        one["name"]: one for one in tomllib.loads((HERE / "mutants.toml").read_text())["mutant"]
    }


CONTEXTS = """
import coverage, pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    if current := coverage.Coverage.current():
        current.switch_context(item.nodeid)
    return (yield)
"""
"""A pytest plugin. Coverage's own contexts miss background tasks and generated tests."""


FAILURES = """
import os, pathlib

def pytest_runtest_logreport(report):
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        with pathlib.Path(__file__).with_name("failed.txt").open("a") as file:
            print(report.nodeid, file=file)
"""
"""A pytest plugin that writes the names of failed tests, which may contain any character."""


def make_map():
    """Record which test files execute which line, and in how many tests."""
    import coverage  # noqa: PLC0415 - only here

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "coverage"
        config = Path(folder) / "coveragerc"
        config.write_text(
            "[run]\nsource = blofin_agent\nparallel = true\npatch = subprocess\n"
            # The core that follows contexts on every version of Python.
            f"core = ctrace\ndata_file = {data}\n"
        )
        (Path(folder) / "contexts.py").write_text(CONTEXTS)
        files = [*IN_PROCESS, "tests/laws"]
        coverage_run = [sys.executable, "-m", "coverage", "run", f"--rcfile={config}"]
        options = ["-m", "pytest", "-q", f"-n{WORKERS}", "-p", "contexts", "--dist", "loadscope"]
        env = ENV | {"PYTHONPATH": folder, "BLOFIN_TESTS_MEASURE_SLOW": "1"}
        subprocess.run([*coverage_run, *options, *files], cwd=ROOT, env=env, check=True)
        combine = [sys.executable, "-m", "coverage", "combine", f"--rcfile={config}", "--quiet"]
        subprocess.run(combine, cwd=ROOT, check=True)
        found = coverage.CoverageData(str(data))
        found.read()
        lines = {}
        for path in found.measured_files():
            name = str(Path(path).relative_to(ROOT))
            for line, contexts in found.contexts_by_lineno(path).items():
                counts = Counter(one.partition("::")[0] for one in contexts if one)
                lines[f"{name}:{line}"] = counts.most_common()
    MAP.write_text(json.dumps({"sources": sources(), "lines": lines}))


def sources():
    """Return a hash of the package and the tests: a map is valid only for these."""
    digest = hashlib.sha256()
    for folder in ("blofin_agent", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def lines_of(mutant):
    """Return the numbers of the mutated lines."""
    text = (ROOT / mutant["file"]).read_text()
    assert text.count(mutant["old"]) == 1, mutant["name"]
    first = text[: text.index(mutant["old"])].count("\n") + 1
    return range(first, first + mutant["old"].count("\n") + 1)


def files_for(mutant, known):
    """Return the test files to run, in order."""
    if not mutant["file"].startswith("blofin_agent/"):
        return ["tests/deploy"]
    counts = Counter()
    for line in lines_of(mutant):
        for name, count in known.get(f"{mutant['file']}:{line}", []):
            counts[name] += count
    own = f"test_{Path(mutant['file']).name}"
    names = sorted(
        (name for name, _ in counts.most_common() if name),
        key=lambda name: Path(name).name != own,
    )
    return [*(name for name in names if not name.startswith(PROCESSES)), *PROCESSES]


def mutate(tree, mutant):
    path = tree / mutant["file"]
    path.write_text(path.read_text().replace(mutant["old"], mutant["new"]))
    if mutant.get("also") == "dashboards":
        run = [sys.executable, "-m", "deploy.grafana"]
        subprocess.run(run, cwd=tree, env=ENV | {"PYTHONPATH": str(tree)}, check=True)


class Undecided(Exception):
    """The tests give no answer: pytest itself failed, or a failure has another cause."""


def run_tests(tree, *args, workers=0):
    """Run tests in a copy; return the first that failed. Raises Undecided if pytest failed."""
    failed = tree / "failed.txt"
    failed.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--maxfail=3", "-m", "not index"]
    command += ["-p", "no:cacheprovider", "-p", "mutant_failures", f"-n{workers}", *args]
    (tree / "mutant_failures.py").write_text(FAILURES)
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=ENV | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
            timeout=MAX_RUN_S,
        )
    except subprocess.TimeoutExpired:
        raise Undecided(f"no end after {MAX_RUN_S} s: {' '.join(args)}") from None
    found = failed.read_text().splitlines() if failed.exists() else []
    if not found and done.returncode not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise Undecided(f"exit code {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}")
    return list(dict.fromkeys(found))


def copy(tree):
    """Copy the files of the repository."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def notices(mutant, known, *, full=False):
    """Return the test that notices a mutant, "" if none does. Raises Undecided."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        clean, broken = Path(folder) / "clean", Path(folder) / "broken"
        for tree in (clean, broken):
            copy(tree)
        mutate(broken, mutant)
        parts = [["tests"]] if full else [[one] for one in files_for(mutant, known)]
        open_ends = []
        for part in parts:
            spread = full or part[0] in PROCESSES or part[0] == "tests/deploy"
            try:
                for failed in run_tests(broken, *part, workers=WORKERS if spread else 0):
                    if run_tests(broken, failed) and not run_tests(clean, failed):
                        return failed
                    open_ends.append(f"failed, but not because of the mutant: {failed}")
            except Undecided as error:
                open_ends.append(str(error))
        if open_ends:
            raise Undecided("; ".join(open_ends))
    return ""


def main(words):
    if words == ["--map"]:
        make_map()
        return
    full = "--full" in words
    names = [word for word in words if word != "--full"] or list(mutants())
    if unknown := set(names) - set(mutants()):
        sys.exit(f"no such mutant: {', '.join(sorted(unknown))}")
    known = json.loads(MAP.read_text()) if MAP.exists() else {}
    if known.get("sources") != sources():
        sys.exit("the map is missing or out of date: run `python -m tests.mutants.run --map`")
    noticed, missed = 0, []
    for name in names:
        begun = time.monotonic()
        try:
            found = notices(mutants()[name], known["lines"], full=full)
            told = found or "NOT NOTICED"
        except Undecided as error:
            found, told = "", f"UNDECIDED: {error}"
        noticed += bool(found)
        missed += [] if found else [name]
        print(f"{name}: {told} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{noticed} of {len(names)} noticed; the others: {', '.join(missed) or '-'}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main(sys.argv[1:])
