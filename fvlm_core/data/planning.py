"""Which samples of a step go through the model together: fixed numbers of them, or as many as fit into a size.

What is in a step is decided before, and nothing here changes it: a step's samples are its `batch_size` places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

from attrs import evolve, frozen

from fvlm_core.data.augment import kept
from fvlm_core.data.collate import Preparer
from fvlm_core.data.mixture import Mixture
from fvlm_core.interfaces.data import DataSource, Sample, VideoFile
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import count_frames
from fvlm_core.recipes.augment import Augment
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.seeding import seed_sample

LOOKED_AT = 16
"""Samples of a source that are looked at before training begins, for whether their lengths are known."""


@frozen
class Room:
    """How long a sample may be, and as a rule is. frames: 0 for text only. tokens: of its text."""

    frames: int
    tokens: int


@frozen
class Piece:
    """A micro-batch to be made. offset: samples of the step before it. places: of the mixture, in order.

    rooms: of each place, where micro-batches are planned from lengths. shape: what it is filled up to. last: whether it
    is the rank's last of the step. next: places that whoever makes it makes after it.
    """

    offset: int
    places: tuple[int, ...]
    rooms: tuple[Room, ...] = ()
    shape: Room | None = None
    last: bool = False
    next: tuple[int, ...] = ()


@frozen(eq=False)
class Planner:
    """Cuts steps into micro-batches of at most `frames` frames and `tokens` text tokens; filled up to so many where
    they are to be `constant`.

    Lengths come from what the sources know without opening a file: frames from their index, tokens from the text by
    the run's own tokenizer. They are those of the samples that the mixture names: a bad one is replaced while it is
    read, and its replacement fits into the room of the one it replaces (`TrainingData`). augment: frames that it leaves
    out are not counted.
    """

    sources: tuple[DataSource, ...]
    mixture: Mixture
    preparer: Preparer
    frames: int
    tokens: int
    constant: bool = False
    augment: Augment | None = None

    def check(self) -> None:
        """Raise `UsageError` when a source does not know its lengths, or a sample is known to be over the cap."""
        problems: list[str] = []
        for source in self.sources:
            counts = source.frame_counts()
            over = sum(count > self.frames for count in counts) if counts is not None else 0
            if over:
                problems.append(
                    f"{over:,} of the {len(source):,} samples of {source.name} have more frames than "
                    f"training.micro_batch_frames = {self.frames}: raise it to {max(counts or ())}, or leave them out "
                    f"with data.max_frames = {self.frames}"
                )
            for index in range(0, len(source), max(1, len(source) // LOOKED_AT)):
                try:
                    self._known(source[index], source.name)
                except BadSample:
                    continue
                except UsageError as error:
                    problems.append(str(error))
                    break
        if problems:
            raise UsageError("\n".join(problems))

    def room(self, place: int) -> Room:
        """The lengths of the sample at a place; all there is of text for one whose text cannot be read.

        Raises `UsageError` for a video that would have to be opened.
        """
        source, index = self.mixture.at(place)
        seed_sample(self.mixture.seed, place)  # as where it is decoded: a source may draw at random
        try:
            sample = self.sources[source][index]
            self._known(sample, self.sources[source].name)
            frames = count_frames(sample, self.preparer.image_repeats)
            if self.augment is not None:
                frames = len(kept(frames, sample, self.augment, self.mixture.seed, place))
            tokens = len(self.preparer.chat.encode(sample.turns).ids)
        except BadSample:
            counts = self.sources[source].frame_counts()
            frames, tokens = counts[index] if counts is not None else self.frames, self.preparer.max_tokens
        # One that is over the cap on frames is bad, and so is its replacement if that is as long: see `fitted`.
        return Room(min(frames, self.frames), max(1, min(tokens, self.preparer.max_tokens)))

    def _known(self, sample: Sample, source: str) -> None:
        if isinstance(sample.video, VideoFile):
            raise UsageError(
                f"training.micro_batch_frames: how many frames {source}/{sample.id} has is not known before it is "
                "decoded; pack the source first (fvlm data pack), which records it"
            )


def first_fit(rooms: Sequence[Room], frames: int, tokens: int) -> list[list[int]]:
    """Numbers of `rooms` in groups of at most `frames` frames and `tokens` tokens.

    First fit decreasing (Johnson 1973): the largest first, by the larger of its two shares of the caps, each into the
    first group that has room; among equals the one that comes first. A group's numbers are in order. One that is over
    a cap by itself has a group of its own.
    """

    def share(number: int) -> tuple[int, int]:  # in whole numbers, so that every machine sorts alike
        room = rooms[number]
        return -max(room.frames * tokens, room.tokens * frames), number

    groups: list[list[int]] = []
    used: list[Room] = []
    for number in sorted(range(len(rooms)), key=share):
        room = rooms[number]
        for at, group in enumerate(groups):
            held = Room(used[at].frames + room.frames, used[at].tokens + room.tokens)
            if held.frames <= frames and held.tokens <= tokens:
                group.append(number)
                used[at] = held
                break
        else:
            groups.append([number])
            used.append(room)
    return [sorted(group) for group in groups]


@frozen
class RankShare:
    """A rank's part of training: its micro-batches of every step from place `begin` up to place `end`.

    The global batch of a step is its `batch_size` places, of the last one what is left, cut into micro-batches: of
    `micro_batch_size` places each, or as `planner` says; rank r of n has every n-th of them, beginning with the r-th.
    Neither ranks nor workers change what is in a step. Where a step would make fewer micro-batches than there are
    ranks, the one with the most samples is halved until each rank has one; a step of fewer samples than ranks leaves
    the last ranks without.
    """

    batch_size: int
    micro_batch_size: int
    rank: int = 0
    ranks: int = 1
    planner: Planner | None = None
    begin: int = 0
    end: int | None = None

    def holds(self, step: int) -> bool:
        """Whether there is a step after `step` steps from `begin` on."""
        return self.end is None or self.begin + step * self.batch_size < self.end

    def pieces(self, step: int) -> list[Piece]:
        """This rank's micro-batches of the step after `step` steps from `begin` on."""
        begin = self.begin + step * self.batch_size
        size = self.batch_size if self.end is None else min(self.batch_size, self.end - begin)
        rooms = [self.planner.room(begin + number) for number in range(size)] if self.planner else []
        groups = self._groups(rooms, size)
        offsets = accumulate((len(group) for group in groups), initial=0)
        planner = self.planner
        shape = Room(planner.frames, planner.tokens) if planner and planner.constant else None
        whole = [
            Piece(
                offset,
                tuple(begin + n for n in group),
                tuple(rooms[n] for n in group) if rooms else (),
                shape,
            )
            for offset, group in zip(offsets, groups, strict=False)
        ]
        mine = whole[self.rank :: self.ranks]
        return [*mine[:-1], *(evolve(piece, last=True) for piece in mine[-1:])]

    def check(self) -> None:
        """Raise `UsageError` when a rank would have no work, or the lengths that a plan needs are not known."""
        most = self.batch_size if self.planner else self.batch_size // self.micro_batch_size
        if most < self.ranks:
            size, fewer = (1, "") if self.planner else (self.micro_batch_size, self._way_out())
            raise UsageError(
                f"{self.ranks} ranks and {most} micro-batches a step: batch_size {self.batch_size} in micro-batches of "
                f"{size} leaves ranks without work{fewer}"
            )
        if self.planner:
            self.planner.check()

    def _way_out(self) -> str:
        return f"; expected training.micro_batch_size of at most {self.batch_size // self.ranks}"

    def _groups(self, rooms: Sequence[Room], size: int) -> list[list[int]]:
        if self.planner is None:
            firsts = range(0, size, self.micro_batch_size)
            groups = [list(range(first, min(first + self.micro_batch_size, size))) for first in firsts]
        else:
            groups = first_fit(rooms, self.planner.frames, self.planner.tokens)
        while len(groups) < min(self.ranks, size):
            at = max(range(len(groups)), key=lambda number: len(groups[number]))
            half = len(groups[at]) // 2
            groups[at : at + 1] = [groups[at][:half], groups[at][half:]]
        return groups


@frozen
class Pieces:
    """The micro-batches of a share after `step`, to its end: what a loader draws from.

    makers: processes that make them in turn. Each piece says which places its maker has next, so that these may be
    fetched meanwhile.
    """

    share: RankShare
    step: int
    makers: int = 1

    def __iter__(self) -> Iterator[Piece]:
        waiting: deque[Piece] = deque()
        for piece in self._pieces():
            waiting.append(piece)
            if len(waiting) > self.makers:
                yield evolve(waiting.popleft(), next=piece.places)
        yield from waiting

    def _pieces(self) -> Iterator[Piece]:
        step = self.step
        while self.share.holds(step):
            yield from self.share.pieces(step)
            step += 1
