"""`fvlm eval --suite`: every benchmark is asked as the list says and scored by what lmms-eval keeps of each question;
one that fails costs itself alone; scores stand in the run's record."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmms_program
import pytest
import warm
from huggingface_hub.constants import HF_HOME
from scipy.stats import binomtest
from tiny import run_cli, trained

import fvlm_core.evaluation.suite as suite_module
from fvlm_core.evaluation.suite import ScorePlace, read_suite, suite_names
from fvlm_core.report.html.content import gather
from fvlm_core.runs.scores import read_scores
from fvlm_core.runs.store import list_runs
from fvlm_core.utils.errors import FvlmError, Problems, UsageError

pytestmark = pytest.mark.timeout(280)
PROGRAM = suite_module.program
installed = pytest.mark.skipif(
    find_spec("lmms_eval") is None, reason="lmms-eval is not installed (docs/howto/lmms_eval.md)"
)
TEN = [
    *("mvbench", "videomme", "longvideobench", "mlvu", "egoschema"),
    *("nextqa", "lvbench", "tempcompass", "timescope", "ovobench"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run "tiny/tiny", and a stand-in for lmms-eval's program below `installed`."""
    folder = trained(tmp_path_factory.mktemp("suite"))
    (folder / "installed/lmms_eval").mkdir(parents=True)
    (folder / "installed/lmms_eval/__init__.py").write_text("")
    (folder / "installed/lmms_eval/__main__.py").write_text("import lmms_program\nlmms_program.main()\n")
    return folder


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    helpers = Path(lmms_program.__file__).parent
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place / "installed"))
    paths = [str(place / "installed"), str(helpers), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("STUB_CLIP", str(next(place.glob("cache/**/validation/**/*.mp4"))))
    monkeypatch.setenv("FVLM_CACHE", str(place / "cache"))
    monkeypatch.setattr(suite_module, "program", here)
    return lambda *arguments: run_cli(["eval", "tiny", "--suite", *arguments], monkeypatch, capsys)


def here(command: Sequence[str]) -> str:
    """lmms-eval's program in this process; each of its own costs seconds of imports."""
    assert command[1:3] == ("-m", "lmms_eval")
    try:
        lmms_program.main(list(command[3:]))
    except SystemExit as error:
        return str(error)
    return ""


def test_all_ten_are_asked_scored_and_kept_with_the_run(cli: Any, place: Path) -> None:
    code, out, err = cli("video", "--json")
    assert code == 0, out + err
    found = json.loads(out)
    assert [one["name"] for one in found["benchmarks"]] == TEN
    assert {one["failed"] for one in found["benchmarks"]} == {""}
    asked = {one["name"]: one["questions"] for one in found["benchmarks"]}
    assert asked == {**dict.fromkeys(TEN, 2), "ovobench": 3}
    for one in found["benchmarks"]:
        hits = round(one["mean"] * one["questions"])
        exact = binomtest(hits, one["questions"]).proportion_ci(0.95, "exact")
        assert (one["low"], one["high"]) == pytest.approx((exact.low, exact.high))
    assert read_scores(place / "runs/tiny/tiny", "video") == found
    [section] = [
        one for one in gather(list_runs(place / "runs"), draw_fits=False).sections if one.id == "benchmarks"
    ]
    assert [row[2].text for row in section.blocks[0].tables[0].rows] == TEN


@pytest.mark.parametrize("plain", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["warm", "plain"])
def test_lmms_eval_runs_in_a_process_of_its_own(
    plain: bool, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite_module, "program", PROGRAM)
    if not plain:
        monkeypatch.setattr(suite_module, "sys", SimpleNamespace(executable=warm.python()))
    code, out, err = cli("video", "--task", "nextqa", "--json")
    assert code == 0, out + err
    assert json.loads(out)["benchmarks"][0]["questions"] == 2


def test_benchmarks_find_where_their_videos_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HOME", raising=False)
    told = [sys.executable, "-c", "import os; print(os.environ['HF_HOME'])"]
    assert PROGRAM(told).strip() == HF_HOME
    monkeypatch.setenv("HF_HOME", "elsewhere")
    assert PROGRAM(told).strip() == "elsewhere"


HOOK = """
import datasets, json, os

def load_dataset(path, *arguments, **more):
    with open(os.environ["STUB_DOCUMENTS"]) as file:
        return datasets.DatasetDict(test=datasets.Dataset.from_list(json.load(file)[path]))

datasets.load_dataset = load_dataset
"""


@installed
@pytest.mark.timeout(900)  # two processes of lmms-eval
def test_lmms_eval_itself_asks_and_scores_documents_in_the_tasks_own_formats(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its program, its tasks and its scoring; data sets alone are put in the place of those on the network."""
    clip = next(place.glob("cache/**/validation/**/*.mp4"))
    for name in ("nextqa/NExTVideo/clip.mp4", "videomme/data/v0.mp4", "videomme/data/v1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / name)
    documents = {
        "lmms-eval/NExTQA": [{**one, "video": "clip"} for one in lmms_program.DOCUMENTS["nextqa_mc_test"]],
        "lmms-eval/Video-MME": lmms_program.DOCUMENTS["videomme"],
    }
    (tmp_path / "documents.json").write_text(json.dumps(documents))
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(HOOK)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("STUB_DOCUMENTS", str(tmp_path / "documents.json"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    monkeypatch.setenv("FVLM_CACHE", str(place / "cache"))
    tasks = ["--task", "nextqa", "--task", "videomme"]
    code, out, err = run_cli(["eval", "tiny", "--suite", "video", *tasks, "--json"], monkeypatch, capsys)
    assert code == 0, out + err
    found = {one["name"]: one for one in json.loads(out)["benchmarks"]}
    assert {name: (one["questions"], one["failed"]) for name, one in found.items()} == {
        "nextqa": (2, ""),
        "videomme": (2, ""),
    }
    assert {one["mean"] for one in found.values()} <= {0.0, 0.5, 1.0}


def test_one_that_fails_is_named_and_the_others_are_scored(
    cli: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_BROKEN", "lvbench")
    before = read_scores(place / "runs/tiny/tiny", "video")
    code, out, _ = cli("video", "--task", "lvbench", "--task", "mlvu", "--samples", "1")
    assert code == 1
    said = " ".join(out.split())
    assert "lvbench failed: lmms-eval kept no question; it said last: " in said
    assert "lvbench: the data set is not" in said
    assert "\x1b[31mhere" not in out
    assert "mlvu" in said
    assert "at most 1 questions of a task: not kept with the run" in said
    assert read_scores(place / "runs/tiny/tiny", "video") == before


def test_another_prompt_is_another_benchmark(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_ENDS", " Think first.")
    code, out, _ = cli("video", "--task", "videomme", "--samples", "1")
    assert code == 1
    said = " ".join(out.split())
    assert "asks otherwise than the suite says" in said
    assert "Think first." in said


@pytest.mark.parametrize(
    ("place_of", "kept", "score"),
    [
        ({"value": "score"}, {"m": {"score": 1.0}}, 1.0),
        ({}, {"m": True}, 1.0),
        ({"said": "a", "right": "b"}, {"m": {"a": "b", "b": "B"}}, 1.0),
        ({"said": "a", "right": "b"}, {"m": {"a": 2, "b": "2"}}, 1.0),
        ({"said": "a", "right": "b"}, {"m": {"a": "", "b": "B"}}, 0.0),
        ({"said": "a", "right": "b"}, {"m": {"a": "The answer is B", "b": "B"}}, 0.0),
        ({"said": "a", "right": "b", "within": True}, {"m": {"a": "The answer is B", "b": "B"}}, 1.0),
    ],
)
def test_scores_are_read_where_the_list_says(
    place_of: dict[str, Any], kept: dict[str, Any], score: float
) -> None:
    assert ScorePlace(metric="m", **place_of).of(kept) == score


def test_a_score_that_is_not_there_is_named() -> None:
    with pytest.raises(FvlmError, match=r"m: lmms-eval kept no score of a question as the suite says"):
        ScorePlace(metric="m", value="x").of({"m": {}})


def test_the_suite_names_ten_and_every_task_has_stub_data() -> None:
    assert suite_names() == ["video"]
    suite = read_suite("video")
    assert [one.name for one in suite.benchmarks] == TEN
    tasks = {task for one in suite.benchmarks for task in one.tasks}
    assert {*lmms_program.DOCUMENTS} == {
        own for task in tasks for own in lmms_program.GROUPS.get(task, [task])
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("description = 3", "description"),
        ('description = "x"\nmade_for = "1"\nbenchmarks = []\n', "benchmarks"),
        ("[[", "Invalid"),
    ],
)
def test_a_suite_of_ones_own_is_read_strictly(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises((Problems, UsageError)) as error:
        read_suite(str(file))
    assert said in str(error.value)
    assert "own.toml" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vide"], 'got "vide": did you mean "video"?'),
        (["video", "--task", "mlvuu"], 'and no "mlvuu": did you mean "mlvu"?'),
        (["video", "--data", "shapes"], "expected no --data with it"),
        (["video", "--mode", "fine"], "--mode: expected"),
        (["video", "--mode", "all"], 'expected its name, got "all"'),
    ],
)
def test_misuse_is_explained(cli: Any, arguments: list[str], said: str) -> None:
    code, _, err = cli(*arguments)
    assert code == 2
    assert said in " ".join(err.split())


def test_without_lmms_eval_the_way_to_get_it_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("fvlm_core.evaluation.suite.find_spec", lambda name: None)
    code, _, err = run_cli(["eval", "tiny", "--suite", "video"], monkeypatch, capsys)
    assert code == 2
    assert "pip install 'lmms-eval==0.7.3'" in " ".join(err.split())


def test_the_list_is_that_of_the_installed_lmms_eval() -> None:
    """Tasks, prompts and lengths of answers, as its own files say them."""
    found = find_spec("lmms_eval")
    if found is None or not found.origin or not (Path(found.origin).parent / "tasks/mvbench").is_dir():
        pytest.skip("lmms-eval is not installed")
    tasks = Path(found.origin).parent / "tasks"
    texts = {
        name: "".join(
            file.read_text()
            for file in (tasks / name).rglob("*")
            if file.is_file() and file.suffix in ("", ".yaml", ".py")
        )
        for name in TEN
    }
    for one in read_suite("video").benchmarks:
        for task in one.tasks:
            text = texts[one.name].replace('"', "")
            assert f"task: {task}" in text or f"group: {task}" in text
        assert one.prompt.replace("\n", "\\n") in texts[one.name] or one.prompt in texts[one.name]
        assert f'"{one.score.metric}"' in texts[one.name]
        for key in filter(None, (one.score.value, one.score.said, one.score.right)):
            assert f'"{key}"' in texts[one.name]
