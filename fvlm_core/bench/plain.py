"""The same two passes written plainly, as one would from their description, to be measured against.

Keys and values are projected twice, once to be kept for the queries and once within the layer; the last layer updates
patches that nothing reads; frames and text are padded tensors. Weights have transformers' names, so that a test can put
fvlm's own weights in and compare the losses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvlm_core.bench.dense import FRAMES, TEXT, Step, dense_batch, updating
from fvlm_core.bench.setting import Setting
from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.utils.errors import UsageError

SCALE = 0.14
ROTARY_BASE = 100_000.0


class EncoderLayer(nn.Module):
    """A layer of a ViT with layer scale."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        width, inner = spec.width, spec.mlp or 4 * spec.width
        self.heads = spec.heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.o_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def split(self, states: Tensor) -> Tensor:
        """[F, N, D] to [F, heads, N, head width]."""
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens."""
        return self.split(self.k_proj(normed)), self.split(self.v_proj(normed))

    def forward(self, hidden: Tensor, kept: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Tokens [F, N, D] that attend to what is kept, or to each other."""
        normed = self.norm1(hidden)
        query = self.split(self.q_proj(normed))
        seen = F.scaled_dot_product_attention(query, *(kept or self.keys(normed))).transpose(1, 2).flatten(2)
        hidden = hidden + self.scale1 * self.o_proj(seen)
        return hidden + self.scale2 * self.fc2(F.gelu(self.fc1(self.norm2(hidden))))


class LLMLayer(nn.Module):
    """A decoder layer with rotary positions, grouped key/value heads and a gated MLP."""

    def __init__(self, spec: LLMSpec) -> None:
        super().__init__()
        width, head = spec.width, spec.head_width or spec.width // spec.heads
        self.head = head
        self.q_proj = nn.Linear(width, spec.heads * head, bias=False)
        self.k_proj = nn.Linear(width, spec.kv_heads * head, bias=False)
        self.v_proj = nn.Linear(width, spec.kv_heads * head, bias=False)
        self.o_proj = nn.Linear(spec.heads * head, width, bias=False)
        self.gate_proj = nn.Linear(width, spec.mlp, bias=False)
        self.up_proj = nn.Linear(width, spec.mlp, bias=False)
        self.down_proj = nn.Linear(spec.mlp, width, bias=False)
        self.input_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """[B, S, W] to [B, S, W], causally."""
        normed = self.input_layernorm(states)
        split = lambda projected: projected.unflatten(-1, (-1, self.head)).transpose(1, 2)
        turn = lambda x: x * cosines + torch.cat([-x.chunk(2, -1)[1], x.chunk(2, -1)[0]], -1) * sines
        query, key = turn(split(self.q_proj(normed))), turn(split(self.k_proj(normed)))
        seen = F.scaled_dot_product_attention(
            query, key, split(self.v_proj(normed)), is_causal=True, enable_gqa=True
        )
        states = states + self.o_proj(seen.transpose(1, 2).flatten(2))
        normed = self.post_attention_layernorm(states)
        return states + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))


class PlainTwoPass(nn.Module):
    """Encoder, connector and language model in one. everywhere: whether the head runs at every position."""

    def __init__(self, eye: EncoderSpec, speaker: LLMSpec, query: int, *, everywhere: bool) -> None:
        super().__init__()
        self.everywhere = everywhere
        self.head = speaker.head_width or speaker.width // speaker.heads
        patch = eye.image_size // eye.patch_grid[0]
        self.patches = nn.Conv2d(3, eye.width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, eye.width))
        self.position_embeddings = nn.Parameter(torch.randn(1, eye.tokens, eye.width))
        self.encoder_layers = nn.ModuleList(EncoderLayer(eye) for _ in range(eye.depth))
        self.layernorm = nn.LayerNorm(eye.width, eps=1e-6)
        self.q_static, self.q_init = nn.Parameter(torch.randn(1, query)), nn.Parameter(torch.randn(1, query))
        self.query_input_proj = nn.Linear(query, eye.width, bias=False)
        self.output_proj = nn.Linear(eye.width, eye.width)
        self.dino_to_llm = nn.Linear(eye.width, speaker.width)
        self.llm_to_query = nn.Linear(speaker.width, query)
        self.embed_tokens = nn.Embedding(speaker.vocabulary or 0, speaker.width)
        nn.init.normal_(self.embed_tokens.weight, std=SCALE)
        self.llm_layers = nn.ModuleList(LLMLayer(speaker) for _ in range(speaker.depth))
        self.norm = nn.RMSNorm(speaker.width, eps=1e-5)

    def encode(self, frames: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of every layer, beside the layers' own."""
        hidden = torch.cat(
            [self.cls_token.expand(len(frames), -1, -1), self.patches(frames).flatten(2).transpose(1, 2)], 1
        )
        hidden = hidden + self.position_embeddings
        kept: list[tuple[Tensor, Tensor]] = []
        for layer in self.encoder_layers:
            assert isinstance(layer, EncoderLayer)
            kept.append(layer.keys(layer.norm1(hidden)))
            hidden = layer(hidden)
        return kept

    def look(self, queries: Tensor, kept: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Queries [F, query] to visual tokens [F, W]."""
        hidden = self.query_input_proj(queries)[:, None]
        for layer, own in zip(self.encoder_layers, kept, strict=True):
            hidden = layer(hidden, own)
        return SCALE * self.dino_to_llm(self.output_proj(self.layernorm(hidden[:, 0])))

    def hidden(self, states: Tensor) -> Tensor:
        """[B, S, W] to hidden states."""
        half = torch.arange(0, self.head, 2, device=states.device, dtype=torch.float32) / self.head
        angles = torch.outer(torch.arange(states.shape[1], device=states.device), ROTARY_BASE**-half)
        angles = torch.cat([angles, angles], -1).to(states.dtype)
        for layer in self.llm_layers:
            states = layer(states, angles.cos(), angles.sin())
        return self.norm(states)

    def forward(self, frames: Tensor, ids: Tensor, supervised: Tensor) -> Tensor:
        """The summed loss of frames [B, T, 3, H, W], text [B, S] and the labels that count, bool [B, S]."""
        samples, length = frames.shape[:2]
        kept = self.encode(frames.flatten(0, 1))
        coarse = self.look(self.q_static.expand(samples * length, -1), kept).unflatten(0, (samples, length))
        asked = self.llm_to_query(self.hidden(coarse))[:, :-1]
        queries = torch.cat([self.q_init.expand(samples, 1, -1), asked], 1)
        fine = self.look(queries.flatten(0, 1), kept).unflatten(0, (samples, length))
        states = self.hidden(torch.cat([fine, self.embed_tokens(ids)], 1))
        labels = ids.masked_fill(~supervised, -100)[:, 1:]
        if self.everywhere:
            states = states[:, :-1]
            labels = torch.cat([labels.new_full((samples, length), -100), labels], 1)
        else:
            states = states[:, length:-1]
        logits = F.linear(states, self.embed_tokens.weight)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")


def comparable(setting: Setting) -> tuple[EncoderSpec, LLMSpec]:
    """The sizes of the recipe's model. Raises `UsageError` for one that is not written plainly here."""
    tracer = Tracer.of(setting.config.model, setting.vocabulary())
    eye, speaker, connector = tracer.encoder, tracer.llm, tracer.trace(FRAMES)
    looks = connector.looks("deep"), connector.looks("shallow")
    if eye.gated or eye.prefix_tokens != 1 or not speaker.tied or looks != (2, 0):
        raise UsageError(
            f"{setting.recipe}: the plain implementation is of two deep looks, a ViT with one prefix token and an MLP "
            "without gate, and a language model whose head is its embedding; leave it out with --only"
        )
    return eye, speaker


def plain(setting: Setting, supervised: float = 1.0, *, everywhere: bool = False) -> Step:
    """A training step of it. everywhere: whether the head runs at every position, or at every one of the text."""
    eye, speaker = comparable(setting)
    torch.manual_seed(0)
    model = PlainTwoPass(eye, speaker, eye.width, everywhere=everywhere).to(setting.device)
    batch = dense_batch(setting, eye.image_size, supervised)
    mean, std = (torch.tensor(v, device=setting.device)[:, None, None] for v in (eye.mean, eye.std))
    update = updating({"connector": dict(model.named_parameters()), "encoder": {}, "llm": {}})
    tokens = int(batch.supervised[:, 1:].sum())
    labels = batch.supervised.to(setting.device)

    def step() -> None:
        frames = (batch.frames / 255 - mean) / std
        with setting.autocast():
            loss = model(frames.unflatten(0, (setting.samples, FRAMES)), batch.ids, labels)
        loss.backward()
        update(tokens)

    return step


def wasted(eye: EncoderSpec, frames: int) -> float:
    """FLOPs of a step that the plain encoder does and fvlm does not, for so many frames."""
    rows, inner = frames * eye.tokens, eye.mlp or 4 * eye.width
    # Keys and values once more, forward and backward; nothing follows the last layer's own, so nothing comes back.
    again = 2.0 * rows * 2 * eye.width**2 * (3 * eye.depth - 2)
    last = 2.0 * rows * (2 * eye.width**2 + 2 * eye.width * inner) + 4.0 * rows * eye.tokens * eye.width
    return again + last


def unread(speaker: LLMSpec, samples: int, supervised: int) -> float:
    """FLOPs of a head at every position of a dense batch that is not read."""
    positions = samples * (FRAMES + TEXT - 1)
    return 3 * 2.0 * (positions - supervised) * speaker.width * (speaker.vocabulary or 0)
