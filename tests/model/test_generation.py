"""Answers: beams are transformers' own, samples follow their seed, greedy ones are the likeliest tokens."""

from __future__ import annotations

from typing import Any

import pytest
import small
import torch
from fvlm_smollm2.model import LlamaBackend
from transformers import LlamaConfig, LlamaForCausalLM, TemperatureLogitsWarper, TopPLogitsWarper

from fvlm_core.interfaces.data import Turn
from fvlm_core.interfaces.generation import Generation
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.model.answer import answer
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.model.generation import GREEDY, End, continued, sampled_from
from fvlm_core.utils.errors import UsageError

END = 7


@pytest.fixture(scope="module")
def speaker() -> LlamaBackend:
    """A language model whose next tokens are far from equally likely."""
    torch.manual_seed(3)
    made = small.llm()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    return made.eval()


@pytest.fixture(scope="module")
def theirs(speaker: LlamaBackend) -> Any:
    """The same weights in transformers' own class."""
    sizes = {**speaker.config.sizes(), "vocab_size": small.VOCABULARY}
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    model.model.load_state_dict(speaker.model.state_dict())
    model.tie_weights()
    return model.eval()


def prompt(seed: int) -> torch.Tensor:
    return torch.randint(8, small.VOCABULARY, (1, 5), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def said(speaker: LlamaBackend, ids: torch.Tensor, limit: int, seed: int = 0, **settings: Any) -> list[int]:
    return continued(
        speaker, speaker.logits, speaker.embed(ids), End(limit, END), Generation(**settings), seed
    )


@pytest.mark.parametrize(
    "beams", [pytest.param(2, marks=pytest.mark.soak), 3, pytest.param(5, marks=pytest.mark.soak)]
)
def test_a_beam_search_finds_what_transformers_finds(beams: int, speaker: LlamaBackend, theirs: Any) -> None:
    lengths: set[int] = set()
    greedy = 0
    for seed in range(24):
        limit = 3 + seed % 10
        ids = prompt(seed)
        found = theirs.generate(
            ids, max_new_tokens=limit, num_beams=beams, do_sample=False, eos_token_id=END, pad_token_id=0
        )
        expected = found[0, ids.shape[1] :].tolist()
        expected = expected[: expected.index(END)] if END in expected else expected
        assert said(speaker, ids, limit, beams=beams) == expected, seed
        lengths.add(limit - len(expected))
        greedy += expected == said(speaker, ids, limit)
    assert len(lengths) > 1, "no answer ended before its limit: the end was not tried"
    assert greedy < 24, "the search found what greedy choice finds: nothing was searched"


def test_greedy_is_the_likeliest_token_of_one_pass_each(speaker: LlamaBackend) -> None:
    ids = prompt(1)
    found = said(speaker, ids, 8)
    whole = torch.cat([ids, torch.tensor([found])], 1)
    with torch.no_grad():
        likeliest = speaker.logits(speaker.hidden(speaker.embed(whole)))[0].argmax(-1)
    assert found == likeliest[ids.shape[1] - 1 : ids.shape[1] - 1 + len(found)].tolist()
    assert said(speaker, ids, 0) == said(speaker, ids, 0, beams=3) == []


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, None), (0.5, 0.8), (2.0, 0.3), (1.3, 1.0), (1.0, 1e-9)]
)
def test_shares_of_sampling_are_those_of_transformers(temperature: float, top_p: float | None) -> None:
    logits = 3 * torch.randn(200, generator=torch.Generator().manual_seed(1))
    warped = TemperatureLogitsWarper(temperature)(None, logits[None])  # type: ignore[arg-type]
    if top_p is not None:
        warped = TopPLogitsWarper(top_p)(None, warped)  # type: ignore[arg-type]
    shares = sampled_from(logits, temperature, top_p)
    torch.testing.assert_close(shares / shares.sum(), warped.softmax(-1)[0])


def test_a_sample_follows_its_seed_and_moves_no_other_generator(speaker: LlamaBackend) -> None:
    ids, drawn = prompt(2), {"temperature": 1.5, "top_p": 0.95}
    before = torch.get_rng_state()
    first = said(speaker, ids, 10, seed=1, **drawn)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert said(speaker, ids, 10, seed=1, **drawn) == first
    assert len({tuple(said(speaker, ids, 10, seed=seed, **drawn)) for seed in range(8)}) > 4
    counted = torch.zeros(small.VOCABULARY)
    for seed in range(1500):
        [token] = said(speaker, ids, 1, seed=seed, temperature=1.5) or [END]
        counted[token] += 1
    with torch.no_grad():
        logits = speaker.logits(speaker.hidden(speaker.embed(ids))[0, -1])
    shares = sampled_from(logits, 1.5)
    assert (counted / 1500 - shares).abs().max() < 4 * (shares * (1 - shares) / 1500).sqrt().max()


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0}, {"beams": 3}])
def test_an_answer_ends_before_a_stop_text(how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "VOCABULARY", ByteChat().vocabulary)
    vlm, chat = small.model(pooled=1), ByteChat()
    frames = torch.zeros((1, 3, small.SIDE, small.SIDE), dtype=torch.uint8)
    asked = (Turn("user", "what is seen"),)
    text = answer(vlm, chat, asked, frames, limit=12, settings=Generation(**how), seed=5)
    stop = text[2]
    cut = answer(vlm, chat, asked, frames, limit=12, settings=Generation(**how, stop=(stop, "~~")), seed=5)
    assert stop not in cut
    if "beams" not in how:  # where a beam ends decides which one is the best
        assert cut == text[: text.index(stop)]


def test_what_cannot_be_searched_says_so(speaker: LlamaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaBackend, "select_rows", LLMBackend.select_rows)
    with pytest.raises(UsageError, match=r"beams: LlamaBackend does not say .*select_rows.*; expected 1"):
        said(speaker, prompt(0), 4, beams=2)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"beams": 2, "temperature": 1.0}, "temperature: a search of 2 beams samples nothing"),
        ({"top_p": 0.9}, "top_p: nothing is sampled without a temperature"),
        ({"beams": 0}, "'beams' must be >= 1"),
        ({"temperature": 0.0}, "'temperature' must be > 0"),
        ({"stop": ("",)}, "'stop' must be texts of a character or more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as error:
        Generation(**settings)
    assert text in str(error.value)


def test_a_text_is_cut_before_the_first_stop_in_it() -> None:
    assert Generation(stop=("\n", "User:")).cut("two\nUser: x") == "two"
    assert Generation(stop=("User:", "\n")).cut("twoUser: x\n") == "two"
    assert GREEDY.cut("a\nb") == "a\nb"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("top_p", [None, 0.9])
@torch.no_grad()
def test_weights_that_have_diverged_say_the_likeliest_token(
    bad: float, top_p: float | None, speaker: LlamaBackend
) -> None:
    def head(hidden: torch.Tensor) -> torch.Tensor:
        return speaker.logits(hidden).index_fill(-1, torch.tensor([9]), bad)

    read = speaker.embed(prompt(0))
    settings = Generation(temperature=1.0, top_p=top_p)
    assert continued(speaker, head, read, End(3, END), settings, seed=0) == [9, 9, 9]


def test_a_recipe_s_search_and_sampling_give_way_to_what_is_said() -> None:
    from fvlm_core.interfaces.generation import giving_way

    assert giving_way({"beams": 4}) == {"beams": 4, "temperature": None, "top_p": None}
    assert giving_way({"temperature": 0.5}) == {"temperature": 0.5, "beams": 1}
    assert giving_way({"beams": 4, "temperature": 0.5}) == {"beams": 4, "temperature": 0.5}
