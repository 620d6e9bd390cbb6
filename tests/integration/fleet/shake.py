"""A fleet under any mix of kills, cuts and restarts, drawn by chance: `make shake`.

Not part of the suite: it takes SHAKE_S seconds for each of SHAKE_SEEDS.
"""

import os
import random
import time
from contextlib import suppress

import psycopg
import pytest

from tests.integration.fleet import laws

SECONDS = float(os.environ.get("SHAKE_S", "240"))
SEEDS = [int(one) for one in os.environ.get("SHAKE_SEEDS", "1").split(",")]
NAMES = ("a", "b", "c", "d")
AWAY_S = (0, 3, 10, 35, 45)
"""How long an agent or its line may be away: shorter than a lease, and longer."""
END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
)

pytestmark = pytest.mark.timeout(SECONDS + 600)


class Shaker:
    """Does something to a fleet, and undoes it later."""

    def __init__(self, fleet, server, chance):
        self.fleet, self.server, self.chance = fleet, server, chance
        self.lines = dict(zip(NAMES, fleet.start_with_cables(server, *NAMES), strict=True))
        """The line of each to the database."""
        self.told = []
        """What was done, and when."""
        self.codes = []
        """How those ended that were asked to."""
        self._since = time.monotonic()
        self._undo = {}
        self._happens = (
            *(self._kill, self._end, self._mute, self._pull),
            *(self._stop_server, self._freeze_server, self._end_connections),
            *(self._delete_rows, self._cut_from_exchange),
        )

    def shake(self):
        """Let something happen."""
        now = time.monotonic()
        for name in [name for name, (at, _) in self._undo.items() if at <= now]:
            self._undo.pop(name)[1]()
        happens = self.chance.choice(self._happens)
        self._tell(happens.__name__)
        happens()

    def calm(self):
        """Undo all that is not undone yet."""
        while self._undo:
            self._undo.popitem()[1][1]()

    def well(self):
        """Return the names of those to whom nothing was done."""
        return [name for name in NAMES if name not in self._undo]

    def _tell(self, what):
        self.told.append(f"{time.monotonic() - self._since:.0f} s {what}")

    def _one_goes(self, go, back):
        if len(self.well()) > 1:
            name = self.chance.choice(self.well())
            self._tell(name)
            go(name)
            at = time.monotonic() + self.chance.choice(AWAY_S)
            self._undo[name] = at, lambda: back(name)

    # -- what happens ------------------------------------------------------------------------------

    def _kill(self):
        self._one_goes(lambda name: self.fleet.members[name].kill(), self._start)

    def _end(self):
        def end(name):
            self.codes.append(self.fleet.members[name].agent.stop())

        self._one_goes(end, self._start)

    def _mute(self):
        self._one_goes(lambda name: self.lines[name].mute(), self._mend)

    def _pull(self):
        self._one_goes(lambda name: self.lines[name].pull(), self._mend)

    def _stop_server(self):
        self.server.stop(self.chance.choice(["fast", "immediate"]))
        time.sleep(self.chance.uniform(0, 4))
        self.server.start()

    def _freeze_server(self):
        self.server.freeze()
        time.sleep(self.chance.uniform(1, 12))
        self.server.thaw()

    def _end_connections(self):
        self.server.execute(END_ALL)

    def _delete_rows(self):
        with suppress(psycopg.Error):
            self.fleet.query("DELETE FROM candles WHERE random() < 0.05 RETURNING 1")

    def _cut_from_exchange(self):
        line = self._to_exchange(self.chance.choice(NAMES))
        line.pull()
        time.sleep(1)
        line.mend()

    # -- what undoes it ----------------------------------------------------------------------------

    def _mend(self, name):
        self.lines[name].mend()

    def _start(self, name):
        port, own = self.server.port, self.lines[name].port
        self.fleet.start(
            name,
            BLOFIN_DATABASE_URL=self.fleet.url.replace(f":{port}/", f":{own}/"),
            BLOFIN_REST_URL=f"http://127.0.0.1:{self._to_exchange(name).port}",
        )

    def _to_exchange(self, name):
        return next(one for one in self.fleet.cables if one.name == name)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_no_candle_is_lost_and_all_is_shared_out_again(crew, postgres, seed):
    """Nobody ends by itself, no two keep the same, and no limit of BloFin's is passed."""
    # All send from one address, so the exchange's limits are those of all together.
    fleet = crew(
        options=("--page-limit", "100"),
        BACKFILL_REQUEST_SLEEP_MS="20",
        BACKFILL_INTERVAL_MINUTES="1",
        BLOFIN_EGRESS="one",
    )
    shaker = Shaker(fleet, postgres, random.Random(seed))
    fleet.until_shared_out(60)
    since = time.monotonic()
    while time.monotonic() < since + SECONDS:
        time.sleep(shaker.chance.uniform(2, 7))
        shaker.shake()
        for name in shaker.well():
            assert fleet.members[name].alive, (name, shaker.told)
    shaker.calm()
    print(*shaker.told, sep="\n")
    print(f"shared out after {fleet.until_shared_out(90):.0f} s")
    laws.nothing_is_lost(fleet, 200)
    laws.nothing_of_others(fleet)
    laws.never_two(fleet)
    laws.no_traceback(fleet)
    print(f"nobody's for {laws.longest_unowned(fleet, since):.0f} s at most")
    limits = fleet.simulator.stats()["limits"]
    print(limits)
    assert limits["refused"] == limits["connections_refused"] == 0
    assert shaker.codes == [0] * len(shaker.codes)
