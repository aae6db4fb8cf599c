"""What a model was shown in training is what every command and export shows it: the same frames, the same question."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lmms_stand_in
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from shard_fixtures import clip as founding_clip
from shard_fixtures import write_tar
from tiny import CONNECTOR, ENCODER, LLM, TRAINING, run_cli, train
from torch import Tensor
from transformers import AutoModel, AutoProcessor
from videos import index_of, write_video

from fvlm_core.data.frozen_validation import ChosenSamples
from fvlm_core.datasets.open_source import open_source
from fvlm_core.datasets.shards.pack import origin_of, pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.evaluation.inference import caption, load_frames
from fvlm_core.media.frames import decode_frames
from fvlm_core.media.shown import shown_by
from fvlm_core.media.viewing import QUESTION, Shown, Viewing, viewing
from fvlm_core.model.vlm import VLM
from fvlm_core.plugin_api import DataSource, ImageFile, Sample, StoredFrames, Turn, VideoFile
from fvlm_core.recipes.read import read_data_source
from fvlm_core.runs.store import StoredRun, find_run
from fvlm_core.runs.viewing import differences
from fvlm_core.utils.errors import Problems
from fvlm_core.weights.restore import restore

pytestmark = pytest.mark.timeout(300)
Cli = Callable[..., tuple[int, str, str]]

ASKED = "What rolls here?"
CLIPS = f"""
[[data.sources]]
name = "clips"
path = "clips"
fps = 3.0
max_frames = 4
prompt = "{ASKED}"
holdout = 0.4
[data]
image_repeats = 3
"""
RECIPE = 'name = "rolls"\n' + ENCODER + CONNECTOR + LLM + CLIPS + TRAINING
EVENLY = (0, 30, 60, 90)
"""Pictures of a clip of 30 seconds at 4 a second that are 7.5 seconds apart: four of them, evenly spaced."""
RARELY = (0, 40, 80)
"""One in 10 seconds."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run "rolls/rolls", trained at 3 frames a second and 4 at most on clips of 30 seconds, and what it
    was shown in training."""
    folder = tmp_path_factory.mktemp("viewing")
    (folder / "clips").mkdir()
    first = write_video(folder / "clips/00.mp4", 120, fps=4)
    for number in range(1, 10):
        shutil.copy(first, folder / f"clips/{number:02d}.mp4")
    for number in range(10):
        (folder / f"clips/{number:02d}.txt").write_text(
            f"ball {number} rolls to the {['left', 'right'][number % 2]}"
        )
    (folder / "rolls.toml").write_text(RECIPE)
    write_video(folder / "short.mp4", 10, first=500, fps=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        seen = recorded(patch)
        train(Path("rolls.toml"), Path("runs"), "training.steps=4", "eval.every=2")
    (folder / "seen.json").write_text(
        json.dumps(sorted({frames[at : at + 4] for frames in seen for at in range(0, len(frames), 4)}))
    )
    return folder


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(place)
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The indices of the frames that each look of a model was at."""
    return recorded(monkeypatch)


@pytest.fixture(scope="module")
def exported(place: Path) -> Path:
    from fvlm_core.hf.export import release

    release(find_run("rolls", place / "runs"), place / "exported")
    return place / "exported"


@pytest.fixture
def lmms(monkeypatch: pytest.MonkeyPatch, place: Path) -> Callable[..., Any]:
    """A model as lmms-eval makes it, asked once about the clip."""
    lmms_stand_in.install(monkeypatch)
    from fvlm_lmms_eval.model import Fvlm

    def asked(visual: Any, **arguments: Any) -> str:
        made = Fvlm(runs=str(place / "runs"), **{"run": "rolls", **arguments})
        documents = [{"visual": visual, "question": ASKED}]
        made.task_dict, requests = lmms_stand_in.requests(
            documents, lambda document: [document["visual"]], {"max_new_tokens": 128}
        )
        return made.generate_until(requests)[0]

    return asked


def recorded(patch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    looks: list[tuple[int, ...]] = []
    encode = VLM.encode

    def recording(self: VLM, frames: Tensor) -> Any:
        looks.append(tuple(index_of(frame) for frame in frames.numpy()) if len(frames) else ())
        return encode(self, frames)

    patch.setattr(VLM, "encode", recording)
    return looks


def the_run(place: Path) -> StoredRun:
    return find_run("rolls", place / "runs")


def rewritten(place: Path, name: str, **changes: Any) -> None:
    """A copy of the run, and of its checkpoints, whose record says otherwise; None takes a key out."""
    shutil.copytree(place / "runs/rolls/rolls", place / "runs/rolls" / name)
    file = place / "runs/rolls" / name / "recipe.json"
    record = {**json.loads(file.read_text()), "id": name, **changes}
    file.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))
    for manifest in file.parent.glob("checkpoints/*/manifest.json"):
        told = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**told, "run": {**told["run"], "id": name}}))


# One run, every way to show it something


def test_every_command_and_export_shows_the_frames_of_training(
    place: Path, exported: Path, cli: Cli, seen: list[tuple[int, ...]], lmms: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert json.loads((place / "seen.json").read_text()) == [list(EVENLY)]
    said: dict[str, str] = {}

    def looked() -> list[tuple[int, ...]]:
        found, seen[:] = list(seen), []
        return found

    code, out, err = cli("caption", "clips/00.mp4", "--run", "rolls")
    assert (code, looked()) == (0, [EVENLY]), err
    said["caption"] = json.loads(out)["caption"]
    own = getattr(restore(the_run(place)).chat, "system", "")
    system = f'; system turn "{own}"' if own else ""
    assert (
        err == f'shown as in training on clips:clips: 3 frames a second, at most 4, asked "{ASKED}"{system}\n'
    )
    assert cli("gaze", "clips/00.mp4", "--run", "rolls", "--out", tmp_path / "look.png")[0] == 0
    assert looked() == [EVENLY]
    for more in ([], ["--data", "clips"]):
        assert cli("eval", "rolls", *more)[0] == 0
        assert {frames[at : at + 4] for frames in looked() for at in range(0, len(frames), 4)} == {EVENLY}

    restored = restore(the_run(place))
    said["Python"] = caption(restored, load_frames(restored, place / "clips/00.mp4"))
    assert looked() == [EVENLY]

    model = AutoModel.from_pretrained(exported).eval()
    processor: Any = AutoProcessor.from_pretrained(exported)
    said["exported"] = processor.decode(model.generate(**processor(place / "clips/00.mp4"))[0])
    card = (exported / "README.md").read_text()
    monkeypatch.setattr(sys, "argv", ["card", str(exported), str(place / "clips/00.mp4")])
    capsys.readouterr()
    exec(compile(card.split("```python\n")[1].split("```")[0], "README.md", "exec"), {})
    said["card"] = capsys.readouterr().out.removesuffix("\n")
    assert "| frames of a video | 3 frames a second, at most 4 |" in card
    assert f"| question | {ASKED} |" in card

    said["lmms-eval"] = lmms(str(place / "clips/00.mp4"))
    said["lmms-eval, exported"] = lmms(str(place / "clips/00.mp4"), run=str(exported))
    assert looked() == [EVENLY] * 3  # what the card says runs the folder's own code
    assert (
        capsys.readouterr().err.count("shown as in training on clips:clips: 3 frames a second, at most 4")
        == 2
    )
    assert len(set(said.values())) == 1, said
    assert said["caption"]


def test_a_short_clip_is_shown_at_the_rate_of_training(
    place: Path, cli: Cli, seen: list[tuple[int, ...]]
) -> None:
    assert cli("caption", "short.mp4", "--run", "rolls")[0] == 0
    assert seen == [(500, 503, 506)]


def test_data_that_the_run_does_not_know_are_shown_as_its_own(
    place: Path, exported: Path, cli: Cli, seen: list[tuple[int, ...]]
) -> None:
    other = place / "other"
    shutil.copytree(place / "clips", other)
    asked = ("--data", "clips", "-o", f"path={other}", "-o", "holdout=0.5")
    code, _, err = cli("eval", exported, *asked)
    assert code == 0, err
    assert f'shown: clips:other: 3 frames a second, at most 4, asked "{ASKED}"' in err
    assert {frames[at : at + 4] for frames in seen for at in range(0, len(frames), 4)} == {EVENLY}
    seen.clear()
    code, _, err = cli("eval", exported, *asked, "-o", "fps=0.1", "-o", "max_frames=64")
    assert code == 0
    assert {frames[at : at + 3] for frames in seen for at in range(0, len(frames), 3)} == {RARELY}
    assert "shown: clips:other: 0.1 frames a second, at most 64" in err
    assert "; the model was trained on clips:clips: 3 frames a second, at most 4" in err


def test_another_source_is_asked_the_question_of_training_and_what_it_cannot_be_told_is_said(
    cli: Cli,
) -> None:
    code, _, err = cli("eval", "rolls", "--data", "shapes", "-o", "validation_clips=2")
    shown = f'shown: shapes: 1 frame a second, at most 4, asked "{ASKED}"; the model was trained on clips:clips: 3 '
    assert (code, shown in err) == (0, True), err


def test_options_say_otherwise_and_the_note_says_so(
    place: Path, exported: Path, cli: Cli, seen: list[tuple[int, ...]], lmms: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    _, _, err = cli("caption", "clips/00.mp4", "--run", "rolls", "--fps", "0.1", "--max-frames", "9")
    assert (
        "but fps 0.1 in place of 3.0, max_frames 9 in place of 4: 0.1 frames a second, at most 9, asked"
        in err
    )
    cli("gaze", "clips/00.mp4", "--run", "rolls", "--fps", "0.1", "--out", tmp_path / "look.png")
    processor: Any = AutoProcessor.from_pretrained(exported)
    model = AutoModel.from_pretrained(exported)
    inputs = processor(place / "clips/00.mp4", fps=0.1)
    model.generate(**inputs, max_new_tokens=1)
    lmms(str(place / "clips/00.mp4"), fps=0.1)
    assert seen == [RARELY] * 4


def test_question_and_system_turn_are_those_of_training_unless_told_otherwise(
    place: Path, exported: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[int]] = []
    generate = VLM.generate

    def recording(self: VLM, frames: Tensor, prompt: Sequence[int], **how: Any) -> list[int]:
        prompts.append(list(prompt))
        return generate(self, frames, prompt, **how)

    monkeypatch.setattr(VLM, "generate", recording)
    chat = restore(the_run(place)).chat
    trained = chat.encode([Turn("user", ASKED), Turn("assistant", "")]).ids.tolist()
    cli("caption", "short.mp4", "--run", "rolls")
    processor: Any = AutoProcessor.from_pretrained(exported)
    model = AutoModel.from_pretrained(exported)
    model.generate(**processor(place / "short.mp4"), max_new_tokens=1)
    for prompt in prompts:
        assert prompt == trained[: len(prompt)]
        assert len(prompt) >= len(trained) - 3  # all but the end of the empty answer
    prompts.clear()
    cli("caption", "short.mp4", "--run", "rolls", "--prompt", "ball", "--system", "left")
    model.generate(**processor(place / "short.mp4", prompt="ball", system="left"), max_new_tokens=1)
    assert prompts == [chat.prompt([Turn("system", "left"), Turn("user", "ball")]).tolist()] * 2


def test_a_question_that_spells_out_a_control_token_ends_no_turn(place: Path, exported: Path) -> None:
    processor: Any = AutoProcessor.from_pretrained(exported)
    end = restore(the_run(place)).chat.end_of_turn
    plain, spelled = (
        processor(place / "short.mp4", prompt=prompt)["input_ids"][0].tolist()
        for prompt in ("ball", "ball<|im_end|>")
    )
    assert spelled.count(end) == plain.count(end)
    assert len(spelled) > len(plain)


def test_a_picture_is_shown_as_often_as_in_training(
    place: Path, exported: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Tensor] = []
    encode = VLM.encode
    monkeypatch.setattr(VLM, "encode", lambda self, frames: looks.append(frames) or encode(self, frames))
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :10] = 255
    Image.fromarray(pixels).save(place / "wide.png")
    _, out, err = cli("caption", "wide.png", "--run", "rolls")
    assert json.loads(out)["frames"] == 3
    assert f'; pictures letterbox, 3 frames, asked "{ASKED}"' in err
    cli("caption", "wide.png", "--run", "rolls", "--fit", "crop", "--still-frames", "1")
    processor: Any = AutoProcessor.from_pretrained(exported)
    AutoModel.from_pretrained(exported).generate(**processor(place / "wide.png"), max_new_tokens=1)
    letterbox, crop, again = looks
    assert [len(look) for look in looks] == [3, 1, 3]
    assert not letterbox[:, :, :8].any()  # black above and below: the whole picture is there
    assert letterbox[0, 0, 21, 0] == 255
    assert not crop.any()  # the centre, without the white edge
    assert torch.equal(letterbox, again)


@pytest.mark.parametrize("here", [True, False])
def test_a_run_from_before_it_was_recorded_is_shown_what_its_recipe_says(
    here: bool, place: Path, cli: Cli, seen: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"old-{here}"
    rewritten(place, name, viewing=None)
    if not here:
        (place / "clips").rename(place / "away")
    try:
        clip = place / ("clips" if here else "away") / "00.mp4"
        code, _, err = cli("caption", clip, "--run", f"rolls/{name}")
    finally:
        if not here:
            (place / "away").rename(place / "clips")
    assert (code, seen) == (0, [EVENLY]), err
    assert re.match(
        rf'shown as in training on clips(:clips)?: 3 frames a second, at most 4, asked "{re.escape(ASKED)}"',
        err,
    )


def test_what_is_not_recorded_anywhere_is_said(place: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "old")
    config = json.loads((exported / "config.json").read_text())
    del config["viewing"]
    (tmp_path / "old/config.json").write_text(json.dumps(config))
    processor: Any = AutoProcessor.from_pretrained(tmp_path / "old")
    note = processor.viewing.note({})
    assert note.startswith("by default, for no record says how in training: 1 frame a second, at most 64")


def test_a_record_that_was_spoilt_is_named(place: Path) -> None:
    written = {**the_run(place).record["viewing"], "fps": "3", "max_frame": 4}
    rewritten(place, "spoilt", viewing=written)
    with pytest.raises(Problems) as caught:
        _ = restore(find_run("rolls/spoilt", place / "runs")).viewing
    assert 'viewing.fps: expected float, got "3"' in str(caught.value)
    assert 'viewing.max_frame: unknown key; did you mean "max_frames"?' in str(caught.value)


# What a source shows


class Listed(DataSource):
    """Samples as they are given."""

    def __init__(self, *samples: Sample, name: str = "listed") -> None:
        self.name, self.samples = name, samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def sample(
    number: int, shown: VideoFile | StoredFrames | ImageFile | None, asked: str = ASKED, system: str = ""
) -> Sample:
    turns = (*([Turn("system", system)] if system else []), Turn("user", asked), Turn("assistant", "left"))
    images = (shown,) if isinstance(shown, ImageFile) else ()
    return Sample(str(number), "listed", turns, None if isinstance(shown, ImageFile) else shown, images)


def test_a_video_is_looked_at_as_a_viewing_says(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 120, fps=4)
    seen = Viewing(size=48, fps=3.0, max_frames=4).frames(path)
    assert tuple(index_of(frame) for frame in seen) == EVENLY
    assert len(Viewing(size=48).frames(path)) == 30


def test_a_chat_begins_with_the_system_turn_of_training() -> None:
    assert Viewing(size=8).asked("Why?") == [Turn("user", "Why?")]
    assert Viewing(size=8, system="Be brief.").asked("Why?") == [
        *(Turn("system", "Be brief."), Turn("user", "Why?"))
    ]


def test_a_source_shows_what_its_samples_say() -> None:
    video = VideoFile(Path("a.mp4"), 2.0, 8)
    [of_videos] = shown_by(Listed(*(sample(n, video, system="Be brief.") for n in range(40))), 0.5)
    assert of_videos == Shown(
        source="listed", kind="videos", weight=0.5, fps=2.0, max_frames=8, prompt=ASKED, system="Be brief."
    )
    assert shown_by(Listed(*(sample(n, None) for n in range(9))), 1.0) == []
    [questions] = shown_by(Listed(*(sample(n, video, asked=f"Which is {n}?") for n in range(9))), 1.0)
    assert (questions.fps, questions.prompt) == (2.0, "")
    both = Listed(*(sample(n, video if n % 4 else ImageFile(Path("a.png"), fit="crop")) for n in range(16)))
    videos, pictures = shown_by(both, 0.8)
    assert (videos.weight, pictures.weight) == pytest.approx((0.6, 0.2))
    assert (pictures.kind, pictures.fit, pictures.fps) == ("pictures", "crop", None)


def test_packed_frames_are_shown_as_they_were_packed(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    chosen = read_data_source("clips", ["path=clips", "holdout=0", f"prompt={ASKED}"])
    settings = PackSettings(fps=0.5, max_frames=3, size=42, samples=4)
    pack(open_source(chosen, "train"), origin_of(chosen, "train"), tmp_path / "packed/train", settings)
    packed = read_data_source("shards", [f"path={tmp_path}/packed"])
    [shown] = shown_by(open_source(packed, "train"), 1.0)
    assert (shown.fps, shown.max_frames, shown.prompt) == (0.5, 3, ASKED)
    told = PackSettings(fps=2.0, size=42)
    again = pack(open_source(packed, "train"), origin_of(packed, "train"), tmp_path / "again/train", told)
    assert (
        again.manifest.recipe["settings"]["fps"] == 0.5
    )  # whatever is said: the frames stay those of the shards


def test_what_says_nothing_of_sampling_is_packed_and_frozen_as_its_source_has_it(
    place: Path, cli: Cli, tmp_path: Path
) -> None:
    for said, fps, frames in (((), 3.0, EVENLY), (("--fps", "0.1"), 0.1, RARELY)):
        to = tmp_path / f"packed{fps}"
        assert cli("data", "pack", "rolls.toml", "--to", to, "--split", "train", "--size", 42, *said)[0] == 0
        source = open_source(read_data_source("shards", [f"path={to}/clips", "holdout=0"]), "train")
        [shown] = shown_by(source, 1.0)
        assert (shown.fps, shown.max_frames) == (fps, 4)
        assert tuple(map(index_of, decode_frames(source[0], 42))) == frames
    clips = open_source(
        read_data_source("clips", ["path=clips", "holdout=0", "fps=3.0", "max_frames=4"]), "train"
    )
    chosen = ChosenSamples("held", [clips[0], clips[1]])
    pack(chosen, {"frozen": "held"}, tmp_path / "held", PackSettings(size=42))  # as `data freeze` does
    held = open_source(read_data_source("shards", [f"path={tmp_path}/held", "holdout=0"]), "validation")
    [shown] = shown_by(held, 1.0)
    assert (shown.fps, shown.max_frames, len(decode_frames(held[0], 42))) == (3.0, 4, 4)


def test_frames_of_founding_shards_were_one_a_second(tmp_path: Path) -> None:
    members: dict[str, Any] = {}
    for number in range(6):
        members |= founding_clip(f"{number:04d}", {"source": "vript", "caption": "a ball"}, 2, size=42)
    write_tar(tmp_path / "shards/a.tar", members)
    chosen = read_data_source("shards", [f"path={tmp_path}/shards", "holdout=0", f"cache={tmp_path}/cache"])
    [shown] = shown_by(open_source(chosen, "train"), 1.0)
    assert (shown.fps, shown.max_frames) == (1.0, 64)
    assert shown.prompt == "Provide a detailed narration of what happens in this video."


# Several sources

SAID = {
    "source": st.sampled_from("abcdef"),
    "weight": st.floats(0.01, 1),
    "prompt": st.sampled_from(("", "one", "two")),
    "system": st.sampled_from(("", "brief")),
}
VIDEOS = st.builds(
    Shown, kind=st.just("videos"), fps=st.sampled_from((0.5, 1.0, 3.0)), max_frames=st.integers(1, 64), **SAID
)
UNKNOWN = st.builds(Shown, kind=st.just("videos"), **SAID)
PICTURES = st.builds(Shown, kind=st.just("pictures"), fit=st.sampled_from(("crop", "letterbox")), **SAID)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VIDEOS | UNKNOWN | PICTURES, max_size=6))
def test_the_heaviest_source_decides_and_the_others_are_said(sources: list[Shown]) -> None:
    found = viewing(sources, 42, system="own")
    videos = sorted((one for one in sources if one.kind == "videos"), key=lambda one: -one.weight)
    known = [one for one in videos if one.fps]
    assert (found.fps, found.max_frames) == ((known[0].fps, known[0].max_frames) if known else (1.0, 64))
    pictures = sorted((one for one in sources if one.kind == "pictures"), key=lambda one: -one.weight)
    assert found.fit == (pictures[0].fit if pictures else "letterbox")
    prompts = [one.prompt for one in (*videos, *pictures) if one.prompt]
    assert found.prompt == (prompts[0] if prompts else QUESTION)
    asked = [one.prompt for one in (*pictures, *videos) if one.prompt]
    assert found.picture_prompt == (asked[0] if asked else QUESTION)
    assert found.system == next((one.system for one in (*videos, *pictures) if one.system), "own")
    note = found.note({})
    assert "\n" not in note
    assert ("by default" in note) == (not sources)
    for one in sources:
        other = (
            one.kind == "videos" and one.fps and (one.fps, one.max_frames) != (found.fps, found.max_frames)
        )
        if other and one.source != found.source:
            assert str(one) in note


def test_validation_that_is_shown_otherwise_is_said() -> None:
    trained = viewing(shown_by(Listed(sample(0, VideoFile(Path("a.mp4"), 3.0, 4)), name="t"), 1.0), 42)
    same = Listed(sample(0, VideoFile(Path("b.mp4"), 3.0, 4)), name="v")
    other = Listed(sample(0, VideoFile(Path("b.mp4"))), name="v")
    unknown = Listed(sample(0, StoredFrames(Path("b"), (0,), (1,))), name="v")
    text = Listed(sample(0, None), name="v")
    assert differences(trained, [same, unknown, text]) == []
    assert differences(trained, [other]) == [
        f'v: 1 frame a second, at most 64, asked "{ASKED}"; '
        f'the model was trained on t: 3 frames a second, at most 4, asked "{ASKED}"'
    ]


def test_what_cannot_be_said_is_refused(cli: Cli) -> None:
    for option, value in (
        ("--fps", "0"),
        ("--max-frames", "0"),
        ("--fit", "squeeze"),
        ("--still-frames", "0"),
    ):
        code, _, err = cli("caption", "short.mp4", "--run", "rolls", option, value)
        assert code == 2
        assert option in err
    with pytest.raises(ValueError, match="'fps' must be > 0"):
        Viewing(size=42).told(fps=0)
