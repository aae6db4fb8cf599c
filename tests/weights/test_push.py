"""An exported folder to the hub: what is asked of it, and what is said where it cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled
from tiny import RECIPE, run_cli, train

pytestmark = pytest.mark.timeout(200)
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        (folder / "tiny.toml").write_text(RECIPE)
        train(folder / "tiny.toml", folder / "runs")
    return folder / "runs"


def test_a_private_repository_is_asked_for_and_the_whole_folder_sent(
    runs: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def create(self: HfApi, repo_id: str, **given: Any) -> str:
        asked.append({"repo_id": repo_id, **given})
        return f"https://hub.example/{repo_id}"

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **given: asked.append(given))
    out = tmp_path / "out"
    code, said, err = cli("weights", "export", "tiny", "--runs", runs, "--to", out, "--push", "me/tiny")
    assert code == 0, err
    assert asked[0] == {"repo_id": "me/tiny", "private": True, "exist_ok": True}
    assert (asked[1]["repo_id"], asked[1]["folder_path"]) == ("me/tiny", out)
    assert said.endswith("pushed, private unless it was there: https://hub.example/me/tiny\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
        (ConnectionError("no route\nto host"), "not pushed to me/tiny: no route. `hf auth login` signs in"),
    ],
)
def test_a_hub_that_is_not_reached_leaves_the_folder_and_says_how_else(
    error: Exception, said: str, runs: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: HfApi, repo_id: str, **given: Any) -> None:
        raise error

    monkeypatch.setattr(HfApi, "create_repo", fail)
    out = tmp_path / "out"
    code, _, err = cli("weights", "export", "tiny", "--runs", runs, "--to", out, "--push", "me/tiny")
    assert code == 1
    assert said in err
    assert f"hf upload me/tiny {out}" in err
    assert (out / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "me/ti ny", "me/tiny--"])
def test_what_is_no_repository_is_told_before_anything_is_written(
    name: str, runs: Path, cli: Cli, tmp_path: Path
) -> None:
    code, _, err = cli("weights", "export", "tiny", "--runs", runs, "--to", tmp_path / "out", "--push", name)
    assert code == 2
    assert "expected OWNER/NAME" in err
    assert not (tmp_path / "out").exists()
