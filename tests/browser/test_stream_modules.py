"""The page's stream modules alone: what they make of fetch, and what they do when the network is bad."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route

from backend.streams.relay import Relay
from backend.streams.wire import Shortener, line

from .conftest import OpenPage
from .fake_pulse import FakePulse

# `script` answers each request: a Response, a Promise of one, or an Error. `seen` notes the requests.
PREPARE = """async () => {
    window.seen = [];
    window.script = () => new Response('{}');
    window.fetch = async (input, init) => {
        window.seen.push([input, init]);
        const made = await window.script(String(input), init ?? {}, window.seen.length);
        if (made instanceof Error) throw made;
        return made;
    };
    window.noted = window.fetch;
    window.WebSocket = undefined;
    Math.random = () => 1;
    window.kept = {
        names: [],
        remember({ id }) { this.names.push(id); },
        forget(id) { this.names = this.names.filter((name) => name !== id); },
    };
    const { wrapFetch } = await import('/web/streams/fetch.js');
    window.undo = wrapFetch(window, { transport: () => window.transport ?? 'auto', kept: window.kept });
    window.BODY = JSON.stringify({ session_id: 's', messages: [], ext: [] });
    window.CHAT = { method: 'POST', headers: { 'trace-id': 't' }, body: window.BODY };
    window.frames = (list, { cut = false, status = 200, asked = true } = {}) => new Response(new ReadableStream({
        // One by one: an error takes away what has not been read.
        pull(c) {
            if (list.length) c.enqueue(new TextEncoder().encode(JSON.stringify(list.shift()) + '\\n'));
            else if (cut) c.error(new TypeError('cut'));
            else c.close();
        },
    }, { highWaterMark: 0 }), { status, headers: asked ? { 'X-Copilot-Pulse-Stream': 'frames' } : {} });
    window.HEAD = { type: 'head', seq: 1, status: 200, headers: {} };
    window.ITEM = { type: 'item', seq: 2, at: 0, text: 'a', line: { text: '', finished: false, ext: null } };
    window.END = { type: 'end', seq: 3, outcome: 'completed' };
    window.RUNS = { type: 'state', state: 'running', seq: 9 };
    // What the page gets of a chat; notes it in `got`, so that time can go on meanwhile.
    window.chat = (init = window.CHAT) => {
        window.got = {};
        fetch('/api/chat/invoke', init).then(async (response) => {
            Object.assign(got, { status: response.status, url: response.url, headers: [...response.headers.keys()] });
            const decoder = new TextDecoder();
            let text = ''; // response.text() would hide why it failed
            const reader = response.body?.getReader();
            for (let part; reader && !(part = await reader.read()).done;) {
                text += decoder.decode(part.value, { stream: true });
            }
            got.text = text;
        }).catch((error) => (got.error = error.name + ': ' + error.message)).finally(() => (got.done = true));
    };
    window.posts = () => seen.filter(([url, init]) => init?.method === 'POST' && String(url).endsWith('invoke')).length;
}"""


@pytest.fixture
def page(fake: FakePulse, open_page: OpenPage) -> Page:
    """A page with the upgrade around a fetch that follows a script, and with a clock that stands."""
    opened = open_page(f"{fake.url}/page?closed")
    opened.wait_for_function("window.ready")
    opened.clock.install()
    opened.evaluate(PREPARE)
    return opened


def run(page: Page, script: str, *, seconds: int = 0, init: str = "CHAT", ends: bool = True) -> dict[str, Any]:
    """Make a chat whose requests `script` answers; let `seconds` pass, then wait until it `ends`."""
    page.evaluate(f"() => {{ window.script = {script}; chat({init}); }}")
    for _ in range(seconds):
        page.clock.run_for(1000)
    if ends:
        page.wait_for_function("got.done", polling=10)
    got: dict[str, Any] = page.evaluate(
        "() => ({ ...got, posts: posts(), requests: seen.length, kept: kept.names.length })"
    )
    return got


UNTOUCHED = """async () => {
    const post = CHAT;
    const cases = [
        [new Request('/api/chat/invoke')], ['https://elsewhere.invalid/api/chat/invoke', post],
        ['/api/chat/invoke?x=1', post], ['/api/chat/invoke', { method: 'GET' }], ['/api/chat/invoke'],
        ['/api/chat/invoke', { ...post, body: new Blob([BODY]) }], ['/api/chat/invoke/', post],
        ['/api/chat/invoke', { ...post, body: '{' }], ['/api/chat/invoke', { ...post, body: '{"session_id":1}' }],
        ['http://[bad', post], [undefined], ['/api/prompt', post], ['/api/debug-agent', post], ['data:,x'],
    ];
    const changed = [];
    for (const given of cases) {
        const response = new Response('mine');
        window.script = () => response;
        const count = seen.length;
        const answer = await fetch(...given);
        const [input, init] = seen[count];
        if (input !== given[0] || init !== given[1] || seen.length !== count + 1 || answer !== response) {
            changed.push(String(given[0]));
        }
    }
    return [changed, kept.names.length];
}"""


def test_nothing_else_of_fetch_is_touched(page: Page) -> None:
    """Every other request reaches the browser's own fetch with the very same arguments, and its answer comes back."""
    assert [[], 0] == page.evaluate(UNTOUCHED)


@pytest.mark.parametrize(
    "call",
    ["['/api/chat/invoke', CHAT]", "[new URL('/sub/api/chat/invoke#h', location.href), CHAT]",
     "['api/chat/invoke', { ...CHAT, method: 'post' }]"],
)  # fmt: skip
def test_a_chat_is_upgraded(page: Page, call: str) -> None:
    """However the URL is given, Copilot's chat is asked under a name."""
    headers = page.evaluate(f"""async () => {{
        window.script = () => frames([HEAD, ITEM, END]);
        const response = await fetch(...{call});
        await response.text();
        return [seen.length, Object.keys(seen[0][1].headers), response.url.endsWith('/api/chat/invoke')];
    }}""")

    assert [1, ["trace-id", "X-Copilot-Pulse-Stream", "X-Copilot-Pulse-Mode", "X-Copilot-Pulse"], True] == headers


def test_it_can_be_taken_off(page: Page) -> None:
    """Undone, the page has the very function that it had."""
    assert page.evaluate("() => { undo(); return window.fetch === window.noted; }")


def test_options_are_kept(page: Page) -> None:
    """What Copilot asks of its request holds for ours, and what a WebSocket cannot hold does not go over one."""
    page.evaluate("""() => {
        window.sockets = 0;
        window.WebSocket = class { constructor() { window.sockets += 1; throw new Error('none'); } };
    }""")
    got = run(
        page, "() => frames([HEAD, ITEM, END])",
        init="{ ...CHAT, credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer', redirect: 'error' }",
    )  # fmt: skip
    init = page.evaluate("() => { const { credentials, cache, referrerPolicy, redirect } = seen[0][1]; "
                         "return [credentials, cache, referrerPolicy, redirect, window.sockets]; }")  # fmt: skip

    assert ["omit", "no-store", "no-referrer", "error", 0] == init
    assert got["url"].endswith("/api/chat/invoke")


def test_a_header_that_no_page_may_make(page: Page) -> None:
    """An answer with such a header arrives, with all the others."""
    script = "() => frames([{ ...HEAD, headers: { 'X-Who': '中文', 'X-Fine': '1' } }, ITEM, END])"
    got = run(page, script)

    assert ["x-fine"] == got["headers"]
    assert '"text":"a"' in got["text"]


def test_an_answer_without_a_body(page: Page) -> None:
    """A status that has none is handed on, and nothing is kept for a reload."""
    got = run(page, "() => frames([{ ...HEAD, status: 204 }, { type: 'end', seq: 2, outcome: 'completed' }])")

    assert (204, "", 0) == (got["status"], got["text"], got["kept"])


@pytest.mark.parametrize("dies", ["after the state", "in a frame", "at once"])
def test_back_off_and_give_up(page: Page, dies: str) -> None:
    """Connections that bring nothing new are tried ever less often, and after ten minutes not any more."""
    answer = {
        "after the state": "frames([RUNS], { cut: true })",
        "in a frame": "frames([RUNS, ITEM], { cut: true })",
        "at once": "new TypeError('network')",
    }[dies]
    script = f"(url, init, n) => n === 1 ? frames([HEAD, ITEM], {{ cut: true }}) : {answer}"
    soon = run(page, script, seconds=10, ends=False)
    page.clock.run_for(590_000)
    later = page.evaluate("() => ({ ...got, requests: seen.length })")
    page.clock.run_for(20_000)
    page.wait_for_function("got.done", polling=10)
    end = page.evaluate("() => ({ ...got, requests: seen.length })")

    assert soon["requests"] < 10
    assert "done" not in later
    assert later["requests"] < 140
    assert "did not come back" in end["error"]
    assert 1 == soon["posts"]


def test_beats_are_a_connection_that_lasts(page: Page) -> None:
    """While a model is silent for long, a proxy that cuts every minute does not make the page give up."""
    script = """(url, init, n) => n === 1 ? frames([HEAD, ITEM], { cut: true })
        : new Promise((done) => setTimeout(() => done(
            n < 60 ? frames([RUNS, { type: 'beat' }], { cut: true, asked: false }) : frames([RUNS, END])), 15_000))"""
    got = run(page, script, seconds=1000)

    assert "error" not in got
    assert '"text":"a"' in got["text"]


def test_a_machine_that_has_less_of_the_answer(page: Page) -> None:
    """Read on at a machine that had not got all of it, the answer is what that one has: nothing stands there twice."""
    script = """(url, init, n) => n === 1
        ? frames([HEAD, { ...ITEM, line: { ...ITEM.line, ext: [1] } }, [1, 'b'], [1, 'c']], { cut: true })
        : frames([{ ...RUNS, seq: 3, after: 0 }, HEAD, { ...ITEM, line: { ...ITEM.line, ext: [1] } }, [1, 'b'],
            { ...ITEM, seq: 100, at: 2, text: '!' }, { ...END, seq: 101 }], { asked: false })"""
    got = run(page, script)
    lines = [json.loads(each) for each in got["text"].splitlines()]

    assert "ab!" == lines[-1]["text"]
    assert 1 == sum(1 for made in lines if made["ext"])
    assert all("abc!".startswith(made["text"]) or made["text"] == "ab!" for made in lines)


def test_a_question_that_takes_long_to_send(page: Page) -> None:
    """A slow upload is not a dead connection: the question is asked once, and answered."""
    script = """(url, init) => init.method === 'POST'
        ? new Promise((done, failed) => {
            init.signal.addEventListener('abort', () => failed(init.signal.reason));
            setTimeout(() => done(frames([HEAD, ITEM, END])), 80_000);
        })
        : new Response('{}', { status: 404 })"""
    got = run(page, script, seconds=85)

    assert (1, True) == (got["posts"], '"text":"a"' in got["text"])


def test_a_question_whose_answer_is_lost(page: Page) -> None:
    """If the server has the question though nothing comes back on its connection, the answer is read beside it."""
    script = """(url, init) => init.method === 'POST'
        ? new Promise((done, failed) => init.signal.addEventListener('abort', () => failed(init.signal.reason)))
        : frames([RUNS, HEAD, ITEM, END], { asked: false })"""
    got = run(page, script, seconds=30)

    assert (1, True) == (got["posts"], '"text":"a"' in got["text"])


@pytest.mark.parametrize(("status", "behind", "shown"), [(504, True, 200), (502, False, 502), (500, True, 500)])
def test_a_gateway_that_gave_up(page: Page, status: int, behind: bool, shown: int) -> None:
    """An answer that runs behind a gateway's error is read; if there is none, Copilot gets the error."""
    rest = "frames([RUNS, HEAD, ITEM, END], { asked: false })" if behind else "new Response('{}', { status: 404 })"
    got = run(page, f"(url, init, n) => n === 1 ? new Response('gateway', {{ status: {status} }}) : {rest}")

    assert (shown, 1) == (got["status"], got["posts"])
    assert ('"text":"a"' in got["text"]) == (shown == 200)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_answer_that_is_refused(page: Page, status: int) -> None:
    """Who may not come back to an answer is told so at once."""
    refused = f"new Response('{{}}', {{ status: {status} }})"
    script = f"(url, init, n) => n === 1 ? frames([HEAD, ITEM], {{ cut: true }}) : {refused}"
    got = run(page, script, seconds=2)

    assert 2 == got["requests"]
    assert str(status) in got["error"]


def test_too_many_is_no_refusal(page: Page) -> None:
    """A server that has too much to do is asked again."""
    script = """(url, init, n) => n === 1 ? frames([HEAD, ITEM], { cut: true })
        : n === 2 ? new Response('{}', { status: 429 }) : frames([RUNS, END])"""
    got = run(page, script, seconds=5)

    assert '"text":"a"' in got["text"]


def test_a_machine_that_does_not_know_yet_is_asked_again(page: Page) -> None:
    """503: it has just started, or looks for its Redis. The text so far is not cut, and the model is asked once."""
    script = """(url, init, n) => n === 1 ? frames([HEAD, ITEM], { cut: true })
        : n < 6 ? new Response('{"error":"later"}', { status: 503, headers: { 'Retry-After': '1' } })
        : frames([RUNS, END])"""
    got = run(page, script, seconds=30)

    assert ("error" in got, got["posts"], got["requests"]) == (False, 1, 6)
    assert '"text":"a"' in got["text"]


@pytest.mark.parametrize("status", [404, 429, 503])
def test_a_stop_is_said_again_where_it_was_not_understood(page: Page, status: int) -> None:
    """A machine that does not know the answer yet is told once more; then it has been said."""
    page.evaluate(f"""() => {{
        window.stops = 0;
        window.script = (url, init) => {{
            if (!url.endsWith('/cancel')) return frames([HEAD, ITEM], {{ cut: true }});
            window.stops += 1;
            return new Response('{{}}', {{ status: window.stops < 3 ? {status} : 200 }});
        }};
        window.stop = new AbortController();
        chat({{ ...CHAT, signal: stop.signal }});
    }}""")
    page.wait_for_function("got.status === 200", polling=10)
    page.evaluate("() => stop.abort()")
    for _ in range(20):
        page.clock.run_for(1000)

    assert page.evaluate("() => stops") == 3


SOCKET = """() => {
    window.sockets = [];
    window.sent = [];
    window.WebSocket = class extends EventTarget {
        static OPEN = 1;
        static CLOSED = 3;
        readyState = 0;
        bufferedAmount = 0;
        constructor() {
            super();
            sockets.push(this);
            queueMicrotask(() => { this.readyState = 1; this.dispatchEvent(new Event('open')); });
        }
        send(text) {
            const frame = JSON.parse(text);
            sent.push(frame.type);
            this.id = frame.stream;
            window.onSent?.(this, frame);
        }
        say(frame) {
            const data = JSON.stringify({ stream: this.id, ...frame });
            queueMicrotask(() => this.dispatchEvent(Object.assign(new Event('message'), { data })));
        }
        close() { this.readyState = 3; sent.push('close'); }
    };
}"""


def test_a_hidden_tab_keeps_its_socket(page: Page) -> None:
    """Where timers come once a minute, a socket that answers pings is not given up, and one that does not is."""
    page.evaluate(SOCKET)
    page.evaluate("""() => {
        window.ticks = [];
        window.setInterval = (tick) => ticks.push(tick);
        window.clearInterval = (id) => delete ticks[id - 1];
        window.alive = true;
        window.onSent = (socket, { type }) => {
            if (type === 'invoke') { socket.say(HEAD); socket.say(ITEM); }
            if (type === 'ping' && alive) socket.say({ type: 'pong' });
        };
        window.script = () => new Promise(() => {});
        chat();
    }""")
    page.wait_for_function("got.status === 200", polling=10)

    def minute() -> None:
        page.clock.run_for(60_000)
        page.evaluate("() => ticks.forEach((tick) => tick())")

    for _ in range(3):
        minute()
    assert ["invoke", "ping", "ping", "ping"] == page.evaluate("sent")
    page.evaluate("alive = false")
    minute()
    minute()

    assert ["invoke", "ping", "ping", "ping", "ping", "close"] == page.evaluate("sent.slice(0, 6)")


def test_a_socket_that_uploads_is_alive(page: Page) -> None:
    """While a long question drains into the socket it is not given up; when it stops draining, it is."""
    page.evaluate(SOCKET)
    page.evaluate("""() => {
        window.onSent = (socket) => (socket.bufferedAmount = 1_000_000);
        window.script = () => new Promise(() => {});
        chat();
    }""")
    for _ in range(60):
        page.clock.run_for(1000)
        page.evaluate("() => (sockets[0].bufferedAmount -= 10_000)")
    assert "close" not in page.evaluate("sent")
    page.clock.run_for(60_000)

    assert "close" in page.evaluate("sent")


def test_what_a_socket_may_not_ask_is_asked_over_http(page: Page) -> None:
    """A server that cannot ask for us says so; the same name is asked over HTTP, and the next chat as well."""
    page.evaluate(SOCKET)
    page.evaluate("() => { window.onSent = (socket) => socket.say({ type: 'state', state: 'refused' }); }")
    script = "(url, init) => init.method === 'POST' ? frames([HEAD, ITEM, END]) : new Response('{}', { status: 404 })"
    first = run(page, script)
    second = run(page, script)

    assert '"text":"a"' in first["text"]
    assert '"text":"a"' in second["text"]
    assert 1 == page.evaluate("sockets.length")


@pytest.mark.parametrize("seed", range(4))
def test_cut_anywhere_copilot_reads_the_same(fake: FakePulse, open_page: OpenPage, seed: int) -> None:
    """Whatever the handler writes and wherever connections break: the lines that count are the same, byte for byte."""
    rng = random.Random(seed)
    opened = open_page(f"{fake.url}/page?closed")
    opened.wait_for_function("window.ready")
    whole = Relay()
    written: list[dict[str, Any]] = []
    whole.head(200, {})
    text = ""
    for number in range(60):
        text = text[: rng.choice([len(text), len(text), len(text) // 2])] + rng.choice(["ab ", "é😀 ", "x" * 9000])
        ext = [{"type": "data", "data": number}] if rng.random() < 0.2 else None
        made: dict[str, Any] = {"session_id": "s", "text": text, "finished": False, "ext": ext}
        written.append({"error": number + 1} if rng.random() < 0.1 else made)
    written.append({"session_id": "s", "text": text, "finished": True, "ext": None})
    for made in written[:20]:
        whole.line(made)
    late = written[20:]

    def answer(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        for made in late[:10]:
            whole.line(made)
        del late[:10]
        if not late:
            whole.end("completed")
        reader, short, body = whole.read(int(query.get("after", ["0"])[0])), Shortener(), b""
        while (frame := reader.next_nowait()) is not None:
            body += line(short(frame))
        reader.close()
        cut = len(body) if rng.random() < 0.2 else rng.randrange(len(body) + 1)
        route.fulfill(status=200, headers={"X-Copilot-Pulse-Stream": "frames"}, body=body[:cut])

    opened.route("**/api/chat/invoke", answer)
    opened.route("**/copilot-pulse/streams/**", answer)
    got = opened.evaluate("""async () => {
        Math.random = () => 0;
        const { wrapFetch } = await import('/web/streams/fetch.js');
        wrapFetch(window, { transport: () => 'http', kept: { remember() {}, forget() {} } });
        const body = JSON.stringify({ session_id: 's', messages: [], ext: [] });
        return await (await fetch('/api/chat/invoke', { method: 'POST', body })).text();
    }""")
    lines = got.splitlines()
    counts = [json.dumps(made, separators=(",", ":"), ensure_ascii=False) for made in written]
    read = [json.loads(each) for each in lines]

    assert counts[-1] == lines[-1]
    assert [facts(made) for made in written if facts(made)] == [facts(made) for made in read if facts(made)]
    assert [made for made in written if "error" in made] == [made for made in read if "error" in made]


def facts(made: dict[str, Any]) -> Any:
    """What a line has beside its text, which may have been taken back since."""
    return made.get("ext") or made.get("error")


KEPT = """async (names) => {
    const { KeptStreams } = await import('/web/streams/kept.js');
    window.asked = [];
    const fetch = async (url, init) => {
        asked.push((init?.method ?? 'GET') + ' ' + String(url).split('/').slice(5).join('/').split('?')[0]);
        return await new Promise((_, failed) => {
            init?.signal?.addEventListener('abort', () => failed(init.signal.reason));
        });
    };
    window.kept = new KeptStreams({ fetch });
    for (const id of names) kept.remember({ id, session: 's', base: location.origin + '/api' });
}"""


def test_a_duplicated_tab_leaves_the_other_s_answer_alone(fake: FakePulse, open_page: OpenPage) -> None:
    """A copy of the storage is no reload: the answer is not offered twice, and cannot be stopped from there."""
    first = open_page(f"{fake.url}/page?closed")
    second = first.context.new_page()
    second.goto(f"{fake.url}/page?closed")
    first.evaluate(KEPT, ["one", "two"])
    copy = first.evaluate("() => sessionStorage.getItem('copilotPulse.streams')")
    second.evaluate("(copy) => sessionStorage.setItem('copilotPulse.streams', copy)", copy)
    second.evaluate(KEPT, [])
    second.evaluate("() => { window.changes = 0; kept.addEventListener('change', () => changes++); kept.resume(); }")
    second.wait_for_function("changes === 2 && kept.answers.length === 0")

    assert ["GET streams/one", "GET streams/two"] == second.evaluate("asked")
    assert second.evaluate("() => sessionStorage.getItem('copilotPulse.streams')") is None
    assert 2 == len(json.loads(first.evaluate("() => sessionStorage.getItem('copilotPulse.streams')")))


def test_who_follows_longer_keeps_it(fake: FakePulse, open_page: OpenPage) -> None:
    """An answer that one tab offers after a reload is not offered by its copy as well."""
    first = open_page(f"{fake.url}/page?closed")
    row = json.dumps([{"id": "one", "session": "s", "base": f"{fake.url}/api", "started": 9e15}])
    second = first.context.new_page()
    second.goto(f"{fake.url}/page?closed")
    for tab in (first, second):
        tab.evaluate("(row) => sessionStorage.setItem('copilotPulse.streams', row)", row)
        tab.evaluate(KEPT, [])
        tab.evaluate("() => kept.resume()")
    second.wait_for_function("kept.answers.length === 0")

    assert ["one"] == first.evaluate("() => kept.answers.map(({ id }) => id)")


def test_a_chat_that_begins_before_the_panel_is_not_away(fake: FakePulse, open_page: OpenPage) -> None:
    """Only what ran before the page was loaded is offered, however late the panel asks for it."""
    page = open_page(f"{fake.url}/page?closed")
    page.evaluate(KEPT, ["now"])

    assert 0 == page.evaluate("() => { kept.resume(); return kept.answers.length; }")
