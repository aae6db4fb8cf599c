"""Which packets of a film have to be decoded for the pictures that are shown of it.

A picture that no other is made from can be left out, and so can the rest of a group of pictures behind the last one
that is shown: what follows begins anew. Both stand in the first bytes of the units (NAL) that H.264 and HEVC are made
of (ITU-T H.264, 7.3.1 and table 7-1; H.265, 7.3.1.2 and table 7-1). The pictures shown are the same to the bit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import inf

from attrs import frozen
from av.packet import Packet
from av.video.stream import VideoStream

_IDR = {"h264": (5,), "hevc": (19, 20)}
"""Types of the units of pictures that nothing behind them refers past."""

_SETS = {"h264": (7, 8, 13, 15), "hevc": (32, 33, 34)}
"""Types of the units that say how others are read."""

_END = {"h264": (), "hevc": (36, 37)}
"""Types of the units that make a start of the picture behind them, which H.264 asks to be one of `_IDR` anyway."""

_MOST_UNITS = 4096
"""Of one packet: real ones have a few for each row of blocks."""


@frozen
class Coded:
    """A packet. pts: when its picture is shown, in ticks, as long as duration says (0: unsaid). anew: whether nothing
    from here on refers to what was before. layer: of time, H.265's TemporalId. referred: whether other pictures of its
    layer are made from it."""

    pts: int
    dts: int | None
    size: int
    duration: int
    anew: bool
    layer: int
    referred: bool

    def is_of(self, packet: Packet[VideoStream]) -> bool:
        """Whether this was read of the packet."""
        return (packet.pts, packet.dts, packet.size) == (self.pts, self.dts, self.size)


def may_leave_out(stream: VideoStream, looks: int) -> bool:
    """Whether to look through a stream of which so many pictures are shown."""
    return stream.codec_context.name in _IDR and (not stream.frames or looks < stream.frames / 2)


def reader(stream: VideoStream) -> Callable[[memoryview], tuple[bool, int, bool] | None] | None:
    """What tells `anew`, `layer` and `referred` of a packet's bytes, or None of bytes that are not understood or change
    how others are read, be it in groups far behind; None for streams that are not of units with their lengths before
    them (avcC and hvcC of MP4 and Matroska)."""
    context, name = stream.codec_context, stream.codec_context.name
    head = bytes(context.extradata or b"")
    at = {"h264": 4, "hevc": 21}.get(name, 0)
    if not at or len(head) <= at or head[0] != 1:
        return None
    width = (head[at] & 3) + 1
    idr, sets, end = _IDR[name], _SETS[name], _END[name]

    def read(data: memoryview) -> tuple[bool, int, bool] | None:
        position, layer = 0, 0
        found = anew = referred = False
        for _ in range(_MOST_UNITS):
            if position + width + 1 >= len(data):
                break
            behind = position + width + int.from_bytes(data[position : position + width], "big")
            first = data[position + width]
            if name == "h264":
                kind = first & 31
                picture, kept = 1 <= kind <= 5, bool(first & 96)
            else:
                kind = first >> 1 & 63
                picture, kept = kind < 32, kind > 14 or bool(kind & 1)
                layer = max(layer, (data[position + width + 1] & 7) - 1) if picture else layer
            if kind in end or (kind in sets and bytes(data[position + width : behind]) not in head):
                return None
            if picture:
                found, anew, referred = True, anew or kind in idr, referred or kept
            position = behind
        return (anew, layer, referred) if found and position == len(data) else None

    return read


def survey(packets: Iterable[Packet[VideoStream]], stream: VideoStream) -> list[Coded] | None:
    """All packets of a stream in the order of decoding, read to its end and not decoded; None where one of them is not
    a whole picture of its own time, so that all have to be decoded to know what is shown."""
    read, found = reader(stream), list[Coded]()
    if read is None:
        return None
    for packet in packets:
        if not packet.size:
            if packet.pts is None and packet.dts is None:  # PyAV's last, which empties the decoder
                continue
            return None
        told = read(memoryview(packet))
        if told is None or packet.pts is None or packet.is_discard or packet.is_corrupt:
            return None
        if packet.has_sidedata("new_extradata"):  # of an MP4 with several sample descriptions
            return None
        found.append(Coded(packet.pts, packet.dts, packet.size, packet.duration or 0, *told))
    whole = found and found[0].anew and len({one.pts for one in found}) == len(found)
    return found if whole and _in_their_order(found) else None


def _in_their_order(coded: Sequence[Coded]) -> bool:
    """Whether the times can be those of the pictures.

    Some programs write the times of decoding in place of them, which only the decoder tells. So each group has to come
    behind the one before it, and a group in the order of decoding may hold no picture that could be left out.
    """
    over: float = -inf
    starts = [place for place, one in enumerate(coded) if one.anew]
    for start, stop in pairwise([*starts, len(coded)]):
        group = coded[start:stop]
        if min(one.pts for one in group) <= over:
            return False
        over = max(one.pts for one in group)
        as_decoded = all(earlier.pts < later.pts for earlier, later in pairwise(group))
        if as_decoded and not all(one.referred for one in group):
            return False
    return True


def shown(seconds: Sequence[float], times: Iterable[float], late: float) -> set[int]:
    """Places of the pictures on screen at some times. seconds: when each picture comes, ascending from 0. late: by
    which a picture is still in time."""
    return {max(0, bisect_right(seconds, time + late) - 1) for time in times}


def choose(coded: Sequence[Coded], wanted: Iterable[int]) -> list[bool]:
    """Of each packet, in the order of decoding, whether it is decoded for the pictures of these `pts`."""
    pts, top = frozenset(wanted), max(one.layer for one in coded)
    chosen = [False] * len(coded)
    behind_shown = False
    for place in reversed(range(len(coded))):
        one = coded[place]
        behind_shown |= one.pts in pts
        needed = one.pts in pts or one.referred or one.layer < top
        chosen[place] = behind_shown and needed
        if one.anew:
            behind_shown = False
    return chosen
