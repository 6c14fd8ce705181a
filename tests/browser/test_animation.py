"""The moving picture of the READMEs: what is packed here is what a browser plays."""

from __future__ import annotations

import base64
import struct
import zlib

from playwright.sync_api import Page

from .animation import animated, pictures
from .conftest import OpenPage
from .fake_pulse import FakePulse

PLAY = """async (text) => {
  const data = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const decoder = new ImageDecoder({ data, type: "image/webp" });
  await decoder.tracks.ready;
  const { frameCount, repetitionCount } = decoder.tracks.selectedTrack;
  const frames = [];
  for (let frameIndex = 0; frameIndex < frameCount; frameIndex += 1) {
    const { image } = await decoder.decode({ frameIndex });
    const canvas = new OffscreenCanvas(image.displayWidth, image.displayHeight);
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const at = (x, y) => [...pen.getImageData(x, y, 1, 1).data.slice(0, 3)];
    frames.push({ size: [canvas.width, canvas.height], ms: image.duration / 1000, pixels: [at(0, 0), at(7, 5)] });
    image.close();
  }
  return { frames, forever: repetitionCount === Infinity };
}"""
GREY, RED, BLUE = (200, 200, 200), (255, 0, 0), (0, 0, 255)


def png(*dots: tuple[int, int, tuple[int, int, int]], width: int = 12, height: int = 9) -> bytes:
    """A grey picture with dots in it."""
    coloured = {(x, y): colour for x, y, colour in dots}
    rows = b"".join(b"\0" + b"".join(bytes(coloured.get((x, y), GREY)) for x in range(width)) for y in range(height))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def lab(open_page: OpenPage, fake: FakePulse) -> Page:
    return open_page(f"{fake.url}/page?closed")


def test_a_browser_plays_what_was_filmed(open_page: OpenPage, fake: FakePulse) -> None:
    """Each change is a frame in its place and for its time, what did not change is none, and it plays for ever."""
    page = lab(open_page, fake)
    shots = [
        (10.0, png()), (10.1, png((7, 5, RED))), (10.3, png((7, 5, RED))), (10.5, png((7, 5, RED), (0, 0, BLUE))),
        (99.0, png((7, 5, BLUE), (0, 0, BLUE))),
    ]  # fmt: skip
    frames = pictures(page, shots)
    played = page.evaluate(PLAY, base64.b64encode(animated(frames)).decode())

    assert [frame["pixels"] for frame in played["frames"]] == [
        [list(GREY), list(GREY)], [list(GREY), list(RED)], [list(BLUE), list(RED)], [list(BLUE), list(BLUE)],
    ]  # fmt: skip
    assert [frame["ms"] for frame in played["frames"]] == [100, 400, 1500, 4000]
    assert {tuple(frame["size"]) for frame in played["frames"]} == {(12, 9)}
    assert played["forever"]
    assert [frame.width for frame in frames] == [12, 2, 1, 2]
