"""Machine: what the figures were measured on."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

LIBRARIES = ("httpx", "msgspec", "trio", "trio-websocket", "sqlalchemy", "prometheus-client")
PEERS = ("ccxt", "requests")


def describe() -> str:
    """Return the day, the machine and the versions of what was measured, in words."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES + PEERS)
    system = f"{platform.system()} {platform.release()}"
    day = datetime.now(UTC).date().isoformat()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{day} on {_processor()}, {cores} cores, {memory:.0f} GiB, {system}, with {python}, "
        f"{versions}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
