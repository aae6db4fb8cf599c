"""What an ONNX folder says about videos: `python caption_onnx.py clip.mp4 [...]`, a line of JSON for each.

onnxruntime, tokenizers and PyAV are all that it needs (Pillow, for pictures). The graphs beside it: `encode.onnx` looks
at a frame once; `look.onnx` asks it a query; `embed.onnx` turns token ids to embeddings; `step.onnx` is the language
model, a few positions further with the cache of those before. `settings.json` says how they belong together.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from inputs_fvlm import is_still, prompt_ids, read_frames
from numpy.typing import NDArray
from tokenizers import Tokenizer

Array = NDArray[Any]


class Language:
    """The language model and its cache: `read` embeddings, one call after the other."""

    def __init__(self, session: Any, settings: dict[str, Any]) -> None:
        self.session = session
        empty = (settings["layers"], 1, settings["kv_heads"], 0, settings["head_width"])
        self.cache = [np.zeros(empty, np.float32)] * 2

    def read(self, embeddings: Array) -> tuple[Array, Array | None]:
        """Embeddings [1, S, W] to the logits after the last one, [vocabulary], and the queries [S, query_dim] that the
        states ask, None of a model that asks none."""
        given = {"embeddings": embeddings, "past_keys": self.cache[0], "past_values": self.cache[1]}
        logits, *self.cache, queries = [*self.session.run(None, given), None][:4]
        return logits[0], None if queries is None else queries[0]


class Captioner:
    """A folder's graphs. threads: of onnxruntime, None for its own choice."""

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        self.folder = Path(folder)
        self.settings: dict[str, Any] = json.loads(
            (self.folder / "settings.json").read_text(encoding="utf-8")
        )
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        self.graphs: dict[str, Any] = {
            name: onnxruntime.InferenceSession(
                self.folder / f"{name}.onnx", options, ["CPUExecutionProvider"]
            )
            for name in self.settings["graphs"]
        }
        self.tokenizer: Any = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        static, first = (self.settings.get(name) for name in ("q_static", "q_init"))
        self.static = None if static is None else np.array([static], np.float32)  # [1, n, query_dim]
        self.first: Any = None if first is None else np.array([first], np.float32)

    def caption(self, file: str | Path, question: str | None = None, mode: str | None = None) -> str:
        """What the model says about a video or a picture, greedily. mode: of a foveated model "coarse_only",
        "coarse_fine" or "autoregressive"; None for that of training. Raises ValueError for a file that is none."""
        shown = self.settings["shown"]
        names = ("fps", "max_frames", "fit", "repeats")
        frames = read_frames(file, shown["image_size"], **{name: shown[name] for name in names})
        if question is None:
            with open(file, "rb") as opened:
                still = is_still(opened.read(64 << 10))
            question = shown["picture_prompt" if still else "prompt"]
        return self.say(frames, question or "", mode)

    def say(self, frames: NDArray[np.uint8], question: str, mode: str | None = None) -> str:
        """As `caption`, of frames uint8 RGB [T, 3, size, size]."""
        language = Language(self.graphs["step"], self.settings)
        mode = mode or str(self.settings["mode"])
        if self.static is None or mode != "autoregressive":
            tokens = self.see(frames, mode)
            language.read(tokens.reshape(1, -1, tokens.shape[-1]))
        else:
            for _ in self.watch(frames, language):
                pass
        ids = prompt_ids(self.tokenizer, question, self.settings["shown"]["system"])
        return self.tokenizer.decode(list(self.answer(language, ids)), skip_special_tokens=True)

    def see(self, frames: NDArray[np.uint8], mode: str) -> Array:
        """The visual tokens [T, n, W] of frames, all passes of them. The fine pass needs every frame's keys and values
        once more: they are kept until then."""
        seen = [self.graphs["encode"].run(None, {"frames": frame[None]}) for frame in frames]
        if self.static is None:
            return np.concatenate([tokens for (tokens,) in seen])
        if mode not in ("coarse_only", "coarse_fine"):
            raise ValueError(f'mode: expected "coarse_only", "coarse_fine" or "autoregressive", got "{mode}"')
        tokens = np.concatenate([self.look(self.static, kept)[0] for kept in seen])
        for _ in range(self.settings["fine_iterations"] if mode == "coarse_fine" else 0):
            _, asked = Language(self.graphs["step"], self.settings).read(
                tokens.reshape(1, -1, tokens.shape[-1])
            )
            assert asked is not None
            queries = [
                self.first,
                *np.split(asked.reshape(len(frames), *self.first.shape[1:]), len(frames))[:-1],
            ]
            tokens = np.concatenate(
                [self.look(query, kept)[0] for query, kept in zip(queries, seen, strict=True)]
            )
        return tokens

    def look(self, queries: Any, kept: Sequence[Array]) -> tuple[Array, Array]:
        """Queries [1, n, query_dim] to visual tokens [1, n, W], and where they looked [1, n, rows, columns]."""
        tokens, gaze = self.graphs["look"].run(None, {"queries": queries, "keys": kept[0], "values": kept[1]})
        return tokens, gaze

    def watch(self, frames: Iterator[Array] | Array, language: Language) -> Iterator[tuple[Array, Array]]:
        """Frames one by one, each [3, size, size], into the language model's cache: of each its visual tokens [n, W]
        and where it was looked at [n, rows, columns]."""
        query: Any = self.first
        for frame in frames:
            tokens, gaze = self.look(query, self.graphs["encode"].run(None, {"frames": frame[None]}))
            _, asked = language.read(tokens)
            query = asked[None] if asked is not None else None
            yield tokens[0], gaze[0]

    def answer(self, language: Language, ids: Sequence[int], limit: int | None = None) -> Iterator[int]:
        """The token ids after a prompt, greedily, without the one that ends the answer."""
        read = list(ids)
        for _ in range(self.settings["limit"] if limit is None else limit):
            (embeddings,) = self.graphs["embed"].run(None, {"ids": np.array([read], np.int64)})
            token = int(language.read(embeddings)[0].argmax())
            if token == self.settings["end"]:
                return
            yield token
            read = [token]


def main() -> int:
    """Caption the files that the command line names; 1 if one of them could not be read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--question", help="in place of that of training")
    parser.add_argument("--mode", choices=("coarse_only", "coarse_fine", "autoregressive"))
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    captioner = Captioner(Path(__file__).parent, given.threads)
    failed = False
    for file in given.files:
        begin = time.perf_counter()
        try:
            said = {"caption": captioner.caption(file, given.question, given.mode)}
        except ValueError as error:
            said, failed = {"error": str(error)}, True
        seconds = round(time.perf_counter() - begin, 3)
        print(json.dumps({"video": file, **said, "seconds": seconds}, ensure_ascii=False), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
