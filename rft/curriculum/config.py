"""A curriculum of supervised stages as data: what a file under configs/stage says, and what of a stage an
ablation leaves. Imports no torch."""

from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any, ClassVar, Literal

from rft.common import moved
from rft.common.trainable import LoraSpec
from tvad.common.config import behind
from tvad.common.errors import InputError
from tvad.data.video import MAX_FRAMES, RATE

SYMBOLS = "symbols"  # instead of a data set: questions without a clip
# Of transformers' TrainingArguments: what a stage sets by itself, and what to set instead.
OWNED = {
    "output_dir": "set the curriculum's `out`",
    "seed": "set the curriculum's `seed`",
    "data_seed": "set the curriculum's `seed`",
    "learning_rate": "set `optimiser.lr`",
    "lr_scheduler_*": "set `optimiser.lr_floor`",
    "warmup_*": "set `optimiser.warmup`",
    "weight_decay": "set `optimiser.weight_decay`",
    "adam_beta2": "set `optimiser.adam_beta2`",
    "max_steps": "set `optimiser.steps`",
    "num_train_epochs": "set `optimiser.epochs`",
    "per_device_*_batch_size": "set `optimiser.batch`",
    "gradient_accumulation_steps": "set `optimiser.accumulate`",
    "save_steps": "set `selection.save_steps`",
    "eval_st*": "set `data.validation` and `selection.save_steps`",
    "load_best_model_at_end": "set `selection.select`",
    "metric_for_best_model": "set `selection.select`",
    "greater_is_better": "set `selection.select`",
    "remove_unused_columns": "leave it out: losses read the columns",
    "label_names": "leave it out: losses know their labels",
    "report_to": "leave it out: a stage logs to log.jsonl and its report",
    "resume_from_checkpoint": "leave it out: the same command goes on from the last checkpoint",
    "ignore_data_skip": "leave it out: a stage goes on where it stopped",
    "auto_find_batch_size": "set `optimiser.batch`",
    "disable_tqdm": "leave it out: a stage shows a bar of its own",
    "torch_compile*": "leave it out: every pass has another shape and would be compiled anew",
    # It would end the loop early, and the stage would be merged as if it were done.
    "enable_jit_checkpoint": "leave it out: a killed stage goes on from its last checkpoint, see"
    " `selection.save_steps`",
    # A stage has losses of its own, reads no logits in evaluations, evaluates in the training's own type,
    # knows no lengths and no loggers.
    **dict.fromkeys(
        (
            *("do_*", "label_smoothing_factor", "prediction_loss_only", "batch_eval_metrics", "use_cache"),
            *("train_sampling_strategy", "length_column_name", "average_tokens_across_devices"),
            *("include_num_input_tokens_seen", "include_for_metrics", "eval_accumulation_steps"),
            *("use_liger_kernel", "liger_kernel_config", "*_full_eval", "eval_do_concat_batches"),
            *("eval_use_gather_object", "run_name", "project", "trackio_*"),
            "restore_callback_states_from_checkpoint",
        ),
        "leave it out: it does nothing to a stage",
    ),
}
# Options that choose an optimiser.
OPTIMISER = ("optim", "optim_args", "optim_target_modules")
HEATMAP_METRICS = ("micro_auc", "macro_auc", "pixel_auc", "rbdc", "tbdc")


@dataclass
class Data:
    """What a stage sees. With `crop`, `region` or `mirror` no words may be learned: they tell of the whole
    clip."""

    train: str
    """A data set folder, or symbols: text questions without a clip."""
    validation: str | None = None
    """A data set folder, evaluated every selection.save_steps steps."""
    validation_clips: int = 120
    """At most so many of its clips: of each label its share, drawn by the seed."""
    drop_bad_rows: bool = False
    """Leave bad rows out and say which, instead of refusing."""
    crop: int | None = None
    """A batch shows a random run of so many sampled frames of a clip; all by default."""
    mirror: bool = False
    """A batch shows a clip left for right half of the time."""
    pooled: bool = False
    """What the frozen model makes of a clip for its classifier is computed once, kept beside the checkpoints,
    and all that is learned from (VANGUARD's warm-up); only the classifier trains."""
    region: list[int] | None = None
    """[width, height]: a batch shows a part of the picture of so many pixels of the video, random, and four
    times of five around something anomalous where there is such; all by default."""
    still: float = 0.0
    """Share of the views that show one of their frames for all: nothing moves, only shape tells."""
    also: list[str] | None = None
    """Further data set folders, whose clips are mixed in."""


@dataclass
class Texts:
    """Which texts are learned."""

    kinds: list[str] | None = None
    """Kinds of questions; by default all, [] none."""
    dialogue: bool = False
    """The anomaly-focused dialogue (T-VAU's phase B)."""
    form: Literal["talk", "figure", "protocol", "stored"] = "talk"
    """Of the dialogue: the turns of the authors' talk, the framework figure's one structured answer, the
    paper's protocol, or as the data set holds it."""
    narratives: bool = False
    """Words about every object (T-VAU's phase A)."""
    reasoning: bool = True
    """With the references' reasoning (<think>); without it answers alone are learned."""


@dataclass
class Losses:
    """Weights of the losses."""

    text: float = 1.0
    """Per token of an answer."""
    heatmap: float = 0.0
    """Cross-entropy per patch (T-VAD, stage 1)."""
    frame: float = 0.0
    """Per step's strongest patch (T-VAD's optional frame-level cross-entropy); needs losses.heatmap."""
    anomalous_weight: float = 1.0
    """Of anomalous patches within the heatmap loss."""
    answer_weight: float = 1.0
    """Of a multiple-choice question's letter within the text loss."""
    classifier: float = 0.0
    """Binary cross-entropy of whether a clip is anomalous (VANGUARD); needs the curriculum's
    use_classifier."""
    geometry: float = 0.0
    """Unlikelihood of digits that make a box impossible (`rft.curriculum.geometry`); needs losses.text."""


@dataclass
class ReadOuts:
    """Stage 0 of a model that starts from nothing: heads that are dropped afterwards
    (`rft.curriculum.read_outs`)."""

    attributes: bool = False
    """Class, colour and box from every video token."""
    objects: bool = False
    """Class, objects and their motion from every patch."""


@dataclass
class Optimiser:
    """How long and how fast: AdamW on a cosine after a warm-up. Give steps or epochs."""

    lr: float = 1e-4
    """Highest learning rate."""
    steps: int | None = None
    """Optimiser steps."""
    epochs: float | None = None
    """Passes over the data."""
    batch: int = 8
    """Clips (of symbols: rows of 8 questions) a forward pass and process."""
    accumulate: int = 1
    """Forward passes a step."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises."""
    lr_floor: float = 0.05
    """Share of the rate at which the cosine ends."""
    weight_decay: float = 0.01
    """Of AdamW and Muon."""
    adam_beta2: float = 0.98
    """AdamW's second decay (ours)."""
    muon: float | None = None
    """Muon's learning rate for the matrices of layers, on the same schedule; without, AdamW has them too."""


@dataclass
class Selection:
    """Which checkpoint is kept."""

    select: str | None = None
    """loss (least), or micro_auc, macro_auc, pixel_auc, rbdc, tbdc of the heatmaps (most); by default the
    last."""
    save_steps: int = 200
    """Steps between checkpoints, and between evaluations where there is validation data."""
    blend: float = 1.0
    """Share of the trained weights in those that are kept; the rest are the weights before the stage
    (WiSE-FT, arXiv:2109.01903, which takes 0.5 where nothing tells better): what the start knew is forgotten
    less. For a start that has learned its task. Metrics in the log are of the trained weights alone."""


@dataclass
class Stage:
    """One stage: what trains, on which data, by which losses, and what selects."""

    MOVED: ClassVar[dict[str, str]] = moved.STAGE

    name: str
    """Names its folder."""
    trains: list[str]
    """Name patterns of the parameters that learn (* all)."""
    data: Data
    """What it sees."""
    texts: Texts = field(default_factory=Texts)
    """Which texts are learned."""
    losses: Losses = field(default_factory=Losses)
    """Weights of the losses."""
    read_outs: ReadOuts = field(default_factory=ReadOuts)
    """Heads of stage 0."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    """How long and how fast."""
    selection: Selection = field(default_factory=Selection)
    """Which checkpoint is kept."""
    special_tokens: bool = False
    """Also the embeddings of the three anomaly tokens learn."""
    text_features: bool = False
    """Encode AHD's prompts anew before the stage."""
    lora: LoraSpec | None = None
    """Adapters, on the last decoder layers unless told otherwise, merged into the weights at the end."""
    load_in_4bit: bool = False
    """The decoder's frozen linear layers in NF4 while the stage trains (`rft.common.four_bit`)."""
    options: dict[str, Any] = field(
        default_factory=dict, metadata=behind("transformers:TrainingArguments", OWNED)
    )
    """Further fields of transformers' TrainingArguments: bf16, gradient_checkpointing, …"""

    def learns(self, name: str) -> bool:
        """Whether a parameter of this name is trained."""
        return any(fnmatch(name, pattern) for pattern in self.trains)

    def check(self) -> None:
        """Raise InputError for what cannot work together."""
        select, heatmap = self.selection.select, self.losses.heatmap
        if (self.optimiser.steps is None) == (self.optimiser.epochs is None):
            raise InputError(f"stage {self.name}: give either optimiser.steps or optimiser.epochs")
        plan = self.optimiser
        # Of 0 steps transformers makes three epochs.
        for key, value in (
            ("optimiser.steps", plan.steps),
            ("optimiser.batch", plan.batch),
            ("optimiser.accumulate", plan.accumulate),
            ("selection.save_steps", self.selection.save_steps),
        ):
            if value is not None and value < 1:
                raise InputError(f"stage {self.name}: {key} is {value}, expected at least 1")
        weights = {f"losses.{key}": value for key, value in vars(self.losses).items()}
        rates = {f"optimiser.{key}": getattr(plan, key) for key in ("lr", "weight_decay", "muon")}
        for key, value in (weights | rates).items():
            if value is not None and not value >= 0:
                raise InputError(f"stage {self.name}: {key} is {value}, expected at least 0")
        if self.lora is not None:
            self.lora.check()
        if self.optimiser.steps is None and self.data.train == SYMBOLS:
            raise InputError(f"stage {self.name}: symbols have no epochs, give optimiser.steps")
        known = ("loss", *HEATMAP_METRICS)
        if select is not None and select not in known:
            raise InputError(
                f"stage {self.name}: selection.select is {select!r}, expected one of {', '.join(known)}"
            )
        if select is not None and self.data.validation is None:
            raise InputError(f"stage {self.name}: selection.select needs data.validation")
        if select in HEATMAP_METRICS and not heatmap:
            raise InputError(f"stage {self.name}: selection.select {select} needs losses.heatmap")
        if self.losses.frame and not heatmap:
            raise InputError(f"stage {self.name}: losses.frame needs losses.heatmap")
        views = self.data.crop is not None or self.data.region is not None or self.data.mirror
        if views and (self.losses.text or self.losses.classifier or self.read_outs.attributes):
            raise InputError(
                f"stage {self.name}: data.crop, data.region and data.mirror need losses.text 0,"
                " losses.classifier 0 and no read_outs.attributes: words would tell of the whole clip"
            )
        if self.losses.geometry and not self.losses.text:
            raise InputError(f"stage {self.name}: losses.geometry needs losses.text")
        if self.losses.classifier and self.data.train == SYMBOLS:
            raise InputError(f"stage {self.name}: losses.classifier: symbols have no clip")
        if self.data.pooled:
            self._check_pooled()
        if self.optimiser.muon is not None and (idle := [key for key in self.options if key in OPTIMISER]):
            raise InputError(
                f"stage {self.name}: options.{idle[0]}: does nothing beside optimiser.muon, which goes with"
                " AdamW"
            )
        if self.load_in_4bit and self.losses.heatmap:
            raise InputError(
                f"stage {self.name}: load_in_4bit is for stages of words: AHD's heatmaps need no decoder"
            )
        region = self.data.region
        if region is not None and (len(region) != 2 or min(region) < 1):
            raise InputError(
                f"stage {self.name}: data.region is {region}, expected [width, height] in pixels"
            )
        if self.data.also and self.data.train == SYMBOLS:
            raise InputError(f"stage {self.name}: data.also: symbols are not mixed with clips")
        if not 0 < self.selection.blend <= 1:
            raise InputError(
                f"stage {self.name}: selection.blend is {self.selection.blend:g}, expected a share above 0,"
                " to 1"
            )
        if not 0 <= self.data.still <= 1:
            raise InputError(
                f"stage {self.name}: data.still is {self.data.still:g}, expected a share, 0 to 1"
            )
        told = self.losses.text or self.losses.classifier
        if self.data.still and (told or self.read_outs.attributes or self.read_outs.objects):
            raise InputError(
                f"stage {self.name}: data.still needs losses.text 0, losses.classifier 0 and no read_outs:"
                " they would tell of motion that is not shown"
            )
        if self.data.crop is not None and self.data.crop < 1:
            raise InputError(f"stage {self.name}: data.crop is {self.data.crop}, expected at least 1 frame")

    def _check_pooled(self) -> None:
        """Raise InputError where something learns that features which stay the same cannot teach."""
        losses = self.losses
        other = losses.text or losses.heatmap or self.read_outs.attributes or self.read_outs.objects
        if not losses.classifier or other:
            raise InputError(
                f"stage {self.name}: data.pooled is for losses.classifier alone: set the others to 0, and no"
                " read_outs"
            )
        if (
            self.lora
            or self.special_tokens
            or not all(p.startswith("model.classifier.") for p in self.trains)
        ):
            raise InputError(
                f"stage {self.name}: data.pooled: only model.classifier.* can train, without lora and"
                " special_tokens: what the rest makes of a clip is computed once"
            )


@dataclass
class Curriculum:
    """Stages in a row; the last one's merged model is the result."""

    FOLDER: ClassVar[str] = "stage"

    out: str
    """Folder of the stages and, in model/, of the result."""
    start: str
    """A checkpoint folder of T-VAD or of its backbone (or the name of a shipped one), or a YAML description
    of an untrained model (configs/model)."""
    stages: list[Stage]
    """In order."""
    seed: int = 0
    """Of every stage."""
    rate: float = RATE
    """Frames a second given to the model."""
    max_frames: int = MAX_FRAMES
    """At most so many frames of a clip."""
    min_pixels: int | None = None
    """At least so many pixels of a frame after resizing; by default as the checkpoint has it."""
    max_pixels: int | None = None
    """At most so many pixels of a frame after resizing; by default as the checkpoint has it."""
    total_pixels: int | None = None
    """At most so many pixels of a clip, counted once a time step: 3584 x 28 x 28 are 3584 video tokens of
    Qwen2.5-VL, whatever the number of frames."""
    dtype: str = "auto"
    """Of frozen weights; auto: as stored. What trains is float32."""
    use_ahd: bool = True
    """Ablation: with the heatmap decoder."""
    use_rae: bool = True
    """Ablation: with the anomaly tokens' encoder."""
    use_classifier: bool | None = None
    """With VANGUARD's classifier; by default where the start has one."""
    rae_input: Literal["classes", "abnormal"] | None = None
    """What RAE differences: both class heatmaps before the softmax or the abnormal one after it. By default,
    as for the next three, what the start has, of a backbone the published form: the first."""
    prompt_order: Literal["video_first", "anomaly_first"] | None = None
    """Where the anomaly prompts stand: behind the video or before it."""
    ahd_layout: Literal["paper", "thesis"] | None = None
    """AHD of the paper or of its precursor."""
    prompt_features: Literal["hidden", "embeddings"] | None = None
    """What AHD's text features are means of: hidden states or input embeddings."""
    prompts: str | None = None
    """YAML file of AHD's prompt set, or the name of a shipped one, where not the start's."""
    attention: str | None = None
    """How vision tower and language model attend: eager or sdpa, flash_attention_2 without text losses; by
    default the library's choice."""
    threads: int | None = None
    """Of torch on the CPU; by default its own choice."""


def form_of(plan: Curriculum) -> dict[str, str]:
    """The keys of the model's form that a curriculum sets."""
    keys = ("rae_input", "prompt_order", "ahd_layout", "prompt_features")
    return {key: value for key in keys if (value := getattr(plan, key)) is not None}


def applicable(stage: Stage, plan: Curriculum) -> Stage | None:
    """The stage without what the ablation takes away; None where nothing is left to train."""
    classifies = plan.use_classifier is not False
    parts = (("model.ahd.", plan.use_ahd), ("model.rae.", plan.use_rae), ("model.classifier.", classifies))
    gone = [prefix for prefix, used in parts if not used]
    trains = [pattern for pattern in stage.trains if not pattern.startswith(tuple(gone))]
    losses = stage.losses if plan.use_ahd else replace(stage.losses, heatmap=0.0, frame=0.0)
    losses = losses if classifies else replace(losses, classifier=0.0)
    tokens = stage.special_tokens and plan.use_rae
    read_outs = stage.read_outs.attributes or stage.read_outs.objects
    learns = trains or stage.lora or tokens
    if not learns or (not losses.text and not losses.heatmap and not losses.classifier and not read_outs):
        return None
    kept = losses.heatmap or stage.selection.select in (None, "loss")
    return replace(
        stage,
        trains=trains,
        losses=losses,
        selection=stage.selection if kept else replace(stage.selection, select=None),
        text_features=stage.text_features and plan.use_ahd,
        special_tokens=tokens,
    )
