"""Recipes: what extends, overrides, grids and ablations mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from tiny import ENCODER, RECIPE

from fvlm_core.api.views.plan import parent_text
from fvlm_core.cli.launch_options import LaunchRequest
from fvlm_core.recipes import choose
from fvlm_core.recipes.drift import changes
from fvlm_core.recipes.files import shipped
from fvlm_core.recipes.located import read_toml
from fvlm_core.recipes.read import only, read_recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.utils.errors import Problems
from fvlm_registry import Registry, registry


def write(folder: Path, text: str, name: str = "mine.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    text = (
        'a = 1\n[t]\n"b c" = [1,\n 2]\n[[u.v]]\nx = 1\n[[u.v]]\n# x\nx = { y.z = 2, w = 3 }\n'
        "[u.v.deep]\nq = '''\n[no]\n'''\n"
    )
    tree = read_toml(Path(write(tmp_path, text)))
    lines = {
        ("a",): 1,
        ("t", "b c"): 3,
        ("t", "b c", 1): 4,
        ("u", "v", 0, "x"): 6,
        ("u", "v", 1, "x", "y", "z"): 9,
        ("u", "v", 1, "deep", "q"): 11,
    }
    assert {key: tree.at(key).line for key in lines} == lines


def test_extends_lays_the_child_over_the_base(tmp_path: Path) -> None:
    write(tmp_path, RECIPE, "_base.toml")
    child = write(tmp_path, 'extends = "_base.toml"\nname = "child"\n[training]\nsamples = 80\n')
    recipe = read_recipe(child)
    assert (recipe.name, recipe.runs[0].id) == ("child", "child")
    assert (recipe.runs[0].config.training.samples, recipe.runs[0].config.training.steps) == (80, None)
    assert recipe.runs[0].config.training.batch_size == 4


def test_changing_a_component_drops_the_old_ones_settings(tmp_path: Path) -> None:
    text = RECIPE + '[ablate]\nB1 = { model.connector.name = "pooled", model.connector.grid = 3 }\n'
    runs = read_recipe(write(tmp_path, text)).runs
    assert [run.id for run in runs] == ["baseline", "B1"]
    assert [run.config.model.connector.name for run in runs] == ["foveated", "pooled"]


def test_grid_is_the_product_of_its_axes(tmp_path: Path) -> None:
    text = RECIPE + (
        '[grid]\nid = "{size}-{budget}-F"\n[grid.axes.size]\nS = { model.llm.width = 16 }\n'
        "M = { model.llm.width = 32 }\n[grid.axes.budget]\nC1 = { training.budget = 1e9 }\n"
        "C2 = { training.samples = 64 }\n"
    )
    runs = read_recipe(write(tmp_path, text)).runs
    assert [run.id for run in runs] == ["S-C1-F", "S-C2-F", "M-C1-F", "M-C2-F"]
    assert [run.config.model.llm.config.width for run in runs] == [16, 16, 32, 32]
    assert [(run.config.training.budget, run.config.training.samples) for run in runs[:2]] == [
        (1e9, None),
        (None, 64),
    ]


def test_seeds_repeat_every_run_with_the_next_seed(tmp_path: Path) -> None:
    runs = read_recipe(write(tmp_path, "seeds = 3\n" + RECIPE)).runs
    assert [(run.id, run.seed) for run in runs] == [("tiny-s0", 42), ("tiny-s1", 43), ("tiny-s2", 44)]


def test_overrides_are_toml_and_reach_every_run(tmp_path: Path) -> None:
    text = RECIPE + '[[runs]]\nid = "a"\n[[runs]]\nid = "b"\nmodel.blind = true\n'
    runs = read_recipe(
        write(tmp_path, text), ["training.steps=10", "name=other", "training.betas=[0.9, 0.98]"]
    ).runs
    assert [run.config.training.steps for run in runs] == [10, 10]
    assert runs[0].config.name == "other"
    assert runs[1].config.training.betas == (0.9, 0.98)


def test_paths_are_relative_to_the_file_they_are_written_in(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    clips = '[[data.sources]]\nname = "clips"\npath = "videos"\n'
    write(
        tmp_path / "deep", RECIPE.split("[[data.sources]]")[0] + clips + "[training]\nsteps = 1", "_base.toml"
    )
    recipe = read_recipe(write(tmp_path, 'extends = "deep/_base.toml"\n'))
    assert recipe.runs[0].config.data.sources[0].source.config.path == tmp_path / "deep" / "videos"


def test_resolved_recipe_names_what_changed_and_ignores_what_decides_nothing(tmp_path: Path) -> None:
    recipe = write(tmp_path, RECIPE)
    before = resolved(read_recipe(recipe).runs[0].config)
    same = resolved(read_recipe(recipe, ["training.workers=3", "training.device=cpu"]).runs[0].config)
    other = resolved(read_recipe(recipe, ["training.lr=0.5", "model.connector.query_dim=4"]).runs[0].config)
    assert all(change.free for change in changes(before, same))
    assert [(change.kind, str(change)) for change in changes(before, other)] == [
        ("model", "model.connector.query_dim: 8 -> 4"),
        ("schedule", "training.lr: 0.001 -> 0.5"),
    ]


@pytest.mark.parametrize(
    "file", sorted(p.stem for p in shipped().glob("*.toml") if not p.stem.startswith("_"))
)
def test_every_shipped_recipe_is_read_by_name(file: str) -> None:
    recipe = read_recipe(file)
    assert recipe.name == file
    assert recipe.runs


def test_a_plugin_that_opens_a_library_takes_names_it_does_not_list(tmp_path: Path) -> None:
    encoder = '[model.encoder]\nname = "timm:vit_tiny_patch16_224"\nweights = "seeded"\nimage_size = 32\n'
    text = RECIPE.replace(ENCODER, encoder)
    chosen = read_recipe(write(tmp_path, text)).runs[0].config.model.encoder
    assert (chosen.component, chosen.config.model) == ("timm:timm", "vit_tiny_patch16_224")
    with pytest.raises(Problems, match="vit_tiny_patch16_224"):
        read_recipe(write(tmp_path, text.replace("patch16_224", "patch16_225")))


@pytest.mark.parametrize("key", ["data.sources.clips.path", "data.sources.1.path"])
def test_one_source_of_several_is_changed_by_name_or_number(key: str, tmp_path: Path) -> None:
    text = RECIPE + '[[data.sources]]\nname = "clips"\npath = "a"\nweight = 3\n'
    (tmp_path / "two.toml").write_text(text)
    (run,) = read_recipe(str(tmp_path / "two.toml"), [f"{key}=/elsewhere"]).runs
    shapes, clips = run.config.data.sources
    assert (shapes.source.name, clips.source.config.path, clips.weight) == ("shapes", Path("/elsewhere"), 3)


@pytest.mark.parametrize(
    "key", ["data.sources.openvd.path", "data.sources.7.path", "data.sources.shapes.path"]
)
def test_a_source_that_is_not_there_or_there_twice_is_an_error(key: str, tmp_path: Path) -> None:
    text = RECIPE + '[[data.sources]]\nname = "clips"\npath = "a"\n[[data.sources]]\nname = "shapes"\n'
    (tmp_path / "three.toml").write_text(text)
    with pytest.raises(
        Problems, match=r"data\.sources: of its entries, .* they are 0 shapes, 1 clips, 2 shapes"
    ):
        read_recipe(str(tmp_path / "three.toml"), [f"{key}=/elsewhere"])


def test_a_connector_that_its_encoder_cannot_answer_is_refused_with_those_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the recipe's encoder gave patches alone."""
    found = registry()
    blind = [
        evolve(offer, component=evolve(offer.component, provides=("patches",)))
        if offer.kind == "encoder" and offer.plugin == "dinov2"
        else offer
        for offer in found.offers
    ]
    monkeypatch.setattr(choose, "registry", lambda: Registry(found.plugins, tuple(blind)))
    with pytest.raises(Problems) as caught:
        read_recipe(write(tmp_path, RECIPE))
    assert '"foveated" needs an encoder that provides query; "dinov2" provides patches.' in str(caught.value)
    assert "Encoders that can: timm" in str(caught.value)


def test_an_option_that_every_run_has_its_own_of_is_refused_with_the_place(tmp_path: Path) -> None:
    """It would be as good as not said; where one run alone follows it, it is taken."""
    file = tmp_path / "own.toml"
    text = 'extends = "captions_small"\nname = "own"\n\n[[runs]]\nid = "a"\ntraining.samples = 640\n'
    file.write_text(text)
    with pytest.raises(Problems) as raised:
        read_recipe(str(file), ["training.samples=1280"])
    assert (
        "-o training.samples=1280: changes nothing: every run of the recipe has its own training.samples"
        in str(raised.value)
    )
    assert f"{file}:6" in str(raised.value)
    file.write_text(text + '\n[[runs]]\nid = "b"\n')
    own, other = read_recipe(str(file), ["training.samples=1280"]).runs
    assert (own.config.training.samples, other.config.training.samples) == (640, 1280)


def test_slots_are_of_the_recipe_and_of_no_run(tmp_path: Path) -> None:
    """What runs record is the same however many of them are trained beside each other."""
    two = read_recipe(write(tmp_path, "slots = 2\n" + RECIPE))
    one = read_recipe(write(tmp_path, RECIPE))
    assert (two.slots, one.slots) == (2, 1)
    assert two.runs == one.runs
    assert read_recipe(write(tmp_path, "slots = 2\n" + RECIPE), ["slots=3"]).slots == 3
    with pytest.raises(Problems, match="slots: expected a whole number of at least 1, got 0"):
        read_recipe(write(tmp_path, "slots = 0\n" + RECIPE))


def test_slots_start_the_local_launcher_unless_another_is_named_or_one_run_is_meant() -> None:
    nobody = LaunchRequest(None, None, None, (), 2, False)
    recipe = evolve(read_recipe("captions_small"), slots=8)
    assert nobody.for_recipe(recipe) == evolve(nobody, launcher="local", slots=5)
    assert nobody.for_recipe(only(recipe, ["48"])) == nobody
    assert nobody.for_recipe(evolve(recipe, slots=1)) == nobody
    named = evolve(nobody, launcher="slurm", slots=3)
    assert named.for_recipe(recipe) == named


def test_ablations_do_not_inherit_the_fits_of_what_they_change(tmp_path: Path) -> None:
    """Changes of one model are compared: no law goes through them, unless the recipe says so itself."""
    file = tmp_path / "ablate.toml"
    file.write_text('extends = "captions_small"\nname = "a"\n[ablate]\nblind = { model.blind = true }\n')
    assert len(read_recipe("captions_small").fits) == 2
    assert read_recipe(str(file)).fits == ()
    file.write_text(file.read_text() + '[[fits]]\nmodel = "per-size"\n')
    assert [fit.model for fit in read_recipe(str(file)).fits] == ["per-size"]
    file.write_text('extends = "captions_small"\nname = "a"\n[[runs]]\nid = "x"\n')
    assert len(read_recipe(str(file)).fits) == 2


def test_a_grid_may_have_further_runs_which_come_first(tmp_path: Path) -> None:
    text = 'extends = "captions_small"\nname = "a"\n[[runs]]\nid = "far"\ntraining.samples = 64\n'
    grid = "[grid.axes.samples]\n16 = { training.samples = 16 }\n32 = { training.samples = 32 }\n"
    read = read_recipe(write(tmp_path, text + grid))
    assert [(run.id, run.config.training.samples) for run in read.runs] == [
        ("far", 64),
        ("16", 16),
        ("32", 32),
    ]


def test_the_runs_of_a_list_and_of_a_grid_are_added(tmp_path: Path) -> None:
    """Of 150 and 100 runs there are 250, and not too many; with a hundred seeds there are."""
    base = 'extends = "captions_small"\nname = "a"\n'
    listed = "".join(f'[[runs]]\nid = "r{at}"\n' for at in range(150))
    axis = "".join(f"{at} = {{ training.samples = {16 * (at + 1)} }}\n" for at in range(100))
    text = f"{base}{listed}[grid.axes.samples]\n{axis}"
    assert len(read_recipe(write(tmp_path, text)).runs) == 250
    with pytest.raises(
        Problems, match=r"25,000 runs = \(150 \(runs\) \+ 100 \(axis samples\)\) x 100 \(seeds\)"
    ):
        read_recipe(write(tmp_path, f"seeds = 100\n{text}"))


@pytest.mark.parametrize(
    ("below", "own", "ids", "fits", "said"),
    [
        (
            '[[runs]]\nid = "a"\n[[fits]]\nmodel = "per-size"\n',
            "[ablate.X]\nmodel.blind = true\n",
            ["baseline", "X"],
            0,
            "of _base.toml: its [[runs]] is not run; its fits are not made",
        ),
        (
            "seeds = 2\n[ablate.A]\nmodel.blind = true\n[ablate.B]\ntraining.lr = 0.1\n",
            "[ablate.B]\ntraining.lr = 0.2\n[ablate.C]\ntraining.lr = 0.3\n",
            [f"{name}-s{seed}" for name in ("baseline", "A", "B", "C") for seed in (0, 1)],
            0,
            "of _base.toml: its [ablate] is run, too, as far as it is not changed; its seeds = 2 holds",
        ),
        (
            '[[runs]]\nid = "a"\n[[fits]]\nmodel = "per-size"\n',
            '[[runs]]\nid = "b"\n',
            ["b"],
            1,
            "of _base.toml: its [[runs]] is not run; its fits are made of these runs",
        ),
        ('[[runs]]\nid = "a"\n', "training.lr = 0.1\n", ["a"], 0, ""),
        ("", "[ablate.X]\nmodel.blind = true\n", ["baseline", "X"], 0, ""),
    ],
)
def test_what_becomes_of_the_runs_and_fits_of_a_base_is_said_in_a_line(
    below: str, own: str, ids: list[str], fits: int, said: str, tmp_path: Path
) -> None:
    seeds, _, rest = below.partition("[") if below.startswith("seeds") else ("", "", below)
    (tmp_path / "_base.toml").write_text(seeds + RECIPE + (f"[{rest}" if seeds else rest))
    (tmp_path / "mine.toml").write_text(f'extends = "_base.toml"\n{own}')
    recipe = read_recipe(str(tmp_path / "mine.toml"))
    assert ([run.id for run in recipe.runs], len(recipe.fits)) == (ids, fits)
    lines = parent_text(recipe)
    assert (f"  {said}" == lines[-1]) == bool(said)
    assert bool(said) or not any(line.startswith("  of ") for line in lines)
