"""A small vision-language model for video, in one file: PyTorch and transformers are all that it needs.

A DINOv2 encoder looks at every frame, a connector makes a few visual tokens of it, and a Llama-architecture language
model reads the tokens of all frames and then the question. Two connectors are here:

- foveated: one token a frame, or a few. A query walks through the layers of the encoder as one more token, over keys
  and values that were computed once. The coarse pass asks every frame the same learned question (`q_static`); the
  language model reads those tokens, and its state after frame t becomes the query for frame t + 1 of the fine pass.
- pooled: the patches of a frame, averaged over a grid.

Written by `fvlm weights export`; `config.json` beside it says which connector and which sizes. Weights are float32.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    DynamicCache,
    GenerationMixin,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

CACHE = "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
"""What this release of transformers calls the key/value cache."""

Given = Tensor | None

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one encoder layer: each [F, heads, N, head width]."""


class FvlmConfig(PretrainedConfig):
    """`config.json` of an exported model.

    vision_config, text_config: of the encoder and of the language model, as transformers has them. connector: its
    "type" and its settings. image_size: side of a frame in pixels. image_mean, image_std: frames are normalised to
    (RGB / 255 - mean) / std. logit_scale: factor on the logits.
    """

    model_type = "fvlm"
    sub_configs: ClassVar[Any] = {"vision_config": Dinov2Config, "text_config": LlamaConfig}

    def __init__(
        self,
        vision_config: Any = None,
        text_config: Any = None,
        connector: dict[str, Any] | None = None,
        image_size: int = 224,
        image_mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        image_std: tuple[float, ...] = (0.229, 0.224, 0.225),
        logit_scale: float = 1.0,
        **others: Any,
    ) -> None:
        as_config = lambda kind, given: kind.from_dict(given) if isinstance(given, dict) else given
        self.vision_config = as_config(Dinov2Config, vision_config)
        self.text_config = as_config(LlamaConfig, text_config)
        self.connector = connector or {}
        self.image_size = image_size
        self.image_mean = tuple(image_mean)
        self.image_std = tuple(image_std)
        self.logit_scale = logit_scale
        super().__init__(**others)


class FrameEncoder(nn.Module):
    """DINOv2 whose keys and values are kept, so that a query can look at a frame again without the patches."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.dino: Any = Dinov2Model(config)

    def forward(self, frames: Tensor, last: bool = True) -> tuple[Tensor, list[KeyValue]]:
        """Frames [F, 3, H, W], normalised, to tokens [F, N, D] after the final norm, CLS first, and every layer's keys
        and values. last: whether the last layer updates the tokens; who reads keys and values alone needs no update."""
        hidden = self.dino.embeddings(frames)
        kept: list[KeyValue] = []
        for number, block in enumerate(self.dino.encoder.layer):
            attention, normed = block.attention, block.norm1(hidden)
            key, value = self._split(attention.k_proj(normed)), self._split(attention.v_proj(normed))
            kept.append((key, value))
            if last or number + 1 < len(self.dino.encoder.layer):
                query = self._split(attention.q_proj(normed))
                seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
                hidden = hidden + block.layer_scale1(attention.o_proj(seen))
                hidden = hidden + block.layer_scale2(block.mlp(block.norm2(hidden)))
        return self.dino.layernorm(hidden), kept

    def look(self, query: Tensor, kept: list[KeyValue]) -> tuple[Tensor, Tensor]:
        """A query for each frame [F, D] walks through all layers: what it comes back as [F, D], and where it looked:
        [F, N], mean over layers and heads."""
        hidden, gaze = query, list[Tensor]()
        for block, (key, value) in zip(self.dino.encoder.layer, kept, strict=True):
            seen, share = self.attend(block.attention.q_proj(block.norm1(hidden)), key, value)
            hidden = hidden + block.layer_scale1(block.attention.o_proj(seen))
            hidden = hidden + block.layer_scale2(block.mlp(block.norm2(hidden)))
            gaze.append(share)
        return self.dino.layernorm(hidden), torch.stack(gaze).mean(0)

    def look_once(self, query: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """As `look`, but one attention over the final tokens [F, N, D], as the last layer would key them."""
        block = self.dino.encoder.layer[-1]
        normed = block.norm1(tokens)
        key, value = self._split(block.attention.k_proj(normed)), self._split(block.attention.v_proj(normed))
        seen, share = self.attend(query, key, value)
        return self.dino.layernorm(seen), share

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        query = query.unflatten(-1, (self.heads, 1, -1))
        share = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        return (share @ value).flatten(1), share.squeeze(2).mean(1)


class FoveatedConnector(nn.Module):
    """Queries to visual tokens, and states of the language model to queries; `n` queries, and tokens, a frame."""

    def __init__(self, settings: dict[str, Any], width: int, text_width: int) -> None:
        super().__init__()
        self.n: int = settings["queries"]
        self.deep: bool = settings["depth"] == "deep"
        self.scale: float = settings["visual_scale"]
        query = settings["query_dim"]
        self.q_static = nn.Parameter(torch.empty(self.n, query))
        self.q_init = nn.Parameter(torch.empty(self.n, query))
        self.query_input_proj = nn.Linear(query, width, bias=settings["query_bias"])
        self.output_proj = nn.Linear(width, width)
        self.dino_to_llm = nn.Linear(width, text_width)
        self.llm_to_query = nn.Linear(text_width, query)

    def look(
        self, encoder: FrameEncoder, queries: Tensor, tokens: Tensor, kept: list[KeyValue]
    ) -> tuple[Tensor, Tensor]:
        """Queries [F, n, query_dim] to visual tokens [F, n, W], and where they looked [F, n, N]."""
        answers = [
            encoder.look(query, kept) if self.deep else encoder.look_once(query, tokens)
            for query in self.query_input_proj(queries).unbind(1)
        ]
        z, gaze = (torch.stack(parts, 1) for parts in zip(*answers, strict=True))
        return self.dino_to_llm(self.output_proj(z)) * self.scale, gaze


class PooledConnector(nn.Module):
    """Patches averaged over grid x grid cells: `n` tokens a frame, and no queries."""

    def __init__(self, settings: dict[str, Any], width: int, text_width: int) -> None:
        super().__init__()
        self.grid: int = settings["grid"]
        self.n = self.grid**2
        self.scale: float = settings["visual_scale"]
        self.dino_to_llm = nn.Linear(width, text_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [F, 1 + rows * columns, D], CLS first, to visual tokens [F, n, W], row by row."""
        side = round((tokens.shape[1] - 1) ** 0.5)
        picture = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        cells = F.adaptive_avg_pool2d(picture, self.grid).flatten(2).transpose(1, 2)
        return self.dino_to_llm(cells) * self.scale


class TextModel(LlamaForCausalLM):
    """The language model, with a factor on its logits."""

    def __init__(self, config: LlamaConfig, logit_scale: float = 1.0) -> None:
        super().__init__(config)
        self.logit_scale = logit_scale

    def forward(self, *given: Any, **named: Any) -> Any:
        """As transformers' own."""
        output: Any = super().forward(*given, **named)
        output.logits = output.logits * self.logit_scale
        return output


class FvlmForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Frames and a question to text.

    Everywhere: pixel_values [F, 3, H, W], frames of all clips one after the other, uint8 RGB (or floating point and
    normalised); frame_counts int64 [B], frames of each clip, by default all of one; input_ids int64 [B, S] and
    attention_mask [B, S], 1 at real tokens, padded on whichever side. mode: how visual tokens are made. A foveated
    model has "coarse_only", "coarse_fine" (two parallel passes) and "autoregressive" (frame by frame, no coarse pass);
    None stands for the one that it was trained in.
    """

    config_class = FvlmConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True
    _tied_weights_keys: Any = {"vlm.llm.lm_head.weight": "vlm.llm.model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: FvlmConfig) -> None:
        super().__init__(config)
        connectors = {"foveated": FoveatedConnector, "pooled": PooledConnector}
        widths = config.vision_config.hidden_size, config.text_config.hidden_size
        self.vlm: Any = nn.Module()
        self.vlm.encoder = FrameEncoder(config.vision_config)
        self.vlm.connector = connectors[config.connector["type"]](config.connector, *widths)
        self.vlm.llm = TextModel(config.text_config, config.logit_scale)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *where: Any, output_loading_info: bool = False, **options: Any) -> Any:
        """As transformers' own, but a weight that the file does not hold is an error, never a random one."""
        loaded: Any = super().from_pretrained(*where, output_loading_info=True, **options)
        model, info = loaded
        if info["missing_keys"]:
            raise ValueError(f"{where[0]}: the weight file lacks {', '.join(sorted(info['missing_keys']))}")
        return (model, info) if output_loading_info else model

    @torch.no_grad()
    def gaze(
        self, pixel_values: Tensor, frame_counts: Given = None, mode: str | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Where each pass looks: its name to [F, n, rows, columns], each patch's share of a query's attention; the
        rest, up to 1, is on CLS. Empty for a pooled model, which has no queries."""
        looks = self.see(pixel_values, frame_counts, mode)[1]
        return {name: self.on_patches(share) for name, share in looks.items()}

    def on_patches(self, share: Tensor) -> Tensor:
        """Attention on all tokens [..., N] to that on the patches [..., rows, columns]."""
        side = self.config.image_size // self.config.vision_config.patch_size
        return share[..., 1:].unflatten(-1, (side, side))

    def see(
        self, pixel_values: Tensor, frame_counts: Given = None, mode: str | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Frames to visual tokens [F, n, W], and where each pass looked [F, n, N]."""
        encoder, connector = self.vlm.encoder, self.vlm.connector
        counts = torch.tensor([len(pixel_values)]) if frame_counts is None else frame_counts.cpu()
        foveated = isinstance(connector, FoveatedConnector)
        tokens, kept = encoder(self.normalise(pixel_values), last=not (foveated and connector.deep))
        if not foveated:
            return connector(tokens), {}
        mode = mode or self.config.connector["mode"]
        if mode == "autoregressive":
            return self._frame_by_frame(tokens, kept, counts)
        if mode not in ("coarse_only", "coarse_fine"):
            raise ValueError(f'mode: expected "coarse_only", "coarse_fine" or "autoregressive", got "{mode}"')
        queries = connector.q_static.expand(len(tokens), -1, -1)
        visual, share = connector.look(encoder, queries, tokens, kept)
        looks = {"coarse": share}
        if mode == "coarse_fine":
            for _ in range(self.config.connector["fine_iterations"]):
                visual, looks["fine"] = connector.look(encoder, self._queries(visual, counts), tokens, kept)
        return visual, looks

    def stream(self) -> FrameStream:
        """A clip that comes frame by frame."""
        return FrameStream(self)

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 RGB to (RGB / 255 - mean) / std; floating point stays as it is."""
        if frames.is_floating_point():
            return frames.to(self.dtype)
        mean, std = torch.tensor([self.config.image_mean, self.config.image_std], device=frames.device)[
            ..., None, None
        ]
        return (frames.float() * (1 / (255 * std)) - mean / std).to(self.dtype)

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        frame_counts: Given = None,
        attention_mask: Given = None,
        labels: Given = None,
        mode: str | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Logits [B, S, vocabulary] of the text, 0 at padding. labels [B, S]: -100 where a token is not scored; with
        them the loss, mean over the scored tokens. The first token of a text is never scored."""
        rows, real = self._read(input_ids, pixel_values, frame_counts, attention_mask, mode)
        packed = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # causal: padding on the right is not seen
        every = self.vlm.llm(inputs_embeds=packed, use_cache=False).logits
        logits = every.new_zeros(*input_ids.shape, every.shape[-1])
        for row, read in enumerate(rows):
            logits[row, real[row]] = every[row, len(read) - int(real[row].sum()) : len(read)]
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        frame_counts: Given = None,
        attention_mask: Given = None,
        mode: str | None = None,
        **options: Any,
    ) -> Any:
        """What the model answers: the new tokens alone, [B, T]. options: those of transformers' `generate`
        (`max_new_tokens`, `do_sample`, `num_beams`, `streamer`, ...); by default greedy, as `generation_config.json`
        says."""
        rows, _ = self._read(input_ids, pixel_values, frame_counts, attention_mask, mode)
        longest = max(map(len, rows))
        embeds = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.stack([F.pad(row.new_ones(len(row)), (longest - len(row), 0)) for row in rows]).long()
        options.setdefault("generation_config", self.generation_config)
        return self.vlm.llm.generate(inputs_embeds=embeds, attention_mask=mask, **options)

    def _read(
        self, ids: Tensor, frames: Tensor, counts_of: Given, mask: Given, mode: str | None
    ) -> tuple[list[Tensor], Tensor]:
        """What the language model reads of each clip, visual tokens and then text, [L, W]; which tokens are real."""
        counts = [len(frames)] if counts_of is None else counts_of.tolist()
        if len(counts) != len(ids) or sum(counts) != len(frames):
            raise ValueError(f"frame_counts: expected {len(ids)} that add up to {len(frames)}, got {counts}")
        visual, _ = self.see(frames, counts_of, mode)
        real = torch.ones_like(ids).bool() if mask is None else mask.bool()
        text = self.vlm.llm.model.embed_tokens(ids)
        clips = visual.split(counts)
        return [torch.cat([clip.flatten(0, 1), text[row][real[row]]]) for row, clip in enumerate(clips)], real

    def _queries(self, visual: Tensor, counts: Tensor) -> Tensor:
        """The queries of every frame [F, n, query_dim]: `q_init` for a clip's first one, and for each other one the
        states of the language model after the tokens of the frame before it."""
        connector, lengths = self.vlm.connector, counts.tolist()
        clips = [clip.flatten(0, 1) for clip in visual.split(lengths)]
        packed = nn.utils.rnn.pad_sequence(
            clips, batch_first=True
        )  # causal: padding on the right is not seen
        states = self.vlm.llm.model(inputs_embeds=packed, use_cache=False).last_hidden_state
        found = connector.llm_to_query(states).unflatten(1, (-1, connector.n))
        first = connector.q_init[None]
        following = [own[: count - 1] for own, count in zip(found, lengths, strict=True)]
        return torch.cat(
            [torch.cat([first, own]) for own, count in zip(following, lengths, strict=True) if count]
        )

    def _frame_by_frame(
        self, tokens: Tensor, kept: list[KeyValue], counts: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `see`, each clip through a `FrameStream`."""
        found: list[tuple[Tensor, Tensor]] = []
        begin = 0
        for count in counts.tolist():
            stream = FrameStream(self)
            for at in range(begin, begin + count):
                one = slice(at, at + 1)
                found.append(stream.look(tokens[one], [(key[one], value[one]) for key, value in kept]))
            begin += count
        visual, share = (torch.cat(parts) for parts in zip(*found, strict=True))
        return visual, {"fine": share}


class FrameStream:
    """One clip, watched as it comes: `model.stream()`, then `push` a frame at a time."""

    def __init__(self, model: FvlmForConditionalGeneration) -> None:
        self.model = model
        self.tokens: list[Tensor] = []  # of the frames so far, each [n, W]
        self._cache = DynamicCache()
        self._query = (
            model.vlm.connector.q_init[None] if model.config.connector["type"] == "foveated" else None
        )

    @torch.no_grad()
    def push(self, frame: Tensor) -> Tensor | None:
        """The next frame, [3, H, W]; where it was looked at: [n, rows, columns], None for a pooled model."""
        model, connector = self.model, self.model.vlm.connector
        deep = isinstance(connector, FoveatedConnector) and connector.deep
        tokens, kept = model.vlm.encoder(model.normalise(frame[None]), last=not deep)
        if self._query is None:
            self.tokens.append(connector(tokens)[0])
            return None
        return model.on_patches(self.look(tokens, kept)[1][0])

    def look(self, tokens: Tensor, kept: list[KeyValue]) -> tuple[Tensor, Tensor]:
        """As `push`, for a frame that is encoded already: its visual tokens [1, n, W], and where it was looked at
        [1, n, N]."""
        model, connector = self.model, self.model.vlm.connector
        visual, share = connector.look(model.vlm.encoder, self._query, tokens, kept)
        states = model.vlm.llm.model(inputs_embeds=visual, use_cache=True, **{CACHE: self._cache})
        self._query = connector.llm_to_query(states.last_hidden_state)
        self.tokens.append(visual[0])
        return visual, share

    @torch.no_grad()
    def generate(self, input_ids: Tensor, **options: Any) -> Any:
        """What the model says about the frames so far after a prompt [1, S]; the clip may go on afterwards."""
        text = self.model.vlm.llm.model.embed_tokens(input_ids)
        embeds = torch.cat([torch.cat(self.tokens)[None], text], 1)
        options.setdefault("generation_config", self.model.generation_config)
        mask = torch.ones(embeds.shape[:2], dtype=torch.int64, device=embeds.device)
        return self.model.vlm.llm.generate(inputs_embeds=embeds, attention_mask=mask, **options)
