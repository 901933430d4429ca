"""The T-VAD model. Importing it registers the classes with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from tvad.model.configuration import TvadConfig
from tvad.model.modeling import TvadForConditionalGeneration, TvadModel, count_parameters
from tvad.model.processing import TvadProcessor

AutoConfig.register("tvad", TvadConfig, exist_ok=True)
AutoModel.register(TvadConfig, TvadModel, exist_ok=True)
AutoModelForImageTextToText.register(TvadConfig, TvadForConditionalGeneration, exist_ok=True)
AutoProcessor.register(TvadConfig, TvadProcessor, exist_ok=True)

__all__ = ["TvadConfig", "TvadForConditionalGeneration", "TvadModel", "TvadProcessor", "count_parameters"]
