"""The T-VAD model as its paper describes it (arXiv 2511.00524); importing it registers the classes with
transformers' Auto classes.

The authors published no code of this model. The first author's thesis repository (momiji-bit/PG-Thesis-PGADV,
August 2025) holds a precursor with another decoder and another encoder; its code is not here, its decoder's
layout is (`ahd_thesis`), and that loads its weights (`precursor`).
"""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from tvad.model.configuration import TvadConfig, TvadQwen3Config
from tvad.model.modeling import (
    TvadForConditionalGeneration,
    TvadModel,
    TvadQwen3ForConditionalGeneration,
    TvadQwen3Model,
    count_parameters,
)
from tvad.model.processing import TvadProcessor, TvadQwen3Processor

for _config, _model, _lm, _processor in (
    (TvadConfig, TvadModel, TvadForConditionalGeneration, TvadProcessor),
    (TvadQwen3Config, TvadQwen3Model, TvadQwen3ForConditionalGeneration, TvadQwen3Processor),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
    AutoModelForImageTextToText.register(_config, _lm, exist_ok=True)
    AutoProcessor.register(_config, _processor, exist_ok=True)

__all__ = [
    "TvadConfig",
    "TvadForConditionalGeneration",
    "TvadModel",
    "TvadProcessor",
    "TvadQwen3Config",
    "TvadQwen3ForConditionalGeneration",
    "TvadQwen3Model",
    "TvadQwen3Processor",
    "count_parameters",
]
