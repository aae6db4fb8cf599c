"""Writes data sets of videos in the layouts they are published in: columns, names, archives, odd rows.

Every video carries its own pictures' indices (see `videos`), so that a test can tell which one was read. Rows and files
whose names begin with `trap_` must be counted and reported.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from videos import write_video

OPENVID_HEADER = (
    "video,caption,aesthetic score,motion score,temporal consistency score,camera motion,frame,fps,seconds"
)
FRAMES = 3
"""Of each video, at one a second."""


@cache
def mp4(first: int) -> bytes:
    """A video of 3 seconds whose pictures carry the indices first, first + 1, first + 2."""
    with TemporaryDirectory() as folder:
        return write_video(Path(folder, "video.mp4"), FRAMES, first=first, fps=1).read_bytes()


def zip_of(members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tar_gz_of(members: dict[str, bytes]) -> bytes:
    """A tar.gz of these members."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def write(path: Path, content: bytes | str) -> Path:
    """A file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """One JSON object a line, as published: ASCII or not."""
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def openvid(root: Path) -> None:
    """OpenVid-1M: a CSV, a zip, a zip in two parts, and one that is deflated; both CSVs."""

    def row(video: str, caption: str, motion: str = "1.2", seconds: str = "3.0") -> list[str]:
        return [video, caption, "5.1", motion, "0.99", "static", "3", "1.0", seconds]

    rows = [
        row("---_iRTHryQ_13_0to241.mp4", 'A man, "Bob", waves.\nThen he sits.'),
        row("split_0to100.mp4", "Ein Käfer läuft – 虫", motion=""),
        row("trap_missing.mp4", "Not there."),
        row("trap_empty.mp4", "Zero bytes."),
        row("deflated_0to50.mp4", "Packed.", seconds=""),
        row("split_0to100.mp4", "Ein Käfer läuft – 虫", motion=""),
        row("trap_no_caption.mp4", "  "),
    ]
    for name, kept in (("OpenVid-1M", rows), ("OpenVidHD", rows[:1])):
        out = io.StringIO(newline="")
        csv.writer(out).writerows([OPENVID_HEADER.split(","), *kept])
        write(root / f"data/train/{name}.csv", out.getvalue())
    write(
        root / "OpenVid_part0.zip",
        zip_of({"---_iRTHryQ_13_0to241.mp4": mp4(10), "trap_empty.mp4": b"", "readme.txt": b"x"}),
    )
    cut = zip_of({"inner/folder/other_0to9.mp4": mp4(60), "inner/folder/split_0to100.mp4": mp4(20)})
    middle = len(cut) - len(mp4(20)) // 2  # through the second video
    write(root / "OpenVid_part89_partaa", cut[:middle])
    write(root / "OpenVid_part89_partab", cut[middle:])
    write(root / "OpenVid_part7.zip", zip_of({"deflated_0to50.mp4": mp4(30)}, zipfile.ZIP_DEFLATED))
    write(root / "OpenVidHD/trap_other_subset.zip", zip_of({"deflated_0to50.mp4": mp4(40) + b"x"}))


def vript(root: Path) -> None:
    """Vript, long: captions by scene, zips of clips with a folder a video, an empty folder, meta and speech files."""

    def row(video: str, scene: int, content: str, integrity: bool = True) -> dict[str, Any]:
        return {
            "meta": {"video_id": video, "video_title": "T", "num_clips": 2, "integrity": integrity},
            "clip_id": f"{video}-Scene-{scene:03d}",
            "caption": {
                "shot_type": "Medium shot",
                "camera_movement": "static",
                "content": content,
                "scene_title": "S",
            },
            "voiceover": ["Hello."],
        }

    rows = [
        row("02toZL7p4_0", 1, "A cook cuts onions."),
        row("02toZL7p4_0", 2, "She cries — of course."),
        row("_dash-id_", 1, "A street."),
        row("trap_integrity", 1, "", integrity=False),
        row("trap_missing", 1, "A clip that is in no zip."),
    ]
    write_jsonl(root / "vript_captions/vript_long_videos_captions.jsonl", rows)
    first = {
        "02toZL7p4_0/02toZL7p4_0-Scene-001.mp4": mp4(100),
        "02toZL7p4_0/02toZL7p4_0-Scene-002.mp4": mp4(110),
        "02toZL7p4_0/02toZL7p4_0_cut_meta.json": b"{}",
        "02toZL7p4_0/02toZL7p4_0_asr.jsonl": b"",
        "trap_integrity/trap_integrity-Scene-001.mp4": mp4(190),
        "emptyfolder/": b"",
    }
    clips = root / "vript_long_videos_clips"
    write(clips / "clips_1_of_1095.zip", zip_of(first))
    write(clips / "clips_2_of_1095.zip", zip_of({"_dash-id_/_dash-id_-Scene-001.mp4": mp4(120)}))
    meta = {"02toZL7p4_0": {"title": "T"}}
    write(root / "vript_meta/vript_long_videos_meta.json", json.dumps(meta))


def sharegpt4video(root: Path) -> None:
    """ShareGPT4Video: captions of key frames and of the whole, one zip a source."""

    def row(name: str, source: str, captions: list[tuple[str, str]]) -> dict[str, Any]:
        return {
            "video_id": name,
            "video_path": f"{source}/{name}.mp4",
            "timestamp": ["00:00:00.000", "00:00:01.000"],
            "keyframe": [0, 30],
            "captions": [{"idx": idx, "content": content} for idx, content in captions],
            "zip_folder": f"{source}_videos_1.zip",
        }

    rows = [
        row("p1", "panda", [("1", "First frame."), ("2", "Second."), ("-1", "A panda eats.")]),
        row("b1", "bdd100k", [("-1", "A car turns."), ("1", "trap: the last is not the whole")]),
        row("trap_no_whole", "panda", [("1", "Only a frame.")]),
        row("trap_missing", "pexels", [("-1", "Its zip was not downloaded.")]),
    ]
    write_jsonl(root / "sharegpt4video_40k.jsonl", rows)
    write(
        root / "zip_folder/panda/panda_videos_1.zip",
        zip_of({"p1.mp4": mp4(200), "trap_no_whole.mp4": mp4(210)}),
    )
    write(root / "zip_folder/bdd100k/bdd100k_videos_1.zip", zip_of({"bdd100k/b1.mp4": mp4(220)}))


def webvid(root: Path) -> None:
    """WebVid-10M: partitions of CSV, videos in folders by page."""
    header = "videoid,contentUrl,duration,page_dir,name\n"
    url = "https://ak.picdn.net/shutterstock/videos/1/preview/x.mp4"
    write(
        root / "data/train/partitions/0000.csv",
        f'{header}0021179416,{url},PT00H00M03S,006001_006050,"Aerial shot, winter"\n'
        f"11,{url},PT00H00M03S,,No page\n"
        f"trap_missing,{url},PT00H00M11S,006001_006050,Gone\n",
    )
    write(
        root / "data/train/partitions/0001.csv",
        f"{header}12,{url},PT00H00M03S,nan,A lake\n../trap,{url},PT00H00M03S,x,Out\n",
    )
    write(root / "data/val/partitions/0000.csv", f"{header}13,{url},PT00H00M03S,000001_000050,A dog\n")
    write(root / "videos/006001_006050/0021179416.mp4", mp4(300))
    write(root / "videos/11.mp4", mp4(310))
    write(root / "videos/somewhere/12.mp4", mp4(320))
    write(root / "videos/000001_000050/13.mp4", mp4(330))


def llava_video(root: Path) -> None:
    """LLaVA-Video-178K: one part in a tar.gz, one unpacked; captions, open and multiple-choice questions."""

    def row(video: str, *said: str, source: str = "0_30_s_academic_v0_1") -> dict[str, Any]:
        turns = [{"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(said)]
        return {
            "id": Path(video).stem,
            "conversations": turns,
            "data_source": source,
            "video": video,
        }

    part = root / "0_30_s_academic_v0_1"
    charades = "academic_source/Charades/6TVHA.mp4"
    write(
        part / "0_30_s_academic_v0_1_cap_processed.json",
        json.dumps([row(charades, "<image>\nDescribe the video.", "A man — in a café — laughs.")], indent=1),
    )
    rows = [
        row(charades, "<image>\nWho laughs?", "A man.", "Where?", "In a café."),
        row("academic_source/trap_missing.mp4", "<image>\nWho?", "Nobody."),
        row("academic_source/trap_silent.mp4", "<image>\nWho?"),
    ]
    write(part / "0_30_s_academic_oe_v0_1_qa_processed.json", json.dumps(rows))
    write(
        part / "0_30_s_academic_mc_v0_1_qa_processed.json",
        json.dumps([row(charades, "<image>\nWho?\nA. A man\nB. A dog", "A.")]),
    )
    members = {charades: mp4(400), "academic_source/trap_silent.mp4": mp4(410)}
    write(part / "0_30_s_academic_v0_1_videos_1.tar.gz", tar_gz_of(members))
    other = root / "0_30_s_nextqa"
    nextqa = row("NextQA/NExTVideo/1/2.mp4", "<image>\nWhy?", "To play.", source="0_30_s_nextqa")
    write(other / "0_30_s_nextqa_oe_qa_processed.json", json.dumps([nextqa]))
    write(other / "videos/NextQA/NExTVideo/1/2.mp4", mp4(420))
