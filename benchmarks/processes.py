"""Processes: what is measured, and what it talks to, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

_PATIENCE_S = 900


class Cost(NamedTuple):
    """What a piece of work took."""

    seconds: float
    cpu: float
    """Seconds of processor, all threads together, system calls included."""
    candles: int

    @property
    def rate(self) -> float:
        """Candles a second."""
        return self.candles / self.seconds


@contextmanager
def server(module: str, *args: object) -> Iterator[str]:
    """Run a module that serves until its input ends, and give the first line it says: its URL."""
    with subprocess.Popen(
        _command(module, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def measured(module: str, *args: object) -> Cost:
    """Run a module that does a piece of work, and return what it says that it took."""
    done = subprocess.run(
        _command(module, args), check=True, stdout=subprocess.PIPE, text=True, timeout=_PATIENCE_S
    )
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def _command(module: str, args: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", module, *map(str, args)]
