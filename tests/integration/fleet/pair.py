"""Pair: a PostgreSQL server, and a standby that has each commit before anybody is told of it."""

import shutil
from dataclasses import dataclass

from tests.integration.fleet.cable import Cable
from tests.postgres import USER, Server, folder_of_programs, run
from tests.processes import until


@dataclass
class Pair:
    """Two servers; which of them takes writes changes with `promote`."""

    primary: Server
    standby: Server
    cable: Cable
    """From the standby to the primary."""

    @classmethod
    def make(cls):
        """Make both, and return them once commits wait for the standby."""
        primary = Server.make(wal_keep_size="256MB")
        primary.start()
        cable = Cable(primary.port).open()
        standby = Server.make(wal_keep_size="256MB")
        shutil.rmtree(standby.data)
        run(
            folder_of_programs() / "pg_basebackup",
            *("-h", "127.0.0.1", "-p", str(cable.port), "-U", USER, "-D", standby.data),
            *("-R", "--checkpoint=fast", "--no-sync"),
        )
        standby.start()
        # Written to the primary's folder after it was copied: the standby waits for nobody.
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        pair = cls(primary, standby, cable)
        pair.until_in_sync()
        return pair

    def until_in_sync(self):
        states = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        until(lambda: self.primary.execute(states), 30)

    def until_replayed(self):
        """Wait until the standby shows all that it was sent."""
        replayed = "SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
        until(lambda: self.standby.execute(replayed) == [(True,)], 30)

    def promote(self):
        """Let the standby take writes."""
        run(folder_of_programs() / "pg_ctl", "-D", self.standby.data, "-w", "promote")

    def url(self, database):
        """Return the URL that names both."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in (self.primary, self.standby))
        return f"postgresql://{USER}@{hosts}/{database}?target_session_attrs=read-write"

    def remove(self):
        for server in (self.standby, self.primary):
            server.remove()
        self.cable.close()
