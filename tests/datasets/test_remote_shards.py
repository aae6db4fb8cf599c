"""Shards read where they lie: the same samples in the same order, from nobody else, and nothing that was changed."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from far_server import FarServer, Handler, cut, far, s3_server, s3_variables, some, unavailable, upload
from fvlm_shapes.config import Shapes
from fvlm_shapes.source import build as build_shapes
from fvlm_shards.config import Shards
from fvlm_shards.source import ShardSource
from fvlm_shards.source import build as build_shards
from grids import outcome

from fvlm_core.datasets.remote import ranges
from fvlm_core.datasets.shards.index import SCHEMA, Index
from fvlm_core.datasets.shards.pack import pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.media.frames import decode_frames
from fvlm_core.utils.address import Address
from fvlm_core.utils.errors import FvlmError, MissingData, UsageError

CLIPS = 24


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and validation/, of 24 and 8 samples in shards of 8."""
    folder = tmp_path_factory.mktemp("packs")
    config = Shapes(clips=CLIPS, validation_clips=8, cache=folder / "shapes")
    for split in ("train", "validation"):
        source = build_shapes(config, split)
        source.prepare(lambda what, done, total: None)
        pack(source, {}, folder / "packs" / split, PackSettings(size=42, samples=8), processes=1)
    return folder / "packs"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ranges, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(ranges, "LONGEST_WAIT", 0.01)


@pytest.fixture
def server(packs: Path) -> Iterator[FarServer]:
    with far(packs) as server:
        yield server


def opened(address: str, split: Any = "train") -> ShardSource:
    return build_shards(Shards(path=Address(address), holdout=0), split)


def same(one: ShardSource, other: ShardSource) -> bool:
    """Whether they hold the same samples, decoded, in the same order."""
    assert len(one) == len(other)
    for index in range(len(one)):
        a, b = one[index], other[index]
        if (a.id, a.source, a.turns) != (b.id, b.source, b.turns) or one.sample_id(index) != other.sample_id(
            index
        ):
            return False
        if a.visual and not np.array_equal(decode_frames(a, 42), decode_frames(b, 42)):
            return False
    return one.fingerprint() == other.fingerprint() and one.name == other.name


@pytest.mark.parametrize("split", ["train", "validation"])
def test_samples_order_and_fingerprint_are_those_of_the_local_pack(
    split: Any, packs: Path, server: FarServer
) -> None:
    assert same(opened(server.url, split), build_shards(Shards(path=packs, holdout=0), split))


def test_a_single_pack_is_divided_as_a_local_one(packs: Path, server: FarServer) -> None:
    for split in ("train", "validation"):
        local = build_shards(Shards(path=packs / "train", holdout=0.3), split)
        assert same(build_shards(Shards(path=Address(f"{server.url}/train"), holdout=0.3), split), local)


def test_each_sample_is_one_request_of_its_own_bytes_and_the_second_time_none(server: FarServer) -> None:
    source = opened(server.url)
    before = len(server.asked)
    for _ in range(2):
        for index in range(len(source)):
            decode_frames(source[index], 42)
    of_shards = [wanted for path, wanted in server.asked[before:] if path.endswith(".tar")]
    assert len(of_shards) == len(server.asked) - before == CLIPS
    index = Index(source._index.file)
    for row in range(len(index)):  # the members of a sample, and what is between them
        entry = index[row]
        assert f"bytes={entry.json_start - 512}-" in "".join(of_shards)


@pytest.fixture(scope="module")
def bucket(packs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the environment must say so that the packs are at s3://bucket."""
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in (variables := s3_variables(endpoint)).items():
            patch.setenv(name, value)
        upload(packs, "bucket")
        yield variables


@pytest.fixture
def s3(bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The packs at s3://bucket."""
    from fvlm_core.datasets.remote import places

    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    places._client.cache_clear()
    places._signed.cache_clear()
    yield
    places._client.cache_clear()
    places._signed.cache_clear()


def test_s3_is_read_as_a_folder_is_and_its_secret_is_seen_nowhere(
    s3: None, packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fvlm_core.datasets.remote import places

    source = opened("s3://bucket")
    assert same(source, build_shards(Shards(path=packs, holdout=0), "train"))
    with pytest.raises(MissingData) as missing:
        opened("s3://bucket/elsewhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody is there
    places._client.cache_clear()
    places._signed.cache_clear()
    with pytest.raises(FvlmError) as away:
        opened("s3://bucket/away")
    for error in (missing, away):
        assert "Signature" not in str(error.value)
        assert "s3://bucket/" in str(error.value)
    assert "no connection" in str(away.value)
    kept = b"".join(file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file())
    assert b"Signature" not in kept + pickle.dumps(source)


def test_faults_are_tried_again_and_change_nothing(packs: Path, server: FarServer) -> None:
    server.fault = some(0.3, unavailable, cut)
    source = opened(server.url)
    server.fault = some(0.5, unavailable, cut, seed=1)
    assert same(source, build_shards(Shards(path=packs, holdout=0), "train"))
    assert len(server.asked) > CLIPS * 1.3


def test_a_server_that_stays_away_is_named_and_no_sample_is_replaced(
    server: FarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fvlm_core.media.bad_sample import BadSample

    source = opened(server.url)
    server.fault = unavailable
    with pytest.raises(FvlmError, match=r"shard-000000.tar: cannot be read: status 503 \(8 tries") as error:
        source[0]
    assert not isinstance(error.value, BadSample)


def test_a_server_that_drips_is_given_up(server: FarServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "SILENCE", 0.1)
    monkeypatch.setattr(ranges, "TRIES", 2)

    def drips(handler: Handler, content: bytes) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.02)
        return True

    server.fault = drips
    begun = time.monotonic()
    with pytest.raises(FvlmError, match=r"bytes in 0 s|silent"):
        opened(server.url)
    assert time.monotonic() - begun < 5


def test_a_changed_shard_is_found_by_the_hash_of_the_sample(packs: Path, tmp_path: Path) -> None:
    """The same size, the same name, no ETag: nothing else would tell."""
    folder = Path(shutil.copytree(packs / "train", tmp_path / "changed"))
    shard = folder / "shard-000001.tar"
    content = bytearray(shard.read_bytes())
    content[2000] ^= 1
    shard.write_bytes(content)
    with far(folder) as server:
        source = opened(server.url)
        assert source[0].id
        with pytest.raises(
            FvlmError, match=r"shard-000001.tar: changed since it was packed: sample .* SHA-256"
        ) as error:
            [source[index] for index in range(8, 16)]
        assert "put back" in str(error.value)


def test_a_cut_shard_is_an_error_that_says_what_is_missing(packs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(packs / "train", tmp_path / "cut"))
    shard = folder / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:4000])
    with far(folder) as server, pytest.raises(UsageError, match="other bytes come than were asked for"):
        opened(server.url)[0]


def test_a_damaged_piece_of_the_cache_is_fetched_again(
    packs: Path, server: FarServer, tmp_path: Path
) -> None:
    source = opened(server.url)
    [source[index] for index in range(CLIPS)]
    index = Path(source._index.file)
    for file in (tmp_path / "cache" / "remote").rglob("*"):
        if file.is_file() and file != index and file.name != ".sum":
            file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert same(source, build_shards(Shards(path=packs, holdout=0), "train"))


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "http://127.0.0.2:9/x", "https://example.org/x", "/train/pack.json"]
)
def test_a_redirect_is_refused_wherever_it_leads(to: str, server: FarServer) -> None:
    def leads(handler: Handler, content: bytes) -> bool:
        handler.answer(302, b"", {"Location": to})
        return True

    server.fault = leads
    with pytest.raises(UsageError, match="where nothing is asked for"):
        opened(server.url)
    assert len(server.asked) == 1


def test_a_body_without_an_end_is_not_read(server: FarServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from fvlm_core.datasets.shards import remote

    sent: list[int] = []

    def endless(handler: Handler, content: bytes) -> bool:
        handler.send_response(206 if "Range" in handler.headers else 200)
        if wanted := handler.headers.get("Range"):
            handler.send_header("Content-Range", f"bytes {wanted.removeprefix('bytes=')}/*")
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 16))
            sent.append(1 << 16)

    source = opened(server.url)
    server.fault = endless
    with pytest.raises(UsageError, match="and no end"):
        source[0]
    monkeypatch.setattr(remote, "NOTES", 1 << 20)
    with pytest.raises(UsageError, match=r"more than 1,048,576 bytes come"):
        opened(server.url)
    assert sum(sent) < 64 << 20


def test_a_server_without_ranges_says_so(server: FarServer) -> None:
    def all_of_it(handler: Handler, content: bytes) -> bool:
        handler.answer(200, (handler.server.folder / handler.path.lstrip("/")).read_bytes())
        return True

    server.fault = all_of_it
    with pytest.raises(UsageError, match="no Range"):
        opened(server.url)


def test_nothing_is_compressed_on_the_way_and_bombs_stay_packed(server: FarServer) -> None:
    import gzip

    def bomb(handler: Handler, content: bytes) -> bool:
        handler.answer(200, gzip.compress(bytes(20 << 20), 9), {"Content-Encoding": "gzip"})
        return True

    server.fault = bomb
    with pytest.raises(UsageError, match="not the manifest of a pack"):
        opened(server.url)
    assert server.headers[0]["Accept-Encoding"] == "identity"


def test_a_manifest_cannot_lead_out_of_its_folder(packs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(packs / "train", tmp_path / "hostile"))
    manifest = json.loads((folder / "pack.json").read_text())
    manifest["shards"][0]["file"] = "../secret-000000.tar"
    (folder / "pack.json").write_text(json.dumps(manifest))
    with far(folder) as server, pytest.raises(UsageError, match=r"another name than shard-NUMBER\.tar"):
        opened(server.url)


def test_a_pack_without_hashes_of_its_samples_is_read_here_and_refused_from_afar(
    packs: Path, tmp_path: Path
) -> None:
    import pyarrow as pa

    from fvlm_core.datasets.shards.manifest import PackedFile, read_manifest
    from fvlm_core.utils.atomic_files import sha256

    folder = Path(shutil.copytree(packs / "train", tmp_path / "old"))
    file = folder / "index.arrow"
    with pa.memory_map(str(file), "r") as mapped:
        table = pa.ipc.open_file(mapped).read_all().drop_columns("digest").combine_chunks()
    assert table.schema.names == SCHEMA.names[:-1]
    with pa.OSFile(str(tmp_path / "i"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "i").replace(file)
    manifest = json.loads((folder / "pack.json").read_text())
    manifest["index"] |= {"bytes": file.stat().st_size, "sha256": sha256(file)}
    (folder / "pack.json").write_text(json.dumps(manifest))
    assert isinstance(read_manifest(folder).index, PackedFile)
    assert len(build_shards(Shards(path=folder, holdout=0), "train")) == CLIPS
    with far(folder) as server, pytest.raises(UsageError, match="packed by an older fvlm"):
        opened(server.url)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s3://key:secret@bucket/x", "kept out of recipes"),
        ("https://host/x?X-Amz-Signature=secret", "kept out of recipes"),
        ("gs://bucket/x", "is not read"),
        ("file:///etc", "is not read"),
        ("https:///x", "without a host"),
        ("https://host/a/../../b", r"with \.\."),
        ("hf://owner/name", "hf://datasets/OWNER/NAME"),
        ("https://host/\x1b[31m", "unprintable"),
    ],
)
def test_what_is_no_address_is_told_by_the_recipe_s_own_line(text: str, why: str, tmp_path: Path) -> None:
    from tiny import CONNECTOR, ENCODER, LLM, TRAINING

    from fvlm_core.recipes.read import read_recipe

    recipe = tmp_path / "r.toml"
    data = f'\n[[data.sources]]\nname = "shards"\npath = {json.dumps(text)}\n'
    recipe.write_text('name = "r"\n' + ENCODER + CONNECTOR + LLM + data + TRAINING)
    with pytest.raises(UsageError, match=rf"r.toml:\d+: data.sources\[0\].path: .*{why}"):
        read_recipe(str(recipe))


def _read_all(url: str, cache: str, out: Any) -> None:
    os.environ["FVLM_CACHE"] = cache
    source = opened(url)
    for index in range(len(source)):
        decode_frames(source[index], 42)
    out.put(len(source))


def test_four_processes_share_one_download(server: FarServer, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    server.delay = 0.01
    out = context.Queue()
    readers = [
        context.Process(target=_read_all, args=(server.url, str(tmp_path / "cache"), out)) for _ in range(4)
    ]
    for reader in readers:
        reader.start()
    assert [out.get(timeout=60) for _ in readers] == [CLIPS] * 4
    for reader in readers:
        reader.join()
    shards = [asked for asked in server.asked if asked[0].endswith(".tar")]
    assert len(shards) == len(set(shards)) == CLIPS
    assert len([path for path, _ in server.asked if path.endswith("index.arrow")]) == 1


def test_what_is_read_next_is_fetched_meanwhile(server: FarServer) -> None:
    source = opened(server.url)
    server.delay = 0.1
    source.read_ahead(range(CLIPS))
    begun = time.monotonic()
    for index in range(CLIPS):
        source[index]
    assert time.monotonic() - begun < 0.1 * CLIPS / 2
    assert len([path for path, _ in server.asked if path.endswith(".tar")]) == CLIPS


def test_the_hub_s_files_are_asked_for_at_its_own_address_with_the_token_and_nowhere_else(
    packs: Path, server: FarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    stored = server.folder
    prefix = "/datasets/owner/name/resolve/v1/data/"

    files = {f"{prefix}{file.relative_to(stored)}": file for file in stored.rglob("*") if file.is_file()}
    original = Handler.do_GET

    def mapped(handler: Handler) -> None:
        if handler.path in files:
            if handler.path.endswith(".tar"):  # as the hub leads to where large files lie
                handler.server.asked.append((handler.path, ""))
                handler.server.headers.append(dict(handler.headers.items()))
                handler.answer(302, b"", {"Location": "/" + str(files[handler.path].relative_to(stored))})
                return
            handler.path = "/" + str(files[handler.path].relative_to(stored))
        original(handler)

    monkeypatch.setattr(Handler, "do_GET", mapped)
    source = opened("hf://datasets/owner/name@v1/data")
    assert same(source, build_shards(Shards(path=packs, holdout=0), "train"))
    assert {headers.get("Authorization") for headers in server.headers} == {"Bearer hf_secret"}

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        opened("hf://datasets/owner/name@v1/data")


def test_the_hub_leads_to_hosts_of_its_own_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from fvlm_core.datasets.remote.places import place_of

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    may = place_of(Address("hf://datasets/owner/name/data/pack.json")).may_lead
    assert may("https://cas-bridge.xethub.hf.co/x?signed")
    assert may("https://cdn-lfs.huggingface.co/x")
    for to in (
        "http://cdn.hf.co/x",
        "https://evilhf.co/x",
        "https://hf.co.evil.org/x",
        "file:///hf.co",
        "https://127.0.0.1/x",
    ):
        assert not may(to), to


def test_what_lets_one_in_is_not_sent_to_where_the_hub_leads(
    packs: Path, server: FarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fvlm_core.datasets.remote.places import Place

    with far(packs) as elsewhere:
        for number in range(2):
            address = Address(f"{server.url}/train/pack.json")
            place = Place(
                address.url, {"Authorization": "Bearer secret"}, lambda to: to.startswith(elsewhere.url)
            )
            monkeypatch.setattr(ranges, "place_of", lambda of, place=place: place)

            def leads(handler: Handler, content: bytes) -> bool:
                handler.answer(302, b"", {"Location": elsewhere.url + "/train/pack.json"})
                return True

            server.fault = leads
            assert ranges.read_all(address, 1 << 20) == (packs / "train" / "pack.json").read_bytes()
            assert len(elsewhere.asked) == number + 1
        assert len(server.asked) == 1  # then it is known where the file lies
        assert "Authorization" in server.headers[0]
        assert all("Authorization" not in headers for headers in elsewhere.headers)

        def closed(handler: Handler, content: bytes) -> bool:
            handler.answer(403, b"expired")
            return True

        elsewhere.fault = closed
        with pytest.raises(FvlmError):
            ranges.read_all(address, 1 << 20)
        assert len(server.asked) > 1


LENGTHS = [20, pytest.param(200, marks=pytest.mark.soak)]


def recipe(folder: Path, path: str, steps: int = 20) -> Path:
    from tiny import CONNECTOR, ENCODER, LLM, TRAINING

    data = f'\n[[data.sources]]\nname = "shards"\npath = "{path}"\n'
    every = TRAINING.replace("steps = 6", f"steps = {steps}").replace("every = 2", f"every = {steps // 2}")
    file = folder / "far.toml"
    file.write_text('name = "far"\n' + ENCODER + CONNECTOR + LLM + data + every)
    return file


def came_of(root: Path) -> dict[str, Any]:
    """The hashes of weights and optimizer, and every row without its clock."""
    return outcome(next(root.glob("far/*")))


@pytest.fixture(scope="module", params=LENGTHS)
def steps(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def local(steps: int, packs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tiny import train

    folder = tmp_path_factory.mktemp("local")
    train(recipe(folder, str(packs), steps), folder / "runs")
    return came_of(folder / "runs")


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.soak), 2])
def test_training_from_s3_is_that_from_local_shards(
    workers: int, s3: None, steps: int, local: Any, tmp_path: Path
) -> None:
    from tiny import train

    more = f"training.workers={workers}"
    file = recipe(tmp_path, "s3://bucket", steps)
    train(file, tmp_path / "runs", more, until=steps * 2 // 5)  # and goes on there
    train(file, tmp_path / "runs", more)
    assert came_of(tmp_path / "runs") == local
    record = b"".join(file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file())
    assert b"s3://bucket" in record
    for secret in (b"not-to-be-seen", b"AKIATEST", b"Signature"):
        assert secret not in record


def test_training_is_the_same_where_one_request_in_twenty_fails_and_a_run_moves_there_from_here(
    steps: int, local: Any, packs: Path, tmp_path: Path, server: FarServer
) -> None:
    """A piece is dropped from the cache again and again, so that requests go on to the end."""
    from tiny import train

    server.fault = some(0.05, unavailable, cut)
    train(recipe(tmp_path, str(packs), steps), tmp_path / "runs", until=steps // 5)
    asked = 0
    for until in (steps * 3 // 5, None):  # at least seven steps, in which each clip is read
        file = recipe(tmp_path, server.url, steps)
        train(file, tmp_path / "runs", "training.workers=1", until=until)
        shutil.rmtree(tmp_path / "cache" / "remote")
        assert len(server.asked) > asked + CLIPS
        asked = len(server.asked)
    assert came_of(tmp_path / "runs") == local


def test_a_run_that_cannot_read_on_says_so_without_a_traceback(
    packs: Path,
    tmp_path: Path,
    server: FarServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tiny import run_cli

    def changed(handler: Handler, content: bytes) -> bool:
        if not handler.path.endswith("train/shard-000001.tar"):
            return False
        handler.answer(
            206, b"!" * len(content), {"Content-Range": "bytes " + handler.headers["Range"][6:] + "/*"}
        )
        return True

    server.fault = changed
    line = [
        "run",
        str(recipe(tmp_path, server.url)),
        "--runs",
        str(tmp_path / "runs"),
        "-o",
        "training.workers=2",
    ]
    code, out, err = run_cli(line, monkeypatch, capsys)
    assert code == 1
    assert "train/shard-000001.tar: changed since it was packed" in err
    assert "Traceback" not in out + err
    assert "fvlm_core" not in err
