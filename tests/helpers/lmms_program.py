"""`python -m lmms_eval` where lmms-eval is not installed: its command line, stub documents in each task's own format,
the questions that each task makes of them, and the files that it writes of every question.

The model that answers is fvlm's own class, on real clips. Formats are those of lmms-eval 0.7.3.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import lmms_stand_in
import pytest

LETTERS = "ABCDE"
BR = (
    "\nQuestion: {}\nOptions:\n{}\n\n"
    "Respond only with the letter corresponding to your chosen option (e.g., A, B, C). \n"
    "Do not include any additional text or explanation in your response.\n"
)


def letter(said: str) -> str:
    """The first letter of an answer, as its tasks read it, or nothing."""
    return said.strip()[:1].upper() if said.strip()[:1].upper() in LETTERS else ""


def lines(options: list[str], form: str) -> str:
    return "\n".join(form.format(LETTERS[at], option) for at, option in enumerate(options))


OPTIONS = ["red", "blue", "green", "yellow"]
DOCUMENTS: dict[str, list[dict[str, Any]]] = {
    "mvbench_action_count": [
        {"video": "", "question": "How often?", "candidates": ["1", "2"], "answer": right} for right in ("1", "2")
    ],
    "videomme": [
        {
            "videoID": f"v{at}", "question": "Who?", "options": [f"{LETTERS[i]}. {o}" for i, o in enumerate(OPTIONS)],
            "answer": right, "domain": "Knowledge", "sub_category": "Biology & Medicine", "duration": "short",
            "task_type": "Counting Problem", "question_id": f"{at}-1",
        }
        for at, right in enumerate("AB")
    ],
    "longvideobench_val_v": [
        {
            "id": str(at), "question": "What?", **{f"option{i}": o for i, o in enumerate(OPTIONS)}, "option4": "N/A",
            "correct_choice": at, "duration_group": 15, "question_category": "S2E", "video_path": "",
        }
        for at in range(2)
    ],
    "mlvu_dev": [
        {"video_name": "", "question": f"Where?\n{lines(OPTIONS, '({}) {}')}", "answer": right, "task_type": "needle"}
        for right in "AB"
    ],
    "egoschema_subset": [
        {"video_idx": str(at), "question": "Why?", "option": lines(OPTIONS, "{}. {}").split("\n"), "answer": str(at)}
        for at in range(2)
    ],
    "nextqa_mc_test": [
        {"video": "", "question": "Which?", **{f"a{i}": o for i, o in enumerate([*OPTIONS, "pink"])}, "answer": at}
        for at in range(2)
    ],
    "lvbench": [{"video_path": "", "question": "When?", "options": OPTIONS, "answer": right} for right in "AB"],
    "tempcompass_multi_choice": [
        {"video_id": "", "question": f"What?\n{lines(OPTIONS, '{}. {}')}", "answer": f"{x}. {o}", "dim": "speed"}
        for x, o in zip("AB", OPTIONS, strict=False)
    ],
    "timescope": [
        {
            "video": "", "input": f"What?\n{lines(OPTIONS, '{}. {}')}", "answer": right, "type": "QA", "length": 60,
            "id": at,
        }
        for at, right in enumerate("AB")
    ],
    "ovo_backward": [
        {"id": at, "task": "EPM", "question": "What?", "options": OPTIONS, "gt": at, "video": ""} for at in range(2)
    ],
    "ovo_realtime": [{"id": 7, "task": "OCR", "question": "What?", "options": OPTIONS, "gt": 0, "video": ""}],
}  # fmt: skip
GROUPS = {"mvbench": ["mvbench_action_count"]}


def question(task: str, doc: dict[str, Any]) -> str:
    """What a task asks of a document."""
    direct = "Answer with the option's letter from the given choices directly."
    asked = doc.get("question", "")
    return {
        "mvbench_action_count": lambda: (
            f"Question:{asked}\nOption:\n{lines(doc['candidates'], '({}) {}')}\nOnly give the best option.\n"
        ),
        "videomme": lambda: (
            f"Select the best answer.\n{asked}\n" + "\n".join(doc["options"]) + f"\n\n{direct}"
        ),
        "longvideobench_val_v": lambda: f"{asked}\n{lines(OPTIONS, '{}. {}')}\n{direct}\n",
        "mlvu_dev": lambda: f"{asked}\nOnly give the best option.\nBest option: (",
        "egoschema_subset": lambda: asked + "".join(f"\n{one}" for one in doc["option"]) + f"\n{direct}",
        "nextqa_mc_test": lambda: f"{asked}\n{lines([doc[f'a{i}'] for i in range(5)], '{}. {}')}",
        "lvbench": lambda: (
            f"{asked}\n{lines(doc['options'], '({}) {}')}\nAnswer the question with the option letter"
        ),
        "tempcompass_multi_choice": lambda: f"{asked}\nPlease directly give the best option:",
        "timescope": lambda: doc["input"],
        "ovo_backward": lambda: BR.format(
            asked, "; ".join(f"{x}. {o}" for x, o in zip(LETTERS, OPTIONS, strict=False)) + ";"
        ),
        "ovo_realtime": lambda: BR.format(
            asked, "; ".join(f"{x}. {o}" for x, o in zip(LETTERS, OPTIONS, strict=False)) + ";"
        ),
    }[task]()


def kept(task: str, doc: dict[str, Any], said: str) -> dict[str, Any]:
    """What a task keeps of an answer."""
    found = letter(said)
    if task.startswith("mvbench"):
        right = LETTERS[doc["candidates"].index(doc["answer"])]
        return {"mvbench_accuracy": {"pred_answer": said, "gt_answer": right, "score": int(found == right)}}
    if task == "videomme":
        score = {"score": float(found == doc["answer"]), "pred_answer": found, "answer": doc["answer"]}
        return {
            "videomme_perception_score": {**score, "videoID": doc["videoID"], "duration": doc["duration"]}
        }
    if task == "longvideobench_val_v":
        answer = {"id": doc["id"], "answer": LETTERS[doc["correct_choice"]], "parsed_pred": found or "A"}
        return {"lvb_acc": answer, "submission": {doc["id"]: said}}
    if task == "mlvu_dev":
        return {
            "mlvu_percetion_score": {"task_type": "needle", "pred_answer": found, "answer": doc["answer"]}
        }
    if task == "egoschema_subset":
        index = LETTERS.index(found) if found else -1
        return {
            "submission": {doc["video_idx"]: index},
            "score": {"pred": index, "ground_truth": doc["answer"]},
        }
    if task == "nextqa_mc_test":
        return {"exact_match": found == LETTERS[doc["answer"]]}
    if task == "lvbench":
        return {"lvbench_score": found == doc["answer"]}
    if task == "tempcompass_multi_choice":
        rating = {
            "rating": int(found == doc["answer"][0]),
            "match_success": True,
            "video-llm-prediction": said,
        }
        return {"avg_accuracy": rating, "speed_accuracy": rating}
    if task == "timescope":
        return {
            "timescope_perception_score": {
                "id": doc["id"],
                "pred_answer": found,
                "pred": said,
                "answer": doc["answer"],
            }
        }
    return {"back_real_acc": {"id": doc["id"], "response": said.strip(), "ground_truth": LETTERS[doc["gt"]]}}


def main(words: list[str] | None = None) -> None:
    """A run of the stub tasks, as `python -m lmms_eval` makes one. words: of its command line."""
    parser = argparse.ArgumentParser()
    for name in ("model", "model_args", "tasks", "gen_kwargs", "output_path"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--log_samples", action="store_true", required=True)
    parser.add_argument("--limit", type=int)
    given = parser.parse_args(words)
    assert given.model == "fvlm"
    arguments: dict[str, Any] = dict(pair.split("=", 1) for pair in given.model_args.split(","))
    arguments["max_frames"] = int(arguments["max_frames"])
    clip = os.environ["STUB_CLIP"]
    broken = os.environ.get("STUB_BROKEN", "").split()
    with pytest.MonkeyPatch.context() as patch:
        lmms_stand_in.install(patch)
        from fvlm_lmms_eval.model import Fvlm

        model = Fvlm(**arguments)
        tokens = int(given.gen_kwargs.partition("max_new_tokens=")[2])
        for task in [one for name in given.tasks.split(",") for one in GROUPS.get(name, [name])]:
            if task in broken:
                raise SystemExit(f"{task}: the data set is not \x1b[31mhere")
            documents = DOCUMENTS[task][: given.limit]
            asked = [{"question": question(task, doc), "clip": clip} for doc in documents]
            model.task_dict, requests = lmms_stand_in.requests(
                asked, lambda doc: [doc["clip"]], {"max_new_tokens": tokens}
            )
            said = model.generate_until(requests)
            folder = Path(given.output_path) / "fvlm"
            folder.mkdir(parents=True, exist_ok=True)
            ends = os.environ.get("STUB_ENDS", "")
            rows = [
                {
                    "doc_id": at,
                    "input": own["question"] + ends,
                    "filtered_resps": answer,
                    **kept(task, doc, answer),
                }
                for at, (doc, own, answer) in enumerate(zip(documents, asked, said, strict=True))
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"20260101_000000_samples_{task}.jsonl").write_text(text)


if __name__ == "__main__":
    main()
