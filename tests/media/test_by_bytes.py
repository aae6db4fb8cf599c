"""What a file is, is in its bytes: a wrong name costs no sample, and what moves is a video."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from videos import write_video

from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media.moving_pictures import shows_still
from fvlm_core.media.video import BadSample, decode
from fvlm_core.media.viewing import Viewing

SIDE = 48
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
STILL = {"PNG": ".png", "WEBP": ".webp", "JPEG": ".jpg"}
MOVING = {"PNG": ".apng", "WEBP": ".webp", "GIF": ".gif"}
NAMES = (".gif", ".webp", ".apng")


def picture(form: str, count: int) -> bytes:
    """A second of each colour."""
    first, *rest = (Image.new("RGB", (SIDE, SIDE), colour) for colour in COLOURS[:count])
    out = BytesIO()
    more = {"save_all": True, "append_images": rest, "duration": 1000} if rest else {}
    first.save(out, form, **more, **({"lossless": True} if form == "WEBP" else {}))
    return out.getvalue()


def seen(file: Path) -> NDArray[np.uint8]:
    """The middle of each frame."""
    return decode(VideoFile(file), SIDE)[:, :, SIDE // 2, SIDE // 2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", STILL)
def test_a_still_picture_is_a_video_of_one_frame_whatever_moving_picture_it_is_called(
    name: str, form: str, tmp_path: Path
) -> None:
    file = tmp_path / f"a{name}"
    file.write_bytes(picture(form, 1))
    np.testing.assert_allclose(seen(file).astype(int), [COLOURS[0]], atol=4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", MOVING)
def test_a_picture_that_moves_does_so_under_any_such_name(name: str, form: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{name}"
    file.write_bytes(picture(form, 3))
    np.testing.assert_allclose(seen(file).astype(int), COLOURS, atol=4)


@pytest.mark.parametrize("name", NAMES)
def test_a_film_is_a_film_whatever_moving_picture_it_is_called(name: str, tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", 3, fps=1)
    expected = decode(VideoFile(film), SIDE)
    np.testing.assert_array_equal(decode(VideoFile(film.rename(tmp_path / f"b{name}")), SIDE), expected)


def test_a_picture_in_place_of_a_film_is_still_refused(tmp_path: Path) -> None:
    """Sites answer with a picture where a film is gone."""
    (tmp_path / "a.mp4").write_bytes(picture("JPEG", 1))
    with pytest.raises(BadSample):
        seen(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", [*NAMES, ".png", ".jpg", ".bin"])
def test_a_model_is_shown_what_moves_as_a_video_and_the_rest_as_a_picture(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{name}"
    viewing = Viewing(size=SIDE, fps=1.0, prompt="video?", picture_prompt="picture?", repeats=2)
    for form in STILL:
        file.write_bytes(picture(form, 1))
        assert shows_still(file)
        assert viewing.question(file) == "picture?"
        assert len(viewing.frames(file)) == 2  # a picture, repeated
    for form in MOVING:
        file.write_bytes(picture(form, 3))
        assert not shows_still(file)
        assert viewing.question(file) == "video?"
        assert len(viewing.frames(file)) == 3


def test_what_is_no_picture_goes_by_its_name(tmp_path: Path) -> None:
    for name, still in (("a.jpg", True), ("a.webp", False), ("a.mp4", False)):
        (tmp_path / name).write_bytes(b"<html>")
        assert shows_still(tmp_path / name) is still
    assert shows_still(tmp_path / "gone.png")


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_what_is_transparent_in_a_webm_is_laid_on_white(codec: str, tmp_path: Path) -> None:
    """Left: red behind nothing; middle: half red; right: red."""
    rgba = np.zeros((64, 96, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:, 32:64, 3], rgba[:, 64:, 3] = 128, 255
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=2, options={"auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuva420p"
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format="yuva420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = decode(VideoFile(path, fps=2.0), 64).transpose(0, 2, 3, 1).astype(int)
    assert len(frames) == 4
    paper = Image.new("RGBA", (96, 64), "white")
    expected = np.asarray(Image.alpha_composite(paper, Image.fromarray(rgba)).convert("RGB"))[
        :, 16:80
    ].astype(int)
    for x in (4, 32, 60):  # away from the edges between the three
        np.testing.assert_allclose(frames[:, 32, x], [expected[32, x]] * 4, atol=6)
