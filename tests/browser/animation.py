"""Makes the moving pictures of the READMEs: a connection breaks in the middle of an answer, and it is repaired.

    python -m tests.browser.animation

It is the real page and a real break, at the speed at which it happened; only what stands still for long is shortened.
Chromium takes the pictures, compares them and packs what has changed as WebP; here they become one file.
"""

from __future__ import annotations

import argparse
import base64
import re
import struct
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from playwright.sync_api import Browser, Page, expect, sync_playwright

from .chromium import launch
from .program import ANSWER_MS, ROOT, Program

TARGET: Final = ROOT / "docs" / "screenshots"
LOCALES: Final = {"repair.webp": "en-US", "repair-zh.webp": "zh-CN"}
MOST_BYTES: Final = 2_000_000
VIEWPORT: Final = (1100, 620)
SCALE: Final = 1.25
FRAME: Final = 0.09
"""Seconds between two pictures at least."""
LONGEST: Final = 1.5
"""Seconds that a picture stands at most, except the last one."""
LAST: Final = 4.0
# Long enough a wait to be read, and a panel that follows.
ENVIRONMENT: Final = {
    "COPILOT_PULSE_RETRY_BASE": "4",
    "COPILOT_PULSE_PANEL_REFRESH": "0.4",
    "COPILOT_PULSE_STORE": "off",
}
SHORTEST_WAIT: Final = 2


class Frame(NamedTuple):
    """What has changed in a picture: a rectangle of the canvas as a WebP, and for how long it stands."""

    x: int
    y: int
    width: int
    height: int
    seconds: float
    webp: bytes


# Keeps the last picture on a canvas; gives the rectangle in which the next one differs, packed without loss. WebP wants
# even places.
COMPARE: Final = """async (png) => {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const now = new Uint32Array(pen.getImageData(0, 0, width, height).data.buffer);
  const before = window.before;
  window.before = now;
  let [left, top, right, bottom] = before ? [width, height, -1, -1] : [0, 0, width - 1, height - 1];
  for (let at = 0; before && at < now.length; at += 1) {
    if (now[at] === before[at]) continue;
    const [x, y] = [at % width, (at / width) | 0];
    if (x < left) left = x;
    if (x > right) right = x;
    if (y < top) top = y;
    if (y > bottom) bottom = y;
  }
  if (right < 0) return null;
  left -= left % 2;
  top -= top % 2;
  const part = new OffscreenCanvas(right - left + 1, bottom - top + 1);
  part.getContext("2d").drawImage(canvas, -left, -top);
  const bytes = new Uint8Array(await (await part.convertToBlob({ type: "image/webp", quality: 1 })).arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return [left, top, part.width, part.height, btoa(text)];
}"""


def pictures(page: Page, shots: Sequence[tuple[float, bytes]]) -> list[Frame]:
    """The frames of screenshots, each with the moment at which it was taken. Where nothing changed there is none."""
    frames: list[Frame] = []
    shown: list[float] = []
    for moment, png in shots:
        changed = page.evaluate(COMPARE, base64.b64encode(png).decode())
        if changed is not None:
            x, y, width, height, data = changed
            frames.append(Frame(x, y, width, height, LAST, base64.b64decode(data)))
            shown.append(moment)
    for index, (began, ended) in enumerate(pairwise(shown)):
        frames[index] = frames[index]._replace(seconds=min(ended - began, LONGEST))
    return frames


def animated(frames: Sequence[Frame]) -> bytes:
    """The frames as one WebP that plays for ever; the first one is the whole canvas. Pure."""
    width, height = frames[0].width, frames[0].height
    chunks = [
        _chunk(b"VP8X", bytes([0b10, 0, 0, 0]) + _u24(width - 1) + _u24(height - 1)),
        _chunk(b"ANIM", struct.pack("<IH", 0xFF000000, 0)),
    ]
    for frame in frames:
        place = b"".join(map(_u24, (frame.x // 2, frame.y // 2, frame.width - 1, frame.height - 1)))
        head = place + _u24(round(frame.seconds * 1000)) + bytes([0b10])  # over what is there, without blending
        chunks.append(_chunk(b"ANMF", head + _image_of(frame.webp)))
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _image_of(webp: bytes) -> bytes:
    """The chunks of a still picture that hold its pixels."""
    kept, at = b"", 12
    while at < len(webp):
        name, size = webp[at : at + 4], struct.unpack_from("<I", webp, at + 4)[0]
        if name in (b"VP8 ", b"VP8L", b"ALPH"):
            kept += _chunk(name, webp[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return kept


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _u24(number: int) -> bytes:
    return number.to_bytes(3, "little")


def record(page: Page, command: str) -> tuple[list[tuple[float, bytes]], int]:
    """Press a button of the page and take pictures until the answer is there; also the longest wait that was told."""
    shots: list[tuple[float, bytes]] = []
    wait = 0

    def shoot() -> None:
        shots.append((time.monotonic(), page.screenshot(animations="allow", caret="hide")))

    shoot()
    page.get_by_role("button", name=command, exact=True).click()
    page.mouse.move(VIEWPORT[0] / 3, VIEWPORT[1] / 2)
    growing = page.locator(".growing")
    expect(growing).to_be_visible()
    while growing.count():
        began = time.monotonic()
        shoot()
        told = re.search(r"(\d+) (?:s$|秒后)", page.locator(".meta").last.inner_text())
        if told and page.locator(".break").count():
            wait = max(wait, int(told[1]))
        page.wait_for_timeout(max(0.0, FRAME - (time.monotonic() - began)) * 1000)
    # The monitor tells the recovery, and the picture ends with all of it.
    expect(page.locator(".cpulse-chat[data-state=done]").first).to_be_visible(timeout=ANSWER_MS)
    page.wait_for_timeout(800)
    shoot()
    return shots, wait


def film(browser: Browser, locale: str) -> bytes:
    """The whole file. A wait is random: what was too short to be read is filmed again."""
    width, height = VIEWPORT
    while True:
        program = Program(0, **ENVIRONMENT)
        context = browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=SCALE, locale=locale, color_scheme="dark"
        )
        try:
            page = context.new_page()
            page.goto(program.url)
            expect(page.locator(".welcome")).to_be_visible()
            page.wait_for_selector(".cpulse-tile-value")
            page.wait_for_timeout(800)
            shots, wait = record(page, "/drop")
            if wait < SHORTEST_WAIT:
                continue
            lab = context.new_page()
            lab.goto("about:blank")
            return animated(pictures(lab, shots))
        finally:
            context.close()
            program.end()


def main() -> int:
    """Film it and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    too_large = False
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name, locale in LOCALES.items():
            data = film(browser, locale)
            (options.target / name).write_bytes(data)
            sys.stdout.write(f"{name}: {len(data) / 1000:.0f} kB\n")
            too_large |= len(data) > MOST_BYTES
        browser.close()
    if too_large:
        sys.stderr.write(f"more than {MOST_BYTES / 1e6:.0f} MB: make VIEWPORT or SCALE smaller\n")
    return int(too_large)


if __name__ == "__main__":
    sys.exit(main())
