"""The names of `fvlm`, for type checkers and for `__init__.py` itself: the one list of them."""

from fvlm_core import __version__ as __version__
from fvlm_core.api.campaign import CampaignResult as CampaignResult
from fvlm_core.api.campaign import campaign as campaign
from fvlm_core.api.compare import CompareResult as CompareResult
from fvlm_core.api.compare import compare as compare
from fvlm_core.api.evaluate import EvaluateResult as EvaluateResult
from fvlm_core.api.evaluate import evaluate as evaluate
from fvlm_core.api.export import export as export
from fvlm_core.api.fit import fit as fit
from fvlm_core.api.fitted import BestInference as BestInference
from fvlm_core.api.fitted import FitResult as FitResult
from fvlm_core.api.fitted import LawAnswer as LawAnswer
from fvlm_core.api.plan import PlanResult as PlanResult
from fvlm_core.api.plan import plan as plan
from fvlm_core.api.recipe import Recipe as Recipe
from fvlm_core.api.register import register as register
from fvlm_core.api.runs import runs as runs
from fvlm_core.api.suggest import suggest as suggest
from fvlm_core.api.suggesting import Suggestion as Suggestion
from fvlm_core.api.train import TrainResult as TrainResult
from fvlm_core.api.train import train as train
from fvlm_core.api.trained import Stream as Stream
from fvlm_core.api.trained import Trained as Trained
from fvlm_core.api.trained import load as load
from fvlm_core.evaluation.gaze import GazeMaps as GazeMaps
from fvlm_core.utils.errors import FvlmError as FvlmError
