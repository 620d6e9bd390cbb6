"""Children: programs of a benchmark's own, which end with it and tell in lines of JSON."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.running import end

Told = dict[str, Any]
Tells = Callable[[], Told]


@contextmanager
def started(module: str, *args: str) -> Iterator[Tells]:
    """Run a module as a program; yield what waits for the next line that it tells."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *args],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )

    def told() -> Told:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                found: Told = json.loads(line)
                return found
        raise AssertionError(f"{module} ended without a word")

    try:
        yield told
    finally:
        end(process)
        if process.stdout:
            process.stdout.close()
