"""Of every command: examples of its use, and the groups that its options are shown in.

Examples are (command, remark). A group names its options by one spelling each, in the order in which they are shown;
tests hold that every option of a command is in one group, and that every example is read as it would be.
"""

from __future__ import annotations

from typing import NamedTuple

Examples = tuple[tuple[str, str], ...]


class Page(NamedTuple):
    """Of one command. examples: commands and remarks. groups: titles, and the options below them. commands: the same
    of a group's commands."""

    examples: Examples = ()
    groups: dict[str, str] = {}  # noqa: RUF012  (never written to)
    commands: dict[str, str] = {}  # noqa: RUF012


_WHICH_POINTS = {
    "Points": "--data --columns --sigma --weight --outputs --decimal --runs",
    "Which points": "--where --drop-run --points --per --warmup-cut --warmup-steps --n-kind --d-kind",
}
_FITTING = {
    "How it is fitted": "--objective --delta --fix --bounds --offsets --force",
    "Intervals": "--draws --bootstrap --cluster",
}
_LAUNCHING = {"Runs beside each other": "--launcher --slots --gpus -l --retries --detach"}
_FRAMES = "--fps --max-frames --fit --still-frames"
_ANSWERS = "--tokens --beams --temperature --top-p --stop"

_PAGES = {
    "": Page(
        (
            ("fvlm run quickstart", "five small models and a law, in minutes, without a GPU"),
            ("fvlm run phase1b_360m --dry-run", "what a run would take; nothing is trained"),
            ("fvlm report quickstart --open", "what came of it, as one page"),
        ),
        commands={
            "Train": "run campaign watch verify-resume",
            "Laws": "fit predict suggest",
            "Runs": "runs report export import",
            "Models": "eval caption gaze needle demo weights",
            "Data, plugins, this machine": "data recipes plugins schema bench completion",
        },
    ),
    "run": Page(
        (
            ("fvlm run quickstart", "a shipped recipe; the same command continues it"),
            ("fvlm run my.toml -o training.steps=200", "one key changed"),
            ("fvlm run phase1b_360m --dry-run", "parameters, FLOPs, time, memory; nothing is trained"),
            ("fvlm run phase1a --only 'A*' --launcher local --slots 2", "some runs, two at once"),
        ),
        {
            "What is trained": "-o --only --decay-from --runs --allow-drift --force",
            "Plans and rehearsals": "--dry-run --json --device --mfu --rehearse",
            **_LAUNCHING,
        },
    ),
    "fit": Page(
        (
            ("fvlm fit", "the two laws of an export, of all runs"),
            ("fvlm fit --model joint-chinchilla --data points.csv", "of a table"),
            ("fvlm fit --data points.csv --columns N=params,D=tokens,loss=val", "with names of its own"),
            ("fvlm fit --holdout size=1.7B --roll-out", "how well it predicts what it has not seen"),
            ("fvlm fit --plot law.pdf --figures all --style paper", "figures for a paper"),
        ),
        {
            "The law": "--model --holdout --roll-out --cost",
            **_WHICH_POINTS,
            **_FITTING,
            "Figures": "--plot --figures --figures-to --format --style",
            "What is said": "--json --verbose --strict",
        },
    ),
    "predict": Page(
        (
            ("fvlm predict --n 1.7B --d 702k", "the loss of a run that is not made"),
            ("fvlm predict --budget 1e18", "the best size and amount of data for so many FLOPs"),
            ("fvlm predict --model multi-power --n 135M --schedule wsd --steps 40k --lr 1e-3", ""),
            ("fvlm predict --model video --inference 50ms --rate 1e13 --data points.csv", ""),
        ),
        {
            "The question": "--n --d --budget --at",
            "Learning rates": "--schedule --curve --steps --lr",
            "Inference": "--inference --rate --text-tokens --encoder-flops",
            "The law and its cost": "--model --cost --recipe",
            **_WHICH_POINTS,
            **_FITTING,
            "What is said": "--json --verbose --strict",
        },
    ),
    "suggest": Page(
        (
            ("fvlm suggest quickstart --budget 2e12 --target-n 300k --target-d 200k", "the next runs"),
            ("fvlm suggest --sizes 20M,40M,80M --budget 1e17 --target-budget 1e19", "without a recipe"),
            ("fvlm suggest --pool rows.csv --cost price --target targets.csv --budget 2e20", "rows to buy"),
        ),
        {
            "What they may take": "--budget --hours --rate --cost",
            "What is to be predicted": "--target-n --target-d --target-budget --target --at --model",
            "Candidates": "--sizes --grid --pool --observed --shortest --longest --largest-share --max-runs",
            "What is known": "--noise --fresh",
            **_WHICH_POINTS,
            "What is said": "--out --json",
        },
    ),
    "campaign": Page(
        (
            ("fvlm campaign study.toml --target N=20M,D=200k --budget 1e15 --within 2%", ""),
            ("fvlm campaign study.toml --dry-run", "the pilot and the first choice; nothing is trained"),
            ("fvlm campaign study.toml --launcher local --slots 2", "the runs of a round beside each other"),
            (
                "fvlm campaign study.toml --simulate joint-chinchilla:E=1.7,A=400,B=410,alpha=.34,beta=.28,noise=.005",
                "against a known truth, in seconds",
            ),
        ),
        {
            "The prediction": "--target --within --budget --law",
            "What is trained": "-o --runs --force",
            "Tried first": "--dry-run --simulate",
            **_LAUNCHING,
            "What is said": "--json",
        },
    ),
    "watch": Page(
        (
            ("fvlm watch --open", "all runs"),
            ("fvlm watch quickstart --port 0", "one recipe's, on a free port"),
        ),
        {"Which runs": "--runs", "The page": "--open --port --host --allow-remote"},
    ),
    "verify-resume": Page(
        (
            ("fvlm verify-resume captions_small", ""),
            ("fvlm verify-resume phase1a --run A1 --steps 20", "one of its runs"),
        ),
        {"What is trained": "--run --steps -o --runs"},
    ),
    "runs": Page((("fvlm runs list --sort best", ""), ("fvlm runs compare quickstart --out table.tex", ""))),
    "runs list": Page(
        (
            ("fvlm runs list --state complete --sort best", "the best first"),
            ("fvlm runs list 'phase1a/A*'", "those of a pattern"),
            ("fvlm runs list --where 'lr >= 1e-3' --json", "those of a condition, for a script"),
        ),
        {
            "Which runs": "--recipe --state --tag --where --runs",
            "How they are shown": "--sort --reverse --json --csv",
        },
    ),
    "runs show": Page(
        (
            ("fvlm runs show captions_small/96", ""),
            ("fvlm runs show captions_small/96 --settings", "every key"),
        ),
        {"What is shown": "--settings --json --runs"},
    ),
    "runs compare": Page(
        (
            ("fvlm runs compare phase1a", "against its baseline, with intervals"),
            ("fvlm runs compare phase1a --columns variant,difference,verdict", "some columns"),
            ("fvlm runs compare phase1a --out table.tex --plot ablations.pdf --style paper", "for a paper"),
        ),
        {
            "What is compared": "--baseline --metric --factors --runs",
            "The table": "--columns --format --out",
            "The figure": "--plot --style",
        },
    ),
    "runs rm": Page(
        (
            ("fvlm runs rm phase1a/A1", ""),
            ("fvlm runs rm phase1a/A1 --checkpoints --yes", "the record stays"),
        ),
        {"What is removed": "--checkpoints --yes --runs"},
    ),
    "runs tag": Page(
        (("fvlm runs tag phase1a/A1 kept", ""), ("fvlm runs tag phase1a/A1 kept --remove", "")),
        {"Tags": "--remove --runs"},
    ),
    "report": Page(
        (
            ("fvlm report quickstart --open", "one page, shown in the browser"),
            ("fvlm report phase1a --predictions 2 --gaze 2", "with what the models say, and where they look"),
            ("fvlm report --fit fits.json --out law.html", "the laws of a table alone"),
        ),
        {
            "What is in it": "--baseline --predictions --gaze --fit --section -s --runs",
            "The page": "--out --open --track",
        },
    ),
    "export": Page(
        (
            ("fvlm export --to export", "all runs"),
            ("fvlm export 'phase1b_*' --to export", "those of a pattern"),
        ),
        {"What is exported": "--objective --runs", "Where": "--to"},
    ),
    "import": Page(
        (
            ("fvlm import phase1b_export/ --dry-run", "what it would make"),
            (
                "fvlm import wandb.csv --name theirs --size 135M --total-params 135e6",
                "a table, and what it leaves out",
            ),
        ),
        {
            "What the files do not say": "--name --size --total-params --schedule --samples-per-step --decimal",
            "The store": "--in-fits --replace --dry-run --runs",
        },
    ),
    "eval": Page(
        (
            ("fvlm eval captions_small/96 --mode all", "in each mode of its connector"),
            ("fvlm eval captions_small/96 --data clips -o path=my_videos", "on other data"),
            ("fvlm eval captions_small/96 --metric exact-match --answers 200", "what it answers, scored"),
            ("fvlm eval captions_small/96 --suite video", "published benchmarks"),
        ),
        {
            "What it is shown": "--data -o --split --samples --max-bad",
            "The model": "--mode --weights --device --runs",
            "Answers": f"--metric --answers {_ANSWERS}",
            "Published benchmarks": "--suite --task",
            "What is said": "--json",
        },
    ),
    "caption": Page(
        (
            ("fvlm caption clip.mp4 --run captions_small/96", "one JSON object"),
            ("fvlm caption videos/ --run captions_small/96 --out captions.jsonl", "of a folder, into a file"),
            ("fvlm caption clip.mp4 --run captions_small/96 --prompt 'What moves?'", "asked"),
        ),
        {
            "The model": "--run --weights --runs",
            "What it is asked": "--prompt --system",
            "How it answers": f"{_ANSWERS} --seed",
            "What it is shown": _FRAMES,
            "Where": "--out",
        },
    ),
    "gaze": Page(
        (
            ("fvlm gaze clip.mp4 --run captions_small/96 --out look.gif", "it moves"),
            ("fvlm gaze clip.mp4 --run captions_small/96 --out look.png", "all frames side by side"),
        ),
        {"The model": "--run --weights --runs", "What it is shown": _FRAMES, "Where": "--out"},
    ),
    "needle": Page(
        (("fvlm needle needles_small/foveated", "by length and depth, as a table and a heat map"),),
        {
            "What is hidden where": "--lengths --depths --samples --data -o",
            "The model": "--mode --weights --device --runs",
            "Answers": "--metric --tokens",
            "What is made": "--out --no-record --json",
        },
    ),
    "demo": Page(
        (
            ("fvlm demo captions_small/96 --open", "on this machine, in the browser"),
            ("fvlm demo captions_small/96 --export-space my-space", "as a folder for a Hugging Face Space"),
        ),
        {
            "The model": "--weights --runs",
            "Where": "--port --open --export-space",
            "How much": "--tokens --max-mb",
        },
    ),
    "weights": Page(
        (
            ("fvlm weights import model.safetensors --recipe phase1b_135m", ""),
            ("fvlm weights export captions_small/96 --to my-model", ""),
        )
    ),
    "weights import": Page(
        (
            ("fvlm weights import model.safetensors --recipe phase1b_135m", ""),
            ("fvlm weights import best.pt --recipe phase1a --run A1", "one of its runs"),
        ),
        {"The model": "--recipe --run", "Where": "--to --runs"},
    ),
    "weights export": Page(
        (("fvlm weights export captions_small/96 --to my-model", ""),),
        {"The model": "--weights --runs", "What is made": "--to --format --int8 --push"},
    ),
    "data": Page(
        (
            ("fvlm data describe openvid", ""),
            ("fvlm data check phase1b_135m", ""),
            ("fvlm data inspect captions_small", ""),
        )
    ),
    "data describe": Page(
        (
            ("fvlm data describe openvid", ""),
            ("fvlm data describe openvid --at downloads/openvid --all", "of a download"),
        ),
        {"The data set": "--at -o", "What is said": "--all --json"},
    ),
    "data fetch": Page(
        (("fvlm data fetch openvid --to openvid", ""),),
        {"What is fetched": "-o --only", "Where": "--to"},
    ),
    "data pack": Page(
        (
            ("fvlm data pack phase1b_135m --to packed", "the data of a recipe"),
            ("fvlm data pack clips -o path=my_videos --to packed --fps 1 --max-frames 64", "of one source"),
        ),
        {
            "What is packed": "-o --split --samples",
            "Frames": "--fps --max-frames --size --quality",
            "Where, and how": "--to --processes --timeout",
            "In parts": "--parts --part --launcher --slots -l --retries --dry-run --json",
        },
    ),
    "data join": Page(
        (("fvlm data join packed/clips/train", "once every part is there"),), {"How": "--hash"}
    ),
    "data check": Page(
        (
            ("fvlm data check packed", "shards"),
            ("fvlm data check phase1b_135m --decode", "the data of a recipe"),
        ),
        {"What is checked": "-o --hash --decode"},
    ),
    "data inspect": Page(
        (
            ("fvlm data inspect captions_small", "with a recipe: the text in its tokens"),
            ("fvlm data inspect clips -o path=my_videos --samples 16", ""),
        ),
        {"What is drawn": "-o --split --samples --lengths --size", "Where": "--to"},
    ),
    "data freeze": Page(
        (("fvlm data freeze phase1b_135m --name val_10k --samples 10000", ""),),
        {
            "What is frozen": "-o --name --samples --leaks",
            "Frames": "--size --quality",
            "Where, and how": "--to --processes",
        },
    ),
    "bench": Page((("fvlm bench train --only bare", ""), ("fvlm bench start", ""))),
    "bench train": Page(
        (
            ("fvlm bench train --only bare --rounds 3", "the step against its bare matrices"),
            ("fvlm bench train --profile --trace trace.json", "where the time goes"),
        ),
        {
            "What is timed": "-o --only --profile --samples",
            "How": "--rounds --device --precision --compile",
            "What is said": "--trace --json",
        },
    ),
    "bench stream": Page(
        (("fvlm bench stream token_budget_small --frames 128", "every connector and the last 4 frames"),),
        {
            "What is watched": "-o --frames --runs",
            "How": "--rounds --device --precision",
            "What is said": "--json",
        },
    ),
    "bench data": Page((("fvlm bench data --rounds 3", ""),), {"How": "--rounds --processes --json"}),
    "bench fit": Page((("fvlm bench fit --rounds 3", ""),), {"How": "--data --starts --rounds --json"}),
    "bench start": Page((("fvlm bench start --rounds 5", ""),), {"How": "--rounds --json"}),
    "recipes": Page((("fvlm recipes list", ""), ("fvlm recipes show quickstart", ""))),
    "recipes list": Page((("fvlm recipes list", ""),), {"What is said": "--json"}),
    "recipes show": Page(
        (("fvlm recipes show phase1a", ""), ("fvlm recipes show phase1a --resolved", "with its bases")),
        {"What is said": "--resolved"},
    ),
    "plugins": Page((("fvlm plugins list", ""), ("fvlm plugins new tiles --kind encoder", ""))),
    "plugins list": Page((("fvlm plugins list --json", "for a script"),), {"What is said": "--json"}),
    "plugins new": Page(
        (
            ("fvlm plugins new tiles --kind encoder", "a folder fvlm-tiles, whose tests pass"),
            ("fvlm plugins new power --kind fit --to laws", ""),
        ),
        {"What is written": "--kind --to"},
    ),
    "plugins check": Page(
        (
            ("fvlm plugins check fvlm-tiles", "all that a distribution offers"),
            ("fvlm plugins check foveated --kind connector", "one component"),
        ),
        {"What is tried": "--kind -o", "What is said": "--json"},
    ),
    "schema": Page((("fvlm schema --out recipe.schema.json", ""),), {"Where": "--out"}),
    "completion": Page((("fvlm completion bash", "zsh and fish too"),)),
}


def page(path: str) -> Page:
    """Of the command "runs list"; an empty one where there is none: a plugin's, or a test's."""
    return _PAGES.get(path, Page())
