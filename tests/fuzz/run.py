"""Run: atheris over one surface after the other; see `make fuzz`.

    python -m tests.fuzz.run MINUTES [SURFACE...]

Each surface runs in a process of its own, guided by what of the agent's code it reaches. What is
found is written to `.fuzz/`, told, and ends it with exit code 1; it belongs into `test_fuzz.py`.
"""

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

SURFACES = ("frames", "bodies", "settings", "command_line", "queries", "urls")
FOUND = Path(".fuzz")
_AGENT = "blofin_agent"


def surface(name: str) -> tuple[object, tuple[bytes, ...]]:
    """Return the property of a surface, and what it begins with."""
    module = importlib.import_module(f"tests.fuzz.{name}")
    return getattr(module, name), module.SEEDS


def _fuzz(name: str, seconds: int) -> None:
    import atheris  # noqa: PLC0415 - the suite has no need of it

    with atheris.instrument_imports(include=[_AGENT, f"tests.fuzz.{name}"]):
        law, seeds = surface(name)
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
            law(seed)  # type: ignore[operator]
        limits = [
            f"-max_total_time={seconds}",
            "-max_len=4096",
            "-timeout=60",
            "-rss_limit_mb=2048",
        ]
        places = [f"-artifact_prefix={FOUND}/{name}-", "-max_len=4096", corpus]
        atheris.Setup([sys.argv[0], *limits, *places], law)
        atheris.Fuzz()


def main() -> None:
    """Give each surface its share of the minutes."""
    if sys.argv[1] == "--one":
        _fuzz(sys.argv[2], int(sys.argv[3]))
        return
    chosen = sys.argv[2:] or SURFACES
    seconds = max(1, int(float(sys.argv[1]) * 60 / len(chosen)))
    failed = [
        name
        for name in chosen
        if subprocess.run(
            [sys.executable, "-m", "tests.fuzz.run", "--one", name, str(seconds)], check=False
        ).returncode
    ]
    if failed:
        sys.exit(f"{', '.join(failed)}: something was found; see above and {FOUND}/")


if __name__ == "__main__":
    main()
