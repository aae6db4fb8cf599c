"""What trackers are shown beside numbers: answers with frames and gaze, and a run's report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import warm
from PIL import Image
from tiny import RECIPE, run_cli, train

from fvlm_core.execution import tracked_report
from fvlm_core.plugin_api import GazeMaps, Prediction, TrackedRun, Tracker, prediction_table
from fvlm_core.recipes.schema import Chosen
from fvlm_core.runs.answers import read_answers
from fvlm_core.runs.metrics import deterministic
from fvlm_core.runs.store import StoredRun, list_runs
from fvlm_core.training import answers
from fvlm_core.training import tracker_thread as mirror

ASKED = """
[[eval.metrics]]
name = "exact-match"
[eval.generation]
limit = 4
samples = 5
"""


class Shown(Tracker):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.rows = 0
        self.predictions: dict[int, Sequence[Prediction]] = {}

    def log(self, row: Any) -> None:
        self.rows += 1

    def predicted(self, step: int, predictions: Sequence[Prediction]) -> None:
        self.predictions[step] = predictions


class RowsAlone(Tracker):
    """As trackers were before there was more than rows."""

    def __init__(self) -> None:
        self.rows = 0

    def log(self, row: Any) -> None:
        self.rows += 1


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clips are, drawn once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def settled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and time for trackers."""
    monkeypatch.setenv("FVLM_CACHE", str(cache))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mirror, "CLOSE_SECONDS", 120.0)


def offer(monkeypatch: pytest.MonkeyPatch, tracker: Tracker) -> None:
    """Make it the one that every name stands for."""

    class Found:
        component = type("component", (), {"target": "x:y"})

        def find(self, *name: str) -> Found:
            return self

        def load(self, target: str) -> Any:
            return lambda config, run: tracker

    monkeypatch.setattr(mirror, "registry", Found)


def trained(
    folder: Path, tracker: str, settings: str = "", text: str = ASKED, until: int | None = None
) -> StoredRun:
    """A run under a tracker, which said nothing."""
    recipe = RECIPE.replace("steps = 6", "steps = 6\nlog_every = 1")
    (folder / "tiny.toml").write_text(f'{recipe}{text}[[trackers]]\nname = "{tracker}"\n{settings}')
    observer = train(folder / "tiny.toml", folder / "runs", until=until)
    assert not [said for said in observer.warnings if "tracker" in said]
    return list_runs(folder / "runs")[0]


def test_answers_of_every_evaluation_come_with_frames_and_gaze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Shown()
    offer(monkeypatch, shown)
    monkeypatch.setattr(answers, "PICTURED", 2)
    stored = trained(tmp_path, "tensorboard")
    assert list(shown.predictions) == [2, 4, 6]
    kept = {each.id: each for each in read_answers(stored.folder, 6) or ()}
    assert len(kept) == 5
    for each in shown.predictions[6]:
        own = kept[each.id]
        assert (each.prompt, each.reference, each.generated) == (own.prompt, own.reference, own.generated)
        assert each.scores == own.scores
    pictured = [each for each in shown.predictions[6] if len(each.frames)]
    assert len(pictured) == 2
    for each in pictured:
        assert each.frames.dtype == np.uint8
        assert each.frames.shape[1:] == (3, 42, 42)
        assert list(each.gaze) == ["coarse", "fine"]
        for heat in each.gaze.values():
            assert heat.shape == (len(each.frames), 3, 3)
            assert (heat.reshape(len(heat), -1).sum(1) <= 1 + 1e-5).all()
        assert GazeMaps(each.frames, each.gaze).sheet(2).width > 3 * 42
    assert [[p.id for p in each] for each in shown.predictions.values()] == [list(kept)] * 3


def test_of_many_answers_some_are_told_and_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Shown()
    offer(monkeypatch, shown)
    monkeypatch.setattr(answers, "TOLD", 3)
    trained(tmp_path, "tensorboard")
    ids = [[each.id for each in told] for told in shown.predictions.values()]
    assert [len(each) for each in ids] == [3, 3, 3]
    assert ids[0] == ids[1] == ids[2]


def test_rows_are_the_same_whether_answers_are_shown_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, Shown())
    (tmp_path / "plain.toml").write_text(
        RECIPE.replace('"tiny"', '"plain"').replace("steps = 6", "steps = 6\nlog_every = 1") + ASKED
    )
    train(tmp_path / "plain.toml", tmp_path / "other")
    rows = [
        [json.dumps(deterministic(row) | {"run_id": ""}) for row in run.rows()]
        for run in (trained(tmp_path, "tensorboard"), list_runs(tmp_path / "other")[0])
    ]
    assert rows[0] == rows[1]


def test_a_tracker_that_knows_rows_alone_is_as_good_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RowsAlone()
    offer(monkeypatch, plain)
    stored = trained(tmp_path, "tensorboard")
    assert plain.rows >= len(list(stored.rows())) > 0


def test_where_nothing_is_asked_nothing_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    offer(monkeypatch, shown)
    trained(tmp_path, "tensorboard", text="")
    assert (shown.predictions, shown.rows > 0) == ({}, True)


def test_the_table_has_a_column_of_every_metric_and_of_categories_where_there_are_any() -> None:
    def said(category: str, **scores: float | None) -> Prediction:
        return Prediction("s/1", "?", "a", "b", scores, category, np.zeros((0, 3, 2, 2), np.uint8), {})

    assert prediction_table([said("", x=1.0), said("", y=None)]) == {
        "sample": ["s/1", "s/1"],
        "prompt": ["?", "?"],
        "truth": ["a", "a"],
        "generated": ["b", "b"],
        "x": [1.0, None],
        "y": [None, None],
    }
    assert prediction_table([said("when"), said("")])["category"] == ["when", ""]


def test_tensorboard_has_the_table_and_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra fvlm[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stored = trained(tmp_path, "tensorboard")
    events = EventAccumulator(str(stored.folder / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    first = (read_answers(stored.folder, 6) or [])[0]
    pictures = events.Images(f"predictions/{first.id}")
    assert [picture.step for picture in pictures] == [2, 4, 6]
    assert pictures[0].width > 3 * 42
    (text,) = events.Tensors("predictions/text_summary")[-1].tensor_proto.string_val
    lines = text.decode().splitlines()
    assert lines[0] == "|sample|prompt|truth|generated|exact_match|"
    assert len(lines) == 2 + 5
    assert first.reference in lines[2]


def test_wandb_keeps_the_table_and_the_pictures_in_the_folder_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra fvlm[wandb] is not installed")
    stored = trained(tmp_path, "wandb")
    (attempt,) = (stored.folder / "wandb").glob("offline-run-*")
    table = json.loads(sorted(attempt.glob("files/media/table/*.json"))[-1].read_text())
    assert table["columns"] == ["sample", "prompt", "truth", "generated", "exact_match"]
    assert len(table["data"]) == 5
    pictures = list(attempt.glob("files/media/images/*.png"))
    assert pictures
    with Image.open(pictures[0]) as picture:
        assert picture.width > 3 * 42


def test_trackio_keeps_the_table_with_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="the extra fvlm[trackio] is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    trained(tmp_path, "trackio")
    tables = [log["predictions"] for log in SQLiteStorage.get_logs("tiny", "tiny") if "predictions" in log]
    assert len(tables) == 3
    assert [len(table["_value"]) for table in tables] == [5, 5, 5]
    assert list((tmp_path / "trackio").rglob("*.png"))


def mlflow_runs(store: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return [(client, run) for run in client.search_runs(experiments)]


def test_mlflow_holds_a_run_that_was_stopped_and_continued_as_one(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the extra fvlm[mlflow] is not installed")
    trained(tmp_path, "mlflow", until=2)
    stored = trained(tmp_path, "mlflow")
    ((client, run),) = mlflow_runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert run.data.params["training.steps"] == "6"
    for kind, name, rows in (
        ("train", "train_loss", stored.train_rows()),
        ("eval", "val_loss", stored.evaluations()),
        ("eval", "val_loss_by_source/shapes", stored.evaluations()),
    ):
        table, _, key = name.partition("/")
        wanted = {row["step"]: row[table][key] if key else row[table] for row in rows}
        found = {
            each.step: each.value for each in client.get_metric_history(run.info.run_id, f"{kind}/{name}")
        }
        assert found == pytest.approx(wanted)
    tables = [each.path for each in client.list_artifacts(run.info.run_id, "predictions")]
    assert tables == [f"predictions/step-{step:08d}.json" for step in (2, 4, 6)]
    table = json.loads(Path(client.download_artifacts(run.info.run_id, tables[-1])).read_text())
    assert table["columns"] == ["sample", "prompt", "truth", "generated", "exact_match"]
    assert len(table["data"]) == 5
    pictures = [
        each.path for each in client.list_artifacts(run.info.run_id, "images") if each.path.endswith("png")
    ]
    assert len(pictures) == 3 * 5
    recipe = json.loads(Path(client.download_artifacts(run.info.run_id, "recipe.json")).read_text())
    assert recipe["training"]["steps"] == 6


RACING = """
import sys
from pathlib import Path
from fvlm_core.plugin_api import TrackedRun
from fvlm_mlflow.config import MLflow
from fvlm_mlflow.tracker import build
folder = Path(sys.argv[1]) / "r" / sys.argv[2]
folder.mkdir(parents=True)
build(MLflow(), TrackedRun("r", sys.argv[2], folder, {"a": {"b": [1, "x" * 9000]}, "c": None}, 0)).close()
"""


def test_a_store_that_is_not_made_to_its_end_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra fvlm[mlflow] is not installed")
    import fvlm_mlflow.tracker as ours

    class Made:
        def __init__(self, uri: str) -> None:
            self.file = Path(uri.removeprefix("sqlite:///"))
            self.file.write_text("half")

        def search_experiments(self) -> None:
            if killed:
                raise KeyboardInterrupt
            self.file.write_text("whole")

    monkeypatch.setattr(ours, "MlflowClient", Made)
    killed = True
    with pytest.raises(KeyboardInterrupt):
        ours._database(tmp_path / "mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()
    killed = False
    assert ours._database(tmp_path / "mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert (tmp_path / "mlflow.db").read_text() == "whole"
    left = {each.name for each in tmp_path.iterdir()} - {
        "mlflow.db.lock"
    }  # filelock before 3.30 takes it away
    assert left == {"mlflow.db"}


@pytest.mark.soak
def test_runs_that_begin_at_once_share_one_mlflow_store_and_one_killed_at_it_spoils_nothing(
    tmp_path: Path,
) -> None:
    pytest.importorskip("mlflow", reason="the extra fvlm[mlflow] is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}

    def begin(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", RACING, str(tmp_path), name], env=environment)

    killed = begin("killed")
    until = time.monotonic() + 120
    while not (tmp_path / "mlflow.part").exists() and time.monotonic() < until:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "mlflow.db").exists()
    assert [process.wait() for process in [begin("a"), begin("b")]] == [0, 0]
    found = mlflow_runs(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert sorted(run.info.run_name for _, run in found) == ["a", "b"]
    assert found[0][1].data.params["a.b"].startswith('[1, "xxx')


HURRIED = """
import sys
from fvlm_core.cli.main import main
from fvlm_core.training import tracker_thread as mirror
mirror.CLOSE_SECONDS = 1.0
sys.exit(main())
"""


@pytest.mark.soak
def test_an_mlflow_server_that_cannot_be_reached_ends_no_run_and_does_not_keep_the_process(
    tmp_path: Path,
) -> None:
    pytest.importorskip("mlflow", reason="the extra fvlm[mlflow] is not installed")
    (tmp_path / "tiny.toml").write_text(
        RECIPE + '[[trackers]]\nname = "mlflow"\nuri = "http://127.0.0.1:9"\n'  # nobody is there
    )
    process = subprocess.Popen(
        [warm.python(), "-c", HURRIED, "run", "tiny.toml"], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said, last = "", time.monotonic()
    for line in process.stdout:
        said += line
        if "6/6" in line:
            last = time.monotonic()
    seconds = time.monotonic() - last
    assert process.wait() == 0, said
    assert "tracker mlflow has stopped: still busy" in said
    assert "rows are not in it" in said
    assert seconds < 20, said  # mlflow itself waits for minutes


@pytest.mark.soak
def test_the_report_of_a_run_is_drawn_beside_it_and_kept_by_the_tracker_that_asks(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the extra fvlm[mlflow] is not installed")
    stored = trained(tmp_path, "mlflow", settings="report = true\n", text="")
    log = stored.folder / tracked_report.LOG
    until = time.monotonic() + 120
    while "kept by" not in (said := log.read_text() if log.exists() else "") and time.monotonic() < until:
        time.sleep(0.1)
    assert "kept by tracker mlflow of tiny/tiny" in said
    ((client, run),) = mlflow_runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    kept = Path(client.download_artifacts(run.info.run_id, tracked_report.REPORT)).read_text()
    assert kept == (stored.folder / tracked_report.REPORT).read_text()
    assert "<html" in kept


def test_no_process_is_begun_where_no_tracker_asks_for_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*given: Any, **named: Any) -> None:
        raise AssertionError(given)

    monkeypatch.setattr(tracked_report.subprocess, "Popen", begun)
    for config in (None, type("config", (), {"report": False})):
        tracked_report.start([Chosen("x", "x:x", config)], "r", "r", tmp_path, tmp_path)
    asking = type("config", (), {"report": True})
    with pytest.raises(AssertionError, match="--track"):
        tracked_report.start([Chosen("x", "x:x", asking)], "r", "r", tmp_path, tmp_path)


class Keeping(Tracker):
    """Keeps files, or refuses."""

    kept: ClassVar[list[str]] = []
    refuses = False

    def __init__(self, config: Any, run: TrackedRun) -> None:
        self.run = run

    def log(self, row: Any) -> None:
        raise AssertionError("no row comes with a report")

    def artefact(self, file: Path) -> None:
        if self.refuses:
            raise ConnectionError("nobody is there")
        self.kept.append(f"{self.run.id} {self.run.from_step} {file.name}")


def test_a_report_is_handed_to_the_trackers_of_its_runs_and_who_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb", reason="the extra fvlm[wandb] is not installed")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train(tmp_path / "tiny.toml", tmp_path / "runs")
    command = [
        "report",
        "tiny",
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path / "r.html"),
        "--track",
    ]
    code, _, said = run_cli(command, monkeypatch, capsys)
    assert code == 2
    assert "no tracker of these runs keeps files" in " ".join(said.split())

    record = tmp_path / "runs" / "tiny" / "tiny" / "recipe.json"
    table = json.loads(record.read_text())
    settings = {"project": "", "entity": "", "mode": "offline", "report": False}
    table["resolved"]["trackers"] = [{"name": "wandb:wandb", **settings}]
    record.write_text(json.dumps(table))

    class Found:
        component = type("component", (), {"target": "x:y"})

        def find(self, *name: str) -> Found:
            return self

        def load(self, target: str) -> Any:
            return Keeping

    monkeypatch.setattr(tracked_report, "registry", Found)
    assert run_cli(command, monkeypatch, capsys)[0] == 0
    assert Keeping.kept == ["tiny 6 r.html"]
    monkeypatch.setattr(Keeping, "refuses", True)
    code, _, said = run_cli(command, monkeypatch, capsys)
    assert code == 1
    assert "of tiny/tiny: ConnectionError: nobody is there" in " ".join(said.split())
    assert "1 of 1 trackers have not kept" in " ".join(said.split())
