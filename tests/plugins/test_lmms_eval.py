"""lmms-eval finds fvlm's models by their entry point and gets the answers that they give elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lmms_stand_in
import numpy as np
import pytest
import torch
from fvlm_lmms_eval.settings import choose_device, read_settings
from fvlm_lmms_eval.visuals import Eye
from numpy.typing import NDArray
from PIL import Image
from tiny import RECIPE, train
from videos import index_of, write_video

from fvlm_core.data.collate import Preparer, collate
from fvlm_core.interfaces.data import ImageFile, Sample, Turn, VideoFile
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import decode_frames
from fvlm_core.runs.store import find_run
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.weights.restore import Restored, restore

pytestmark = pytest.mark.timeout(200)
MODES = ("coarse_only", "coarse_fine", "autoregressive")
QUESTION = "What moves here?"
CHOICES = ("a red circle moves", "green", "a blue square moves to the left")
TASKS = {
    "stub_video": """
output_type: generate_until
doc_to_visual: !function utils.video
doc_to_target: answer
generation_kwargs: { max_new_tokens: 6 }
process_results: !function utils.heard
metric_list: [{ metric: heard, aggregation: mean, higher_is_better: true }]
""",
    "stub_picture": """
output_type: generate_until
doc_to_visual: !function utils.picture
doc_to_target: answer
generation_kwargs: { max_new_tokens: 3, until: ["circle"] }
process_results: !function utils.heard
metric_list: [{ metric: heard, aggregation: mean, higher_is_better: true }]
""",
    "stub_choice": """
output_type: multiple_choice
doc_to_visual: !function utils.video
doc_to_choice: choices
doc_to_target: right
metric_list: [{ metric: acc, aggregation: mean, higher_is_better: true }]
""",
    "stub_target": """
output_type: loglikelihood
doc_to_visual: !function utils.video
doc_to_target: answer
process_results: !function utils.likely
metric_list: [{ metric: perplexity, aggregation: perplexity, higher_is_better: false }]
""",
}
UTILS = """
def video(doc):
    return [doc["video"]]

def picture(doc):
    return [doc["picture"].convert("RGB")]

def heard(doc, results):
    return {"heard": float(bool(results[0]))}

def likely(doc, results):
    return {"perplexity": results[0][0]}
"""


STEPS = ("training.steps=80", "eval.every=40", "training.micro_batch_size=4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run "tiny/tiny", trained until clips make a difference; its best checkpoint is not its last."""
    folder = tmp_path_factory.mktemp("lmms")
    (folder / "tiny.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        train(folder / "tiny.toml", folder / "runs", *STEPS)
    summary = folder / "runs/tiny/tiny/summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "best_val_step": 40}))
    return folder


@pytest.fixture(scope="module")
def clips(place: Path) -> list[Path]:
    return sorted(place.glob("cache/**/validation/**/*.mp4"))[:3]


@pytest.fixture(scope="module")
def model() -> Iterator[type[Any]]:
    """The class that lmms-eval loads."""
    with pytest.MonkeyPatch.context() as patch:
        lmms_stand_in.install(patch)
        from fvlm_lmms_eval.model import Fvlm

        yield Fvlm


@pytest.fixture
def opened(model: type[Any], place: Path) -> Callable[..., Any]:
    """A model of the run, as lmms-eval makes it from `--model_args`."""
    return lambda **arguments: model(**{"run": "tiny", "runs": str(place / "runs"), **arguments})


def restored(place: Path, checkpoint: Any = "best") -> Restored:
    return restore(find_run("tiny", place / "runs"), checkpoint=checkpoint)


def documents(clips: list[Path]) -> list[dict[str, Any]]:
    return [
        {"video": str(clip), "question": QUESTION, "choices": list(CHOICES), "right": 0, "answer": CHOICES[1]}
        for clip in clips
    ]


def said(by: Restored, clip: Path, limit: int, mode: Any = None) -> str:
    """What `VLM.generate` gives of a clip."""
    return said_of(by, decode_frames(sample(clip), 42), limit, mode)


def said_of(by: Restored, frames: NDArray[np.uint8], limit: int, mode: Any = None) -> str:
    prompt = by.chat.prompt([Turn("user", QUESTION)]).tolist()
    ids = by.model.generate(torch.from_numpy(frames), prompt, limit=limit, end=by.chat.end_of_turn, mode=mode)
    return by.chat.decode(ids)


def sample(clip: Path, answer: str = "") -> Sample:
    return Sample(
        clip.stem, "stub", (Turn("user", QUESTION), Turn("assistant", answer)), video=VideoFile(clip)
    )


def losses(by: Restored, clip: Path, answers: tuple[str, ...], mode: Any = None) -> list[tuple[float, int]]:
    """Sum of the losses of an answer's own words, and how many tokens these are, as training computes them."""
    preparer = Preparer(by.chat, 42, "content", 512)
    found: list[tuple[float, int]] = []
    for answer in answers:
        with torch.no_grad():
            one = by.model(collate([preparer.example(sample(clip, answer))]), mode)
        found.append((float(one.per_sample[0]), int(one.per_sample_tokens[0])))
    return found


# What is promised with or without lmms-eval


def test_the_entry_point_names_the_model_and_needs_lmms_eval_only_when_it_is_called(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["lmms_eval.models"] == {"fvlm": "fvlm_lmms_eval.manifest:manifest"}
    program = (
        "import sys; sys.modules['lmms_eval'] = None\n"
        "from fvlm_lmms_eval.manifest import manifest\n"
        "print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))\n"
        "try: manifest()\n"
        "except ImportError as error: print(error.name)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "lmms_eval.models"]


def test_the_manifest_leads_to_a_simple_model(model: type[Any]) -> None:
    from fvlm_lmms_eval.manifest import manifest

    found = manifest()
    assert (found.model_id, found.chat_class_path) == ("fvlm", None)
    module, _, name = found.simple_class_path.rpartition(".")
    assert (module, name) == (model.__module__, model.__name__)
    assert issubclass(model, lmms_stand_in.lmms)
    assert model.is_simple
    assert not model.__abstractmethods__


@pytest.mark.parametrize("mode", [None, *MODES])
def test_answers_are_those_of_the_model_in_every_mode(
    mode: str | None, opened: Callable[..., Any], place: Path, clips: list[Path]
) -> None:
    asked = opened(mode=mode) if mode else opened()
    asked.task_dict, requests = lmms_stand_in.requests(
        documents(clips), lambda document: [document["video"]], {"max_new_tokens": 6, "until": None}
    )
    answers = asked.generate_until(requests)
    assert answers == [said(restored(place), clip, 6, mode) for clip in clips]
    assert len(set(answers)) > 1  # else the clips would not matter


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("mode", MODES)
def test_choices_have_the_losses_of_training_whatever_the_batch(
    mode: Any, batch_size: int, opened: Callable[..., Any], place: Path, clips: list[Path]
) -> None:
    asked = opened(mode=mode, batch_size=batch_size)
    asked.task_dict, requests = lmms_stand_in.requests(
        documents(clips), lambda document: [document["video"]], *(f" {choice}" for choice in CHOICES)
    )
    found = [answer.text[0] for answer in asked.loglikelihood(requests)]
    by = restored(place)
    expected = [total / count for clip in clips for total, count in losses(by, clip, CHOICES, mode)]
    assert found == pytest.approx(expected, rel=1e-5)
    assert len({round(value, 4) for value in found}) == len(found)  # else frames or words would not matter


def test_a_target_has_its_log_probability_and_what_the_model_would_say_is_greedy(
    opened: Callable[..., Any], place: Path, clips: list[Path]
) -> None:
    by = restored(place)
    own = said(by, clips[0], 2)
    asked = opened()
    asked.task_dict, requests = lmms_stand_in.requests(
        documents(clips[:1]),
        lambda document: [document["video"]],
        *(lambda document, answer=answer: answer for answer in (own, f"{own} circle", CHOICES[1])),
    )
    answers = [answer.text for answer in asked.loglikelihood(requests)]
    assert [greedy for _, greedy in answers] == [True, False, False]
    (total, _), *_ = losses(by, clips[0], CHOICES[1:2])
    assert answers[2][0] == pytest.approx(-total, rel=1e-5)


def test_the_last_checkpoint_and_exported_weights_answer_for_themselves(
    opened: Callable[..., Any], place: Path, clips: list[Path], tmp_path: Path
) -> None:
    from fvlm_core.hf.export import release

    run = find_run("tiny", place / "runs")
    release(run, tmp_path / "exported")
    asked = {
        name: opened(**chosen)
        for name, chosen in (
            ("best", {}),
            ("last", {"checkpoint": "last"}),
            ("exported", {"run": str(tmp_path / "exported")}),
        )
    }
    found: dict[str, list[float]] = {}
    for name, one in asked.items():
        one.task_dict, requests = lmms_stand_in.requests(
            documents(clips[:1]), lambda document: [document["video"]], *CHOICES
        )
        found[name] = [answer.text[0] for answer in one.loglikelihood(requests)]
    for name in ("best", "last"):
        expected = [total / count for total, count in losses(restored(place, name), clips[0], CHOICES)]
        assert found[name] == pytest.approx(expected, rel=1e-5)
    assert found["exported"] == pytest.approx(found["best"], rel=1e-6)
    assert found["last"] != pytest.approx(found["best"], rel=1e-5)
    with pytest.raises(UsageError, match=r"exported weights, which have no last checkpoint; name the run"):
        opened(run=str(tmp_path / "exported"), checkpoint="last")


def test_marks_of_pictures_are_taken_out_and_answers_end_where_the_task_says(
    opened: Callable[..., Any], place: Path, clips: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = said(restored(place), clips[0], 6)
    middle = whole.split()[1]
    marked = [{**documents(clips)[0], "question": f"<image>\n{QUESTION} <video>"}]
    asked = opened(max_new_tokens=6)
    asked.task_dict, requests = lmms_stand_in.requests(
        marked,
        lambda document: [document["video"]],
        {"until": None},
        {"until": ["no such word", middle], "do_sample": True},
        {"until": whole, "temperature": 0.7},
    )
    assert asked.generate_until(requests) == [whole, whole.partition(middle)[0], ""]
    assert capsys.readouterr().err.count("models of fvlm answer greedily") == 1


# What is seen


def eye(**changes: Any) -> Eye:
    settings = {
        "size": 42, "fps": 1.0, "max_frames": 64, "fit": "letterbox", "repeats": 1, "decoder": None, **changes
    }  # fmt: skip
    return Eye(**settings)


def test_a_video_is_seen_once_a_second_and_a_long_one_evenly(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 40, fps=4)
    assert [index_of(frame) for frame in eye(size=64).see([str(clip)])] == list(range(0, 40, 4))
    assert [index_of(frame) for frame in eye(size=64).see([{"type": "video", "url": str(clip)}])] == list(
        range(0, 40, 4)
    )
    assert [index_of(frame) for frame in eye(size=64, max_frames=5).see([clip])] == list(range(0, 40, 8))
    assert len(eye(fps=2.0).see([[clip]])) == 20


def test_a_picture_is_seen_as_in_training(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    for fit in ("letterbox", "crop"):
        images = (ImageFile(tmp_path / "picture.png", fit=fit),)
        expected = decode_frames(Sample("0", "stub", (), images=images), 42, 3)
        for shown in (
            Image.open(tmp_path / "picture.png"),
            tmp_path / "picture.png",
            str(tmp_path / "picture.png"),
        ):
            np.testing.assert_array_equal(eye(fit=fit, repeats=3).see([shown]), expected)


def test_several_pictures_are_a_frame_each_in_their_order_and_too_many_are_thinned() -> None:
    pictures = [Image.new("RGB", (42, 42), (shade, 0, 0)) for shade in range(10)]
    seen = eye(repeats=3).see(pictures)
    assert seen[:, 0, 0, 0].tolist() == list(range(10))
    assert eye(max_frames=5).see(pictures)[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert eye().see(None).shape == eye().see([]).shape == (0, 3, 42, 42)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("none.mp4", "none.mp4: cannot be read: No such file or directory"),
        ("https://a.b/c.mp4", "https://a.b/c.mp4: not on this machine: expected the path of a file that is"),
        ("noise.wav", "noise.wav: sound: models of fvlm see pictures and videos"),
        ({"url": "a.mp4", "video_start": 3.0}, "a.mp4: a part of a video .*: fvlm shows whole videos only"),
        (
            {"array": [0.0], "sampling_rate": 1},
            "dict: expected a picture, or the path of a picture or a video",
        ),
        (3, "int: expected a picture, or the path of a picture or a video"),
    ],
)
def test_what_cannot_be_seen_is_named(shown: Any, text: str) -> None:
    with pytest.raises(BadSample) as caught:
        eye().see([shown])
    assert re.match(text, str(caught.value)), str(caught.value)


def test_a_document_that_cannot_be_read_ends_the_evaluation_and_is_named(
    opened: Callable[..., Any], clips: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "cut.mp4").write_bytes(clips[0].read_bytes()[:300])
    asked = opened()
    asked.task_dict, requests = lmms_stand_in.requests(
        documents([clips[0], tmp_path / "cut.mp4"]),
        lambda document: [document["video"]],
        {"max_new_tokens": 1},
    )
    with pytest.raises(FvlmError, match=r"stub, test 1: .*cut.mp4: corrupt.* leave it out of the task"):
        asked.generate_until(requests)


# What may be written after --model_args


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "--model_args: run: missing; expected string"),
        ({"run": "a", "checkpoint": "lst"}, '--model_args: checkpoint: expected "best" or "last", got "lst"; '
         'did you mean "last"?'),
        ({"run": "a", "max_frame": 3}, '--model_args: max_frame: unknown key; did you mean "max_frames"?'),
        ({"run": "a", "pretrained": "x"}, "--model_args: pretrained: unknown key; expected one of batch_size, "
         "checkpoint, device, fit, fps, max_frames, max_new_tokens, mode, run, runs"),
        ({"run": "a", "device": "gpu"}, '--model_args: device: expected "auto", "cpu", "cuda" or "cuda:N", got "gpu"'),
        ({"run": "a", "batch_size": "auto"}, '--model_args: batch_size: expected int, got "auto"'),
        ({"run": "a", "batch_size": 0}, "--model_args: batch_size: must be >= 1, got 0"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_with_what_is_expected(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(arguments)
    assert str(caught.value).startswith(text)


def test_a_mode_that_the_runs_connector_does_not_have_is_named_with_those_it_has(
    opened: Callable[..., Any],
) -> None:
    expected = '--model_args: mode: expected "coarse_only" or "coarse_fine" or "autoregressive", got "coarse"'
    with pytest.raises(UsageError) as caught:
        opened(mode="coarse")
    assert str(caught.value).startswith(expected)


def test_what_lmms_eval_took_for_a_number_or_left_as_text_is_read() -> None:
    read = read_settings({"run": 96, "batch_size": "4", "fps": 2})
    assert (read.run, read.batch_size, read.fps, read.mode) == ("96", 4, 2.0, None)


def test_a_missing_run_names_those_that_are_there(opened: Callable[..., Any], place: Path) -> None:
    with pytest.raises(
        UsageError, match=r'no run folder and no run under .* is called "tiny/tinny"; did you'
    ):
        opened(run="tiny/tinny")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert str(choose_device("auto")) == str(choose_device("cuda")) == "cuda:0"
    assert str(choose_device("cpu")) == "cpu"
    with pytest.raises(
        UsageError, match=r'device: "cuda:3" is GPU 3 in this process, and torch sees one GPU'
    ):
        choose_device("cuda:3")


def test_rounds_are_refused_with_the_way_out(opened: Callable[..., Any], clips: list[Path]) -> None:
    _, requests = lmms_stand_in.requests(documents(clips), lambda document: None, {})
    with pytest.raises(FvlmError, match=r"^stub: asks in several rounds; .* Leave these tasks out"):
        opened().generate_until_multi_round(requests)


# With lmms-eval itself

installed = pytest.mark.skipif(
    find_spec("lmms_eval") is None, reason="lmms-eval is not installed (docs/howto/lmms_eval.md)"
)


@installed
def test_the_stand_in_is_what_lmms_eval_has() -> None:
    program = """
import dataclasses, json
from lmms_eval.api.instance import GenerationResult
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
print(json.dumps([
    sorted(lmms.__abstractmethods__), lmms.is_simple, isinstance(lmms.rank, property),
    *([field.name for field in dataclasses.fields(one)] for one in (GenerationResult, ModelManifest)),
]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = lmms_stand_in
    assert json.loads(done.stdout.splitlines()[-1]) == [
        sorted(ours.lmms.__abstractmethods__),
        ours.lmms.is_simple,
        isinstance(ours.lmms.rank, property),
        *(list(one.__dataclass_fields__) for one in (ours.GenerationResult, ours.ModelManifest)),
    ]


def evaluated(folder: Path, place: Path, arguments: str, tasks: str) -> subprocess.CompletedProcess[str]:
    """`lmms-eval --model fvlm` on tasks of a folder, offline."""
    command = [
        *(sys.executable, "-m", "lmms_eval", "--model", "fvlm", "--model_args", arguments),
        *("--tasks", tasks, "--include_path", str(folder / "tasks"), "--batch_size", "2"),
        *("--device", "cpu", "--log_samples", "--output_path", str(folder / "out")),
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "FVLM_RUNS": str(place / "runs")}
    return subprocess.run(command, env={**os.environ, **offline}, capture_output=True, text=True, check=False)


@pytest.fixture
def tasks(tmp_path: Path, clips: list[Path]) -> Path:
    """A folder with the stub tasks and their data: a Parquet file whose rows name the clips and hold the pictures."""
    from datasets import Dataset, Features, List, Value
    from datasets import Image as Picture

    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)
    rows = documents(clips)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {"right": [0, 1, 2], "picture": [Image.fromarray(one) for one in pixels]}
    kinds = {name: Value("string") for name in ("video", "question", "answer")}
    features = Features(
        {**kinds, "choices": List(Value("string")), "right": Value("int64"), "picture": Picture()}
    )
    Dataset.from_dict(columns, features).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/utils.py").write_text(UTILS)
    data = json.dumps({"data_files": {"test": str(tmp_path / "rows.parquet")}})
    head = f"dataset_path: parquet\ndataset_kwargs: {data}\ntest_split: test\ndoc_to_text: question\n"
    for name, rest in TASKS.items():
        (tmp_path / f"tasks/{name}.yaml").write_text(f"task: {name}\n{head}{rest.lstrip()}")
    return tmp_path


def logged(folder: Path, task: str) -> list[dict[str, Any]]:
    [file] = folder.glob(f"out/**/*_samples_{task}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def answers(folder: Path, task: str) -> list[str]:
    """As they came from the model; left out of the log where nothing is changed for scoring."""
    return [one.get("resps", one["filtered_resps"]) for one in logged(folder, task)]


@installed
def test_lmms_eval_scores_the_answers_that_the_model_gives(
    tasks: Path, place: Path, clips: list[Path]
) -> None:
    done = evaluated(tasks, place, "run=tiny/tiny,mode=autoregressive", ",".join(TASKS))
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "fvlm: tiny/tiny, step 40: mode autoregressive, on cpu" in done.stderr
    by, mode = restored(place), "autoregressive"

    assert answers(tasks, "stub_video") == [said(by, clip, 6, mode) for clip in clips]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)
    frames = [eye().see(Image.fromarray(one)) for one in pixels]
    heard = [said_of(by, one, 3, mode).partition("circle")[0] for one in frames]
    assert answers(tasks, "stub_picture") == heard

    expected = [[total / count for total, count in losses(by, clip, CHOICES, mode)] for clip in clips]
    found = [[float(value) for value, _ in one["filtered_resps"]] for one in logged(tasks, "stub_choice")]
    for ours, theirs in zip(expected, found, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5)
    [results] = tasks.glob("out/**/*_results.json")
    scores = json.loads(results.read_text())["results"]
    right = [int(np.argmin(row)) == number for number, row in enumerate(expected)]
    assert scores["stub_choice"]["acc,none"] == pytest.approx(np.mean(right))
    totals = [losses(by, clip, CHOICES[1:2], mode)[0][0] for clip in clips]
    assert scores["stub_target"]["perplexity,none"] == pytest.approx(np.exp(np.mean(totals)), rel=1e-4)
