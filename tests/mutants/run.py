"""Breaks one rule of the code at a time, and says which test notices.

    python -m tests.mutants.run              all mutants of mutants.toml
    python -m tests.mutants.run NAME...      some
    python -m tests.mutants.run --full NAME  by the whole suite

    python -m tests.mutants.run --map        first, once: which test file executes which line

A line that only a child process executes is tried by the tests of processes, which come last.

For each mutant the test files that execute the mutated lines are run until the first failure, those
with the most such tests first. What fails is run a second time, with the mutant and without it. The
tree is copied, so nothing here is changed.
"""

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

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MAP = ROOT / ".mutants.json"
PROCESSES = ("tests/integration", "tests/laws")
"""Tested last: they execute nearly every line, most of them in other processes."""
IN_PROCESS = (
    *("tests/core", "tests/store", "tests/exchange", "tests/web", "tests/commands"),
    *("tests/simulator", "tests/fuzz"),
)
WORKERS = os.environ.get("WORKERS", "6")
ENV = os.environ | {"BLOFIN_TESTS_ALONE": "0", "PYTHONDONTWRITEBYTECODE": ""}


def mutants():
    return {
        one["name"]: one for one in tomllib.loads((HERE / "mutants.toml").read_text())["mutant"]
    }


def make_map():
    """Write down which test files execute which line, and in how many tests."""
    import coverage  # noqa: PLC0415 - only here

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "coverage"
        config = Path(folder) / "coveragerc"
        config.write_text(
            "[run]\nsource = blofin_agent\nparallel = true\npatch = subprocess\n"
            f"dynamic_context = test_function\ndata_file = {data}\n"
        )
        files = [*IN_PROCESS, "tests/laws", *sorted(map(str, ROOT.glob("tests/test_*.py")))]
        coverage_run = [sys.executable, "-m", "coverage", "run", f"--rcfile={config}"]
        pytest = ["-m", "pytest", "-q", "-n3", "--dist", "loadscope", *files]
        subprocess.run([*coverage_run, *pytest], cwd=ROOT, env=ENV, check=False)
        combine = [sys.executable, "-m", "coverage", "combine", f"--rcfile={config}", "--quiet"]
        subprocess.run(combine, cwd=ROOT, check=True)
        found = coverage.CoverageData(str(data))
        found.read()
        lines = {}
        for path in found.measured_files():
            name = str(Path(path).relative_to(ROOT))
            for line, contexts in found.contexts_by_lineno(path).items():
                counts = Counter(map(_file_of, filter(None, contexts)))
                lines[f"{name}:{line}"] = counts.most_common()
    MAP.write_text(json.dumps(lines))


def _file_of(context):
    """Return the file of a test: a context is the dotted name of its function."""
    parts = context.split(".")
    while parts and not (ROOT / ("/".join(parts) + ".py")).exists():
        parts.pop()
    return "/".join(parts) + ".py" if parts else ""


def lines_of(mutant):
    """Return the numbers of the mutated lines."""
    text = (ROOT / mutant["file"]).read_text()
    assert text.count(mutant["old"]) == 1, mutant["name"]
    first = text[: text.index(mutant["old"])].count("\n") + 1
    return range(first, first + mutant["old"].count("\n") + 1)


def files_for(mutant, known):
    """Return the test files to run, in their order."""
    if not mutant["file"].startswith("blofin_agent/"):
        return ["tests/deploy"]
    counts = Counter()
    for line in lines_of(mutant):
        for name, count in known.get(f"{mutant['file']}:{line}", []):
            counts[name] += count
    names = [name for name, _ in counts.most_common() if name]
    return [*(name for name in names if not name.startswith(PROCESSES)), *PROCESSES]


def mutate(tree, mutant):
    path = tree / mutant["file"]
    path.write_text(path.read_text().replace(mutant["old"], mutant["new"]))
    if mutant.get("also") == "dashboards":
        run = [sys.executable, "-m", "deploy.grafana"]
        subprocess.run(run, cwd=tree, env=ENV | {"PYTHONPATH": str(tree)}, check=True)


def pytest(tree, *args, workers=0):
    """Run tests in a tree; return what failed first, "" when nothing did."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=no", "-rfE"]
    command += ["-p", "no:cacheprovider", f"-n{workers}", *args]
    done = subprocess.run(
        command,
        cwd=tree,
        env=ENV | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" ", 1)[1].split(" - ")[0]
    return "" if done.returncode in (0, 5) else f"exit {done.returncode}: {done.stdout[-300:]}"


def notices(mutant, known, *, full=False):
    """Return the test that notices a mutant, "" when none does."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        clean, broken = Path(folder) / "clean", Path(folder) / "broken"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "dist", "data")
        for tree in (clean, broken):
            shutil.copytree(ROOT, tree, ignore=ignored)
        mutate(broken, mutant)
        files = ["tests"] if full else files_for(mutant, known)
        parts = [files] if full else [[one] for one in files]
        for part in parts:
            spread = full or part[0] in PROCESSES or part[0] == "tests/deploy"
            failed = pytest(broken, *part, workers=WORKERS if spread else 0)
            if failed and "::" not in failed:
                return failed
            if failed and pytest(broken, failed) and not pytest(clean, failed):
                return failed
    return ""


def main(words):
    if words == ["--map"]:
        make_map()
        return
    full = "--full" in words
    names = [word for word in words if word != "--full"] or list(mutants())
    known, missed = json.loads(MAP.read_text()), []
    for name in names:
        begun = time.monotonic()
        found = notices(mutants()[name], known, full=full)
        missed += [] if found else [name]
        print(f"{name}: {found or 'NOT NOTICED'} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{len(names) - len(missed)} of {len(names)} noticed; missed: {', '.join(missed) or '-'}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main(sys.argv[1:])
