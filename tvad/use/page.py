"""The web demo (`tvad demo`): drop a video, see the heatmap play along the timeline of frame scores, talk
about it. What belongs to a clip goes with it: its findings when another one comes, its files after an hour
and when the server ends."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault(
    "GRADIO_ANALYTICS_ENABLED", "False"
)  # before the import: the page fetches and reports nothing

import gradio as gr
import numpy as np

from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.questions import ASKED
from tvad.use import drawing, preview
from tvad.use.analysis import Analysis
from tvad.use.infer import Dialogue, analyse, in_short
from tvad.use.page_folder import own_folder

PROGRESS = gr.Progress()  # gradio looks for it among the defaults of a function's parameters
TITLE = "T-VAD: what is anomalous, where, when and why"
KEPT = 3600  # seconds that a visitor's files and analysis are kept
PRIVACY = "Your clip stays on this server; it is deleted within two hours and when the server ends."
LATER = [ASKED[kind] for kind in ("temporal", "classification", "judgement")]  # questions to click
HEAD = Path(__file__).with_name("page_head.html")
OFF = "look at a clip first, then ask on"


@dataclass
class Given:
    """The clip that a visitor sees. `path`: as it was uploaded; `shown`: what the browser plays; `current`:
    until another one is taken, also while this one is being looked at."""

    path: str
    shown: str
    current: bool = True

    def forget(self) -> None:
        self.current = False
        if self.shown != self.path:
            shutil.rmtree(Path(self.shown).parent, ignore_errors=True)


@dataclass
class Found:
    """What was found in a clip, with its folder of files."""

    analysis: Analysis
    dialogue: Dialogue
    folder: Path

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def build(
    model, processor, folder: Path, rate: float, max_frames: int, overlap: float, knows: str = ""
) -> gr.Blocks:
    """The page. `folder`: for all files; `knows`: what there is to say about the model. State is per visitor:
    his clip, and what was found in it."""

    def taken(path, given, found):
        """Another clip, or none: nothing that was found in the last one stays."""
        if given is not None and path == given.shown:  # our own preview of it
            return (gr.skip(),) * (2 + len(findings))
        _forget(given)
        _forget(found)
        fresh = None if path is None else Given(path, path)
        return fresh, gr.Button(interactive=fresh is not None), *emptied()

    def previewed(given, progress=PROGRESS):
        """The same clip in a form that a browser plays."""
        if given is None or given.path != given.shown:
            return gr.skip()
        try:
            if preview.plays(given.path):
                return gr.skip()
            progress(0, desc="making a preview that a browser plays")
            shown = preview.make(given.path, folder, lambda share: progress(share, desc="preview"))
        except InputError as error:
            raise _refusal(error, given.path) from error
        gone, given.shown = not given.current, str(shown)
        if gone:
            given.forget()
        return gr.skip() if gone else given.shown

    def look(given, progress=PROGRESS):
        if given is None:
            raise _refusal("choose a video first")
        progress(0, desc="looking")
        try:
            with video.Reader(given.path) as reader:
                seconds = reader.clock.end
            analysis = analyse(
                model,
                processor,
                given.path,
                rate,
                max_frames,
                overlap,
                told=lambda at: progress(0.6 * min(at / seconds, 1), desc="looking"),
            )
        except InputError as error:
            raise _refusal(error, given.path) from error
        found = Found(analysis, Dialogue(model, processor, analysis.clip), Path(tempfile.mkdtemp(dir=folder)))
        overlay = found.folder / "overlay.mp4"
        drawn = _counted(
            drawing.overlay_frames(analysis),
            lambda n: progress(0.6 + 0.25 * min(n / analysis.frames, 1), desc="drawing"),
        )
        video.write(overlay, drawn, analysis.clock, crf=23)
        for n, _ in enumerate(found.dialogue.standard()):
            progress(0.88 + 0.02 * n, desc="asking")
        if not given.current:  # another clip was taken meanwhile
            found.forget()
            return (gr.skip(),) * len(findings)
        scores = analysis.frame_scores()
        at = 0.0 if scores is None else float(analysis.clock.times[scores.argmax()])
        last = round(float(analysis.clock.times[-1]), 2)
        return (
            found,
            str(overlay),
            *show(found, at),
            gr.Slider(0, last, at, step=0.05, interactive=True),
            drawing.trajectory(analysis),
            gr.Chatbot(_chat(found.dialogue), label=f"dialogue {found.dialogue.about}"),
            in_short(analysis),
            gr.Textbox(interactive=True, placeholder="When does the anomaly happen?"),
            gr.Dataset(visible=True),
        )

    def show(found, seconds):
        if found is None:
            return None, None
        step = int(np.abs(found.analysis.centres - seconds).argmin())
        return drawing.step_picture(found.analysis, step), drawing.timeline(found.analysis, cursor=seconds)

    def reply(found, text):
        if found is None:
            raise _refusal("this analysis is no longer kept; look at the clip again")
        if text.strip():
            try:
                found.dialogue.ask(text.strip()[:1000])
            except InputError as error:
                raise _refusal(error) from error
        return _chat(found.dialogue), ""

    with gr.Blocks(title=TITLE, delete_cache=(KEPT // 6, KEPT), fill_width=True) as page:
        clip = gr.State(None, time_to_live=KEPT, delete_callback=_forget)
        found = gr.State(None, time_to_live=KEPT, delete_callback=_forget)
        gr.Markdown(f"# {TITLE}\n{knows}", elem_id="title")
        with gr.Row():
            with gr.Column(min_width=320):
                given = gr.Video(label="video", sources=["upload"], elem_id="video", height=300)
                gr.Examples(
                    [[str(path)] for path in preview.examples(folder)],
                    given,
                    label="or one of these (generated)",
                    example_labels=preview.EXAMPLES,
                    elem_id="examples",
                )
                button = gr.Button("Look at it", variant="primary", elem_id="look", interactive=False)
                words = gr.Textbox(label="in short", interactive=False, elem_id="words", lines=3)
                chat = gr.Chatbot(
                    label="dialogue", height=360, elem_id="chat", render_markdown=False, buttons=[]
                )
                asked = gr.Textbox(label="ask on", placeholder=OFF, elem_id="ask", interactive=False)
                later = gr.Dataset(
                    components=[asked],
                    samples=[[text] for text in LATER],
                    label="for example",
                    visible=False,
                    elem_id="later",
                )
            with gr.Column(min_width=320):
                overlay = gr.Video(
                    label="heatmap, boxes; red bar: the frame score",
                    interactive=False,
                    autoplay=True,
                    loop=True,
                    elem_id="overlay",
                    height=300,
                )
                moment = gr.Slider(
                    0, 1, 0, step=0.05, label="moment (seconds)", elem_id="moment", interactive=False
                )
                picture = gr.Image(label="at this moment", buttons=[], interactive=False, elem_id="picture")
                timeline = gr.Image(show_label=False, buttons=[], interactive=False, elem_id="timeline")
                path = gr.Image(label="trajectory", buttons=[], interactive=False, elem_id="trajectory")
        gr.Markdown(PRIVACY)
        findings = [found, overlay, picture, timeline, moment, path, chat, words, asked, later]

        def emptied():
            return (
                *(None,) * 4,
                gr.Slider(0, 1, 0, interactive=False),
                None,
                gr.Chatbot([], label="dialogue"),
                "",
                gr.Textbox("", interactive=False, placeholder=OFF),
                gr.Dataset(visible=False),
            )

        given.change(
            taken, [given, clip, found], [clip, button, *findings], queue=False, show_progress="hidden"
        ).then(previewed, clip, given, show_progress_on=[words])
        # One at a time: the model is one.
        button.click(emptied, None, findings, queue=False, show_progress="hidden").then(
            look, clip, findings, show_progress_on=[words], concurrency_id="model"
        )
        moment.release(show, [found, moment], [picture, timeline], show_progress="hidden")
        asked.submit(reply, [found, asked], [chat, asked], show_progress_on=[chat], concurrency_id="model")
        later.click(lambda sample: sample[0], later, asked, show_progress="hidden").then(
            reply, [found, asked], [chat, asked], show_progress_on=[chat], concurrency_id="model"
        )
    return page


def _forget(held: Given | Found | None) -> None:
    if held is not None:
        held.forget()


def _refusal(error: object, path: str = "") -> gr.Error:
    """What the visitor reads, without the server's folders; it is no failure of the server's to log."""
    words = str(error).replace(str(Path(path).parent) + os.sep, "") if path else str(error)
    return gr.Error(words, print_exception=False)


def _counted(items: Iterable, told: Callable[[int], None]) -> Iterator:
    for n, item in enumerate(items):
        if n % 10 == 0:
            told(n)
        yield item


def _chat(dialogue: Dialogue) -> list[dict]:
    """The turns as gradio shows them, in words and on the video's clock; reasoning is folded."""
    said = f"This is {dialogue.about}, where it is most anomalous; times are the video's."
    turns: list[dict] = [{"role": "assistant", "content": said}]
    for asked, reply in dialogue.shown():
        turns.append({"role": "user", "content": asked})
        if reply.reasoning:
            thought = {"title": "reasoning", "status": "done"}
            turns.append({"role": "assistant", "content": reply.reasoning, "metadata": thought})
        turns.append({"role": "assistant", "content": reply.words})
    return turns


def serve(
    model,
    processor,
    host: str,
    port: int,
    rate: float,
    max_frames: int,
    overlap: float,
    knows: str = "",
) -> None:
    """Serve the page until SIGINT, SIGTERM or SIGHUP; none of its files is left then, and none of a server
    that was killed."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    with own_folder() as (folder, stop):
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # of uploads and of whatever a component shows
        page = build(model, processor, folder, rate, max_frames, overlap, knows)
        if stop.is_set():
            return
        page.queue(default_concurrency_limit=4).launch(
            server_name=host,
            server_port=port,
            theme=theme,
            head_paths=HEAD,
            max_file_size="500mb",
            quiet=True,
            footer_links=[],
            ssr_mode=False,
            run_history=False,
            prevent_thread_lock=True,
        )
        stop.wait()
        page.close(verbose=False)
