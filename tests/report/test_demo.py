"""The page of `fvlm demo`: what it says is what the model says, and no upload harms or waits forever."""

from __future__ import annotations

import ast
import http.client
import io
import json
import runpy
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import RepoCard
from PIL import Image
from tiny import RECIPE, run_cli, train
from videos import write_video

from fvlm_core.api.trained import Trained
from fvlm_core.hf.space import write_space
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.report.demo import decode
from fvlm_core.report.demo.server import DemoServer
from fvlm_core.report.demo.watching import Watcher
from fvlm_core.runs.store import open_run

pytestmark = pytest.mark.timeout(200)
MOST = 3_000_000
OWN = {"X-Fvlm": "demo"}
Ask = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained foveated run and a pooled one."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        pooled = RECIPE.replace('name = "foveated"\nquery_dim = 8', 'name = "pooled"\ngrid = 2')
        for name, recipe in (("tiny", RECIPE), ("pooled", pooled.replace('"tiny"', '"pooled"'))):
            (folder / f"{name}.toml").write_text(recipe)
            train(folder / f"{name}.toml", folder / "runs")
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Trained:
    return Trained(open_run(place / "runs/tiny/tiny"), lambda text: None)


@pytest.fixture(scope="module")
def clip(place: Path) -> Path:
    return sorted(place.glob("cache/**/validation/**/*.mp4"))[0]


@pytest.fixture
def server(trained: Trained) -> Iterator[DemoServer]:
    with DemoServer(0, Watcher(trained.restored, trained.name, 6), MOST) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def ask(server: DemoServer) -> Ask:
    """A request: method, path, body and headers to the status and the events."""

    def ask(
        body: bytes | None, path: str = "/watch?question=What", method: str = "POST", **headers: str
    ) -> tuple[int, list[dict[str, Any]]]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=100)
        connection.request(
            method, path, body, {**OWN, **{name.replace("_", "-"): it for name, it in headers.items()}}
        )
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    return ask


def test_after_every_frame_it_says_what_the_model_says_of_the_clip_so_far(
    ask: Ask, trained: Trained, clip: Path
) -> None:
    code, events = ask(clip.read_bytes())
    assert code == 200
    frames = trained.frames(clip)
    assert events[0] == {
        "kind": "clip",
        "frames": 4,
        "question": "What",
        "modes": ["coarse_only", "coarse_fine"],
    }
    kinds = [event["kind"] for event in events]
    assert kinds == ["clip", *["frame", "text", "text"] * 4, "done"]
    for event in events:
        if event["kind"] == "text":
            so_far = frames[: event["at"] + 1]
            assert event["text"] == trained.generate(so_far, "What", tokens=6, mode=event["mode"])
    gaze = trained.gaze(clip, prompt="What").arrays
    for event in events:
        if event["kind"] == "frame":
            assert event["ms"] > 0
            assert event["gaze"].keys() == gaze.keys()
            for name, heat in event["gaze"].items():
                expected = gaze[name][event["at"]] / gaze[name].max()
                assert abs(expected - heat).max() <= 0.0006


def test_a_model_without_queries_is_shown_without_gaze(place: Path, clip: Path) -> None:
    trained = Trained(open_run(place / "runs/pooled/pooled"), lambda text: None)
    events = list(Watcher(trained.restored, "pooled", 4).watch(clip))
    assert events[0]["modes"] == ["coarse_only"]
    assert all(event["gaze"] == {} for event in events if event["kind"] == "frame")
    assert events[0]["question"] == trained.restored.viewing.prompt


BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0" + b"\0" * 50


@pytest.mark.parametrize(
    "bodies",
    [[b"", BOMB], pytest.param([b"<html><body>no</body></html>", b"\0" * 1000], marks=pytest.mark.soak)],
    ids=["empty and a bomb", "text and zeros"],
)
def test_what_is_no_video_is_told_and_the_next_one_is_watched(
    bodies: list[bytes], ask: Ask, clip: Path
) -> None:
    for body in (*bodies, clip.read_bytes()[: clip.stat().st_size // 2]):
        code, [event] = ask(body)
        assert (code, event["kind"]) == (200, "error")
        assert event["text"]
        assert "/tmp" not in event["text"]
    assert ask(clip.read_bytes())[1][-1]["kind"] == "done"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(server: DemoServer) -> None:
    for length, code, said in (
        ("2147483648", 413, "2,147 MB"),
        ("x", 411, "how long"),
        ("-1", 411, "how long"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("POST", "/watch")
        for name, value in {**OWN, "Content-Length": length}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == code
        assert said in json.loads(answer.read())["text"]


def test_an_upload_that_stops_half_way_leaves_the_server_free(
    server: DemoServer, ask: Ask, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/watch")
    for name, value in {**OWN, "Content-Length": "1000"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"abc")
    end = time.monotonic() + 30
    while not server.busy.locked() and time.monotonic() < end:
        time.sleep(0.02)
    connection.close()
    while server.busy.locked() and time.monotonic() < end:
        time.sleep(0.02)
    assert ask(clip.read_bytes())[1][-1]["kind"] == "done"


def test_one_clip_is_watched_at_a_time(server: DemoServer, ask: Ask) -> None:
    with server.busy:
        code, [event] = ask(b"abc")
    assert code == 503
    assert "wait until it is done" in event["text"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Fvlm": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
    ],
)
def test_another_site_s_page_may_not_ask(ask: Ask, clip: Path, headers: dict[str, str]) -> None:
    assert ask(clip.read_bytes(), **headers)[0] in (403, 421)


def test_preflights_and_other_methods_are_refused(ask: Ask) -> None:
    for method in ("OPTIONS", "PUT", "DELETE"):
        assert ask(None, "/watch", method)[0] == 405
    assert ask(b"", "/elsewhere")[0] == 404


def test_its_own_page_may_ask(ask: Ask, server: DemoServer, clip: Path) -> None:
    assert ask(clip.read_bytes(), Origin=f"http://127.0.0.1:{server.port}")[0] == 200


def test_the_page_loads_nothing_and_escapes_what_it_shows(trained: Trained) -> None:
    with DemoServer(0, Watcher(trained.restored, "<b>run</b>", 6), MOST) as served:
        page = served.page()
    assert "<b>run" not in page
    assert "default-src 'none'" in page.replace("&#39;", "'")
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page


def test_a_file_that_keeps_the_decoder_busy_or_full_ends_with_it_alone(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_video(tmp_path / "a.mp4", 30)
    viewing = trained.restored.viewing
    assert (decode.frames_apart(viewing, file) == viewing.frames(file)).all()
    monkeypatch.setattr(decode, "SECONDS", 0.0)
    with pytest.raises(BadSample, match=r"takes more than 0\.0 s"):
        decode.frames_apart(viewing, file)
    monkeypatch.undo()
    monkeypatch.setattr(decode, "__name__", "signal_of_a_child")
    (tmp_path / "signal_of_a_child.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BadSample, match="without an answer, by SIGXCPU"):
        decode.frames_apart(viewing, file)


def test_a_space_holds_the_model_and_imports_nothing_of_fvlm(place: Path, tmp_path: Path) -> None:
    write_space(open_run(place / "runs/tiny/tiny"), tmp_path / "space")
    card = RepoCard.load(tmp_path / "space/README.md")
    assert card.data.to_dict()["app_file"] == "app.py"
    assert card.data.to_dict()["sdk"] == "gradio"
    tree = ast.parse((tmp_path / "space/app.py").read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.startswith("fvlm")]
    about = card.data.to_dict()
    assert about["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    needed = (tmp_path / "space/requirements.txt").read_text()
    assert "torch==" in needed
    assert "pillow" not in needed  # gradio says which
    assert {"config.json", "modeling_fvlm.py"} <= {file.name for file in (tmp_path / "space/model").iterdir()}


def test_a_space_decodes_apart_and_ends_what_takes_too_long(
    place: Path, tmp_path: Path, trained: Trained, clip: Path
) -> None:
    space = tmp_path / "space"
    write_space(open_run(place / "runs/tiny/tiny"), space)
    viewing = trained.restored.viewing
    shown = {"size": viewing.size, "fps": viewing.fps, "max_frames": viewing.max_frames}

    def decode() -> dict[str, Any]:
        return runpy.run_path(str(space / "decode.py"), run_name="decode")

    assert (decode()["frames_apart"](str(clip), **shown) == trained.frames(clip)).all()
    (tmp_path / "page.mp4").write_text("<html>")
    with pytest.raises(ValueError, match=r"^corrupt, cut short, or not a video: "):
        decode()["frames_apart"](str(tmp_path / "page.mp4"), **shown)
    code = (space / "decode.py").read_text()
    for before, after in (
        ("SECONDS = 60", "SECONDS = 1"),
        ("frames = read_frames(**shown)", "while True: pass"),
    ):
        assert before in code
        code = code.replace(before, after)
    (space / "decode.py").write_text(code)
    with pytest.raises(ValueError, match=r"takes more than 2 s|ended by SIG"):
        decode()["frames_apart"](str(clip), **shown)


def test_command_writes_a_space_and_refuses_a_folder_that_is_not_empty(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["demo", "tiny/tiny", "--runs", str(place / "runs"), "--export-space", str(tmp_path / "space")]
    code, out, _ = run_cli(given, monkeypatch, capsys)
    assert code == 0
    assert str(tmp_path / "space/app.py") in out
    code, _, err = run_cli(given, monkeypatch, capsys)
    assert code == 2
    assert "not empty" in err


def pictures(frames: Any) -> list[bytes]:
    """Frames [T, 3, S, S] as a camera's, without loss."""
    found: list[bytes] = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame.transpose(1, 2, 0)).save(file, "PNG")
        found.append(file.getvalue())
    return found


def show(ask: Ask, at: int, picture: bytes, clip: str = "mine") -> tuple[int, list[dict[str, Any]]]:
    return ask(picture, f"/live?clip={clip}&at={at}&question=What")


def test_what_a_camera_shows_picture_by_picture_is_watched_as_a_clip_of_as_many(
    ask: Ask, trained: Trained, clip: Path
) -> None:
    frames = trained.frames(clip)
    for at, picture in enumerate(pictures(frames)):
        code, events = show(ask, at, picture)
        assert code == 200
        if at == 0:
            most = trained.restored.viewing.max_frames
            modes = ["coarse_only", "coarse_fine"]
            assert events.pop(0) == {"kind": "clip", "frames": most, "question": "What", "modes": modes}
        assert [(event["kind"], event["at"]) for event in events] == [("frame", at), *[("text", at)] * 2]
        for event in events[1:]:
            said = trained.generate(frames[: at + 1], "What", tokens=6, mode=event["mode"])
            assert event["text"] == said
    assert at == 3
    code, [told] = show(ask, 4, pictures(frames)[0])
    assert (code, told["text"]) == (413, "a clip has at most 4 frames, as in training")


def png(width: int, height: int) -> bytes:
    """The beginning of a picture of so many pixels, which says what follows."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (head, b"IDAT" + zlib.compress(bytes(1000)))
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_picture_that_is_none_is_refused_and_the_clip_goes_on(
    ask: Ask, trained: Trained, clip: Path, server: DemoServer
) -> None:
    first, second, *_ = pictures(trained.frames(clip))
    assert show(ask, 0, first)[0] == 200
    for wrong, reason in (
        (b"<html>", "not a picture"),
        (clip.read_bytes(), "not a JPEG, PNG or WEBP picture"),
        (first[:-40], "cut short"),
        (png(30_000, 20_000), "pixels, where at most"),
        (b"", ""),
    ):
        code, [told] = show(ask, 1, wrong)
        assert code == 400
        assert reason in told["text"]
        assert "Traceback" not in told["text"]
    code, [told] = ask(None, "/live?clip=mine&at=1", Content_Length=str(4_000_001))
    assert (code, "at most 3 MB" in told["text"]) == (413, True)
    assert show(ask, 1, second)[0] == 200


def test_a_picture_that_breaks_the_decoder_ends_it_alone(
    ask: Ask, trained: Trained, clip: Path, server: DemoServer
) -> None:
    first, second, *_ = pictures(trained.frames(clip))
    assert show(ask, 0, first)[0] == 200
    assert server._live is not None
    server._live.decoder._child.kill()
    code, [told] = show(ask, 1, second)
    assert (code, "SIGKILL" in told["text"]) == (400, True)
    assert show(ask, 1, second)[0] == 200


def test_a_picture_out_of_its_turn_is_refused(ask: Ask, trained: Trained, clip: Path) -> None:
    first, second, *_ = pictures(trained.frames(clip))
    assert show(ask, 0, first)[0] == 200
    for query, code in (
        ("clip=mine&at=2", 409),
        ("clip=other&at=1", 409),
        ("clip=mine&at=-1", 400),
        ("clip=mine&at=x", 400),
        ("clip=mine", 400),
        ("at=0", 400),
        (f"clip={'x' * 65}&at=0", 400),
    ):
        assert ask(second, f"/live?{query}")[0] == code, query
    assert show(ask, 1, second)[0] == 200


def test_another_site_s_page_may_not_show_pictures(ask: Ask, trained: Trained, clip: Path) -> None:
    [first, *_] = pictures(trained.frames(clip))
    assert ask(first, "/live?clip=a&at=0", Origin="http://example.org")[0] == 403
    assert ask(first, "/live?clip=a&at=0", X_Fvlm="")[0] == 403


def test_a_clip_that_is_let_go_leaves_no_process(
    ask: Ask, trained: Trained, clip: Path, server: DemoServer
) -> None:
    [first, *_] = pictures(trained.frames(clip))
    assert show(ask, 0, first, "a")[0] == 200
    assert server._live is not None
    before = server._live.decoder
    assert show(ask, 0, first, "b")[0] == 200
    assert not before.alive
    now = server._live.decoder
    assert now.alive
    assert ask(clip.read_bytes())[0] == 200
    assert (now.alive, server._live) == (False, None)
