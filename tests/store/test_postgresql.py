"""Laws of PostgreSQL alone: who is let in, what happens when it is away, and who else is there."""

import random
import struct
import threading
import time
from contextlib import closing

import pytest
import sqlalchemy as sa
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import DAY, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.coverage_blocks import block_starts
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.database import open_store
from blofin_agent.store.errors import StoreUnavailable, StoreUnusable, translate_errors
from blofin_agent.store.retrying import RetryingDatabase
from blofin_agent.store.tables import candles, coverage_blocks
from tests import ports
from tests.postgres import GUEST, own_server

pytestmark = [pytest.mark.postgresql, pytest.mark.debian]

END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
CANCEL_OTHERS = END_OTHERS.replace("terminate", "cancel")


def beat(connection):
    connection.exec_driver_sql(
        "INSERT INTO service_heartbeats (service, started, beat, note) "
        "VALUES (gen_random_uuid()::text, 1, 1, '')"
    )


def beats(connection):
    return connection.exec_driver_sql("SELECT count(*) FROM service_heartbeats").scalar()


def refused(url, **how):
    with pytest.raises(StoreUnusable) as caught:
        open_store(url, **how)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="session")
def postgres():
    """A server of this file's own, which its tests freeze and end."""
    yield from own_server()


@pytest.fixture(scope="session")
def postgres_template(postgres):
    """Return the name of a database on it with our schema and nothing in it."""
    return postgres.with_schema()


@pytest.fixture
def server(postgres):
    """The server, which a test may freeze or end: it runs again afterwards."""
    yield postgres
    postgres.thaw()
    postgres.start()


@pytest.fixture
def as_guest(postgres):
    """Return a function that makes a URL one of somebody who owns nothing and has a password."""
    if not postgres.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{GUEST}'"):
        postgres.execute(f"CREATE ROLE {GUEST} LOGIN PASSWORD 'secret'")
    return lambda url, password="secret": postgres.url(
        sa.make_url(url).database, f"{GUEST}:{password}"
    )


# -- who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("patient", [False, True])
def test_a_database_that_does_not_exist_is_one_line(postgres, patient):
    """That is a matter of the settings: it is not waited for."""
    url = postgres.url("nosuch")
    assert 'database "nosuch" does not exist' in refused(url, patient=patient)


@pytest.mark.parametrize("patient", [False, True])
def test_a_parameter_that_does_not_exist_is_one_line(database, patient):
    """The driver's library knows which there are."""
    text = refused(f"{database}?nosuch=secret", patient=patient)
    assert 'invalid connection option "nosuch"' in text


@pytest.mark.parametrize("patient", [False, True])
def test_a_wrong_password_is_one_line(bare, as_guest, patient):
    """Without it; nor is the right one shown."""
    text = refused(as_guest(bare, "secretest"), patient=patient)
    assert f'password authentication failed for user "{GUEST}"' in text


def test_no_password_is_one_line(bare, postgres, as_guest):
    """Where the server asks for one."""
    as_guest(bare)
    assert "no password supplied" in refused(postgres.url(sa.make_url(bare).database, GUEST))


@pytest.mark.parametrize("patient", [False, True])
def test_who_may_not_make_tables_is_told_in_one_line(bare, sql, as_guest, patient):
    """And nothing is made."""
    sql(bare, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    text = refused(as_guest(bare), patient=patient)
    assert "permission denied for schema public" in text
    assert sql(bare, "SELECT * FROM pg_tables WHERE schemaname = 'public'") == []


def test_who_may_only_read_can_look(database, other, as_guest):
    """As the commands do that only read the store."""
    other(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {GUEST}")
    with closing(open_store(as_guest(database), read_only=True)) as store:
        assert store.read_here(beats) == 0


async def test_rights_that_are_lacking_later_are_an_outage(database, other, as_guest, candle, end):
    """Somebody may give them."""
    other(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {GUEST}")
    with closing(open_store(as_guest(database))) as store:
        with pytest.raises(StoreUnavailable, match="permission denied for table"):
            await store.write("beat", beat)
        rows = [CandleBatch("A", Source.LIVE, [candle(end)])]
        other(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {GUEST}")
        await store.write("beat", beat)
        with pytest.raises(StoreUnavailable, match=r"permission denied for schema|must be owner"):
            await store.write("insert", lambda db: candles.insert(db, Timeframe.M1, rows))


# -- when it is away ------------------------------------------------------------------------------


def test_a_port_that_nobody_listens_on_is_one_line(postgres):
    """For who is not patient."""
    url = f"postgresql://postgres@127.0.0.1:{ports.reserve()}/x"
    assert "Connection refused" in refused(url)


@pytest.mark.slow("stops and starts a server")
async def test_the_agent_opens_a_server_that_is_away_later(bare, server):
    """With the first transaction that it takes, and then it makes the tables."""
    server.stop()
    with closing(open_store(bare, patient=True)) as store:
        assert store.late
        with pytest.raises(StoreUnavailable, match="Connection refused"):
            await store.write("beat", beat)
        server.start()
        await store.write("beat", beat)
        assert not store.late
        assert await store.read("load", beats) == 1


async def test_a_schema_that_is_found_newer_later_is_an_outage(database, other, server):
    """An older agent must not touch it, and goes on looking."""
    other("UPDATE alembic_version SET version_num = '9999'")
    server.stop()
    with closing(open_store(database, patient=True)) as store:
        server.start()
        with pytest.raises(StoreUnavailable, match=r"by a newer blofin-agent \(schema 9999\)"):
            await store.write("beat", beat)


@pytest.mark.parametrize("how", ["stop", "immediate", "kill"])
@pytest.mark.slow("stops and starts a server")
async def test_a_server_that_is_started_again_lost_nothing_and_is_used_again(store, server, how):
    """However it ended."""
    await store.write("beat", beat)
    server.kill() if how == "kill" else server.stop(how.replace("stop", "fast"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="Connection refused"):
            await store.write("beat", beat)
    server.start()
    await store.write("beat", beat)
    assert await store.read("load", beats) == 2


async def test_a_connection_that_the_server_ended_is_made_anew(store, other):
    """Before it is used; nobody need try again."""
    await store.write("beat", beat)
    other(END_OTHERS)
    await store.write("beat", beat)
    other(END_OTHERS)
    assert await store.read("load", beats) == 2


async def test_what_fails_in_the_middle_leaves_nothing(store, other, candle, end):
    """Neither a candle nor a block: before they are copied, meanwhile, or before the commit."""
    batch = [CandleBatch("A", Source.LIVE, [candle(end)])]

    def early(connection):
        connection.exec_driver_sql("SELECT 1")
        other(END_OTHERS)
        candles.insert(connection, Timeframe.M1, batch)

    def broken(connection):
        rows = CandleBatch("A", Source.LIVE, Breaking(candle(end), lambda: other(END_OTHERS)))
        candles.insert(connection, Timeframe.M1, [rows])

    def cancelled(connection):
        rows = CandleBatch("A", Source.LIVE, Breaking(candle(end), lambda: other(CANCEL_OTHERS)))
        candles.insert(connection, Timeframe.M1, [rows])

    def late(connection):
        candles.insert(connection, Timeframe.M1, batch)
        other(END_OTHERS)

    for work in (early, broken, cancelled, late):
        with pytest.raises(StoreUnavailable):
            await store.write("insert", work)
        for table in ("candles", "coverage_blocks"):
            assert other(f"SELECT * FROM {table}") == []
    assert await store.write("insert", lambda db: candles.insert(db, Timeframe.M1, batch)) == [1]


class Breaking(list):
    """Candles, many of the same: when they are taken for the last time something happens first."""

    def __init__(self, one, happens):
        super().__init__([one] * 50_000)
        self.happens, self.taken = happens, 0

    def __iter__(self):
        self.taken += 1
        for number, one in enumerate(super().__iter__()):
            if self.taken == 3 and number == 25_000:
                self.happens()
            yield one


@pytest.mark.timing(transaction_s=0.3)
async def test_a_transaction_that_hangs_is_cut_off(store):
    """And the next one works."""
    begun = time.monotonic()
    for work in (store.write, store.read):
        with pytest.raises(StoreUnavailable):
            await work("load", lambda db: db.exec_driver_sql("SELECT pg_sleep(30)"))
    assert time.monotonic() - begun < 15
    await store.write("beat", beat)
    assert await store.read("load", beats) == 1
    assert store.read_here(lambda db: db.exec_driver_sql("SELECT pg_sleep(0.6), 7").one()[1]) == 7


async def test_when_all_is_cut_off_nothing_is_waited_for_any_more(store):
    """As when the process is to end: neither a transaction, nor that of one who only looks."""
    reader = store.reader()
    await reader.read("load", beats)
    begun = time.monotonic()
    ended = []

    async def hang(one):
        with pytest.raises(StoreUnavailable):
            await one.read("load", lambda db: db.exec_driver_sql("SELECT pg_sleep(30)"))
        ended.append(one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang, store)
        nursery.start_soon(hang, reader)
        await trio.sleep(0.3)
        assert ended == []
        store.lines.close_all()
    with pytest.raises(StoreUnavailable, match="after the signal to stop"):
        await store.write("beat", beat)
    assert time.monotonic() - begun < 15
    reader.close()


@pytest.mark.timing(command_s=3_600)
async def test_once_all_is_cut_off_no_connection_is_used_any_more(store):
    """Though the server would answer: who ends has no time to find out, nor to be patient."""
    await store.write("beat", beat)
    store.lines.close_all()
    for one in (store, RetryingDatabase(store)):
        with pytest.raises(StoreUnavailable, match="after the signal to stop"):
            await one.write("beat", beat)


@pytest.mark.timing(command_s=3_600)
async def test_who_is_told_to_stop_meanwhile_tells_of_that_alone(store):
    """That the database is away is no reason any more."""

    def work(connection):
        trio.from_thread.run_sync(scope.cancel)
        store.lines.close_all()
        connection.exec_driver_sql("SELECT 1")

    with trio.CancelScope() as scope:
        await RetryingDatabase(store).read("load", work)
    assert scope.cancelled_caught


async def test_a_connection_that_is_on_its_way_when_all_is_cut_off_is_left_alone(database, server):
    """A frozen server takes it, and says nothing."""
    with closing(open_store(database)) as store:
        store.engine.dispose()
        server.freeze()
        begun = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_soon, store.lines)
            with pytest.raises(StoreUnavailable, match="after the signal to stop"):
                await store.write("beat", beat)
        assert time.monotonic() - begun < 3


async def cut_soon(lines):
    await trio.sleep(0.3)
    lines.close_all()


@pytest.mark.timing(transaction_s=0.3)
async def test_a_commit_that_waits_for_a_standby_is_cut_off_and_not_done_twice(
    store, database, postgres, candle, end
):
    """What it wrote may be there all the same: it is written once."""
    batch = [CandleBatch("A", Source.LIVE, [candle(end)])]

    def insert(connection):
        return candles.insert(connection, Timeframe.M1, batch)

    def standby(name):
        postgres.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        postgres.execute("SELECT pg_reload_conf()")
        while postgres.execute("SHOW synchronous_standby_names") != [(name,)]:
            time.sleep(0.01)

    await store.write("beat", beat)
    standby("gone")
    try:
        with pytest.raises(StoreUnavailable):
            await store.write("insert", insert)
    finally:
        standby("")
    with closing(open_store(database)) as unhurried:
        assert await unhurried.write("insert", insert) == [0]
    count = "SELECT count(*) FROM candles"
    assert await store.read("load", lambda db: db.exec_driver_sql(count).scalar()) == 1
    these = list(block_starts(Timeframe.M1, TimeRange(end, end + MINUTE)))
    assert (
        await store.read(
            "load", lambda db: coverage_blocks.find_wrong_blocks(db, Timeframe.M1, "A", these)
        )
        == []
    )


@pytest.mark.timing(answer_s=0.3, connect_s=2)
@pytest.mark.slow("libpq waits 2 s at least for a server")
async def test_a_server_that_is_frozen_is_given_up(database, timing, server):
    """It takes connections, and answers nothing; once it does all is well."""
    with closing(open_store(database, timing=timing)) as store:
        await store.write("beat", beat)
        server.freeze()
        begun = time.monotonic()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.write("beat", beat)
        assert time.monotonic() - begun < 15
        server.thaw()
        await store.write("beat", beat)
        assert await store.read("load", beats) == 2


@pytest.mark.timing(idle_s=0.3)
async def test_who_reads_at_leisure_may_pause(store):
    """An export into a slow pipe, say. Who writes holds locks, and may not."""

    def pausing(connection):
        connection.exec_driver_sql("SELECT 1")
        time.sleep(0.9)
        return beats(connection)

    assert store.read_here(pausing) == 0
    with pytest.raises(StoreUnavailable, match="idle-in-transaction timeout"):
        await store.write("beat", pausing)
    assert store.read_here(beats) == 0


async def test_of_several_hosts_the_one_that_is_there_is_used(database, postgres):
    """As libpq does it."""
    name = sa.make_url(database).database
    url = f"postgresql://postgres@127.0.0.1:{ports.reserve()},127.0.0.1:{postgres.port}/{name}"
    with closing(open_store(url)) as store:
        await store.write("beat", beat)
    assert "127.0.0.1" in store.where


async def test_a_database_that_takes_no_writes_is_an_outage(database, postgres):
    """As a standby does, until it is promoted."""
    name = sa.make_url(database).database
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with closing(open_store(database)) as store:
        with pytest.raises(StoreUnavailable, match="it is read-only: a standby"):
            await store.write("beat", beat)
        assert await store.read("load", beats) == 0
        postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        store.engine.dispose()
        await store.write("beat", beat)


async def test_a_parameter_of_a_kind_that_the_driver_does_not_know_is_a_bug(store):
    """The driver finds it, before the server does; it is no outage to be waited out."""
    with pytest.raises(sa.exc.ProgrammingError):
        await store.write("insert", lambda db: db.exec_driver_sql("SELECT %s", (object(),)))


# -- who else is there ----------------------------------------------------------------------------


async def test_a_read_sees_one_moment(store, other):
    """Whatever others write meanwhile."""

    def twice(connection):
        before = beats(connection)
        other("INSERT INTO service_heartbeats VALUES ('x', 1, 1, '')")
        return before, beats(connection)

    assert await store.read("load", twice) == (0, 0)
    assert await store.read("load", beats) == 1


async def test_a_read_writes_nothing(store):
    """The server does not let it; and the next write is taken."""
    with pytest.raises(StoreUnavailable, match="read-only"):
        await store.read("load", beat)
    await store.write("beat", beat)
    assert await store.read("load", beats) == 1


def test_what_others_write_is_not_noticed_by_a_number(store):
    """There is none that is cheap."""
    assert store.read_here(candles.changes) is None


SYMBOLS = [f"S{number}" for number in range(12)]
ROUNDS = 50


def rounds(chance, times):
    """What one agent stores: in each round some stretches of some symbols, in any order."""
    for _ in range(ROUNDS):
        names = chance.sample(SYMBOLS, chance.randint(1, len(SYMBOLS)))
        yield [
            CandleBatch(name, chance.choice(list(Source)), stretch(chance, times)) for name in names
        ]


def stretch(chance, times):
    first = chance.randrange(len(times))
    some = [Candle(time, 2.5, 3, 1, 2, 10, 0.5, 20) for time in times[first : first + 40]]
    return chance.sample(some, len(some))


def test_two_who_store_the_same_neither_wait_for_ever_nor_lose_a_row(reopened, rows, end):
    """Overlapping stretches of many symbols, in different orders, over days and weeks."""
    times = range(end - 9 * DAY, end, 25 * MINUTE)
    stored: list[int] = []
    failed: list[Exception] = []

    def agent(store, chance):
        for batches in rounds(chance, times):
            try:
                with translate_errors("it"), store.engine.begin() as connection:
                    stored.append(sum(candles.insert(connection, Timeframe.M1, batches)))
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                failed.append(error)

    threads = [
        threading.Thread(target=agent, args=(reopened(), random.Random(seed))) for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert len(stored) == 2 * ROUNDS
    wanted = {
        (batch.symbol, one.open_time)
        for seed in (1, 2)
        for batches in rounds(random.Random(seed), times)
        for batch in batches
        for one in batch.candles
    }
    found = rows("SELECT symbol, open_time, source FROM candles")
    assert {(symbol, time) for symbol, time, _ in found} == wanted
    assert sum(stored) == len(found)
    agree(reopened(), found, TimeRange(times[0] // DAY * DAY, end))


def agree(store, found, span):
    """See that the blocks say what the rows say."""
    these = list(block_starts(Timeframe.M1, span))
    loaded = store.read_here(lambda db: coverage_blocks.load(db, Timeframe.M1, span, SYMBOLS))
    for symbol in SYMBOLS:
        assert (
            store.read_here(
                lambda db, of=symbol: coverage_blocks.find_wrong_blocks(db, Timeframe.M1, of, these)
            )
            == []
        )
        held = [time for of, time, _ in found if of == symbol]
        live = [time for of, time, source in found if (of, source) == (symbol, "blofin_ws")]
        assert loaded[symbol].held == BarSet.of(Timeframe.M1, held).within(span)
        assert loaded[symbol].live == BarSet.of(Timeframe.M1, live).within(span)


def test_two_who_store_into_one_block_wait_for_one_another(reopened, end):
    """Else the second would write over what the first wrote."""
    ours, theirs = reopened(), reopened()

    def batch(number):
        one = Candle(end + number * MINUTE, 2.5, 3, 1, 2, 10, 0.5, 20)
        return [CandleBatch("A", Source.LIVE, [one])]

    def second():
        with theirs.engine.begin() as connection:
            candles.insert(connection, Timeframe.M1, batch(3))

    with ours.engine.begin() as connection:
        candles.insert(connection, Timeframe.M1, batch(1))
    thread = threading.Thread(target=second)
    with ours.engine.begin() as connection:
        coverage_blocks.reserve(connection, Timeframe.M1, batch(2))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        candles.insert(connection, Timeframe.M1, batch(2))
    thread.join()
    these = list(block_starts(Timeframe.M1, TimeRange(end, end + MINUTE)))
    assert (
        ours.read_here(lambda db: coverage_blocks.find_wrong_blocks(db, Timeframe.M1, "A", these))
        == []
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(), min_size=7, max_size=7))
def test_any_double_survives_to_the_last_bit(store, values):
    """Also what is no price: with a sign at nought, endless, or no number."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM candles")
        candles.insert(
            connection, Timeframe.M1, [CandleBatch("A", Source.LIVE, [Candle(0, *values)])]
        )
        row = connection.exec_driver_sql("SELECT * FROM candles").one()
    for stored, given_ in zip(row[3:10], values, strict=True):
        if given_ == given_:  # noqa: PLR0124 - that which is no number has many forms
            assert struct.pack("d", stored) == struct.pack("d", given_)
        else:
            assert stored != stored  # noqa: PLR0124
