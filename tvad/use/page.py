"""The web demo (`tvad demo`): drop a video, see the heatmap play along the timeline of frame scores, talk
about it."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault(
    "GRADIO_ANALYTICS_ENABLED", "False"
)  # before the import: the page fetches and reports nothing

import gradio as gr
import numpy as np

from tvad.common.errors import InputError
from tvad.data import video
from tvad.use import drawing
from tvad.use.infer import Dialogue, analyse

PROGRESS = gr.Progress()  # gradio looks for it among the defaults of a function's parameters
TITLE = "T-VAD: what is anomalous, where, when and why"


def build(model, processor, rate: float, max_frames: int, overlap: float) -> gr.Blocks:
    """The page. State is per visitor: the analysis and the dialogue of the last video."""

    def look(path, progress=PROGRESS):
        if not path:
            raise gr.Error("choose a video first")
        progress(0.1, desc="looking")
        try:
            analysis = analyse(model, processor, path, rate, max_frames, overlap)
        except InputError as error:
            raise gr.Error(str(error).replace(str(Path(path).parent) + os.sep, "")) from error
        progress(0.6, desc="drawing")
        folder = Path(tempfile.mkdtemp(prefix="tvad-", dir=Path(path).parent))
        overlay = folder / "overlay.mp4"
        video.write(overlay, drawing.overlay_frames(analysis), analysis.clock, crf=23)
        progress(0.8, desc="asking")
        dialogue = Dialogue(model, processor, analysis.clip)
        for _ in dialogue.standard():
            pass
        scores = analysis.frame_scores()
        at = 0.0 if scores is None else float(analysis.clock.times[scores.argmax()])
        words = (
            f"{analysis.duration:.1f} s, {analysis.windows} windows, {len(analysis.objects)}"
            f" objects; anomaly: {analysis.anomaly()}"
        )
        slider = gr.Slider(0, round(float(analysis.clock.times[-1]), 2), at, step=0.05, interactive=True)
        return (
            analysis,
            dialogue,
            str(overlay),
            *show(analysis, at),
            slider,
            drawing.trajectory(analysis),
            _chat(dialogue),
            words,
        )

    def show(analysis, seconds):
        if analysis is None:
            return None, None
        step = int(np.abs(analysis.centres - seconds).argmin())
        return drawing.step_picture(analysis, step), drawing.timeline(analysis, cursor=seconds)

    def reply(dialogue, text):
        if dialogue is None:
            raise gr.Error("look at a video first")
        if text.strip():
            dialogue.ask(text.strip()[:1000])
        return _chat(dialogue), ""

    with gr.Blocks(title=TITLE) as page:
        analysis, dialogue = gr.State(None), gr.State(None)
        gr.Markdown(f"# {TITLE}")
        with gr.Row():
            with gr.Column():
                given = gr.Video(label="video", sources=["upload"], elem_id="video")
                button = gr.Button("Look at it", variant="primary", elem_id="look")
                words = gr.Textbox(label="in short", interactive=False, elem_id="words")
                chat = gr.Chatbot(label="dialogue", height=320, elem_id="chat")
                asked = gr.Textbox(label="ask on", placeholder="What is the target?", elem_id="ask")
            with gr.Column():
                overlay = gr.Video(
                    label="heatmap and boxes; the bar below is the frame score",
                    interactive=False,
                    autoplay=True,
                    loop=True,
                )
                moment = gr.Slider(0, 1, 0, step=0.05, label="moment (seconds)", elem_id="moment")
                picture = gr.Image(label="at this moment", interactive=False, elem_id="picture")
                timeline = gr.Image(label="frame scores", interactive=False)
                path = gr.Image(label="trajectory", interactive=False)
        outputs = [analysis, dialogue, overlay, picture, timeline, moment, path, chat, words]
        button.click(look, given, outputs)
        moment.release(show, [analysis, moment], [picture, timeline])
        asked.submit(reply, [dialogue, asked], [chat, asked])
    return page


def _chat(dialogue: Dialogue) -> list[dict]:
    return [
        turn
        for asked, said in dialogue.turns
        for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
    ]


def serve(model, processor, host: str, port: int, rate: float, max_frames: int, overlap: float) -> None:
    """Serve the page until interrupted."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    build(model, processor, rate, max_frames, overlap).queue(default_concurrency_limit=1).launch(
        server_name=host,
        server_port=port,
        theme=theme,
        max_file_size="500mb",
        quiet=True,
        footer_links=[],
        ssr_mode=False,
    )
