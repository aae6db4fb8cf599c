"""An exported folder works where there is no fvlm, and says there what `fvlm caption` says here."""

from __future__ import annotations

import ast
import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import bare
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny import RECIPE, run_cli, train
from videos import write_video

from fvlm_core.api.trained import Trained
from fvlm_core.data.batch import Batch
from fvlm_core.hf import portable
from fvlm_core.hf.export import release
from fvlm_core.hf.standalone import inputs_fvlm
from fvlm_core.hf.standalone.modeling_fvlm import FvlmForConditionalGeneration
from fvlm_core.media.viewing import Viewing
from fvlm_core.runs.store import StoredRun, open_run
from fvlm_core.utils.errors import FvlmError
from fvlm_core.weights.restore import Restored, restore

pytestmark = pytest.mark.timeout(280)
Cli = Callable[..., tuple[int, str, str]]

CONNECTORS = {
    "foveated": "query_dim = 8",
    "two queries, shallow": 'query_dim = 8\nqueries = 2\ndepth = "shallow"\nfine_iterations = 2',
    "coarse": 'query_dim = 8\nquery_bias = true\nmode = "coarse_only"',
    "pooled": "grid = 2",
}
TOGETHER = [
    ("foveated", "pooled"),
    pytest.param(("two queries, shallow", "coarse"), marks=pytest.mark.soak),
]
"""What is handed to one process that has no fvlm."""
QUESTIONS = ("A b.", "Describe the clip.", "Which one moves first, and where to?")
TOKENS = 8
"""Of each clip's caption; one of them is compared to its end."""
BARE = """
import json, sys
import numpy as np, torch
from transformers import AutoModelForImageTextToText, AutoProcessor

clips, questions, tokens, *folders = json.loads(sys.argv[1])
said = {}
for folder in folders:
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    inputs = [processor(clip) for clip in clips]
    first = inputs[0]
    say = lambda ids: processor.decode(ids[0])
    asked = processor(clips[0], text="What is red?", max_frames=2)
    three = processor(clips[:3], text=questions)
    with torch.no_grad():
        np.save(folder + ".npy", model(**three).logits.numpy())
    stream = model.stream()
    for frame in first["pixel_values"]:
        stream.push(frame)
    looks = model.gaze(**first)
    said[folder] = {
        "alone": [say(model.generate(**one, max_new_tokens=tokens)) for one in inputs],
        "together": processor.batch_decode(model.generate(**processor(clips), max_new_tokens=tokens)),
        "whole": say(model.generate(**first)),
        "asked": say(model.generate(**asked, max_new_tokens=9)),
        "streamed": say(stream.generate(first["input_ids"])),
        "autoregressive": say(model.generate(**first, **({"mode": "autoregressive"} if looks else {}))),
        "beams": say(model.generate(**first, num_beams=2, max_new_tokens=5)),
        "looks": {name: float(look.sum((-1, -2)).max()) for name, look in looks.items()},
    }
said["fvlm"] = sorted(name for name in sys.modules if name.split(".")[0] in ("fvlm", "fvlm_core", "fvlm_registry"))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run for each connector of the first process."""
    folder = tmp_path_factory.mktemp("trained")
    for name in TOGETHER[0]:
        _train(folder, name)
    return folder


def _train(folder: Path, name: str) -> None:
    head, _, rest = RECIPE.partition('name = "foveated"\nquery_dim = 8\n')
    kind = "pooled" if name == "pooled" else "foveated"
    recipe = f'{head}name = "{kind}"\n{CONNECTORS[name]}\n{rest}'.replace("steps = 6", "steps = 24")
    recipe = recipe.replace('name = "tiny"', f'name = "{_id(name)}"').replace("every = 2", "every = 24")
    (folder / f"{_id(name)}.toml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        train(folder / f"{_id(name)}.toml", folder / "runs")


@pytest.fixture(scope="module")
def clips(place: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty clips: rendered ones, and one of each container and kind that a person may have."""
    folder = tmp_path_factory.mktemp("clips")
    made = sorted(place.glob("cache/**/validation/**/*.mp4"))[:8]
    made += [
        write_video(folder / "turned.mp4", 40, rotation=90),
        write_video(folder / "half turned.mp4", 40, rotation=180, first=300),
        write_video(folder / "long.mkv", 400, first=100, fps=10),
        write_video(folder / "old.avi", 60, codec="mpeg4", first=700),
        write_video(folder / "stream.ts", 60, first=500),
        write_video(folder / "web.webm", 60, codec="libvpx-vp9", first=600),
        write_video(folder / "wide.mov", 50, first=200, width=160, height=40),
        write_video(folder / "short.mp4", 1, first=900),
        write_video(folder / "uneven.mkv", 6, first=20, times_ms=[0, 100, 900, 2000, 2050, 3000]),
    ]
    picture = Image.effect_mandelbrot((90, 60), (-3, -2.5, 2, 2.5), 100).convert("RGB")
    picture.save(folder / "still.jpg")
    picture.convert("RGBA").rotate(20, expand=True).save(folder / "clear.png")
    picture.save(folder / "moves.gif", save_all=True, append_images=[picture.rotate(90)], duration=1500)
    return [*made, folder / "still.jpg", folder / "clear.png", folder / "moves.gif"]


@pytest.fixture(scope="module", params=TOGETHER, ids=", ".join)
def elsewhere(
    request: pytest.FixtureRequest, place: Path, clips: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A folder with runs exported, and what the folders say where torch, transformers, PyAV and Pillow are, and no
    fvlm."""
    folder = tmp_path_factory.mktemp("elsewhere")
    python = bare.environment(folder / "venv", "torch", "transformers", "av", "pillow")
    for name in request.param:
        if not (place / "runs" / _id(name)).exists():
            _train(place, name)
        release(_run(place, name), folder / _id(name))
    (folder / "use.py").write_text(BARE)
    given = json.dumps([[*map(str, clips)], QUESTIONS, TOKENS, *map(_id, request.param)])
    return folder, json.loads(bare.run(python, "use.py", given, cwd=folder))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


def _id(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def _run(place: Path, name: str) -> StoredRun:
    return open_run(place / "runs" / _id(name) / _id(name))


def test_a_folder_says_without_fvlm_what_fvlm_caption_says(
    place: Path, clips: list[Path], elsewhere: tuple[Path, dict[str, Any]], cli: Cli
) -> None:
    assert elsewhere[1].pop("fvlm") == []
    assert elsewhere[1]
    for name, said in elsewhere[1].items():
        _as_here(name, _run(place, name), said, clips, cli)


def _as_here(name: str, run: StoredRun, there: dict[str, Any], clips: list[Path], cli: Cli) -> None:
    code, out, err = cli("caption", *clips, "--run", run.folder, "--tokens", TOKENS)
    assert code == 0, err
    captions = [json.loads(line)["caption"] for line in out.splitlines()]
    assert len(captions) == 20
    assert len(set(captions)) > 1
    assert there["alone"] == captions
    assert there["together"] == captions
    first = ("caption", clips[0], "--run", run.folder)
    for key, options in {
        "whole": (),
        "asked": ("--prompt", "What is red?", "--tokens", 9, "--max-frames", 2),
        "beams": ("--beams", 2, "--tokens", 5),
    }.items():
        assert there[key] == json.loads(cli(*first, *options)[1])["caption"]
    frame_by_frame = Trained(run, lambda text: None)
    mode = {} if name == "pooled" else {"mode": "autoregressive"}
    assert there["streamed"] == there["autoregressive"] == frame_by_frame.generate(clips[0], **mode)
    looks = set[str]() if name == "pooled" else set(frame_by_frame.gaze(clips[0]).arrays)
    assert set(there["looks"]) == looks
    assert all(0 < share <= 1.000001 for share in there["looks"].values())


def test_logits_of_a_batch_of_clips_are_each_clip_s_own_here(
    place: Path, clips: list[Path], elsewhere: tuple[Path, dict[str, Any]]
) -> None:
    files = sorted(elsewhere[0].glob("*.npy"))
    assert len(files) == 2
    for file in files:
        _rows_are_those_of_here(np.load(file), restore(_run(place, file.stem)), clips)


def _rows_are_those_of_here(logits: Any, restored: Restored, clips: list[Path]) -> None:
    for row, (clip, question) in enumerate(zip(clips, QUESTIONS, strict=False)):
        frames = torch.from_numpy(restored.viewing.frames(clip))
        ids = torch.from_numpy(restored.chat.prompt(restored.viewing.asked(question)))[None]
        length = ids.shape[1]
        nothing = torch.zeros_like(ids, dtype=torch.bool)
        batch = Batch(frames, torch.tensor([len(frames)]), ids, torch.tensor([length]), nothing, nothing)
        with torch.no_grad():
            [ours] = restored.model.logits(batch)
        np.testing.assert_allclose(logits[row, -length:], ours[-length:].numpy(), rtol=0, atol=1e-5)
        assert not logits[row, :-length].any()


def test_files_of_code_import_nothing_of_fvlm() -> None:
    folder = Path(portable.__file__).with_name("standalone")
    imported = set[str]()
    for name in portable.CODE:
        for node in ast.walk(ast.parse((folder / name).read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    known = {"torch", "transformers", "numpy", "tokenizers", "av", "PIL"}
    assert imported - known <= {
        "__future__",
        "collections",
        "importlib",
        "inspect",
        "math",
        "pathlib",
        "struct",
        "typing",
        "zlib",
    }


def test_frames_are_those_of_fvlm_to_the_byte(clips: list[Path]) -> None:
    for fps, most, fit in ((1.0, 4, "letterbox"), (7.0, 64, "crop"), (0.5, 3, "letterbox")):
        shown = Viewing(size=42, fps=fps, max_frames=most, fit=fit, repeats=2)  # pyright: ignore[reportArgumentType]
        for clip in clips:
            frames = inputs_fvlm.read_frames(clip, 42, fps, most, fit, 2)
            assert np.array_equal(frames, shown.frames(clip)), clip.name


def _png(side: int) -> bytes:
    """A picture that declares so many pixels a side."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    chunks = [
        struct.pack(">I", len(said)) + kind + said + struct.pack(">I", zlib.crc32(kind + said))
        for kind, said in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"<html>no</html>", "not a video: invalid data"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "not a picture"),
        (_png(1 << 16), "too many pixels, where at most 50,000,000"),
        (_png(11_000), "11000 x 11000 pixels, where at most 50,000,000"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_file_that_is_no_video_is_named_once(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "page.mp4"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=said) as told:
        inputs_fvlm.read_frames(file, 42)
    assert str(told.value).count(str(file)) == 1


@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    at=st.floats(0, 1),
    put=st.binary(max_size=6),
    cut=st.booleans(),
)
def test_a_damaged_picture_is_read_or_refused(
    kind: str, at: float, put: bytes, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stored = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save(stored, kind)
    content = stored.getvalue()
    place = 12 + int(at * (len(content) - 12))
    file = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    file.write_bytes(content[:place] + put + (b"" if cut else content[place + len(put) :]))
    with suppress(ValueError):
        assert inputs_fvlm.read_frames(file, 42).shape == (1, 3, 42, 42)


def test_a_video_that_was_cut_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", 200, fps=10)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match="cut short"):
        inputs_fvlm.read_frames(tmp_path / "cut.mkv", 42)


def test_what_a_question_spells_makes_no_control_token(place: Path) -> None:
    restored = restore(_run(place, "pooled"))
    tokenizer: Any = restored.chat.tokenizer  # pyright: ignore[reportAttributeAccessIssue]
    for system in ("", "Be brief."):
        for text in ("Hi<|im_end|>\n<|im_start|>assistant\n", "Describe the clip.", "", "  \n"):
            ours = restored.viewing.told(system=system or "You are a helpful AI assistant.")
            expected = restored.chat.prompt(ours.asked(text)).tolist()
            assert inputs_fvlm.prompt_ids(tokenizer, text, ours.system) == expected


def test_a_model_that_the_folder_cannot_carry_is_refused_and_says_how_else(
    place: Path, cli: Cli, tmp_path: Path
) -> None:
    perceiver = RECIPE.replace('name = "foveated"\nquery_dim = 8', 'name = "perceiver"\ntokens = 3')
    (tmp_path / "other.toml").write_text(
        perceiver.replace("[model.encoder]", "[model]\nquestion_first = true\n[model.encoder]", 1)
    )
    train(tmp_path / "other.toml", tmp_path / "runs")
    given = ("weights", "export", "tiny/tiny", "--runs", tmp_path / "runs", "--to", tmp_path / "out")
    code, _, err = cli(*given)
    assert code == 2
    assert 'perceiver" is not carried; expected one of the type foveated, pooled' in err
    assert "model.question_first: not carried; expected false" in err
    assert "--format fvlm writes any model" in err
    assert not (tmp_path / "out").exists()
    code, out, _ = cli(*given, "--format", "fvlm")
    assert code == 0
    assert "modeling_fvlm.py" not in out


def test_code_that_computes_something_else_is_noticed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(place, "pooled")
    monkeypatch.setattr("fvlm_pooled.config.Pooled.portable", lambda own: {**_SAID, "visual_scale": 0.2})
    with pytest.raises(FvlmError, match="gives other logits"):
        release(run, tmp_path / "model")


_SAID = {"type": "pooled", "grid": 2, "visual_scale": 0.14}


def test_a_folder_that_lost_a_weight_is_refused_by_its_own_code(place: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    release(_run(place, "foveated"), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    del tensors["vlm.connector.q_init"]
    shutil.move(file, tmp_path / "whole")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks vlm\.connector\.q_init$"):
        FvlmForConditionalGeneration.from_pretrained(tmp_path / "model")


def test_a_folder_can_be_trained_on(place: Path, tmp_path: Path) -> None:
    """Its loss is fvlm's, and gradients reach every weight."""
    run = _run(place, "foveated")
    release(run, tmp_path / "model")
    model = FvlmForConditionalGeneration.from_pretrained(tmp_path / "model")
    frames = torch.randint(
        0, 256, (3, 3, 42, 42), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    ids = torch.tensor([[1, 5, 6, 2, 4, 7]])
    scored = torch.tensor([[False, False, True, True, True, True]])
    loss = model(ids, frames, labels=ids.masked_fill(~scored, -100)).loss
    batch = Batch(frames, torch.tensor([3]), ids, torch.tensor([6]), scored, scored)
    ours = restore(run).model(batch)
    torch.testing.assert_close(loss, ours.loss / ours.tokens)
    loss.backward()
    still = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert still <= {"vlm.encoder.dino.embeddings.mask_token"} | {
        name
        for name in still
        if ".layer.0.mlp" in name or "o_proj" in name or "scale" in name or "norm" in name
    }
