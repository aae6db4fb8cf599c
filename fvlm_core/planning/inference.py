"""What one request to a model costs, by the ledger: the forward pass over any number of frames and visual tokens."""

from __future__ import annotations

from attrs import evolve, field, frozen

from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.flops import COMPONENTS, ledger
from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.recipes.schema import RunRecipe


@frozen(eq=False)
class Request:
    """Requests to the model of a planned run. text: tokens that are read and written beside the visual ones."""

    tracer: Tracer
    text: int
    _known: dict[tuple[int, int], float] = field(factory=dict[tuple[int, int], float], init=False)

    @classmethod
    def of(cls, config: RunRecipe, plan: RunPlan, text: int) -> Request:
        """To the model of a run that was planned."""
        return cls(Tracer.of(config.model, plan.vocabulary, config.training.lora), text)

    @property
    def own_tokens(self) -> int:
        """Visual tokens a frame of the recipe's connector."""
        return self.tracer.trace(1, COMPONENTS, auxiliary=False).tokens_per_frame

    @property
    def free(self) -> bool:
        """Whether another number of visual tokens a frame costs what the language model takes to read them. A connector
        that asks the language model itself, such as one that looks again, makes the number it makes."""
        return not self.tracer.trace(2, COMPONENTS, auxiliary=False).of("hidden", "deep", "shallow")

    def flops(self, frames: int, tokens: int) -> float:
        """FLOPs of a request of so many frames with so many visual tokens each: encoder, connector, language model, and
        the head for the last position."""
        key = (frames, tokens)
        if key not in self._known:
            trace = self.tracer.trace(frames, COMPONENTS, auxiliary=False)
            read = evolve(trace, tokens_per_frame=tokens)
            self._known[key] = ledger(
                self.tracer.encoder, read, self.tracer.llm, text=self.text, supervised=1
            ).forward
        return self._known[key]
