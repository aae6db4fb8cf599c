"""Exported models in transformers: after `import fvlm_core.hf`, `AutoModel.from_pretrained(FOLDER)` restores one.

The architecture is this installed package's, registered under the model type "fvlm": code in the folder, which is for
those who have no fvlm, is not run, and `trust_remote_code` is never needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils.hub import cached_file

from fvlm_core.data.batch import Batch
from fvlm_core.hf.standalone import modeling_fvlm
from fvlm_core.interfaces.chat import Chat
from fvlm_core.media.viewing import Viewing
from fvlm_core.model.build import compose, make_chat
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import model_from_resolved
from fvlm_core.runs.viewing import exported_viewing
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.listing import listed
from fvlm_core.utils.pretrained import known_architectures


class FvlmConfig(modeling_fvlm.FvlmConfig):
    """`config.json` of an exported model, with or without what those read who have no fvlm.

    composition: the recipe's table `model`, every default filled in. architectures_read: the `config.json` of
    pretrained encoders and LLMs whose sizes the recipe does not state, by the name it gives them. vocab_size: rows of
    the embedding. eos_token_id: the end of a turn. viewing: how the model was shown things in training, the fields of
    `fvlm_core.media.viewing.Viewing`. logit_scale: factor on the logits.
    """

    model_type = "fvlm"

    def __init__(
        self,
        composition: dict[str, Any] | None = None,
        architectures_read: dict[str, dict[str, Any]] | None = None,
        vocab_size: int = 0,
        viewing: dict[str, Any] | None = None,
        logit_scale: float = 1.0,
        **others: Any,
    ) -> None:
        self.composition = composition or {}
        self.architectures_read = architectures_read or {}
        self.vocab_size = vocab_size
        self.viewing = viewing
        super().__init__(logit_scale=logit_scale, **others)


_WRITTEN = {
    rf"vlm\.encoder\.dino\.encoder\.layer\.\1\.{theirs}": rf"vlm.encoder.dino.encoder.layer.(\d+).{ours}"
    for theirs, ours in (
        (r"attention\.attention\.query", "attention.q_proj"),
        (r"attention\.attention\.key", "attention.k_proj"),
        (r"attention\.attention\.value", "attention.v_proj"),
        (r"attention\.output\.dense", "attention.o_proj"),
    )
}
"""Names in a file for weights of a DINOv2, which transformers writes as it did in its version 4; patterns in its
notation."""


class FvlmModel(PreTrainedModel):
    """A composed vision-language model as transformers holds one; `vlm` is the model itself.

    Weights are float32, named "vlm.encoder.…", "vlm.connector.…", "vlm.llm.…".
    """

    config_class = FvlmConfig
    main_input_name = "pixel_values"

    def __init__(self, config: FvlmConfig, vlm: VLM | None = None) -> None:
        super().__init__(config)
        self.vlm = vlm or _composed(config)
        # Normalisation constants and rotary tables are in no weight file; transformers leaves them empty on loading.
        self._constants: dict[nn.Module, dict[str, Tensor]] = {
            module: {
                name: buffer.clone()
                for name, buffer in module.named_buffers(recurse=False)
                if name in module._non_persistent_buffers_set
            }
            for module in self.modules()
        }
        self.post_init()

    @classmethod
    def from_pretrained(cls, *where: Any, output_loading_info: bool = False, **options: Any) -> Any:
        """As transformers' own, but a weight that the file does not hold is an error, never a random one.

        Raises `FvlmError` that names them.
        """
        options["key_mapping"] = {**_WRITTEN, **(options.get("key_mapping") or {})}
        loaded: Any = super().from_pretrained(*where, output_loading_info=True, **options)
        model, info = loaded
        if info["missing_keys"]:
            raise FvlmError(
                f"{where[0]}: the weight file does not hold {listed(sorted(info['missing_keys']))}"
            )
        with torch.no_grad():
            for module, constants in model._constants.items():
                for name, value in constants.items():
                    getattr(module, name).copy_(value)
        return (model, info) if output_loading_info else model

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: fresh weights are the components' own, and loaded ones must stay as the file has them."""

    def forward(
        self,
        pixel_values: Tensor,
        input_ids: Tensor,
        frame_counts: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        question_lengths: Tensor | None = None,
    ) -> CausalLMOutput:
        """Read frames, then text; with `question_first` the question, then frames, then the rest of the text.

        pixel_values: [F, 3, H, W], frames of all samples one after the other: uint8 RGB, or floating point and
        normalised. frame_counts: int64 [B], frames of each sample; default: all of a single one's. input_ids: int64
        [B, S], padded on the right. attention_mask: [B, S], 1 at real tokens. labels: [B, S], `input_ids` where the
        token is scored and -100 elsewhere. question_lengths: int64 [B], tokens before the first answer; a model with
        `question_first` needs them, and raises ValueError without.
        Gives logits [B, S, vocabulary] of the text positions (0 at padding) and, with labels, the loss in nats a token.
        """
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        counts = torch.tensor([len(pixel_values)]) if frame_counts is None else frame_counts
        supervised = torch.zeros_like(input_ids, dtype=torch.bool) if labels is None else labels != -100
        if question_lengths is None:
            if self.vlm.question_first:
                raise ValueError(
                    "question_lengths: this model reads the question before the frames; expected how many tokens of "
                    "each row stand before its first answer"
                )
            question_lengths = torch.zeros(len(input_ids), dtype=torch.int64)
        batch = Batch(
            frames=pixel_values,
            counts=counts.cpu(),
            ids=input_ids,
            lengths=real.sum(1).cpu(),
            supervised=supervised,
            content=supervised,
            questions=question_lengths.cpu(),
        )
        first = (batch.questions if self.vlm.question_first else 0 * batch.questions).tolist()
        text = [
            torch.cat([rows[:asked], rows[len(rows) - length + asked :]])
            for rows, length, asked in zip(self.vlm.logits(batch), batch.lengths.tolist(), first, strict=True)
        ]
        logits = nn.utils.rnn.pad_sequence(text, batch_first=True)
        loss = None
        if labels is not None:
            losses = self.vlm(batch)
            loss = losses.loss / max(losses.tokens, 1)
        return CausalLMOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def generate(self, pixel_values: Tensor, input_ids: Tensor, max_new_tokens: int = 128) -> Tensor:
        """What the model says after a prompt, greedily: int64 [1, new tokens], without the end of the turn.

        pixel_values: [T, 3, H, W] of one video, as in `forward`. input_ids: [1, S], the prompt.
        """
        said = self.vlm.generate(
            pixel_values, input_ids[0].tolist(), limit=max_new_tokens, end=cast(int, self.config.eos_token_id)
        )
        return torch.tensor([said], dtype=torch.int64, device=input_ids.device)


class FvlmProcessor:
    """What an exported model needs to see a video or a picture as in training: `AutoProcessor.from_pretrained(FOLDER)`.

    viewing: how things are shown. chat: the format of training, for which a question that spells out a control token
    is text; transformers' own chat template would make the token of it.
    """

    def __init__(self, chat: Chat, viewing: Viewing) -> None:
        self.chat = chat
        self.viewing = viewing

    @classmethod
    def from_pretrained(cls, where: Any, **options: Any) -> FvlmProcessor:
        """From an exported folder, or a repository of one on the hub."""
        config: Any = AutoConfig.from_pretrained(where, **options)
        tokenizer = cached_file(where, "tokenizer.json", **options)
        with known_architectures(dict(config.architectures_read)):
            model = model_from_resolved(config.composition)
            chat = make_chat(model, tuple, Path(cast(str, tokenizer)))
            return cls(chat, exported_viewing(config.viewing, model, f"{where}/config.json"))

    def __call__(self, file: str | Path, prompt: str | None = None, **otherwise: Any) -> dict[str, Tensor]:
        """What `FvlmModel.generate` is given for a video or picture: pixel_values uint8 [T, 3, H, W], input_ids [1, S].

        prompt: the question, by default that of training. otherwise: fps, max_frames, fit, repeats and system, by
        default those of training. Raises `BadSample` for a file that cannot be read, TypeError and ValueError for what
        cannot be said.
        """
        viewing = self.viewing.told(prompt=prompt, **otherwise)
        turns = viewing.asked(viewing.question(Path(file)))
        frames = torch.from_numpy(viewing.frames(Path(file)))
        return {"pixel_values": frames, "input_ids": torch.from_numpy(self.chat.prompt(turns))[None]}

    def decode(self, ids: Tensor) -> str:
        """Token ids [S] back to text, without special tokens."""
        return self.chat.decode(ids.tolist())


def _composed(config: FvlmConfig) -> VLM:
    """The architecture, on the CPU also where transformers asks for the meta device: its constants must be real."""
    with torch.device("cpu"), known_architectures(dict(config.architectures_read)):
        vlm = compose(model_from_resolved(config.composition), config.vocab_size, seed=0, weights=False)
    vlm.logit_scale = config.logit_scale
    return vlm


AutoConfig.register(FvlmConfig.model_type, FvlmConfig)
AutoModel.register(FvlmConfig, FvlmModel)
AutoProcessor.register(FvlmConfig, FvlmProcessor)
