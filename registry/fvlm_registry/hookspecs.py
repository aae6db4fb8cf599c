"""The hooks of a plugin, one for each kind of component: the plugin author's manual.

A plugin is a module named by an entry point of the group "fvlm". In the `pyproject.toml` of the distribution that
brings it:

    [project]
    name = "fvlm-acme"
    version = "0.2.0"
    dependencies = ["fvlm"]

    [project.entry-points.fvlm]
    acme = "acme.plugin"

The module marks one or more of the functions below with `@hookimpl`. Each takes no argument and yields a `Component`
for everything it offers. The module and those of the config classes are imported by every `fvlm` command: they import
no torch and nothing else that is slow; the code that does stands in modules named by import strings, loaded when a
recipe uses the component.

Recipes write the component's name, or "acme:name" where two plugins offer the same one. The rest of the recipe's
table is read into the component's config class, a frozen attrs class: its field types are checked, its defaults are
the recipe's defaults, and the ValueError of a validator becomes a message at the recipe's line.

The files shown with each hook are complete. `fvlm plugins list` says whether a plugin loaded, and why not.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from fvlm_registry.components import Component

_hookspec = pluggy.HookspecMarker("fvlm")


@_hookspec
def fvlm_encoders() -> Iterable[Component]:
    """Vision encoders.

    target: `build(config) -> VisionEncoder`. The config class has a method `spec() -> EncoderSpec`.
    provides: "patches", and "query" if the encoder implements `attend`.

        # acme_tiles/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, EncoderSpec, hookimpl


        @frozen(kw_only=True)
        class Tiles:
            width: int = 64
            grid: int = 4

            def spec(self):
                sizes = {"image_size": 14 * self.grid, "patch_grid": (self.grid, self.grid), "prefix_tokens": 0}
                return EncoderSpec(width=self.width, depth=1, heads=1, **sizes)


        @hookimpl
        def fvlm_encoders():
            names = {"target": "acme_tiles.model:Tiles", "config": "acme_tiles.plugin:Tiles"}
            yield Component("tiles", **names, summary="linear tiles", provides=("patches", "query"))

        # acme_tiles/model.py
        from fvlm_core.plugin_api import KeyValue, PatchFeatures, VisionEncoder
        from torch import nn


        class Tiles(VisionEncoder):
            def __init__(self, config):
                super().__init__()
                self.spec, width = config.spec(), config.width
                self.project = nn.Conv2d(3, width, 14, stride=14)
                self.place = nn.Embedding(self.spec.tokens, width)
                self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)

            def encode(self, frames, *, tokens=True, layers=True):
                tiles = self.project(frames).flatten(2).mT + self.place.weight
                return PatchFeatures(tiles, (KeyValue(self.key(tiles)[:, None], self.value(tiles)[:, None]),))

            def attend(self, query, features, *, depth="deep", weights=None):
                key, value = features.layers[0]
                seen = (query[:, None, None] @ key.mT / key.shape[-1] ** 0.5).softmax(-1)
                if weights is not None:
                    weights.append(seen[:, :, 0])
                return query + (seen @ value)[:, 0, 0]
    """
    return ()


@_hookspec
def fvlm_connectors() -> Iterable[Component]:
    """Connectors.

    target: `build(config, encoder: EncoderSpec, llm: LLMSpec) -> Connector`. The config class has a method
    `spec(encoder: EncoderSpec) -> ConnectorSpec`, which raises ValueError for an encoder it cannot work with.
    needs: what the encoder must provide, "patches" or "query".

        # acme_mean/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, ConnectorSpec, hookimpl


        @frozen(kw_only=True)
        class Mean:
            visual_scale: float = 0.14

            def spec(self, encoder):
                return ConnectorSpec(tokens_per_frame=1, mode="coarse_only")


        @hookimpl
        def fvlm_connectors():
            yield Component(
                "mean",
                target="acme_mean.model:Mean",
                config="acme_mean.plugin:Mean",
                summary="one token a frame: the mean of its patches",
                needs=("patches",),
            )

        # acme_mean/model.py
        from fvlm_core.plugin_api import Connector, VisualTokens
        from torch import nn


        class Mean(Connector):
            encoder_tokens = True
            encoder_layers = False

            def __init__(self, config, encoder, llm):
                super().__init__()
                self.spec = config.spec(encoder)
                self.scale, self.first_patch = config.visual_scale, encoder.prefix_tokens
                self.project = nn.Linear(encoder.width, llm.width)

            def connect(self, features, counts, encoder, llm, *, mode=None):
                mean = features.tokens[:, self.first_patch :].mean(1, keepdim=True)
                return VisualTokens(self.scale * self.project(mean))
    """
    return ()


@_hookspec
def fvlm_llms() -> Iterable[Component]:
    """Language models.

    target: `build(config, vocabulary: int) -> LLMBackend`. The config class has the methods `spec() -> LLMSpec` and
    `chat(corpus, file=None) -> Chat`; see `Chat`. Components of one family share target and config class and differ
    in `preset`. `acme_llm.model` and `acme_llm.chat`, which implement `LLMBackend` and `Chat`, are not shown.

        # acme_llm/plugin.py
        from attrs import field, frozen, validators
        from fvlm_core.plugin_api import Component, LLMSpec, hookimpl

        SIZES = {"9m": {"width": 256, "depth": 8}, "30m": {"width": 512, "depth": 10}}


        @frozen(kw_only=True)
        class AcmeLLM:
            width: int = field(validator=validators.ge(64))
            depth: int = field(validator=validators.ge(1))
            vocabulary: int = 8192

            def spec(self):
                heads = self.width // 64
                sizes = {"width": self.width, "mlp": 4 * self.width, "depth": self.depth}
                return LLMSpec(
                    **sizes, heads=heads, kv_heads=heads, vocabulary=self.vocabulary, positions=2048
                )

            def chat(self, corpus, file=None):
                from acme_llm.chat import AcmeChat

                return AcmeChat(file)


        @hookimpl
        def fvlm_llms():
            for size, preset in SIZES.items():
                yield Component(
                    f"acme-{size}",
                    target="acme_llm.model:build",
                    config="acme_llm.plugin:AcmeLLM",
                    summary=f"Acme's model with {size.upper()} parameters",
                    preset=preset,
                )
    """
    return ()


@_hookspec
def fvlm_modality_encoders() -> Iterable[Component]:
    """Encoders of other modalities than frames, named in `[[model.modalities]]`; a data source gives the signals.

    target: `build(config, llm: LLMSpec) -> ModalityEncoder`. The config class has a method `spec() -> ModalitySpec`.

        # acme_sound/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, ModalitySpec, hookimpl


        @frozen(kw_only=True)
        class Sound:
            window: int = 400  # samples of the waveform that make a token

            def spec(self):
                return ModalitySpec(modality="audio", item=(self.window,), tokens_per_item=1)


        @hookimpl
        def fvlm_modality_encoders():
            names = {"target": "acme_sound.model:Sound", "config": "acme_sound.plugin:Sound"}
            yield Component("sound", **names, summary="a window of a waveform, one token each")

        # acme_sound/model.py
        from fvlm_core.plugin_api import ModalityEncoder
        from torch import nn


        class Sound(ModalityEncoder):
            def __init__(self, config, llm):
                super().__init__()
                self.spec = config.spec()
                self.layers = nn.Sequential(nn.Linear(config.window, 64), nn.GELU(), nn.Linear(64, llm.width))

            def encode(self, items):
                return self.layers(items)[:, None]
    """
    return ()


@_hookspec
def fvlm_data_sources() -> Iterable[Component]:
    """Data sources.

    target: `build(config, split: Split) -> DataSource`.

        # acme_pairs/plugin.py
        from pathlib import Path

        from attrs import frozen
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Pairs:
            folder: Path  # a relative path in a recipe starts at the recipe's file
            validation: int = 100


        @hookimpl
        def fvlm_data_sources():
            yield Component(
                "pairs",
                target="acme_pairs.source:Pairs",
                config="acme_pairs.plugin:Pairs",
                summary="a folder of NAME.mp4 with NAME.txt beside it",
            )

        # acme_pairs/source.py
        from fvlm_core.plugin_api import DataSource, MissingData, Sample, Turn, VideoFile


        class Pairs(DataSource):
            name = "pairs"

            def __init__(self, config, split):
                videos = sorted(config.folder.glob("*.mp4"))
                if not videos:
                    raise MissingData(f"{config.folder}: no MP4 file there; the recipe's `folder` names the place")
                held_out = config.validation
                self.videos = videos[:held_out] if split == "validation" else videos[held_out:]

            def __len__(self):
                return len(self.videos)

            def __getitem__(self, index):
                video = self.videos[index]
                caption = video.with_suffix(".txt").read_text(encoding="utf-8").strip()
                turns = (Turn("user", "Describe the video."), Turn("assistant", caption))
                return Sample(id=video.stem, source=self.name, turns=turns, video=VideoFile(video))
    """
    return ()


@_hookspec
def fvlm_decoders() -> Iterable[Component]:
    """Video decoders, chosen by `[data] decoder = "still"`.

    target: `build(config) -> Decoder`.

        # acme_still/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Still:
            grey: int = 128


        @hookimpl
        def fvlm_decoders():
            yield Component(
                "still",
                target="acme_still.decoder:Still",
                config="acme_still.plugin:Still",
                summary="one grey level for every clip: what a model learns without looking",
            )

        # acme_still/decoder.py
        from math import ceil

        import numpy as np
        from fvlm_core.plugin_api import BadSample, Decoder


        class Still(Decoder):
            def __init__(self, config):
                self.grey = config.grey

            def decode(self, video, size):
                count = self.count_frames(video)
                times = [k / video.fps for k in range(count)]
                return np.full((count, 3, size, size), self.grey, np.uint8), times

            def count_frames(self, video):
                if video.seconds is None:
                    if not video.path.is_file():
                        raise BadSample(video.path, "no such file")
                    return 1
                return min(max(1, ceil(video.seconds * video.fps)), video.max_frames)

            def versions(self):
                return {"acme-still": "0.2.0"}
    """
    return ()


@_hookspec
def fvlm_objectives() -> Iterable[Component]:
    """Objectives: what a run lowers, `[training] objective = "per-answer"`.

    target: `build(config, model: VLM) -> Objective`; the config class has a method
    `spec() -> ObjectiveSpec`. See `Objective` for how its sums are normalised; `TokenLoss` is one to build on.

        # acme_answers/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, ObjectiveSpec, hookimpl


        @frozen(kw_only=True)
        class PerAnswer:
            def spec(self):
                return ObjectiveSpec()


        @hookimpl
        def fvlm_objectives():
            names = {"target": "acme_answers.loss:build", "config": "acme_answers.plugin:PerAnswer"}
            yield Component("per-answer", **names, summary="every answer weighs the same, however long it is")

        # acme_answers/loss.py
        from fvlm_core.plugin_api import Contribution, TokenLoss


        class PerAnswerLoss(TokenLoss):
            names = ("loss",)

            def contribution(self, model, batch):
                losses = model(batch)
                tokens = losses.per_sample_tokens.clamp(min=1).to(losses.per_sample.device)
                loss = (losses.per_sample / tokens).sum()
                return Contribution(loss, (loss.detach(),), count=len(batch.counts), tokens=losses.tokens)

            def columns(self, means):
                return {"train_loss": means.get("loss")}


        def build(config, model):
            return PerAnswerLoss(model.connector.spec.auxiliary)
    """
    return ()


@_hookspec
def fvlm_optimizers() -> Iterable[Component]:
    """Optimizers, `[training] optimizer = { name = "lion", momentum = 0.99 }`.

    target: `build(config, groups) -> torch.optim.Optimizer`; the config class has a method
    `state(name, shape, decays) -> {tensor: bytes}`. See `fvlm_core.interfaces.optimizer`.
    provides: "sharded" where every number of a parameter is moved by itself.

        # acme_lion/plugin.py
        from math import prod

        from attrs import frozen
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Lion:
            momentum: float = 0.99
            blend: float = 0.9

            def state(self, name, shape, decays):
                return {"momentum": 4 * prod(shape)}


        @hookimpl
        def fvlm_optimizers():
            names = {"target": "acme_lion.lion:build", "config": "acme_lion.plugin:Lion"}
            yield Component("lion", **names, summary="steps of one size (Chen et al. 2023)", provides=("sharded",))

        # acme_lion/lion.py
        import torch


        class LionOptimizer(torch.optim.Optimizer):
            @torch.no_grad()
            def step(self, closure=None):
                for group in self.param_groups:
                    for weight in [weight for weight in group["params"] if weight.grad is not None]:
                        state, gradient = self.state[weight], weight.grad
                        momentum = state.setdefault("momentum", torch.zeros_like(weight))
                        direction = momentum.lerp(gradient, 1 - group["blend"]).sign_()
                        weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
                        momentum.lerp_(gradient, 1 - group["momentum"])


        def build(config, groups):
            return LionOptimizer(groups, {"lr": 0.0, "momentum": config.momentum, "blend": config.blend})
    """
    return ()


@_hookspec
def fvlm_schedules() -> Iterable[Component]:
    """Learning-rate schedules, `[training] schedule = { name = "linear" }`.

    target: `build(config, ends) -> factor`, and `factor(step, steps, group)` is a pure function; see `Schedule`.

        # acme_linear/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Linear:
            hold: float = 0.0  # share of the steps before the fall


        def build(config, ends):
            def factor(step, steps, group):
                done = (step / max(1, steps) - config.hold) / (1 - config.hold)
                return 1 - (1 - ends[group]) * min(1.0, max(0.0, done))

            return factor


        @hookimpl
        def fvlm_schedules():
            names = {"target": "acme_linear.plugin:build", "config": "acme_linear.plugin:Linear"}
            yield Component("linear", **names, summary="down in a straight line")
    """
    return ()


@_hookspec
def fvlm_callbacks() -> Iterable[Component]:
    """Callbacks, `[[training.callbacks]] name = "ceiling"`.

    A callback sees each step and each evaluation, keeps state of its own, and may stop the run; see `Callback`.

    target: `build(config, run: CallbackRun) -> Callback`.
    provides: "sharded" where it reads no weights.

        # acme_ceiling/plugin.py
        from attrs import field, frozen, validators
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Ceiling:
            loss: float = field(default=20.0, validator=validators.gt(0))
            patience: int = 1


        @hookimpl
        def fvlm_callbacks():
            names = {"target": "acme_ceiling.ceiling:CeilingCallback", "config": "acme_ceiling.plugin:Ceiling"}
            yield Component("ceiling", **names, summary="ends a run that diverges", provides=("sharded",))

        # acme_ceiling/ceiling.py
        import torch
        from fvlm_core.plugin_api import Callback


        class CeilingCallback(Callback):
            def __init__(self, config, run):
                self.settings, self.above = config, 0

            def evaluated(self, step, row):
                self.above = self.above + 1 if row["val_loss"] > self.settings.loss else 0
                if self.above >= self.settings.patience:
                    return f"the validation loss is above {self.settings.loss}"

            def state(self):
                return {"above": torch.tensor(self.above)}

            def restore(self, state):
                self.above = int(state.get("above", 0))
    """
    return ()


@_hookspec
def fvlm_fit_models() -> Iterable[Component]:
    """Fit models: scaling laws.

    target: `build(config) -> FitModel`. The law is a pure function of numpy arrays, so that it can stand in the
    plugin file itself.

        # acme_power/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, FitModel, Parameter, hookimpl


        @frozen(kw_only=True)
        class Power:
            pass


        def law(d, *, E, B, beta):
            '''L = E + B/D^beta'''
            return E + B / d**beta


        def build(config):
            return FitModel(
                "power",
                law,
                parameters=(
                    Parameter("E", 1.0, min=0, linear=True),
                    Parameter("B", 100.0, min=0, log=True),
                    Parameter("beta", 0.3, min=0, max=2),
                ),
                needs="points at four amounts of data or more",
            )


        @hookimpl
        def fvlm_fit_models():
            names = {"target": "acme_power.plugin:build", "config": "acme_power.plugin:Power"}
            yield Component("power", **names, summary="L = E + B/D^beta over all points")
    """
    return ()


@_hookspec
def fvlm_figures() -> Iterable[Component]:
    """Figures of fits, drawn by `fvlm fit --figures NAME`.

    target: `draw(config, reports, figure) -> None`, which fills an empty `matplotlib.figure.Figure` from a sequence of
    `LawReport`s, one for each law that was asked for; `style` has the house's panels, axes, colours and legends. The
    same reports must give the same picture. What cannot be drawn is said in the picture.

        # acme_floors/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Floors:
            parameter: str = "E"


        @hookimpl
        def fvlm_figures():
            names = {"target": "acme_floors.floors:draw", "config": "acme_floors.plugin:Floors"}
            yield Component("floors", **names, summary="a parameter of each law with its interval")

        # acme_floors/floors.py
        from fvlm_core.plugin_api import style


        def draw(config, reports, figure):
            found = [
                (f"{report.law.name} {fit.group}", one)
                for report in reports
                for fit in report.fits
                for one in fit.parameters
                if one.name == config.parameter
            ]
            if not found:
                style.only_words(figure, f"no law has a parameter {config.parameter}")
                return
            axes = style.sheet(figure, 1, 1, caption=["Bars: 95 % intervals."]).every[0]
            for at, (name, one) in enumerate(found):
                low, high = (one.value if end is None else end for end in (one.low, one.high))
                axes.plot([low, high], [at, at], color=style.GREY)
                axes.plot(one.value, at, **style.marks(style.COLOURS[0]))
            axes.set_yticks(range(len(found)), [name for name, _ in found])
            axes.set_xlabel(f"{config.parameter} (nats per token)")
    """
    return ()


@_hookspec
def fvlm_report_sections() -> Iterable[Component]:
    """Sections of the report, added by `fvlm report --section NAME`.

    target: `build(config, runs) -> Section`, from a sequence of `ReportedRun`s: texts, tables and matplotlib figures.
    All text is shown as it is, and none becomes markup. Settings come from the command line, `-s tags:number=flops`.

        # acme_tags/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Tags:
            number: str = "best_val_loss"


        @hookimpl
        def fvlm_report_sections():
            names = {"target": "acme_tags.tags:build", "config": "acme_tags.plugin:Tags"}
            yield Component("tags", **names, summary="the mean of a number of the summaries, by tag")

        # acme_tags/tags.py
        from statistics import mean

        from fvlm_core.plugin_api import Section, SectionTable


        def build(config, runs):
            found = {}
            for run in runs:
                value = run.summary.get(config.number)
                for tag in run.tags if value is not None else ():
                    found.setdefault(tag, []).append(value)
            rows = [(tag, len(values), mean(values)) for tag, values in sorted(found.items())]
            table = SectionTable(f"{config.number}, mean over runs.", ("tag", "runs", "mean"), rows)
            return Section("By tag", [table if rows else "No run has a tag."])
    """
    return ()


@_hookspec
def fvlm_trackers() -> Iterable[Component]:
    """Trackers: mirrors of a run in somebody's tool.

    target: `build(config, run: TrackedRun) -> Tracker`. It is called in a thread of its own, as are the tracker's
    methods: a tracker may be slow, block or fail, and the run goes on without it. One that can keep files overrides
    `artefact` and has a field `report: bool` in its config. Beside `log` and `close`, `predicted` takes what the
    model said.

        # acme_csv/plugin.py
        from attrs import frozen
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Csv:
            file: str = "losses.csv"


        @hookimpl
        def fvlm_trackers():
            yield Component(
                "csv",
                target="acme_csv.tracker:Csv",
                config="acme_csv.plugin:Csv",
                summary="step and loss as a text file",
            )

        # acme_csv/tracker.py
        from fvlm_core.plugin_api import Tracker


        class Csv(Tracker):
            def __init__(self, config, run):
                self.file = (run.folder / config.file).open("a", encoding="utf-8")

            def log(self, row):
                self.file.write(f"{row['step']},{row['train_loss']}\\n")

            def close(self):
                self.file.close()
    """
    return ()


@_hookspec
def fvlm_launchers() -> Iterable[Component]:
    """Launchers: places where the runs of a recipe run beside each other, `fvlm run RECIPE --launcher NAME`.

    target: `build(config, slots: int) -> Launcher`, with room for that many jobs at once. A job is a command line that
    may be started again at any time. Settings come from the command line, `-l niceness=5`.

        # acme_nice/plugin.py
        from attrs import field, frozen, validators
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Nice:
            niceness: int = field(default=10, validator=validators.in_(range(20)))


        @hookimpl
        def fvlm_launchers():
            names = {"target": "acme_nice.launcher:NiceLauncher", "config": "acme_nice.plugin:Nice"}
            yield Component("nice", **names, summary="processes that give way to everybody else's")

        # acme_nice/launcher.py
        import os
        import subprocess

        from fvlm_core.plugin_api import Ended, Launcher, Task, tied


        class NiceLauncher(Launcher):
            def __init__(self, config, slots):
                self.prefix = ("nice", "-n", str(config.niceness))

            def start(self, job, slot):
                with job.log.open("ab") as log:
                    environment = {**os.environ, **job.environment}
                    command = tied((*self.prefix, *job.command))
                    return NiceTask(
                        subprocess.Popen(
                            command,
                            cwd=job.folder,
                            env=environment,
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,  # Ctrl-C is for fvlm, which then asks each job to save
                        )
                    )


        class NiceTask(Task):
            def __init__(self, process):
                self.process = process
                self.place = f"process {process.pid}"

            def poll(self):
                code = self.process.poll()
                return None if code is None else Ended(code)

            def stop(self):
                self.process.terminate()

            def kill(self):
                self.process.kill()
    """
    return ()


@_hookspec
def fvlm_metrics() -> Iterable[Component]:
    """Metrics: what the answers are worth that a model gives at each evaluation, `[[eval.metrics]]` of a recipe.

    target: `build(config) -> Metric`. It scores answers one by one; means over samples and their intervals are the
    core's, in the columns `COLUMN`, `COLUMN_low` and `COLUMN_high` of the evaluations.

        # acme_begins/plugin.py
        from attrs import field, frozen, validators
        from fvlm_core.plugin_api import Component, hookimpl


        @frozen(kw_only=True)
        class Begins:
            words: int = field(default=1, validator=validators.ge(1))


        @hookimpl
        def fvlm_metrics():
            names = {"target": "acme_begins.metric:BeginsRight", "config": "acme_begins.plugin:Begins"}
            yield Component("begins", **names, summary="whether an answer begins as the right one does")

        # acme_begins/metric.py
        from fvlm_core.plugin_api import Metric


        class BeginsRight(Metric):
            column = "begins"

            def __init__(self, config):
                self.words = config.words

            def score(self, answers):
                return [float(self.first(one.generated) == self.first(one.reference)) for one in answers]

            def first(self, text):
                return text.lower().split()[: self.words]
    """
    return ()
