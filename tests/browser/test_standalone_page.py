"""The standalone host's page in Chromium: the chat, its stop button, its languages, what cannot hurt it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import JSHandle, Page, expect

from .conftest import OpenPage
from .program import ANSWER_MS, Program, patient_program
from .waiting import has_shown, note_texts, wait_for


@pytest.fixture
def page(program: Program, open_page: OpenPage) -> Page:
    return opened(open_page, program)


def opened(open_page: OpenPage, program: Program) -> Page:
    """A program's page, wide enough for chat and panel, with no message yet."""
    page = open_page(program.url, 1280, 800, locale="en-US")
    expect(page.locator(".welcome")).to_be_visible()
    return page


def send(page: Page, text: str) -> None:
    page.get_by_role("textbox").fill(text)
    page.get_by_role("textbox").press("Enter")


def finished(page: Page) -> None:
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible(timeout=ANSWER_MS)


def markdown(page: Page, text: str) -> JSHandle:
    """`text` as an answer shows it, in a body of 120 pixels that stands in the page."""
    return page.evaluate_handle(
        """async (text) => {
          const { render } = await import("/backend/standalone/page/markdown.js");
          const body = document.createElement("div");
          body.className = "body";
          body.style.width = "120px";
          const message = document.createElement("article");
          message.className = "message assistant";
          message.append(body);
          document.querySelector(".log").append(message);
          render(body, [], text);
          return body;
        }""",
        text,
    )


# Notes how long the newest answer is, without its marks, each time that it changes.
LENGTHS = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const body = [...document.querySelectorAll(".message.assistant .body")].at(-1)?.cloneNode(true);
    for (const mark of body?.querySelectorAll(".break") ?? []) mark.remove();
    if (body) window.lengths.push(body.textContent.trim().length);
  }).observe(document.querySelector(".log"), { childList: true, subtree: true, characterData: true });
}"""


def test_a_dropped_connection_is_repaired_before_ones_eyes(page: Page) -> None:
    """The answer stands there whole and once, and the line below it tells of the retry."""
    note_texts(page, ".send")
    page.get_by_role("button", name="/drop", exact=True).click()
    has_shown(page, ".send", "^Stop$")
    finished(page)

    answer = page.locator(".message.assistant")
    expect(answer.locator("h3")).to_have_text("A dropped connection")
    expect(answer.get_by_text("nothing stands here twice")).to_have_count(1)
    expect(answer.locator(".meta")).to_contain_text("1 retried", timeout=ANSWER_MS)
    expect(page.locator("#panel")).to_contain_text("scripted")


def test_the_break_is_marked_where_it_happened(open_page: OpenPage) -> None:
    """While an answer is repaired its text stands still, with a mark at its end; a quiet mark stays, also later."""
    program = Program(COPILOT_PULSE_RETRY_BASE="1.5")
    try:
        page = opened(open_page, program)
        page.evaluate(LENGTHS)
        note_texts(page, ".break")
        send(page, "/drop")
        has_shown(page, ".break", "^connection broke here, asking again …$")
        broken = page.evaluate("window.lengths.at(-1)")
        finished(page)

        lengths = page.evaluate("window.lengths")
        assert broken > 20
        assert lengths == sorted(lengths)  # no word was taken away from the reader
        seam = page.get_by_role("img", name="Repaired here")
        for _ in ("at once", "after a reload"):
            expect(seam).to_have_count(1)
            expect(page.locator(".break")).to_have_count(0)
            page.reload()
    finally:
        program.end()


def test_an_answer_that_is_told_anew_is_marked_where_it_differs(page: Page) -> None:
    """A real model says it in other words the second time: the new ones stand there, and nothing is garbled."""
    shown = page.evaluate(
        """async () => {
          const { Mending, withMarks } = await import("/backend/standalone/page/seam.js");
          const mending = new Mending();
          const show = (text, more) => withMarks(mending.view({ text, repair: "", seams: [], ...more }));
          const repair = "connection";
          return [
            show("A **bold"), show("A **bold wo"), show("A **bold wo", { repair }), show("A", { repair }),
            show("A **bo", { repair }), show("A **bone", { seams: [6] }), show("A **bone** it is", { seams: [6] }),
          ];
        }"""
    )
    mark, seam = "\ue001", "\ue000"

    assert shown == [
        "A **bold", "A **bold wo", f"A **bold wo{mark}", f"A **bold wo{mark}",
        f"A **bold wo{mark}", f"A **bo{seam}ne", f"A **bo{seam}ne** it is",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "html"),
    [
        ("one two", 4, "<p>one<i></i> two</p>"),
        ("a **bold** b", 3, "<p>a<i></i> <strong>bold</strong> b</p>"),
        ("a **bold** b", 7, "<p>a <strong>bol<i></i>d</strong> b</p>"),
        ("one\n- two", 6, "<p>one<i></i></p><ul><li>two</li></ul>"),
        ("```js\ncode\n```", 8, "<pre><code>co<i></i>de</code></pre>"),
        ("# Head\n\ntext", 8, "<h3>Head<i></i></h3><p>text</p>"),
        ("see [it](https://x.org) now", 15, '<p>see <a href="https://x.org/">it</a><i></i> now</p>'),
        ("😀😀", 1, "<p>😀😀</p>"),
    ],
)
def test_a_seam_breaks_no_markdown(page: Page, text: str, place: int, html: str) -> None:
    """Wherever the connection broke, the text around the mark looks as without it."""
    body = page.evaluate_handle(
        """async ([text, place]) => {
          const { render } = await import("/backend/standalone/page/markdown.js");
          const { withMarks } = await import("/backend/standalone/page/seam.js");
          const body = document.createElement("div");
          render(body, [], withMarks({ text, seams: [place], broken: null }));
          for (const link of body.querySelectorAll("a")) {
            for (const name of ["target", "rel"]) link.removeAttribute(name);
            link.setAttribute("href", link.href);
          }
          for (const mark of body.querySelectorAll(".seam")) mark.replaceWith(document.createElement("i"));
          return body;
        }""",
        [text, place],
    )

    assert body.evaluate("(body) => body.innerHTML") == html


def test_an_answer_can_be_copied_and_asked_for_again(page: Page) -> None:
    """What is copied has no invisible signs, and the new answer takes the old one's place."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    send(page, "/401")
    finished(page)
    note_texts(page, ".act")
    page.get_by_role("button", name="Copy", exact=True).click()
    has_shown(page, ".act", "^Copied$")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "refused the API key" in copied
    assert "\u2063" not in copied
    assert "--api-key-env" in copied  # where it is set here; Copilot's settings are not
    page.locator(".message.assistant").evaluate("(element) => element.id = 'old'")
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("#old")).to_have_count(0)
    finished(page)

    expect(page.locator(".message.user")).to_have_text(["/401"])
    expect(page.locator(".message.assistant .notice")).to_have_count(1)
    send(page, "/help")
    finished(page)
    page.get_by_role("button", name="Send again").first.click()
    finished(page)
    expect(page.locator(".message.user")).to_have_text(["/401", "/help", "/401"])


def test_a_wait_runs_down(open_page: OpenPage) -> None:
    """A server that names a time: the button counts until then, and can be pressed all the while."""
    program = Program(COPILOT_PULSE_MAX_RETRIES="0")
    try:
        page = opened(open_page, program)
        note_texts(page, ".again")
        send(page, "/429")
        finished(page)
        again = page.locator(".again")
        has_shown(page, ".again", r"^Send again \(in \d s\)$")
        expect(again).to_be_enabled()
        expect(again).to_have_text("Send again", timeout=ANSWER_MS)
    finally:
        program.end()


def test_what_is_read_out_is_text(page: Page) -> None:
    """A screen reader gets the answer's words, and none of Markdown's signs or our invisible ones."""
    send(page, "/401")
    finished(page)
    spoken = page.locator(".unseen[role=status]").inner_text()

    assert spoken.startswith("Answer: 127.0.0.1")
    assert not re.search(r"[>*#\u2063]", spoken)


def test_stop_ends_the_answer_and_the_model(open_page: OpenPage) -> None:
    """After Stop the page is ready for the next message, and the server has no chat running."""
    program = patient_program()
    try:
        page = opened(open_page, program)
        send(page, "/stall")
        expect(page.locator(".message.assistant .body")).to_contain_text("A stall", timeout=ANSWER_MS)
        page.get_by_role("button", name="Stop", exact=True).click()

        finished(page)
        expect(page.locator(".meta").last).to_contain_text("Stopped")
        wait_for(lambda: not program.metrics()["chat"]["active"], what="the end of the chat")
    finally:
        program.end()


def test_text_is_only_ever_text(page: Page) -> None:
    """Neither what the user types nor what the model repeats becomes a live element or a script link."""
    attack = '<img src=x onerror="window.hit=1"> [x](javascript:window.hit=1) **<script>window.hit=1</script>**'
    send(page, attack)
    finished(page)

    expect(page.locator(".message.user .body")).to_have_text(attack)
    expect(page.locator(".message.assistant .body")).to_contain_text("You wrote")
    assert page.locator(".log img, .log script, .log a").count() == 0
    assert page.evaluate("window.hit") is None


def test_what_went_wrong_looks_like_it(page: Page) -> None:
    """What Pulse says in the place of an answer is no grey quotation, also after a reload; the model's quotes are."""
    send(page, "/401")
    finished(page)

    notice = page.locator(".message.assistant.failed .notice")
    expect(notice).to_contain_text("key")
    expect(page.locator(".message.assistant .body")).not_to_contain_text(">")
    colour = "(element) => getComputedStyle(element).borderLeftColor"
    edge = notice.evaluate(colour)
    page.reload()
    assert notice.evaluate(colour) == edge
    assert edge != markdown(page, "> said").evaluate(f"(body) => ({colour})(body.querySelector('blockquote'))")


def test_an_answer_that_the_panel_stops_is_not_told_as_whole(open_page: OpenPage) -> None:
    """Whoever stopped it: an answer that was cut says so, also after a reload."""
    program = patient_program()
    try:
        page = opened(open_page, program)
        send(page, "/stall")
        expect(page.locator(".message.assistant .body")).to_contain_text("A stall", timeout=ANSWER_MS)
        page.get_by_role("button", name="Stop this chat").click()

        finished(page)
        expect(page.locator(".meta").last).to_contain_text("Stopped")
        page.reload()
        expect(page.locator(".meta").last).to_contain_text("Stopped")
    finally:
        program.end()


def test_a_retry_is_told_of_the_answer_that_had_it(open_page: OpenPage) -> None:
    """The monitor's news come late: the next answer must not count the retries of the one before."""
    program = Program(COPILOT_PULSE_PANEL_REFRESH="10")
    try:
        page = opened(open_page, program)
        send(page, "/drop")
        finished(page)
        send(page, "hello")
        finished(page)
        # Both chats stand in the monitor: everything that it has to say of them has arrived.
        expect(page.locator(".cpulse-chat[data-state=done]")).to_have_count(2, timeout=ANSWER_MS)

        metas = page.locator(".message.assistant .meta")
        expect(metas.first).to_contain_text("1 retried")
        expect(metas.last).not_to_contain_text("retried")
    finally:
        program.end()


def test_a_silence_is_told_with_its_length(page: Page) -> None:
    """A model that falls silent is not told to be answering, and who waits sees for how long."""
    note_texts(page, ".meta")
    send(page, "/stall")
    has_shown(page, ".meta", "silent for [12] s")
    finished(page)
    send(page, "/silent")
    has_shown(page, ".meta", "Waiting for the model, [12] s")
    finished(page)


def test_a_long_silence_is_told_with_what_comes_when(open_page: OpenPage) -> None:
    """Who waits for long sees until when, and what is done then; the notice in the text is taken for no word of it."""
    program = Program(COPILOT_PULSE_STALL_TIMEOUT="15", COPILOT_PULSE_PANEL_REFRESH="0.5")
    try:
        page = opened(open_page, program)
        for selector in (".meta", ".message.assistant .notice", ".break"):
            note_texts(page, selector)
        send(page, "/stall")
        has_shown(page, ".meta", r"silent for 1\d s; it is asked again in \d s$")
        has_shown(page, ".message.assistant .notice", "has been silent since")
        has_shown(page, ".break", "^fell silent here, asking again …$")
        expect(page.locator(".message.assistant .notice")).to_have_count(0)
        finished(page)
        expect(page.get_by_role("img", name="Repaired here")).to_have_count(1)
    finally:
        program.end()


def test_the_buttons_say_what_will_come_of_it(page: Page) -> None:
    """Faults that are repaired stand apart from those that can only be explained; pointing at one says what it does."""
    explained = page.get_by_role("group", name="Explained")

    assert explained.get_by_role("button").all_inner_texts() == ["/401", "/html"]
    expect(page.get_by_role("group", name="Repaired").get_by_role("button", name="/drop")).to_be_visible()
    explained.get_by_role("button", name="/401").hover()
    expect(page.locator(".tray-head")).to_contain_text("/401: refuse: the key is wrong")


def test_markdown_of_models(page: Page) -> None:
    """Tasks, struck words and columns look as they are meant; a narrow table scrolls and breaks no word."""
    body = markdown(
        page,
        "- [x] done\n- [ ] todo\n\n~~struck~~ `code`\n\n| node | a number |\n|---|---:|\n| KSampler | 1,000 |\n\n---",
    )

    ticked = "(body) => [...body.querySelectorAll('.task input')].map((box) => box.checked)"
    assert body.evaluate(ticked) == [True, False]
    assert body.evaluate("(body) => body.querySelector('s').textContent") == "struck"
    alignment = "(body) => getComputedStyle(body.querySelector('td:last-child')).textAlign"
    assert body.evaluate(alignment) in ("end", "right")
    heights = "(body) => [...body.querySelectorAll('td')].map((cell) => cell.clientHeight)"
    assert max(body.evaluate(heights)) < 40
    ground = "(body) => getComputedStyle(body.querySelector('code')).backgroundColor"
    page.emulate_media(color_scheme="dark")
    assert body.evaluate(ground) == "rgb(42, 45, 51)"


def test_the_input_keeps_its_height(page: Page) -> None:
    """Sending does not make the page jump."""
    box = page.get_by_role("textbox")
    before = box.bounding_box()
    send(page, "/help")
    finished(page)

    assert before is not None
    assert box.bounding_box() == before


def test_the_language_can_be_changed_and_is_kept(page: Page) -> None:
    """One button turns the page and the panel to Chinese, also after a reload."""
    page.locator("#language").click()

    expect(page.get_by_role("button", name="发送")).to_be_visible()
    expect(page.locator("#panel")).to_contain_text("对话")
    page.reload()
    expect(page.get_by_role("button", name="发送")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh"


def test_a_reload_keeps_the_conversation(page: Page) -> None:
    """After a reload the messages and answers of this tab are there; a new chat clears them."""
    send(page, "/help")
    finished(page)
    answer = page.locator(".message.assistant .body").inner_text()
    page.reload()

    expect(page.locator(".message.assistant .body")).to_have_text(answer, use_inner_text=True)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".message")).to_have_count(0)


def test_enter_belongs_to_the_input_method_while_composing(page: Page) -> None:
    """Choosing a Chinese word with Enter does not send half a sentence; Shift+Enter is a new line."""
    box = page.get_by_role("textbox")
    box.fill("ni")
    box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    box.press("Shift+Enter")

    assert page.locator(".message").count() == 0
    assert box.input_value() == "ni\n"


@pytest.mark.parametrize("width", [320, 390, 861])
def test_nothing_sticks_out(page: Page, width: int) -> None:
    """On a phone and in a narrow window everything fits; the two views are a tap apart."""
    page.set_viewport_size({"width": width, "height": 700})
    send(page, "/tool")
    finished(page)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('.log').scrollWidth") <= width
    if width < 800:
        page.get_by_role("button", name="Monitor").click()
        expect(page.locator("#panel")).to_be_visible()
        expect(page.locator("#chat")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
