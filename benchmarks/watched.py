"""Watched: the agent, and what holds its event loop: `python -m benchmarks.watched run`.

It is `blofin-agent` with an instrument in trio's loop that times each step of each task, a task
that wakes every 5 ms and notes how late, which also shows a loop that waits for the interpreter's
lock, and a note of each collection of garbage. What held longest is in `WATCHED` at the end.
`python -m benchmarks.watched nothing SECONDS` is a loop that has nothing to do but that.
"""

import gc
import heapq
import json
import sys
import time
from pathlib import Path
from types import CoroutineType, FrameType
from typing import Any

import trio

WATCHED = Path("watched.json")
Held = dict[str, dict[str, Any]]
EVERY_S = 0.005
MOST = 12


class Longest:
    """The longest of what happened, with what it was. Durations in seconds."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, float, str]] = []
        self.count = 0

    def note(self, seconds: float, what: str) -> None:
        """Enter one."""
        self.count += 1
        if len(self._kept) < MOST or seconds > self._kept[0][0]:
            push = heapq.heappush if len(self._kept) < MOST else heapq.heappushpop
            push(self._kept, (seconds, time.time(), what))

    def told(self) -> dict[str, Any]:
        """Return how many there were and the longest: seconds, when it ended, what."""
        return {"count": self.count, "longest": sorted(self._kept, reverse=True)}


class Watcher(trio.abc.Instrument):
    """Watches one run."""

    def __init__(self) -> None:
        self.steps, self.late, self.garbage = Longest(), Longest(), Longest()
        self._begun = self._cpu = self._collecting = 0.0
        gc.callbacks.append(self._collected)

    def before_run(self) -> None:
        """Begin."""
        trio.lowlevel.spawn_system_task(self._wake)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's
        """Begin a step."""
        self._cpu = time.thread_time()
        self._begun = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """End it; a long one is told by where its task stands now."""
        seconds = time.perf_counter() - self._begun
        if seconds > EVERY_S:
            cpu_ms = 1000 * (time.thread_time() - self._cpu)
            self.steps.note(seconds, f"{_where(task)} with {cpu_ms:.1f} ms of CPU")
        else:
            self.steps.count += 1

    def after_run(self) -> None:
        """Tell."""
        found = {"steps": self.steps, "late": self.late, "garbage": self.garbage}
        text = json.dumps({name: one.told() for name, one in found.items()})
        WATCHED.write_text(text, encoding="utf-8")

    async def _wake(self) -> None:
        await note_lateness(self.late)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
        else:
            self.garbage.note(now - self._collecting, f"generation {info['generation']}")


async def note_lateness(late: Longest) -> None:
    """Wake every so often, for ever, and note how late."""
    while True:
        due = trio.current_time() + EVERY_S
        await trio.sleep_until(due)
        late.note(trio.current_time() - due, "")


async def _nothing(seconds: float) -> None:
    """Run a loop that does nothing else for so long, and tell how late it was."""
    late = Longest()
    with trio.move_on_after(seconds):
        await note_lateness(late)
    print(json.dumps(late.told()), flush=True)


def _where(task: trio.lowlevel.Task) -> str:
    """Return a task's name, and the innermost line of ours at which it waits."""
    coroutine: Any = task.coro
    ours = ""
    while isinstance(coroutine, CoroutineType):
        frame: FrameType | None = coroutine.cr_frame
        if frame is not None and "blofin_agent" in frame.f_code.co_filename:
            ours = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        coroutine = coroutine.cr_await
    return f"{task.name} {ours}"


def main() -> None:
    """Run the command line of the agent, watched; or nothing."""
    if sys.argv[1] == "nothing":
        trio.run(_nothing, float(sys.argv[2]))
        return
    from blofin_agent.runtime.gc_tuning import no_gc  # noqa: PLC0415 - as the agent's own main does it

    with no_gc():
        from blofin_agent.cli.main import main as command  # noqa: PLC0415
    run = trio.run

    def watched(*args: Any, **how: Any) -> Any:
        return run(*args, instruments=[Watcher()], **how)

    vars(trio)["run"] = watched
    command(prog_name="blofin-agent")


if __name__ == "__main__":
    main()
