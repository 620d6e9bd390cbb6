"""Laws of a connection's subscriptions: nobody is forgotten, nobody is hammered."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.protocol.subscriptions import (
    ACK_TIMEOUT_S,
    SILENT_AFTER_S,
    DueMessages,
    Subscriptions,
)

NAMES = ["A-USDT", "B-USDT", "C-USDT"]


def opened(names=NAMES, now: float = 0.0) -> Subscriptions:
    subscriptions = Subscriptions(names)
    subscriptions.opened(now)
    assert subscriptions.due(now) == DueMessages(subscribe=list(names))
    return subscriptions


def standing(names=NAMES) -> Subscriptions:
    subscriptions = opened(names)
    for name in names:
        subscriptions.acked(name, 0)
    return subscriptions


def test_all_are_subscribed_once_and_together():
    """A new connection begins with one subscription of all; then there is nothing to do."""
    subscriptions = opened()
    assert subscriptions.due(0) == DueMessages()
    assert subscriptions.waiting() == subscriptions.symbols == NAMES
    subscriptions.acked("A-USDT", 1)
    assert subscriptions.standing("A-USDT")
    assert subscriptions.waiting() == NAMES[1:]
    subscriptions.closed()
    assert not subscriptions.standing("A-USDT")
    subscriptions.opened(5)
    assert subscriptions.due(5) == DueMessages(subscribe=NAMES)


def test_a_push_stands_for_an_acknowledgement_that_was_lost():
    """It tells so once, and never of a symbol that was dropped."""
    subscriptions = opened()
    assert subscriptions.pushed("A-USDT", 1)
    assert subscriptions.standing("A-USDT")
    assert not subscriptions.pushed("A-USDT", 2)
    subscriptions.drop("B-USDT")
    assert not subscriptions.pushed("B-USDT", 2)
    subscriptions.acked("C-USDT", 2)
    assert not subscriptions.pushed("C-USDT", 3)


def test_one_without_an_answer_is_sent_again_alone():
    """Every 10 s, three times in all; then it is taken as refused and left alone for 5 minutes."""
    subscriptions = opened(["A-USDT"])
    sent = [now for now in range(1, 400) if subscriptions.due(now).alone]
    assert sent == [10, 20, 330]
    assert subscriptions.waiting() == []


@given(st.sets(st.sampled_from([*NAMES, "X-USDT"])), st.floats(0, 1e9), st.floats(0, 9))
def test_those_to_be_sent_alone_are_due_at_once(named, now, later):
    """The waiting ones go with the next `due`, once; others are as they were before."""
    subscriptions = opened([*NAMES, "S-USDT", "R-USDT"], now)
    subscriptions.acked("S-USDT", now)
    subscriptions.refused(["R-USDT"], now)
    subscriptions.send_alone([*sorted(named), "S-USDT", "R-USDT"])
    assert subscriptions.due(now + later) == DueMessages(alone=[n for n in NAMES if n in named])
    assert subscriptions.due(now + later) == DueMessages()
    assert subscriptions.waiting() == NAMES
    assert subscriptions.standing("S-USDT")


def test_nobody_is_sent_alone_for_ever():
    """However often it is asked for, a symbol is sent three times in all, then left alone."""
    subscriptions = opened(["A-USDT"])
    sent = []
    for now in range(1, 300):
        subscriptions.send_alone(["A-USDT"])
        if subscriptions.due(now).alone:
            sent.append(now)
    assert sent == [1, 2]
    assert subscriptions.waiting() == []


def test_a_refused_one_is_tried_more_and_more_seldom():
    """After 5 minutes, then twice as long each time, an hour at most; an answer begins it anew."""
    subscriptions = opened(["A-USDT"])
    now, waits = 0.0, []
    for _ in range(6):
        subscriptions.refused(["A-USDT"], now)
        refused_at = now
        assert subscriptions.waiting() == []
        while not subscriptions.due(now).alone:
            now += 10
        waits.append(now - refused_at)
    assert waits == [300, 600, 1_200, 2_400, 3_600, 3_600]
    subscriptions.acked("A-USDT", now)
    subscriptions.refused(["A-USDT"], now)
    subscriptions.refused(["A-USDT"], now + 299)
    assert subscriptions.due(now + 300).alone == ["A-USDT"]


def test_a_stale_one_is_renewed_and_then_costs_the_connection():
    """Without a push for 60 s it is subscribed anew; 60 s later the connection is made anew."""
    subscriptions = standing()
    told = []
    for now in range(1, 121):
        subscriptions.pushed("A-USDT", now)
        subscriptions.pushed("B-USDT", now)
        due = subscriptions.due(now)
        if due != DueMessages():
            told.append((now, due.renew, "C-USDT" in due.lost))
    assert told == [(60, ["C-USDT"], False), (120, [], True)]


def test_a_symbol_that_never_trades_costs_few_connections():
    """Each time that a new connection did not help, the patience with it doubles, up to an hour."""
    subscriptions = standing(["A-USDT", "B-USDT"])
    losses, begun = [], 0
    for now in range(1, 40_000):
        subscriptions.pushed("A-USDT", now)
        if subscriptions.due(now).lost:
            losses.append(now - begun)
            begun = now
            subscriptions.opened(now)
            subscriptions.due(now)
            subscriptions.acked("B-USDT", now)
    assert losses == [120, 240, 480, 960, 1_920, 3_840, 7_200, 7_200, 7_200, 7_200]


def test_a_silent_connection_is_made_anew():
    """After 90 s without any push; twice as long after each that did not help; a push mends it."""

    def silence(subscriptions: Subscriptions, now: float) -> float:
        subscriptions.opened(now)
        subscriptions.due(now)
        subscriptions.acked("A-USDT", now)
        later = now
        while "any symbol" not in subscriptions.due(later).lost:
            later += 10
        return later - now

    subscriptions = Subscriptions(["A-USDT"])
    assert [silence(subscriptions, now) for now in (0, 10_000, 20_000)] == [90, 180, 360]
    subscriptions.pushed("A-USDT", 30_000)
    assert silence(subscriptions, 30_000) == 90
    assert [silence(subscriptions, now * 10_000) for now in range(4, 10)][-1] == 3_600


def test_a_push_stands_for_a_lost_acknowledgement():
    """Whoever gets pushes is subscribed."""
    subscriptions = opened()
    subscriptions.pushed("B-USDT", 1)
    assert subscriptions.standing("B-USDT")


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["opened", "closed", "acked", "pushed", "refused", "send_alone", "add", "drop", "due"]
        ),
        st.sampled_from([*NAMES, "X-USDT"]),
        st.integers(0, 700),
    ),
    max_size=30,
)


@given(steps)
def test_nobody_is_forgotten(happened):
    """After whatever happened, each symbol kept is pushed for, or tried within the hour."""
    subscriptions = opened()
    now, kept = 0, list(NAMES)
    for what, name, later in happened:
        now += later
        match what:
            case "opened" | "due":
                getattr(subscriptions, what)(now)
            case "closed":
                subscriptions.closed()
            case "refused":
                subscriptions.refused([name], now)
            case "send_alone":
                subscriptions.send_alone([name])
            case "add":
                subscriptions.add([name])
                kept += [] if name in kept else [name]
            case "drop":
                subscriptions.drop(name)
                kept = [symbol for symbol in kept if symbol != name]
            case _:
                getattr(subscriptions, what)(name, now)
    assert subscriptions.symbols == kept
    tried: set[str] = set()
    for _ in range(400):
        now += 10
        due = subscriptions.due(now)
        tried |= {*due.subscribe, *due.alone, *due.renew, *(kept if due.lost else ())}
        assert {*due.subscribe, *due.alone, *due.renew} <= set(kept)
    assert tried == set(kept)
    assert "X-USDT" in kept or not subscriptions.standing("X-USDT")


def test_where_silence_means_nothing_only_answers_count():
    """No symbol is renewed and no connection lost for it; what is not acknowledged is chased."""
    subscriptions = Subscriptions(["A-USDT", "B-USDT"], may_be_quiet=True)
    subscriptions.opened(0)
    assert subscriptions.due(0) == DueMessages(subscribe=["A-USDT", "B-USDT"])
    subscriptions.acked("A-USDT", 0)
    told = {
        now: due for now in range(1, 100_000) if (due := subscriptions.due(now)) != DueMessages()
    }
    assert all(due == DueMessages(alone=["B-USDT"]) for due in told.values())
    assert list(told)[:3] == [10, 20, 330]


def test_a_connection_on_which_nothing_is_answered_is_made_anew():
    """It is deaf: waiting for each symbol to be tried again would take an hour in the end."""
    deaf = Subscriptions(["A", "B"])
    deaf.opened(0)
    lost = [now for now in range(int(SILENT_AFTER_S) + 2) if deaf.due(now).lost]
    assert lost == [SILENT_AFTER_S]
    refused = Subscriptions(["A", "B"])
    refused.opened(0)
    refused.due(0)
    refused.refused(["A", "B"], 1)
    assert not any(refused.due(now).lost for now in range(2, 200))


def test_who_comes_is_subscribed_and_who_goes_is_unsubscribed():
    """Once, together; who came and went meanwhile is neither, who went and came is subscribed."""
    subscriptions = standing()
    subscriptions.add(["D-USDT", "E-USDT", "F-USDT"])
    for name in ("A-USDT", "B-USDT", "F-USDT", "NEVER-USDT"):
        subscriptions.drop(name)
    subscriptions.add(["B-USDT"])
    due = subscriptions.due(5)
    assert due == DueMessages(subscribe=["D-USDT", "E-USDT", "B-USDT"], leave=["A-USDT", "F-USDT"])
    assert subscriptions.due(6) == DueMessages()
    assert subscriptions.due(5 + ACK_TIMEOUT_S).alone == ["D-USDT", "E-USDT", "B-USDT"]
    subscriptions.opened(50)
    assert subscriptions.due(50) == DueMessages(subscribe=["C-USDT", "D-USDT", "E-USDT", "B-USDT"])


def test_a_connection_without_a_symbol_is_given_up():
    """Nothing would come over it."""
    subscriptions = standing(["A-USDT"])
    subscriptions.drop("A-USDT")
    assert subscriptions.due(1).lost
