"""A film as it is read: its pictures with their times, and what is really there of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

from attrs import define
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from fvlm_core.media.bad_sample import Unusable
from fvlm_core.media.packet_choice import choose, shown, survey

CLOCK = 0.6e-3
"""Some containers round times to milliseconds: a picture this much late, in seconds, counts as in time."""

_LOST = 0.05
"""Share of the packets that may give no picture: open groups of pictures at the start of cut recordings."""

_HIDDEN = ("vp8",)
"""Codecs whose packets may hold pictures that are never shown, so that packets cannot be counted."""


class Unforeseen(Exception):
    """A film is not what its packets say: all of it has to be decoded to know what is shown."""


@define
class Clip:
    """What was really read of a clip, to compare with what its header declares. Times in seconds.

    as_decoded: the times are those of decoding, for files whose presentation times are wrong: pictures leave the
    decoder in the order of presentation, whatever order their packets had, as in MPEG-4 whose packets hold two
    pictures and then none. falls: whether a picture is earlier than the one before it.
    decoder: in place of the stream's own.
    packets: those that should give a picture. whole: pictures from packets that nothing is missing of.
    """

    container: str
    codec: str
    as_decoded: bool = False
    decoder: VideoCodecContext | None = None
    falls: bool = False
    packets: int = 0
    whole: int = 0
    pictures: int = 0
    start: float = 0.0
    end: float = 0.0
    shortest: float = float("inf")
    longest: float = 0.0
    last: float = 0.0

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def doubt(self) -> float:
        """How far `seconds` can be off: where the intervals vary, that of the last picture is uncertain."""
        vary = self.longest - 0.5 * self.shortest if self.pictures > 1 else 0.5 * self.seconds
        if self.container == "avi":  # it counts the chunks of a picture that stays
            vary = 0.0
        return max(vary, 2 * CLOCK)

    def read(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
        """Every picture in presentation order, with its time after the first one."""
        step = 1 / float(stream.average_rate or stream.guessed_rate or 1)
        packet: Packet[VideoStream] | None = None
        for packet in container.demux(stream):
            # An empty packet repeats the picture before it; the decoder would take it for the end.
            if packet.size:
                self.packets += not packet.is_discard
                yield from self._pictures(packet, step)
        if packet is not None:
            yield from self._pictures(packet, step)  # PyAV's last packet, which empties the decoder

    def _pictures(self, packet: Packet[VideoStream], step: float) -> Iterator[tuple[float, VideoFrame]]:
        for frame in (
            packet.decode() if self.decoder is None else self.decoder.decode(packet if packet.size else None)
        ):
            assert frame.time_base is not None
            previous = self.last
            ticks = frame.dts if self.as_decoded else frame.pts
            time = previous + step if ticks is None else float(ticks * frame.time_base)
            if self.pictures and time < previous:
                self.falls = True
                time = previous + step if self.as_decoded else time
            self.last = time
            if not self.pictures:
                self.start = time
            else:
                self.shortest = min(self.shortest, time - previous)
                self.longest = max(self.longest, time - previous)
            self.pictures += 1
            self.whole += not packet.is_corrupt
            self.end = time + (float(frame.duration * frame.time_base) or step)
            yield time - self.start, frame

    def read_shown(
        self, container: InputContainer, stream: VideoStream, times: Sequence[float]
    ) -> Iterator[tuple[float, VideoFrame]]:
        """The pictures that are on screen at these times, and those that they are made from, as `read` has them.

        All packets are looked through first. Raises `Unforeseen` where their own words do not say what is shown when,
        or what came of them is something else.
        """
        coded = survey(container.demux(stream), stream)
        if coded is None:
            raise Unforeseen
        step, tick = 1 / float(stream.average_rate or stream.guessed_rate or 1), stream.time_base
        assert tick is not None
        order = sorted(coded, key=lambda one: one.pts)
        seconds = [float(one.pts * tick) for one in order]
        self.start, self.end = seconds[0], seconds[-1] + (float(order[-1].duration * tick) or step)
        between = [later - earlier for earlier, later in pairwise(seconds)]
        self.shortest, self.longest = min(between, default=self.shortest), max(between, default=self.longest)
        self.pictures = len(coded)
        after = [one - self.start for one in seconds]
        chosen = choose(coded, (order[place].pts for place in shown(after, times, CLOCK)))
        first = coded[0].pts if coded[0].dts is None else coded[0].dts
        container.seek(first, stream=stream)
        taken = {one.pts for one, is_taken in zip(coded, chosen, strict=True) if is_taken}
        due = deque((one.pts, time) for one, time in zip(order, after, strict=True) if one.pts in taken)
        packets = iter(container.demux(stream))
        for one in coded:
            packet = next(packets, None)
            if packet is None or not one.is_of(packet):
                raise Unforeseen
            if one.pts in taken:
                yield from self._foreseen(packet, due)
        for packet in packets:  # PyAV's last, which empties the decoder
            yield from self._foreseen(packet, due)
        if due:
            raise Unforeseen

    def _foreseen(
        self, packet: Packet[VideoStream], due: deque[tuple[int, float]]
    ) -> Iterator[tuple[float, VideoFrame]]:
        for frame in packet.decode():
            pts, time = due.popleft() if due else (None, 0.0)
            if pts is None or frame.pts != pts:
                raise Unforeseen
            yield time, frame

    def check(self) -> None:
        """Raise when pictures are missing although the decoder did not complain."""
        if self.codec not in _HIDDEN and self.packets - self.whole > _LOST * self.packets:
            raise Unusable(f"corrupt or cut short: {self.whole} of its {self.packets} pictures are there")
