"""Streams over loopback for tests of live sources: bytes that a thread sends, and is cut."""

import io
import socket
import threading
import time
from collections.abc import Sequence

import av
import numpy as np


def stream(images: Sequence[np.ndarray], rate: int, form: str = "mpegts", still: bool = False) -> bytes:
    """Pictures as a stream that can be read as it comes, a key frame a second. still: with the first one's
    time stamp for all."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(rate), "crf": "18"}
        video = container.add_stream("libx264", rate=rate, options=options)
        video.height, video.width, video.pix_fmt = *images[0].shape[:2], "yuv420p"
        for n, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = n
            for packet in video.encode(frame):
                if still:
                    packet.pts = packet.dts = 0
                container.mux(packet)
        for packet in video.encode():
            container.mux(packet)
    return out.getvalue()


class Sender:
    """Listens on loopback and sends each caller what `sent` has for it: the n-th's bytes, over `seconds`,
    then the connection is cut. Callers beyond are refused, or with `silent` kept waiting. calls: how many
    came."""

    def __init__(self, sent: Sequence[bytes], seconds: float = 0.0, silent: bool = False):
        self.calls = 0
        self._sent, self._seconds, self._silent = list(sent), seconds, silent
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for data in self._sent:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            self.calls += 1
            parts = max(1, int(self._seconds / 0.02))
            size = -(-len(data) // parts) or 1
            try:
                for n in range(0, len(data), size):
                    caller.sendall(data[n : n + size])
                    time.sleep(0.02 if self._seconds else 0)
            except OSError:
                pass
            if self._silent:
                self._held.append(caller)
            else:
                caller.close()
        if not self._silent:
            self._server.close()

    def close(self) -> None:
        for one in (*self._held, self._server):
            one.close()
