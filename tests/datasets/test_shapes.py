"""Rendered clips: captions that need no file, files that survive a kill, splits that share nothing, pictures that show
what the captions say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import pytest
import warm
from fvlm_clips.config import Clips
from fvlm_clips.source import build as build_clips
from fvlm_shapes.config import Level, Shapes
from fvlm_shapes.draw import CELL, COLOURS, SIDE
from fvlm_shapes.scenes import Easy, Gaze, scene
from fvlm_shapes.source import ShapesSource, build
from hypothesis import given, settings
from hypothesis import strategies as st

from fvlm_core.media.frames import decode_frames
from fvlm_core.media.video import decode
from fvlm_core.plugin_api import Split

LEVELS: tuple[Level, ...] = ("easy", "gaze")


def source(cache: Path, clips: int = 6, split: Split = "train", **config: object) -> ShapesSource:
    return build(Shapes(cache=cache, clips=clips, validation_clips=3, **config), split)  # type: ignore[arg-type]


def drawn(clips: ShapesSource) -> ShapesSource:
    clips.prepare(lambda what, done, total: None)
    return clips


def pixels(clips: ShapesSource) -> list[bytes]:
    videos = [clips[index].video for index in range(len(clips))]
    return [decode(video, SIDE).tobytes() for video in videos if video is not None]


@pytest.mark.parametrize("level", LEVELS)
def test_captions_are_there_before_any_file(level: Level, tmp_path: Path) -> None:
    clips = source(tmp_path / "cache", level=level)
    before = [clips[index] for index in range(len(clips))]
    assert all(sample.turns[1].content and sample.video is not None for sample in before)
    assert not (tmp_path / "cache").exists()
    drawn(clips)
    assert [clips[index] for index in range(len(clips))] == before
    assert all(sample.video is not None and sample.video.path.is_file() for sample in before)


@pytest.mark.parametrize("level", LEVELS)
def test_two_caches_hold_the_same_pictures(level: Level, tmp_path: Path) -> None:
    one, two = (drawn(source(tmp_path / name, level=level)) for name in ("one", "two"))
    assert pixels(one) == pixels(two)
    assert one.fingerprint() == two.fingerprint()
    assert len(set(pixels(one))) == len(one)


def test_files_are_those_of_their_captions(tmp_path: Path) -> None:
    """Every drawn picture, decoded, is the scene's own to within what H.264 at this quality loses."""
    clips = drawn(source(tmp_path, 8))
    for index in range(8):
        video = clips[index].video
        assert video is not None
        expected = np.stack([np.asarray(picture) for picture in scene("easy", 0, "train", index, 4).frames()])
        difference = np.abs(decode(video, SIDE).transpose(0, 2, 3, 1).astype(int) - expected)
        assert difference.mean() < 4
        cells = difference.reshape(4, 3, CELL, 3, CELL, 3)[
            :, :, 1:3, :, 2:-2
        ]  # well inside heads, skies and ground
        assert cells.max() < 60


@settings(max_examples=30, deadline=None)
@given(
    level=st.sampled_from(LEVELS),
    seed=st.integers(0, 2**32),
    clips=st.integers(1, 150),
    held_out=st.integers(1, 40),
    frames=st.integers(2, 9),
)
def test_splits_share_no_clip(level: Level, seed: int, clips: int, held_out: int, frames: int) -> None:
    train = [scene(level, seed, "train", index, frames) for index in range(clips)]
    validation = [scene(level, seed, "validation", index, frames) for index in range(held_out)]
    assert not {drawn.caption() for drawn in train} & {drawn.caption() for drawn in validation}
    assert not set(train) & set(validation)


def test_splits_of_any_two_seeds_share_no_clip() -> None:
    train = {scene("easy", 1, "train", index, 4).caption() for index in range(3000)}
    assert not any(scene("easy", 2, "validation", index, 4).caption() in train for index in range(500))


def test_clips_do_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few, many = source(tmp_path, 5), source(tmp_path, 50)
    assert [few[index] for index in range(5)] == [many[index] for index in range(5)]
    drawn(few)
    before = {index: few[index].video.path.stat().st_mtime_ns for index in range(5)}  # type: ignore[union-attr]
    drawn(many)
    assert {index: few[index].video.path.stat().st_mtime_ns for index in range(5)} == before  # type: ignore[union-attr]


@pytest.mark.parametrize("change", [{"seed": 1}, {"frames": 5}, {"level": "gaze"}])
def test_other_clips_have_another_place(change: dict[str, object], tmp_path: Path) -> None:
    one, other = source(tmp_path), source(tmp_path, **change)
    assert one.film.folder != other.film.folder
    assert one[0].id != other[0].id or change == {"frames": 5}


def test_the_manifest_is_one_that_clips_reads(tmp_path: Path) -> None:
    clips = drawn(source(tmp_path, 12))
    path = clips.film.folder / "train.jsonl"
    read = build_clips(Clips(path=path, holdout=0, max_frames=4), "train")
    assert not read.problems()
    assert [read[i].turns[1] for i in range(12)] == [clips[i].turns[1] for i in range(12)]
    first, again = read[0].video, clips[0].video
    assert first is not None
    assert again is not None
    assert np.array_equal(decode(first, SIDE), decode(again, SIDE))


def test_damage_is_mended_and_finished_work_is_not_repeated(tmp_path: Path) -> None:
    clips = drawn(source(tmp_path, 6))
    whole = pixels(clips)
    paths = [clips[index].video.path for index in range(6)]  # type: ignore[union-attr]
    paths[1].unlink()
    paths[4].write_bytes(b"")
    (paths[0].parent / f".{paths[0].name}.123").write_bytes(b"half a file")
    (clips.film.folder / "train.jsonl").unlink()
    calls: list[tuple[int, int]] = []
    clips.prepare(lambda what, done, total: calls.append((done, total)))
    assert calls == [(0, 2), (2, 2)]
    assert pixels(clips) == whole
    assert len(list(paths[0].parent.iterdir())) == 6
    assert len((clips.film.folder / "train.jsonl").read_text().splitlines()) == 6
    clips.prepare(lambda what, done, total: pytest.fail("nothing was missing"))


PREPARE = """
import os
import sys
from pathlib import Path
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
from fvlm_shapes.config import Shapes
from fvlm_shapes.source import build
def report(what, done, total):
    print(done, flush=True)
    if done and len(sys.argv) > 3:
        os.kill(os.getpid(), int(sys.argv[3]))
if __name__ == "__main__":
    build(Shapes(cache=Path(sys.argv[1]), clips=int(sys.argv[2])), "train").prepare(report)
"""


def start(script: Path, cache: Path, clips: int, end: signal.Signals | None = None) -> subprocess.Popen[str]:
    """A process that draws clips. end: the signal that it gets once some are there."""
    script.write_text(PREPARE)
    command = [warm.python(), str(script), str(cache), str(clips), *([str(int(end))] if end else [])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_stop_while_drawing_is_continued(
    end: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = source(tmp_path / "cache", 500)
    process = start(tmp_path / "prepare.py", tmp_path / "cache", 500, end)
    assert "Process Spawn" not in process.communicate(timeout=60)[1]  # the workers leave without a word
    assert process.returncode == -end, "the signal came too late to stop anything"

    def count() -> int:
        return len(list(clips.film.folder.rglob("*.mp4")))

    deadline = time.monotonic() + 20
    left = -1
    while left != count():  # the killed process's workers end when they notice
        assert time.monotonic() < deadline
        left = count()
        time.sleep(0.2)
    assert 0 < left < 500
    for path in clips.film.folder.rglob("[!.]*.mp4"):
        assert path.stat().st_size
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda process: {0}
    )  # the rest needs no further interpreters
    drawn(clips)
    assert count() == 500
    assert len((clips.film.folder / "train.jsonl").read_text().splitlines()) == 500
    assert not list(clips.film.folder.rglob(".*.mp4.*"))
    assert len(decode(clips[499].video, SIDE)) == 4  # type: ignore[arg-type]


def test_two_processes_draw_once(tmp_path: Path) -> None:
    script = tmp_path / "prepare.py"
    both = [start(script, tmp_path / "cache", 130) for _ in range(2)]
    reports = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], reports
    assert sorted(len(out.split()) > 0 for out, _ in reports) == [False, True]


def test_workers_are_fresh_interpreters(tmp_path: Path) -> None:
    """Forking a process that has started threads can hang; a fresh one imports the script anew."""
    script = tmp_path / "prepare.py"
    script.write_text(f"import os\nopen(f'{tmp_path}/{{os.getpid()}}.pid', 'w').close()\n{PREPARE}")
    subprocess.run([sys.executable, str(script), str(tmp_path / "cache"), "130"], check=True)
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core: everything is drawn in one process")
    assert len(list(tmp_path.glob("*.pid"))) > 2


# What the clips say


def test_easy_pictures_show_what_the_caption_says() -> None:
    """The caption read back from the pixels of the frames, for a few hundred clips."""
    names = {rgb: name for name, rgb in COLOURS.items()}
    for index in range(300):
        clip = scene("easy", 3, "train", index, 4)
        frames = [np.asarray(picture) for picture in clip.frames()]
        backgrounds: list[str] = []
        cards: list[str] = []
        for row in range(3):
            strip = [frame[CELL * row + 1, 3::CELL][:3] for frame in frames]
            seen = [[names[tuple(int(v) for v in pixel)] for pixel in pixels] for pixels in strip]
            background = Counter(name for line in seen for name in line).most_common(1)[0][0]
            backgrounds.append(background)
            columns = [next((c for c in range(3) if line[c] != background), None) for line in seen]
            if columns[0] is not None:
                steps = columns[-1] - columns[0]  # type: ignore[operator]
                motion = {0: "standing still", 2: "moving right", -2: "moving left"}[steps]
                cards.append(f"{seen[0][columns[0]]} GLYPH {motion}")
        assert backgrounds[0] == backgrounds[1] != backgrounds[2]
        assert isinstance(clip, Easy)
        told = clip.caption()
        for mover in clip.movers:
            told = told.replace(f" {mover.glyph} ", " GLYPH ", 1)
        said = " above ".join(f"{'an' if card[0] in 'aeiou' else 'a'} {card}" for card in cards)
        assert told == f"{said} on {backgrounds[2]} ground under {backgrounds[0]} sky"


def test_glyphs_can_be_told_apart() -> None:
    from fvlm_shapes.draw import GLYPHS, blank, card

    tiles = []
    for glyph in GLYPHS:
        picture = blank()
        card(picture, 0, "red", glyph)
        tiles.append(np.asarray(picture)[4:CELL, :CELL, 0] > 128)
    for one in range(len(tiles)):
        for other in range(one):
            assert (tiles[one] != tiles[other]).sum() >= 12, (GLYPHS[one], GLYPHS[other])


def test_gaze_needs_the_frame_before() -> None:
    """Each word is the content of the card that the lamp before named; the lamp of the frame itself tells little."""
    right = wrong = 0
    for index in range(400):
        clip = scene("gaze", 0, "train", index, 4)
        assert isinstance(clip, Gaze)
        words = clip.caption().split()
        assert len(words) == 4
        for second in range(1, 4):
            contents = {identity: content for _, identity, content in clip.cards[second]}
            assert words[second] == contents[clip.lamps[second - 1]]
            if clip.lamps[second] != clip.lamps[second - 1]:
                right += 1
                wrong += words[second] == contents[clip.lamps[second]]
            cells = [cell for cell, _, _ in clip.cards[second]]
            assert len(set(cells)) == len(cells)
            assert 0 not in cells
    assert wrong / right < 0.3


@pytest.mark.parametrize("level", LEVELS)
def test_words_have_a_heavy_tail_and_are_few(level: Level) -> None:
    words = Counter(
        word for index in range(4000) for word in scene(level, 0, "train", index, 4).caption().split()
    )
    assert len(words) < 60
    counts = sorted((words[colour] for colour in COLOURS if words[colour]), reverse=True)
    assert counts[0] > 5 * counts[-1]
    assert log(counts[0] / counts[7]) > 1


@pytest.mark.parametrize("level", ["easy", "gaze", "signals"])
def test_without_files_the_model_gets_the_pictures_as_they_were_drawn(level: Level, tmp_path: Path) -> None:
    """The same captions as with files, and no file; the pictures of both differ by the codec's loss alone."""
    made = source(tmp_path / "none", level=level, files=False)
    coded = drawn(source(tmp_path / "files", level=level))
    drawn(made)
    assert not (tmp_path / "none").exists()
    for index in range(3):
        sample, other = made[index], coded[index]
        assert (sample.id, sample.turns, sample.nats) == (other.id, other.turns, other.nats)
        pictures = scene(level, 0, "train", index, 4).frames()
        side = pictures[0].width
        shown = decode_frames(sample, side)
        assert np.array_equal(shown, np.stack([np.asarray(one) for one in pictures]).transpose(0, 3, 1, 2))
        apart = shown.astype(int) - decode_frames(other, side).astype(int)
        assert np.abs(apart).mean() < 12


@pytest.mark.parametrize("level", ["easy", "signals", "questions"])
def test_texts_ids_and_fingerprint_are_those_of_the_samples(level: Level) -> None:
    pairs = level == "easy"
    source = build(Shapes(level=level, frames=2, clips=40, validation_clips=8, pairs=pairs), "train")
    samples = [source[index] for index in range(len(source))]
    turns = [turn for sample in samples for turn in (*sample.turns, *sample.rejected)]
    assert [*source.texts()] == [turn.content for turn in turns]
    assert [source.sample_id(index) for index in range(len(source))] == [sample.id for sample in samples]
