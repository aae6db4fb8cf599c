"""A folder of videos that fvlm did not write trains; the bad file is named and counted, nothing else is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import CONNECTOR, ENCODER, LLM, TRAINING, fvlm
from videos import write_video

from fvlm_core.runs.store import list_runs

pytestmark = pytest.mark.timeout(200)

CODECS = ("mpeg4", "libvpx-vp9", "mjpeg")
CAPTIONS = ("a slow pan over stripes", "stripes, quickly", "black and white columns", "grey at both sides")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 videos of three codecs, several frame rates, sizes and lengths, with captions; one is cut short."""
    videos = tmp_path_factory.mktemp("drawn")
    for number in range(22):
        video = write_video(
            videos / f"clip{number:02d}.mp4",
            frames=20 + 7 * number,
            fps=(10, 24, 30)[number % 3],
            width=(96, 160, 64)[number % 3],
            height=(64, 90, 120)[(number + 1) % 3],
            codec=CODECS[number % len(CODECS)],
        )
        video.with_suffix(".txt").write_text(CAPTIONS[number % len(CAPTIONS)])
    whole = (videos / "clip07.mp4").read_bytes()
    (videos / "clip07.mp4").write_bytes(whole[: len(whole) // 2])
    return videos


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """A folder with a copy of them in `videos`."""
    shutil.copytree(drawn, tmp_path / "videos")
    return tmp_path


def test_training_uses_every_good_file_and_names_the_bad_one(folder: Path) -> None:
    data = '[[data.sources]]\nname = "clips"\npath = "videos"\nholdout = 0.2\n'
    recipe = (
        'name = "mine"\n' + ENCODER + CONNECTOR + LLM + data + TRAINING.replace("steps = 6", "steps = 12")
    )
    (folder / "mine.toml").write_text(recipe)
    process = fvlm("run", "mine.toml", cwd=folder, cache=folder / "cache")
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    assert "clip07.mp4" in out

    (run,) = list_runs(folder / "runs")
    assert run.state == "complete"
    record = run.record["data"]
    assert sum(record[split][0]["samples"] for split in ("train", "validation")) == 22
    in_training = [name for name in run.summary["bad_samples"] if "clip07" in name]
    in_validation = "bad validation sample" in out
    assert bool(in_training) != in_validation
    assert len(run.summary["bad_samples"]) == len(in_training)
    if in_training:
        lines = (run.folder / "bad_samples.jsonl").read_text().splitlines()
        assert all("clip07" in json.loads(line)["sample"] for line in lines)
        assert run.train_rows()[-1]["bad_samples"] == 1


def test_missing_videos_are_one_error_that_says_how_to_get_them(tmp_path: Path) -> None:
    data = '[[data.sources]]\nname = "clips"\npath = "gone/all.csv"\nhub = "nkp37/OpenVid-1M"\n'
    (tmp_path / "mine.toml").write_text('name = "mine"\n' + ENCODER + CONNECTOR + LLM + data + TRAINING)
    process = fvlm("run", "mine.toml", cwd=tmp_path, cache=tmp_path / "cache")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "hf download nkp37/OpenVid-1M --repo-type dataset" in out
    assert "Traceback" not in out


def test_too_many_bad_files_stop_the_run(folder: Path) -> None:
    for number in range(18):
        (folder / "videos" / f"clip{number:02d}.mp4").write_bytes(b"<html>not found</html>")
    data = '[[data.sources]]\nname = "clips"\npath = "videos"\nholdout = 0.1\n'
    recipe = (
        'name = "mine"\n' + ENCODER + CONNECTOR + LLM + data + TRAINING.replace("steps = 6", "steps = 40")
    )
    (folder / "mine.toml").write_text(recipe)
    process = fvlm("run", "mine.toml", cwd=folder, cache=folder / "cache")
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 1, out
    assert "not a video but a web page" in out
    assert "data.max_bad allows 10" in out or "replacements in a row were bad too" in out
    assert "Traceback" not in out
