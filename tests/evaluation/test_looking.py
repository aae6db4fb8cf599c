"""Caption and gaze: a trained model says what it sees, shows where it looked, and names what it could not read."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image
from tiny import RECIPE, fvlm, run_cli

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one trained run and the clips it was trained on."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(RECIPE)
    process = fvlm("run", "tiny.toml", cwd=folder, cache=folder / "cache")
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    return folder


@pytest.fixture
def clips(trained: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(trained)
    return sorted(str(file.relative_to(trained)) for file in trained.glob("cache/**/validation/**/*.mp4"))[:3]


def test_captions_are_json_lines_and_a_bad_file_stops_nobody(
    clips: list[str], trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "broken.mp4").write_bytes(b"no video")
    code, out, err = run_cli(
        ["caption", *clips[:1], "broken.mp4", clips[1], "--run", "tiny"], monkeypatch, capsys
    )
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["video"] for line in lines] == [clips[0], "broken.mp4", clips[1]]
    assert isinstance(lines[0]["caption"], str)
    assert lines[0]["frames"] == 4
    assert "not a video" in lines[1]["error"]
    assert code == 1
    assert "1 of 3 videos could not be decoded" in err


def test_a_folder_is_captioned_whatever_its_videos_are_called_and_the_rest_is_counted(
    clips: list[str], trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained / "folder"
    folder.mkdir()
    for name in ("A.MP4", "b.m4v", "c.3GP"):
        (folder / name).write_bytes(Path(clips[0]).read_bytes())
    for name in ("d.jpg", "e.JPG", "a.txt"):
        (folder / name).write_text("x")
    code, out, err = run_cli(["caption", "folder", "--run", "tiny"], monkeypatch, capsys)
    assert code == 0, err
    assert [json.loads(line)["video"] for line in out.splitlines()] == [
        "folder/A.MP4",
        "folder/b.m4v",
        "folder/c.3GP",
    ]
    assert "folder: passed over, no videos: .jpg (2), .txt (1)" in err


def test_captioning_goes_on_where_it_stopped(
    clips: list[str], trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained / "said.jsonl"
    run_cli(["caption", clips[0], "--run", "tiny", "--out", str(out)], monkeypatch, capsys)
    out.write_text(out.read_text() + '{"video": "torn')
    code, _, err = run_cli(["caption", *clips, "--run", "tiny", "--out", str(out)], monkeypatch, capsys)
    assert code == 0
    assert "2 captioned, 1 already there, 0 failed" in err
    whole = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
    assert [line["video"] for line in whole] == clips


@pytest.mark.parametrize("name", ["look.gif", "look.mp4", "look.png"])
def test_gaze_draws_every_frame(
    name: str,
    clips: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / name
    code, out, _ = run_cli(["gaze", clips[0], "--run", "tiny/tiny", "--out", str(file)], monkeypatch, capsys)
    assert code == 0
    assert "4 frames, coarse and fine" in out
    if file.suffix == ".mp4":
        with av.open(str(file)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 4
    else:
        picture = Image.open(file)
        assert getattr(picture, "n_frames", 1) == (4 if file.suffix == ".gif" else 1)


def test_unknown_run_and_unknown_format_are_explained(
    clips: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run_cli(["gaze", clips[0], "--run", "tinny"], monkeypatch, capsys)
    assert (code, err) == (2, 'no run folder and no run under runs is called "tinny"; did you mean "tiny"?\n')
    code, _, err = run_cli(["gaze", clips[0], "--run", "tiny", "--out", "look.bmp"], monkeypatch, capsys)
    assert (code, err) == (2, "--out look.bmp: expected a file name ending in .gif, .mp4, .png\n")


def test_captions_are_drawn_by_a_seed_searched_and_stopped(
    clips: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*options: str) -> list[str]:
        code, out, err = run_cli(
            ["caption", *clips, "--run", "tiny", "--tokens", "8", *options], monkeypatch, capsys
        )
        assert code == 0, err
        return [json.loads(line)["caption"] for line in out.splitlines()]

    drawn = said("--temperature", "1.5")
    assert drawn == said("--temperature", "1.5", "--seed", "0") != said("--temperature", "1.5", "--seed", "1")
    assert said() == said("--beams", "1")
    assert said("--temperature", "1.5", "--top-p", "1e-9") == said()
    letter = next(letter for letter in said()[0] if letter.isalpha())
    stopped = said("--stop", letter)
    assert all(letter not in text for text in stopped)
    assert stopped[0] == said()[0].partition(letter)[0]
    assert len(said("--beams", "3")) == len(clips)
    code, _, err = run_cli(["caption", *clips, "--run", "tiny", "--top-p", "0.5"], monkeypatch, capsys)
    assert code == 2
    assert "--top-p: nothing is sampled without a temperature" in " ".join(err.split())


def test_a_caption_may_hold_any_end_of_a_line(tmp_path: Path) -> None:
    from fvlm_core.cli.caption import _captioned

    out = tmp_path / "out.jsonl"
    out.write_text(
        '{"video": "a.mp4", "caption": "one\u2028two}\x85three"}\n{"video": "b.mp4", "cap', "utf-8"
    )
    assert _captioned(out) == {"a.mp4"}
