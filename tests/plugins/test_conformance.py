"""The conformance checks: first-party components keep the contract, and every breach names the line it breaks."""

from __future__ import annotations

import gc
import importlib
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import published_tables
import published_videos
import pytest
from kit import component
from manual import examples

import fvlm_core.testing as kit
from fvlm_core.scaling.fit.levenberg_marquardt import descend
from fvlm_core.testing import ContractError, Finding, check, examine, general
from fvlm_core.testing.callback import Watched
from fvlm_core.testing.clause import clause
from fvlm_core.testing.conformance import _MODULES  # pyright: ignore[reportPrivateUsage]
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_registry import registry
from fvlm_registry.listing import HOOKS

FIRST_PARTY = {
    (offer.component.target, offer.component.config): (offer.kind, offer.qualified)
    for offer in registry().offers
    if offer.origin.startswith("fvlm ") and (offer.component.name != "trackio" or find_spec("trackio"))
}
"""One component of each family: the sizes of one differ only in presets that the example replaces."""


@pytest.fixture(autouse=True)
def few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laws are near enough to their guess that few starts find them."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """What all first-party plugins and configs together bring into one fresh interpreter: none brings more."""
    configs = {config.partition(":")[0] for _, config in FIRST_PARTY}
    plugins = {plugin.module.partition(":")[0] for plugin in registry().plugins if plugin.status == "ok"}
    command = [sys.executable, "-c", general._RECORD, *sorted(configs | plugins)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return set().union(*json.loads(done.stdout.splitlines()[-1]).values())


@pytest.fixture
def imports_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a component imports is no matter there, and costs an interpreter each time."""
    monkeypatch.setattr(general, "_imported", lambda _: set())


WRONG: dict[str, dict[str, tuple[str, str, str]]] = {
    # kind: what is wrong: text, its replacement, and the line of the contract
    "encoder": {
        "channels before tokens": (
            "seen = self.patch(frames).flatten(2).mT + self.place.weight\n",
            "seen = self.patch(frames).flatten(2).mT + self.place.weight\n        tokens and (seen := seen.mT)\n",
            "PatchFeatures: tokens: [F, N, D] after the final norm",
        ),
        "a seed of its own": (
            "super().__init__()",
            "super().__init__(); import torch; torch.manual_seed(0)",
            "VisionEncoder: It makes the architecture with fresh weights",
        ),
        "frames normalised over the batch": (
            "seen = self.patch(frames)",
            "seen = self.patch(frames - frames.mean(0))",
            "VisionEncoder.encode: Frames of a batch do not see each other",
        ),
        "a batch normalised in training only": (
            "seen = self.patch(frames).flatten(2).mT",
            "seen = self.patch(frames - frames.mean(0) if self.training else frames).flatten(2).mT",
            "VisionEncoder.encode: Frames of a batch do not see each other",
        ),
        "an answer without a gradient": (
            "(share @ layer.value)[:, 0, 0]",
            "(share @ layer.value)[:, 0, 0].detach()",
            "VisionEncoder: Gradients reach every weight",
        ),
        "scores in place of probabilities": (
            "weights.append(share[:, :, 0])",
            "weights.append(2 * share[:, :, 0])",
            "VisionEncoder.attend: weights: a list to which each layer's attention probabilities",
        ),
        "a heavy library in the config": (
            "from fvlm_core.plugin_api import EncoderSpec",
            "import matplotlib\nfrom fvlm_core.plugin_api import EncoderSpec",
            "Component: must import nothing heavy",
        ),
        "a query that nobody may ask": (
            'provides=("patches", "query")',
            'provides=("patches",)',
            "VisionEncoder: A component whose encoder implements `attend` says so",
        ),
    },
    "connector": {
        "no axis of tokens": (
            ".mean(1, keepdim=True)",
            ".mean(1)",
            "VisualTokens: tokens: [F, k, W], k tokens a frame",
        ),
        "tokens that it said it does not read": (
            "encoder_tokens = True",
            "encoder_tokens = False",
            "VisualTokens: tokens: [F, k, W]",
        ),
        "samples that see each other": (
            "VisualTokens(self.scale * self.project(mean))",
            "VisualTokens(self.scale * self.project(mean - mean.mean(0)))",
            "Connector.connect: Samples do not see each other",
        ),
        "samples that see each other in training only": (
            "VisualTokens(self.scale * self.project(mean))",
            "VisualTokens(self.scale * self.project(mean - mean.mean(0) if self.training else mean))",
            "Connector.connect: Samples do not see each other",
        ),
        "a batch that must hold frames": (
            "VisualTokens(self.scale * self.project(mean))",
            "VisualTokens(self.scale * self.project(mean + 0 * mean.flatten()[0]))",
            "Connector.connect: A batch may hold samples without frames (text), and no others",
        ),
        "work that depends on values": (
            "        return VisualTokens(self.scale",
            "        assert mean.isfinite().all()\n        return VisualTokens(self.scale",
            "Connector.connect: It runs on the meta device, too",
        ),
    },
    "llm": {
        "the future": (
            ".tril(past)",
            ".tril(past + 1)",
            "LLMBackend.hidden: Attention is causal",
        ),
        "positions that begin again": (
            "self.places[past : past + n]",
            "self.places[:n]",
            "LLMBackend.hidden: cache: what `new_cache` made",
        ),
        "packed samples that see each other": (
            "lengths = lengths or ",
            "lengths = ",
            "LLMBackend.hidden: lengths: of the samples that lie one after the other",
        ),
        "names that become what they name": (
            "return plugin_api.ByteChat()",
            "chat = plugin_api.ByteChat(); encode = chat.encode; chat.encode = lambda turns: encode("
            "[plugin_api.Turn(turn.role, part) for turn in turns for part in turn.content.split('</s>')]); "
            "return chat",
            "Chat.encode: What a turn says is text",
        ),
        "questions scored as answers": (
            "return plugin_api.ByteChat()",
            "chat = plugin_api.ByteChat(); encode = chat.encode; chat.encode = lambda turns: encode("
            "[plugin_api.Turn('assistant', turn.content) for turn in turns]); return chat",
            "EncodedChat: content: the assistant's text alone",
        ),
    },
    "data": {
        "another sample at every look": (
            'random.Random(f"{self.config.seed} {self.split} {index}")',
            "random.Random()",
            "DataSource: Random access is what makes data order a pure function",
        ),
        "one set for both splits": (
            '-{self.split}-{index}"',
            '-{index}"',
            "DataSource: Train and validation of one config never share a sample",
        ),
        "a copy that cannot be sent": (
            '"$name", config, split',
            '"$name", config, split; self.key = lambda: 0',
            "DataSource: Picklable: data workers hold a copy",
        ),
        "one id for all": (
            "Sample(id=sample_id",
            'Sample(id="0" + self.split',
            "Sample: One training example; id is stable and unique within its source",
        ),
    },
    "objective": {
        "a mean instead of a sum": (
            "loss = (losses.per_sample / tokens).sum()",
            "loss = (losses.per_sample / tokens).mean()",
            "Objective.contribution: so that how a",
        ),
        "a sum with its graph": (
            "(loss.detach(),)", "(loss,)", "Contribution: What a micro-batch adds to a step",
        ),
        "no loss in its rows": ('"train_loss"', '"trained_loss"', "Objective.columns: The columns of a training row"),
    },
    "optimizer": {
        "it keeps more than it says": (
            "4 * prod(shape)", "2 * prod(shape)", "OptimizerSettings.state: The tensors that are kept",
        ),
        "state elsewhere": (
            'momentum = state.setdefault("momentum", torch.zeros_like(weight))',
            'kept = self.__dict__.setdefault("kept", {}); state["momentum"] = momentum = '
            "kept.setdefault(weight, torch.zeros_like(weight))",
            "OptimizerSettings: A checkpoint holds the tensors of the state",
        ),
        "the rate of the peak": ('group["lr"]', 'group["peak"]', "OptimizerSettings: A step takes the rate"),
        "a norm of the whole matrix": (
            ".sign_()", ".sign_().div(gradient.norm())", 'OptimizerSettings: have been. "sharded"',
        ),
    },
    "schedule": {
        "it begins below the peak": ("return 1 -", "return 0.5 -", "Schedule: The factor of step 0 is 1"),
        "it falls on after the end": ("min(1.0, max(0.0, done))", "max(0.0, done)", "Schedule.__call__: "),
        "it remembers": (
            "def factor(step, steps, group):",
            "seen = []\n\n    def factor(step, steps, group):\n        seen.append(step)\n        "
            "step = max(seen)",
            "Schedule.__call__: a pure function of these three",
        ),
    },
    "section": {
        "another each time": (
            'Section("By tag"', 'Section(f"By tag {id(runs)}"', "Section: The same runs give the same section",
        ),
        "it sorts the runs it is given": (
            "    found = {}\n", "    found = {}\n    runs.reverse()\n", "Section: It only reads",
        ),
        "nothing is said of nothing": (
            '[table if rows else "No run has a tag."]',
            "[table] if rows else []",
            "Section: What cannot be told is said",
        ),
    },
    "callback": {
        "a state of its own each time": (
            "torch.tensor(self.above)", "torch.tensor(id(self))", "Callback: goes on as if it had not been",
        ),
        "it changes the weights": (
            "self.settings, self.above = config, 0",
            "self.settings, self.above, self.model = config, 0, run.model\n\n    def stepped(self, step, row):\n"
            "        for weight in self.model.parameters():\n            weight.data.mul_(0.5)",
            "CallbackRun: ",
        ),
        "it returns a flag": (
            'return f"the validation loss is above {self.settings.loss}"\n        return None',
            "pass\n        return False",
            "Callback.stepped: A text that is returned",
        ),
    },
    "fit": {
        "a wrong derivative": (
            '"beta": -B * power',
            '"beta": B * power',
            "FitModel: gradient: called as the law is",
        ),
        "a linear parameter that is not": (
            "E + B * d**-beta",
            "E + B**2 * d**-beta",
            "Parameter: linear: the law is affine in it",
        ),
        "a parameter that changes nothing": (
            "E + B * d**-beta",
            "E + 20 * d**-beta + 0 * B",
            "FitModel: Every parameter changes the loss of some point",
        ),
        "a loss of all points": (
            "E + B * d**-beta",
            "E + B * (d / d.mean()) ** -beta",
            "FitModel: A point's loss may depend on its own row and features only",
        ),
        **{
            f"the {what} of all points": (
                "E + B * d**-beta",
                f"E + B * (d / {code}) ** -beta",
                "FitModel: A point's loss may depend on its own row and features only",
            )
            for what, code in {
                "largest": "d.max()",
                "smallest": "d.min()",
                "first": "d[0]",
                "last": "d[-1]",
                "number": "len(d)",
                "median": "np.median(d)",
            }.items()
        },
        "one set of parameters at a time": (
            "E + B * d**-beta",
            "E[0] + B[0] * d ** -beta[0]",
            "FitModel: once: the result broadcasts to [S, n]",
        ),
    },
    "metric": {
        "a mean in place of scores": (
            "return [self.recall(one.generated, one.reference) for one in answers]",
            "return [sum(self.recall(one.generated, one.reference) or 0 for one in answers)]",
            "Metric.score: One score for each answer, in their order",
        ),
        "no number": (
            "if wanted else None",
            'if said.strip() else float("nan")',
            "Metric.score: One score for each answer, in their order",
        ),
        "scores that see the other answers": (
            "self.recall(one.generated, one.reference) for one in answers",
            "self.recall(one.generated, answers[0].reference) for one in answers",
            "Metric.score: An answer's score is a function of that answer alone",
        ),
        "an error in place of a score": (
            "return (wanted & self.words(said)).total() / wanted.total() if wanted else None",
            "return -(wanted & self.words(said)).total()",
            "Metric.score: A larger score is a better answer",
        ),
        "a column that no table can have": (
            'column = "',
            'column = "Right words: ',
            "Metric: column: the name of its column in evaluations",
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"), FIRST_PARTY.values(), ids=[f"{kind} {name}" for kind, name in FIRST_PARTY.values()]
)
def test_first_party_components_keep_the_contract(
    kind: Any, name: str, imported: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path))
    monkeypatch.setattr(general, "_imported", lambda _: imported)
    found = examine(name, kind=kind)
    assert [str(one) for one in found if one.outcome == "failed"] == []
    if (
        kind == "data" and name not in ("shapes:shapes", "shapes:needles")
    ) or name == "objectives:distillation":
        assert found[0].check == "settings"  # published data are tried below, a teacher in its own tests
    else:
        assert sum(one.outcome == "passed" for one in found) >= 4


PUBLISHED: dict[str, dict[str, Any]] = {
    "openvid": {"holdout": 0.5},
    "vript": {"holdout": 0.35},
    "sharegpt4video": {"holdout": 0.04},
    "webvid": {"permitted": True},
    "llava-video": {"holdout": 0.5},
    "smoltalk": {},
    "cauldron": {"holdout": 0.5, "subsets": ["ai2d"]},
    "rlaif-v": {"holdout": 0.55},
}


@pytest.mark.usefixtures("imports_left_out")  # tried above
@pytest.mark.parametrize(("name", "settings"), PUBLISHED.items(), ids=list(PUBLISHED))
def test_sources_of_published_data_keep_the_contract(
    name: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    layout = name.replace("-", "_")
    module = published_videos if hasattr(published_videos, layout) else published_tables
    getattr(module, layout)(tmp_path / "data")
    check(name, kind="data", path=tmp_path / "data", **settings)


@pytest.mark.usefixtures("imports_left_out")
def test_what_cannot_be_tried_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="data clips:clips was not tried: it needs settings of yours: path: missing"
    ):
        check("clips", kind="data")
    with pytest.raises(ContractError, match="raised MissingData"):
        check("clips", kind="data", path=tmp_path / "none")
    with pytest.raises(Problems, match=r'grd: unknown key; did you mean "grid"\?'):
        check("pooled", kind="connector", grd=2)


@pytest.mark.parametrize(("kind", "wrong"), [(kind, wrong) for kind, ones in WRONG.items() for wrong in ones])
def test_a_breach_names_the_line_of_the_contract(
    kind: Any, wrong: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, said = WRONG[kind][wrong]
    name = f"wrong-{kind}-{list(WRONG[kind]).index(wrong)}"
    change = (old.replace("$name", name), new.replace("$name", name))
    made = component(kind, name, tmp_path, monkeypatch, change)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 8)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 2)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.SURE", 20)  # more points than this need no polish
    monkeypatch.setattr(
        "fvlm_core.scaling.fit.solver.descend", lambda *given, **how: descend(*given, **how | {"steps": 20})
    )
    if "heavy" not in wrong:  # what others import is no matter here, and costs an interpreter each
        monkeypatch.setattr(general, "_imported", lambda _: set())
    with pytest.raises(ContractError) as error:
        check(made, kind=kind)
    named = [found.clause for found in error.value.findings if found.clause]
    assert any(
        said in f"{one.owner}: {_line(root, one)}" or said in f"{one.owner}: {one.text}" for one in named
    ), str(error.value)
    for one in named:
        assert one.text.split()[0] in _line(root, one)
        assert f"{one.file}:{one.line} {one.owner}: " in str(error.value)


def _line(root: Path, where: kit.Clause) -> str:
    """The line of the contract that a clause points at."""
    folder = root / "registry" if where.file.startswith("fvlm_registry") else root
    return (folder / where.file).read_text().splitlines()[where.line - 1].strip()


@pytest.mark.usefixtures("imports_left_out")
def test_samples_that_change_are_shown_where_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = 'random.Random(f"{self.config.seed} {self.split} {index}")'
    made = component("data", "restless", tmp_path, monkeypatch, (old, "random.Random()"))
    failed = [one for one in examine(made, kind="data") if one.outcome == "failed"]
    assert failed
    assert not [one for one in failed if one.clause and "prepare" in one.clause.owner]
    [order] = [one.text for one in failed if one.check == "samples are the same in any order"]
    where = re.search(r"in another order: (\S+) is (.+), and was (.+) before$", order)
    assert where is not None, order
    assert where[2] != where[3]
    assert len(order) < 350


def test_every_promise_is_a_line_of_the_contract() -> None:
    modules = ["general", *_MODULES.values()]
    found = [
        promise.clause
        for module in modules
        for promise in importlib.import_module(f"fvlm_core.testing.{module}").PROMISES
    ]
    assert len(found) > 70
    assert all(one.line > 0 and one.text for one in found)
    assert {one.file for one in found} <= {
        *(
            f"fvlm_core/interfaces/{name}.py"
            for name in ("chat", "connector", "data", "encoder", "fit", "llm", "metric", "modality", "specs")
        ),
        *(f"fvlm_core/interfaces/{name}.py" for name in ("optimizer", "schedule", "section")),
        *(f"fvlm_core/training/{name}.py" for name in ("callbacks", "objective")),
        "fvlm_registry/components.py",
    }


def test_a_promise_that_the_contract_no_longer_makes_is_an_error() -> None:
    with pytest.raises(LookupError, match='Finding no longer says "teapot"'):
        clause(Finding, "teapot")


@pytest.mark.usefixtures("imports_left_out")
def test_a_plugin_that_raises_is_told_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = ("seen = self.patch(frames)", "seen = self.patches(frames)")
    made = component("encoder", "raising", tmp_path, monkeypatch, change)
    failed = [one for one in examine(made, kind="encoder") if one.outcome == "failed"]
    assert re.search(
        r"raised AttributeError: .*no attribute 'patches' \(fvlm_raising/model.py:\d+\)", failed[0].text
    )


@pytest.mark.usefixtures("imports_left_out")
def test_a_component_that_cannot_be_made_is_one_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = component("encoder", "unmade", tmp_path, monkeypatch, ("nn.Conv2d(3, width", "nn.Conv2d(3, widht"))
    failed = [one for one in examine(made, kind="encoder") if one.outcome == "failed"]
    assert len(failed) == 1
    assert "NameError: name 'widht' is not defined" in failed[0].text


@pytest.mark.parametrize(
    "hook",
    [
        "fvlm_encoders",
        "fvlm_connectors",
        "fvlm_modality_encoders",
        "fvlm_objectives",
        "fvlm_optimizers",
        "fvlm_schedules",
        "fvlm_callbacks",
        "fvlm_fit_models",
        "fvlm_report_sections",
    ],
)
def test_the_examples_of_the_manual_keep_the_contract(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = examples(hook)
    for path, source in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package := next(iter(files)).partition("/")[0], raising=False)
    plugin: Any = importlib.import_module(f"{package}.plugin")
    [made] = getattr(plugin, hook)()
    check(made, kind=HOOKS[hook])
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def test_the_run_that_a_callback_is_checked_in_leaves_no_folder() -> None:
    watched = Watched.__new__(Watched)
    folder = watched.folder
    assert folder.is_dir()
    del watched
    gc.collect()
    assert not folder.exists()
