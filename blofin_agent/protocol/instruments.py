"""Instruments: BloFin's list of what it trades, as REST answers it.

Source of every fact: BloFin's API documentation, "Get Instruments".
"""

import msgspec

from blofin_agent.domain.candle import LATEST_MS, RejectedRow, RejectReason
from blofin_agent.domain.errors import InvalidResponse
from blofin_agent.domain.instrument import Instrument, InstrumentList
from blofin_agent.domain.sanitize import shorten
from blofin_agent.domain.symbols import is_symbol
from blofin_agent.protocol.candle_row import UNREADABLE
from blofin_agent.protocol.rest import open_envelope

_MAX_STATE = 20


class _WireInstrument(msgspec.Struct, rename="camel"):
    inst_id: str
    list_time: str | int | None = None
    state: str = "live"


_instruments = msgspec.json.Decoder(list[msgspec.Raw])
_instrument = msgspec.json.Decoder(_WireInstrument)


def parse_instruments(body: bytes) -> InstrumentList:
    """Turn the body of an instruments request into instruments.

    Raises what `open_envelope` raises, and Invalid when `data` is no list.
    """
    data = open_envelope(body)
    try:
        raws = _instruments.decode(data)
    except UNREADABLE:
        raise InvalidResponse(
            f"BloFin's list of instruments is no list: {shorten(data)!r}"
        ) from None
    found: dict[str, Instrument] = {}
    bad: list[RejectedRow] = []
    for raw in raws:
        one = _read_instrument(raw)
        if one is None:
            bad.append(RejectedRow(RejectReason.SHAPE, shorten(bytes(raw))))
        elif one.symbol in found:
            bad.append(RejectedRow(RejectReason.REPEATED, shorten(bytes(raw))))
        else:
            found[one.symbol] = one
    return InstrumentList(list(found.values()), bad)


def _read_instrument(raw: msgspec.Raw) -> Instrument | None:
    try:
        wire = _instrument.decode(raw)
    except UNREADABLE:
        return None
    if not is_symbol(wire.inst_id):
        return None
    return Instrument(wire.inst_id, _moment(wire.list_time), shorten(wire.state, _MAX_STATE))


def _moment(text: str | int | None) -> int | None:
    """Return a time (ms) that a calendar has, None for any other."""
    try:
        number = int(text or 0)
    except ValueError:
        return None
    return number if 0 < number <= LATEST_MS else None
