"""Frames: whatever a websocket peer may say, as text or as bytes."""

from blofin_agent.domain.candle import RejectedRow
from blofin_agent.protocol.trades import judge_trades
from blofin_agent.protocol.websocket import (
    MalformedMessage,
    Push,
    SubscriptionError,
    decode_frame,
    judge_push,
)
from tests.fuzz import laws

SEEDS = (
    b"pong",
    b'{"event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"}}',
    b'{"event":"unsubscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"}}',
    b'{"event":"error","code":"60012","msg":"Invalid request: BTC-USDT"}',
    b'{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[%s]}'
    % b'["1789999920000","2","3","1","2","10","0.5","20","1"]',
    b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",%s}]}'
    % b'"tradeId":"7","price":"2","size":"1","side":"buy","ts":"1789999920000"',
)


def frames(data: bytes) -> None:
    """Every frame is told what it is; of a push each row is a candle, a tick, or bad."""
    frame = decode_frame(data)
    try:
        as_text = decode_frame(data.decode())
        assert type(as_text) is type(frame)
        # Garbled text is cut by its letters, garbled bytes by their number.
        assert isinstance(frame, MalformedMessage) or repr(as_text) == repr(frame)
    except UnicodeDecodeError:
        decode_frame(data.decode("utf-8", "surrogateescape"))
    if isinstance(frame, MalformedMessage):
        laws.is_said_in_one_line(frame.text)
    elif isinstance(frame, SubscriptionError):
        laws.is_said_in_one_line(frame.code, 250)
        assert set(frame.names(["BTC-USDT", "ETH-USDT"])) <= {"BTC-USDT", "ETH-USDT"}
    elif isinstance(frame, Push):
        _judge(frame)


def _judge(push: Push) -> None:
    for bar in laws.BARS:
        before = bar.floor(laws.NOW)
        judged = judge_push(push, bar, before)
        bad = [row for row in judged if isinstance(row, RejectedRow)]
        for row in bad:
            laws.is_rejected_with_a_reason(row)
        laws.are_candles([row for row in judged if not isinstance(row, RejectedRow)], bar, before)
    trades = judge_trades(push, laws.NOW)
    assert len(trades) == len(push.rows)
    for row in trades:
        if isinstance(row, RejectedRow):
            laws.is_rejected_with_a_reason(row)
    laws.are_ticks([row for row in trades if not isinstance(row, RejectedRow)])
