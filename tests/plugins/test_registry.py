"""Plugins: what works is offered, what is broken is explained, and a name means one thing or is an error."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from attrs import evolve
from manual import examples
from matplotlib.figure import Figure
from measured import chinchilla_report

from fvlm_registry import Component, LookupFailure, Plugin, Registry, hookspecs
from fvlm_registry.discovery import discover
from fvlm_registry.listing import HOOKS

Install = Callable[..., None]

GOOD = """
from fvlm_core.plugin_api import Component, hookimpl

@hookimpl
def fvlm_connectors():
    yield Component("{name}", target="{package}.model:build", config="{package}.config:Config")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution on the path, as an installer leaves it: a package and its metadata."""
    monkeypatch.delenv("FVLM_PLUGINS", raising=False)
    before = set(sys.modules)

    def put(name: str, source: str, *, version: str = "0.2.0", plugin: str = "", package: str = "") -> None:
        package = package or name.replace("-", "_")
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "plugin.py").write_text(dedent(source).lstrip())
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[fvlm]\n{plugin or package} = {package}.plugin\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield put
    for module in set(sys.modules) - before:
        if hasattr(sys.modules[module], "__file__") and str(tmp_path) in str(sys.modules[module].__file__):
            del sys.modules[module]


def found() -> Registry:
    return Registry(*discover())


def plugin(registry: Registry, name: str) -> Plugin:
    [match] = [plugin for plugin in registry.plugins if plugin.name == name]
    return match


HEAD = "from fvlm_core.plugin_api import Component, hookimpl\n"
MLP = 'Component("mlp", target="m:f", config="m:C")'
BROKEN = {
    "missing module": (
        "import acme_missing_dependency",
        "cannot import acme.plugin: ModuleNotFoundError: No module named 'acme_missing_dependency' "
        "(acme/plugin.py:1)",
    ),
    "raises while imported": (
        "\n\nraise RuntimeError('no\\nGPU')",
        "cannot import acme.plugin: RuntimeError: no GPU (acme/plugin.py:1)",
    ),
    "exits while imported": (
        "import sys\nsys.exit(3)",
        "cannot import acme.plugin: SystemExit: 3 (acme/plugin.py:2)",
    ),
    "old signature": (
        HEAD + f"@hookimpl\ndef fvlm_connectors(config, registry):\n    yield {MLP}",
        "fvlm_connectors(config, registry) asks for arguments: expected fvlm_connectors(), which takes none",
    ),
    "misspelt hook": (
        HEAD + f"@hookimpl\ndef fvlm_conectors():\n    yield {MLP}",
        'there is no hook "fvlm_conectors": did you mean "fvlm_connectors"?',
    ),
    "hook like no other": (
        HEAD + f"@hookimpl\ndef register():\n    yield {MLP}",
        'there is no hook "register": the hooks are fvlm_encoders, fvlm_connectors, fvlm_llms, fvlm_modality_encoders, '
        "fvlm_data_sources, fvlm_decoders, fvlm_objectives, fvlm_optimizers, fvlm_schedules, fvlm_callbacks, "
        "fvlm_fit_models, fvlm_figures, fvlm_report_sections, fvlm_trackers, fvlm_launchers, fvlm_metrics",
    ),
    "two mistakes at once": (
        HEAD + "@hookimpl\ndef fvlm_encoder(): ...\n@hookimpl\ndef fvlm_llms(config): ...",
        'there is no hook "fvlm_encoder": did you mean "fvlm_encoders"?; '
        "fvlm_llms(config) asks for arguments: expected fvlm_llms(), which takes none",
    ),
    "what pluggy itself refuses": (
        HEAD + "@hookimpl(wrapper=True)\ndef fvlm_encoders():\n    return []",
        "PluginValidationError: Plugin 'acme.plugin' for hook 'fvlm_encoders' hookimpl definition: "
        "fvlm_encoders() Declared as wrapper=True or hookwrapper=True but function is not a generator function",
    ),
    "not marked": (
        HEAD + f"def fvlm_connectors():\n    yield {MLP}",
        "fvlm_connectors is not marked with @hookimpl of fvlm_core.plugin_api",
    ),
    "no hook at all": (
        "x = 1",
        "no function is marked with @hookimpl: expected one of fvlm_encoders, fvlm_connectors, fvlm_llms, "
        "fvlm_modality_encoders, fvlm_data_sources, fvlm_decoders, fvlm_objectives, fvlm_optimizers, fvlm_schedules, "
        "fvlm_callbacks, fvlm_fit_models, fvlm_figures, fvlm_report_sections, fvlm_trackers, fvlm_launchers, "
        "fvlm_metrics",
    ),
    "raises while listing": (
        HEAD + f"@hookimpl\ndef fvlm_connectors():\n    yield {MLP}\n    {{}}['size']",
        "fvlm_connectors failed: KeyError: 'size' (acme/plugin.py:5)",
    ),
    "raises while listing, in a library": (
        HEAD + "import json\n@hookimpl\ndef fvlm_connectors():\n    return json.loads('')",
        "fvlm_connectors failed: JSONDecodeError: Expecting value: line 1 column 1 (char 0) (acme/plugin.py:5)",
    ),
    "bad component name": (
        HEAD + '@hookimpl\ndef fvlm_connectors():\n    yield Component("MLP!", target="m:f", config="m:C")',
        "fvlm_connectors failed: ValueError: Component name='MLP!': expected lower-case letters, digits, dots "
        "and dashes (acme/plugin.py:4)",
    ),
    "a class for an import string": (
        HEAD
        + '@hookimpl\ndef fvlm_connectors():\n    yield Component("mlp", target=Component, config="m:C")',
        "fvlm_connectors failed: ValueError: Component target=<class 'fvlm_registry.components.Component'>: "
        'expected an import string "package.module:name" (acme/plugin.py:4)',
    ),
    "a string for a tuple": (
        HEAD + '@hookimpl\ndef fvlm_connectors():\n    yield Component("a", target="m:f", config="m:C", '
        'needs="query")',
        "fvlm_connectors failed: ValueError: Component capabilities: expected a tuple of strings, got "
        '"query" (acme/plugin.py:4)',
    ),
    "not a component": (
        HEAD + '@hookimpl\ndef fvlm_connectors():\n    yield "mlp"',
        "fvlm_connectors offers 'mlp': expected a Component of fvlm_core.plugin_api",
    ),
    "one component, not an iterable": (
        HEAD + f"@hookimpl\ndef fvlm_connectors():\n    return {MLP}",
        "fvlm_connectors returned one Component: expected an iterable of Component, `yield` it",
    ),
    "nothing returned": (
        HEAD + f"@hookimpl\ndef fvlm_connectors():\n    {MLP}",
        "fvlm_connectors returned None: expected an iterable of Component, `yield` them",
    ),
    "one name twice": (
        HEAD + f"@hookimpl\ndef fvlm_connectors():\n    yield {MLP}\n    yield {MLP}",
        'fvlm_connectors offers "mlp" twice: names are unique within a plugin and a kind',
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_explained_and_stops_no_other(case: str, install: Install) -> None:
    source, reason = BROKEN[case]
    install("acme", source)
    install("good", GOOD.format(name="good", package="good"))
    registry = found()
    broken = plugin(registry, "acme")
    assert (broken.status, broken.reason) == ("broken", reason)
    assert (broken.distribution, broken.version, broken.module) == ("acme", "0.2.0", "acme.plugin")
    assert [offer for offer in registry.offers if offer.plugin == "acme"] == []
    assert registry.find("connector", "good").origin == "good 0.2.0"
    with pytest.raises(LookupFailure, match=re.escape(reason)):
        registry.find("connector", "acme:mlp")
    with pytest.raises(LookupFailure, match=re.escape(reason)):
        registry.find("connector", "nothing-like-it")


def test_a_syntax_error_is_located(install: Install) -> None:
    install("acme", "x = 1\ny = = 2\n")
    reason = plugin(found(), "acme").reason
    assert reason.startswith("cannot import acme.plugin: SyntaxError: invalid syntax (plugin.py, line 2)")
    assert reason.endswith("acme/plugin.py:2)")


def test_what_a_plugin_prints_stays_out_of_stdout(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("acme", "print('hello')" + GOOD.format(name="mlp", package="acme"))
    assert plugin(found(), "acme").status == "ok"
    assert capsys.readouterr() == ("", "hello\n")


def test_a_hook_of_another_version_may_be_optional(install: Install) -> None:
    install(
        "acme",
        GOOD.format(name="mlp", package="acme")
        + "\n@hookimpl(optionalhook=True)\ndef fvlm_schedulers(): ...\n",
    )
    assert plugin(found(), "acme").status == "ok"


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (None, {"one": "ok", "two": "ok"}),
        ("", {"one": "off", "two": "off"}),
        ("two", {"one": "off", "two": "ok"}),
        (" two , one", {"one": "ok", "two": "ok"}),
    ],
)
def test_fvlm_plugins_is_read_before_anything_loads(
    selection: str | None,
    expected: dict[str, str],
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("one", "two"):
        install(name, GOOD.format(name=name, package=name))
    if selection is not None:
        monkeypatch.setenv("FVLM_PLUGINS", selection)
    registry = found()
    assert {name: plugin(registry, name).status for name in expected} == expected
    for name, status in expected.items():
        assert (f"{name}.plugin" in sys.modules) == (status == "ok")
    if selection is not None:
        off = {plugin.name for plugin in registry.plugins if plugin.status == "off"}
        assert off >= {"dinov2", "fits"}


def test_a_component_of_a_plugin_switched_off_says_so(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("one", GOOD.format(name="mlp", package="one"))
    monkeypatch.setenv("FVLM_PLUGINS", "two")
    registry = found()
    with pytest.raises(LookupFailure) as failure:
        registry.find("connector", "one:mlp")
    assert str(failure.value) == 'plugin "one" (one 0.2.0) is switched off: not in FVLM_PLUGINS="two"'


def test_an_unknown_name_in_fvlm_plugins_is_listed(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", GOOD.format(name="mlp", package="acme"))
    monkeypatch.setenv("FVLM_PLUGINS", "acne")
    assert plugin(found(), "acne").reason == (
        'named in FVLM_PLUGINS, but no installed distribution has such a plugin: did you mean "acme"?'
    )


def test_first_party_plugins_come_first_and_keep_their_names(install: Install) -> None:
    install("acme", GOOD.format(name="mlp", package="acme"), plugin="fits")
    registry = found()
    firsts = [plugin.distribution for plugin in registry.plugins]
    assert firsts == sorted(firsts, key=lambda name: (name != "fvlm", name))
    ours, theirs = [plugin for plugin in registry.plugins if plugin.name == "fits"]
    assert (ours.distribution, ours.status) == ("fvlm", "ok")
    assert (theirs.distribution, theirs.status) == ("acme", "broken")
    assert theirs.reason == (
        f'the plugin name "fits" is already taken by {ours.origin} (fvlm_fits.plugin): '
        "rename the entry point in acme"
    )


def test_a_name_of_two_plugins_is_an_error_that_says_what_to_write(install: Install) -> None:
    for name in ("acme", "other"):
        install(f"fvlm-{name}", GOOD.format(name="mlp", package=name), plugin=name, package=name)
    registry = found()
    with pytest.raises(LookupFailure) as failure:
        registry.find("connector", "mlp")
    assert str(failure.value) == (
        '"mlp" is offered by two plugins: write "acme:mlp" (fvlm-acme 0.2.0) or "other:mlp" (fvlm-other 0.2.0)'
    )
    assert registry.find("connector", "acme:mlp").plugin == "acme"
    assert registry.find("connector", "other:mlp").component.target == "other.model:build"
    assert list(registry.clashes()) == [("connector", "mlp")]


def test_an_unknown_name_says_what_exists(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", GOOD.format(name="resampler", package="acme"))
    install("other", GOOD.format(name="mlp", package="other"))
    monkeypatch.setenv("FVLM_PLUGINS", "acme,other,fits")
    registry = found()
    registry = evolve(registry, plugins=[plugin for plugin in registry.plugins if plugin.status == "ok"])

    def message(kind: str, name: str) -> str:
        with pytest.raises(LookupFailure) as failure:
            registry.find(kind, name)  # pyright: ignore[reportArgumentType]
        return str(failure.value)

    assert message("connector", "Resampled") == (
        'none of the connectors is called "Resampled": did you mean "resampler"?\n  connectors: mlp, resampler'
    )
    assert message("connector", "per-size") == (
        'none of the connectors is called "per-size"\n  "per-size" is among the fit models\n'
        "  connectors: mlp, resampler"
    )
    assert message("connector", "MLP").startswith(
        'none of the connectors is called "MLP": did you mean "mlp"?'
    )
    assert message("llm", "x") == 'none of the LLMs is called "x"\n  LLMs: none installed'
    assert message("connector", "acne:resampler") == (
        'no plugin is called "acne": did you mean "acme"?\n  plugins: acme, fits, other'
    )
    assert message("connector", "acme:mpl") == (
        'plugin "acme" (acme 0.2.0) has no "mpl" among its connectors\n  its connectors: resampler'
    )


def test_an_import_string_that_leads_nowhere_is_explained() -> None:
    registry = Registry((), ())
    assert registry.load("fvlm_registry.components:Component") is Component
    for target, message in (
        (
            "fvlm_registry.components:component",
            'fvlm_registry.components has no "component", named by '
            '"fvlm_registry.components:component": did you mean "Component"?',
        ),
        (
            "fvlm_no_such:x",
            'cannot import fvlm_no_such of "fvlm_no_such:x": ModuleNotFoundError: No module named '
            "'fvlm_no_such'",
        ),
    ):
        with pytest.raises(LookupFailure) as failure:
            registry.load(target)
        assert str(failure.value) == message


def test_every_first_party_component_loads() -> None:
    registry = found()
    ours = [plugin for plugin in registry.plugins if plugin.distribution == "fvlm"]
    assert {plugin.name: plugin.reason for plugin in ours if plugin.status != "ok"} == {}
    for offer in registry.offers:
        if offer.component.name == "trackio" and find_spec("trackio") is None:
            continue  # the one whose library no extra of the tests holds: it wants an older Pillow
        registry.load(offer.component.target)
        registry.load(offer.component.config)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_examples_of_the_manual_work(
    hook: str, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = examples(hook)
    package = next(iter(files)).partition("/")[0]
    install(package, files[f"{package}/plugin.py"])
    for path, source in files.items():
        (tmp_path / path).write_text(source)
    monkeypatch.setenv("FVLM_PLUGINS", package)
    registry = found()
    assert plugin(registry, package).reason == ""
    offers = registry.offers
    assert {offer.kind for offer in offers} == {HOOKS[hook]}
    config_class = registry.load(offers[0].component.config)
    if hook == "fvlm_llms":  # its model is left to the reader
        assert config_class(**offers[0].component.preset).spec().heads == 4
        return
    build = registry.load(offers[0].component.target)
    if hook == "fvlm_encoders":
        encoder = build(config_class())
        features = encoder.encode(torch.zeros(3, 3, 56, 56))
        assert features.tokens.shape == (3, encoder.spec.tokens, encoder.spec.width)
        weights: list[torch.Tensor] = []
        assert encoder.attend(torch.zeros(3, 64), features, weights=weights).shape == (3, 64)
        assert weights[0].shape == (3, encoder.spec.heads, encoder.spec.tokens)
        torch.testing.assert_close(weights[0].sum(-1), torch.ones(3, 1))
    elif hook == "fvlm_connectors":
        from fvlm_core.plugin_api import EncoderSpec, LLMSpec, PatchFeatures

        encoder = EncoderSpec(width=8, image_size=28, patch_grid=(2, 2), depth=1, heads=1)
        llm = LLMSpec(width=16, mlp=32, depth=1, heads=1, kv_heads=1, vocabulary=9, positions=64)
        connector = build(config_class(), encoder, llm)
        features = PatchFeatures(torch.zeros(3, encoder.tokens, 8))
        tokens = connector.connect(features, torch.tensor([3]), None, None).tokens
        assert tokens.shape == (3, connector.spec.tokens_per_frame, 16)
    elif hook == "fvlm_modality_encoders":
        from fvlm_core.plugin_api import LLMSpec

        llm = LLMSpec(width=16, mlp=32, depth=1, heads=1, kv_heads=1, vocabulary=9, positions=64)
        encoder = build(config_class(), llm)
        assert encoder.encode(torch.zeros(3, *encoder.spec.item)).shape == (
            3,
            encoder.spec.tokens_per_item,
            16,
        )
    elif hook == "fvlm_data_sources":
        for name in ("a", "b", "c"):
            (tmp_path / f"{name}.mp4").touch()
            (tmp_path / f"{name}.txt").write_text(f"caption {name}\n")
        config = config_class(folder=tmp_path, validation=1)
        assert [build(config, split)[0].id for split in ("validation", "train")] == ["a", "b"]
        assert build(config, "train")[1].turns[1].content == "caption c"
    elif hook == "fvlm_decoders":
        from fvlm_core.plugin_api import VideoFile

        decoder, video = build(config_class()), VideoFile(tmp_path / "a.mp4", fps=2.0, seconds=2.0)
        frames, times = decoder.decode(video, 14)
        assert (frames.shape, list(times)) == ((4, 3, 14, 14), [0.0, 0.5, 1.0, 1.5])
        assert decoder.count_frames(video) == 4
        assert decoder.versions() == {"acme-still": "0.2.0"}
    elif hook == "fvlm_figures":
        figure = Figure()
        build(config_class(), [chinchilla_report()], figure)
        [axes] = figure.axes
        assert [label.get_text() for label in axes.get_yticklabels()] == ["joint-chinchilla "]
        assert axes.get_xlabel() == "E (nats per token)"
    elif hook == "fvlm_report_sections":
        from fvlm_core.plugin_api import ReportedRun

        runs = [
            ReportedRun(f"r/{at}", "r", str(at), "complete", tags, {}, {"best_val_loss": 1.0 + at}, list)
            for at, tags in enumerate([("b",), ("a", "b"), ()])
        ]
        [table] = build(config_class(), runs).parts
        assert table.rows == [("a", 1, 2.0), ("b", 2, 1.5)]
    elif hook == "fvlm_trackers":
        from fvlm_core.plugin_api import TrackedRun

        tracker = build(config_class(), TrackedRun("recipe", "id", tmp_path, {}, 0))
        tracker.log({"event_type": "train", "step": 3, "train_loss": 2.5})
        tracker.close()
        assert (tmp_path / "losses.csv").read_text() == "3,2.5\n"
    elif hook == "fvlm_launchers":
        from fvlm_core.plugin_api import Ended, Job

        job = Job(
            "recipe/id",
            ("sh", "-c", "echo $SAID; nice; exit 7"),
            tmp_path,
            {"SAID": "x"},
            tmp_path / "log.txt",
            1.0,
        )
        task = build(config_class(), 1).start(job, 0)
        while (ended := task.poll()) is None:
            time.sleep(0.01)
        assert ended == Ended(7)
        assert (tmp_path / "log.txt").read_text() == f"x\n{min(19, os.nice(0) + 10)}\n"
    elif hook == "fvlm_optimizers":
        weight = torch.nn.Parameter(torch.ones(2, 3))
        group = {
            "params": [weight],
            "names": ["a.weight"],
            "component": "llm",
            "peak": 0.1,
            "weight_decay": 0.5,
        }
        config = config_class()
        optimizer = build(config, [{**group, "decays": True}])
        optimizer.param_groups[0]["lr"], weight.grad = 0.1, torch.full((2, 3), 2.0)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.full((2, 3), 1 - 0.1 * 0.5 - 0.1))  # by hand
        kept = {name: tensor.nbytes for name, tensor in optimizer.state[weight].items()}
        assert kept == config.state("a.weight", (2, 3), True)
    elif hook == "fvlm_schedules":
        factor = build(config_class(), {"llm": 0.2})
        assert [factor(step, 10, "llm") for step in (0, 5, 10, 11)] == pytest.approx([1, 0.6, 0.2, 0.2])
    elif hook == "fvlm_callbacks":
        callback = build(config_class(loss=3.0, patience=2), None)
        assert callback.evaluated(1, {"val_loss": 4.0}) is None
        again = build(config_class(loss=3.0, patience=2), None)
        again.restore(callback.state())
        assert again.evaluated(2, {"val_loss": 4.0}) == "the validation loss is above 3.0"
        assert again.evaluated(3, {"val_loss": 2.0}) is None
    elif hook == "fvlm_objectives":
        pass  # what it lowers takes a model: tests/training/test_plugin_training.py
    elif hook == "fvlm_metrics":
        from fvlm_core.plugin_api import Answer

        said = [Answer("1", "s", "?", text, "A red square.") for text in ("a blue one", "two", "")]
        assert build(config_class()).score(said) == [1.0, 0.0, 0.0]
        assert build(config_class(words=2)).score(said) == [0.0, 0.0, 0.0]
    else:
        law = build(config_class())
        assert law.form == "L = E + B/D^beta"
        assert law.law(4.0, E=1.0, B=2.0, beta=0.5) == 2.0


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str) -> None:
    doc = getattr(hookspecs, hook).__doc__ or ""
    said = doc.splitlines()[0].strip()
    assert len(said) > 10
    assert said.endswith(".")
    assert "target: `" in doc
    assert "`build(" in doc or "`draw(" in doc
    [plugin_file] = [text for path, text in examples(hook).items() if path.endswith("/plugin.py")]
    assert "@hookimpl" in plugin_file
    assert f"def {hook}():" in plugin_file
    if hook != "fvlm_llms":  # whose model is said to be left out
        assert (
            "build(" in (whole := "".join(examples(hook).values())) or "class" in whole or "def draw" in whole
        )


def test_every_hook_of_the_manual_offers_a_kind() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("fvlm_")]
    assert hooks == list(HOOKS)
