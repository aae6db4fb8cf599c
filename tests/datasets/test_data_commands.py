"""fvlm data describe and fetch: what a data set is, what of it is here, and how it comes."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import published_videos as published
import pytest
from tiny import CONNECTOR, ENCODER, LLM, TRAINING, run_cli

SETS = {
    "openvid": "nkp37/OpenVid-1M",
    "vript": "Mutonix/Vript",
    "sharegpt4video": "ShareGPT4Video/ShareGPT4Video",
    "smoltalk": "HuggingFaceTB/smoltalk",
    "smol-smoltalk": "HuggingFaceTB/smol-smoltalk",
    "webvid": "TempoFunk/webvid-10M",
    "cauldron": "HuggingFaceM4/the_cauldron",
    "llava-video": "lmms-lab/LLaVA-Video-178K",
    "rlaif-v": "openbmb/RLAIF-V-Dataset",
}
Run = Any


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))

    def no_network(*_: object, **__: object) -> None:
        raise OSError("a test reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


@pytest.mark.parametrize("name", SETS)
def test_describe_says_what_every_data_set_is(name: str, cli: Run) -> None:
    code, out, _ = cli("data", "describe", name, "--json")
    described = json.loads(out)
    card = described["card"]
    assert code == 0
    assert card["hub"] == SETS[name]
    for key in ("licence", "size", "layout", "columns", "split", "prompts", "traps"):
        assert card[key], key
    assert bool(card["fetch"]) == (name != "webvid")
    code, out, _ = cli("data", "describe", name)
    assert code == 0
    for text in (card["hub"], card["licence"], card["split"], *card["prompts"], *card["layout"]):
        assert text in out


def test_describe_lists_what_is_in_a_folder(cli: Run, tmp_path: Path) -> None:
    published.openvid(tmp_path / "openvid")
    code, out, _ = cli("data", "describe", "openvid", "--at", str(tmp_path / "openvid"), "-o", "holdout=0")
    assert code == 0
    assert "train: 3 samples" in out
    assert "problems: 5" in out
    assert "no such video: trap_missing.mp4" in out
    code, out, _ = cli("data", "describe", "vript", "--at", str(tmp_path / "gone"))
    assert code == 0
    assert "fvlm data fetch vript --to" in out


def test_describe_follows_settings_and_refuses_wrong_ones(cli: Run) -> None:
    _, out, _ = cli("data", "describe", "openvid", "-o", "subset=hd", "--json")
    assert json.loads(out)["card"]["layout"][0] == "data/train/OpenVidHD.csv"
    code, _, err = cli("data", "describe", "openvid", "-o", "subset=full")
    assert code == 2
    assert "subset" in err
    assert "1m" in err
    code, _, err = cli("data", "describe", "openvd")
    assert (code, 'did you mean "openvid"' in err) == (2, True)


@pytest.mark.parametrize("name", [name for name in SETS if name != "webvid"])
def test_fetch_asks_the_hub_for_what_the_source_reads(
    name: str, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the network: which files of a listing like the hub's would come."""
    import huggingface_hub

    listing = {
        "openvid": ["data/train/OpenVid-1M.csv", "OpenVid_part0.zip", "OpenVid_part89_partaa"],
        "vript": [
            "vript_captions/vript_long_videos_captions.jsonl",
            "vript_long_videos_clips/clips_1_of_1095.zip",
        ],
        "sharegpt4video": ["sharegpt4video_40k.jsonl", "zip_folder/panda/panda_videos_1.zip"],
        "smoltalk": ["data/all/train-00000-of-00009.parquet", "data/all/test-00000-of-00001.parquet"],
        "smol-smoltalk": ["data/train-00000-of-00004.parquet", "data/test-00000-of-00001.parquet"],
        "cauldron": ["ai2d/train-00000-of-00001-2ce340398c113b79.parquet"],
        "llava-video": [
            "0_30_s_nextqa/0_30_s_nextqa_oe_qa_processed.json",
            "0_30_s_nextqa/0_30_s_nextqa_videos_1.tar.gz",
        ],
        "rlaif-v": ["RLAIF-V-Dataset_000.parquet"],
    }[name]
    others = [
        "README.md",
        "OpenVidHD/OpenVidHD_part_1.zip",
        "data/train/OpenVidHD.csv",
        "data/longalign/x.parquet",
    ]
    others = others[:3] if "smol" not in name and name != "cauldron" else others[:1]
    files = [SimpleNamespace(rfilename=file, size=10**6) for file in [*listing, *others]]
    asked: dict[str, Any] = {}

    def dataset_info(self: object, hub: str, **_: object) -> Any:
        return SimpleNamespace(siblings=files, sha="abc123")

    def snapshot_download(hub: str, **options: object) -> str:
        asked.update(options, hub=hub)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    code, out, err = cli("data", "fetch", name, "--to", str(tmp_path / "to"))
    assert code == 0, err
    assert f"{len(listing)} files, 0.00 GB" in out
    assert asked["hub"] == SETS[name]
    assert (asked["repo_type"], asked["revision"]) == ("dataset", "abc123")
    assert asked["local_dir"] == tmp_path / "to"
    filtered = huggingface_hub.utils.filter_repo_objects
    assert list(filtered([*listing, *others], allow_patterns=asked["allow_patterns"])) == listing
    assert "licence: " in out


def test_fetch_stops_before_a_disk_is_full(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    huge = [SimpleNamespace(rfilename="RLAIF-V-Dataset_000.parquet", size=10**18)]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(siblings=huge, sha="a")
    )
    code, _, err = cli("data", "fetch", "rlaif-v", "--to", str(tmp_path))
    assert code == 1
    assert "needs 1,000,000,000.0 GB" in err


def test_fetch_without_a_network_is_one_clear_error(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # a network that is not there
    code, out, err = cli("data", "fetch", "vript", "--to", str(tmp_path / "to"))
    assert code == 1
    assert "licence: custom: academic use only" in out
    assert "Mutonix/Vript: the hub cannot be reached" in err
    assert "Traceback" not in err
    assert not (tmp_path / "to").exists()


def test_fetch_refuses_what_was_withdrawn_and_what_is_from_no_hub(cli: Run, tmp_path: Path) -> None:
    code, _, err = cli("data", "fetch", "webvid", "--to", str(tmp_path))
    assert (code, "cannot be downloaded: withdrawn" in err) == (2, True)
    code, _, err = cli("data", "fetch", "shapes", "--to", str(tmp_path))
    assert (code, "is not from a hub" in err) == (2, True)


def test_check_counts_what_both_splits_of_a_source_name_once(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(16):
        (tmp_path / f"{number}.mp4").write_bytes(b"x")
        (tmp_path / f"{number}.txt").write_text(f"clip {number}")
    (tmp_path / "3.txt").unlink()
    source = '[[data.sources]]\nname = "clips"\npath = "."\nholdout = 0.3\n'
    recipe = 'name = "own"\n' + ENCODER + CONNECTOR + LLM + source + TRAINING
    (tmp_path / "own.toml").write_text(recipe + '[[runs]]\nid = "a"\n[[runs]]\nid = "b"\ntraining.seed = 1\n')
    for data in (["own.toml"], ["clips", "-o", "path=.", "-o", "holdout=0.3"]):
        code, out, err = cli("data", "check", *data)
        assert (code, err.splitlines()) == (
            1,
            [f"{tmp_path}/3.mp4: no caption: 3.txt: No such file or directory"],
        )
        assert re.fullmatch(
            r"15 samples: 1 wrong by the listing of clips \(\d+ train, \d+ validation\)\n", out
        )
