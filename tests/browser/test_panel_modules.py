"""The panel's pure modules, run in the browser that they are written for."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .conftest import OpenPage
from .fake_pulse import FakePulse
from .measure import draw_times


@pytest.fixture
def lab(fake: FakePulse, open_page: OpenPage) -> Page:
    """A page that can import the modules."""
    page = open_page(f"{fake.url}/page?closed")
    page.wait_for_function("window.ready")
    return page


def test_numbers_as_people_read_them(lab: Page) -> None:
    """Times, sizes and shares get the unit that makes them short, and unknown is a dash."""
    got = lab.evaluate("""async () => {
      const { createFormat } = await import('/web/panel/format.js');
      const f = createFormat('en');
      return [
        ...[null, NaN, 0, 21e-6, 0.00123, 0.35, 0.9996, 4.25, 42, 99.6, 3600].map(f.seconds),
        ...[5, 65, 3725, 90000].map(f.duration),
        ...[0, 999, 1500, 999999, 1.204e9].map(f.bytes),
        ...[null, 0, 0.005, 0.0995, 0.5, 1].map(f.percent),
        ...[7, 12.34, 1234, 184233].map(f.compact), createFormat('zh').compact(12_345),
        ...[0, 0.4, 59.7, 3_599, 86_399].map((ago) => f.when(1e6 - ago, 1e6)),
      ];
    }""")

    assert got == [
        "–", "–", "0 s", "21 µs", "1.2 ms", "350 ms", "1.0 s", "4.3 s", "42 s", "1 min 40 s", "1 hr",
        "5 s", "1 min 5 s", "1 hr 2 min", "1 day 1 hr",
        "0 B", "999 B", "1.5 kB", "1.0 MB", "1.2 GB",
        "–", "0%", "0.5%", "10%", "50%", "100%",
        "7", "12", "1,234", "184.2K", "1.23万",
        "1s ago", "1s ago", "1m ago", "1h ago", "yesterday",
    ]  # fmt: skip


def test_labels_of_a_scale(lab: Page) -> None:
    """All labels are in one unit, differ from each other and keep equal distances."""
    got = lab.evaluate("""async () => {
      const { createFormat } = await import('/web/panel/format.js');
      const f = createFormat('en');
      return [
        f.axis([0, 100e-6, 200e-6], 'seconds'), f.axis([0, 0.5, 1], 'seconds'), f.axis([146e6, 148e6, 150e6], 'bytes'),
        f.axis([1.38e9, 1.385e9, 1.39e9], 'bytes'), f.axis([0, 0.5, 1], 'share'), f.axis([0, 2.5, 5], 'percent'),
        f.axis([0, 1, 2], 'number'), f.axis([0, 1000, 2000], 'number'),
        createFormat('zh').axis([0, 12500, 25000], 'number'),
      ];
    }""")

    assert got == [
        ["0 µs", "100 µs", "200 µs"], ["0.0 s", "0.5 s", "1.0 s"], ["146 MB", "148 MB", "150 MB"],
        ["1.380 GB", "1.385 GB", "1.390 GB"], ["0%", "50%", "100%"], ["0.0%", "2.5%", "5.0%"],
        ["0", "1", "2"], ["0", "1K", "2K"], ["0", "1.25万", "2.5万"],
    ]  # fmt: skip


def test_unusable_locale_falls_back_to_english(lab: Page) -> None:
    """A locale that the browser does not know must not break the panel."""
    code = """async () => {
      const { createFormat } = await import('/web/panel/format.js');
      return createFormat('not a locale!').seconds(1.5);
    }"""

    assert lab.evaluate(code) == "1.5 s"


def test_missing_text_falls_back(lab: Page) -> None:
    """A text that a language lacks comes in English, and one that nobody has shows its key."""
    got = lab.evaluate("""async () => {
      const { createTranslate } = await import('/web/panel/strings.js');
      const texts = {
        en: { copilotPulse: { a: 'A', n: { one: '{n} thing', other: '{n} things' }, deep: { b: 'B {x} {y}' } } },
        zh: { copilotPulse: { a: '甲', n: { other: '{n} 个' } } },
      };
      const en = createTranslate(texts, 'en');
      const zh = createTranslate(texts, 'zh-TW');
      const none = createTranslate(null, 'fr');
      return [zh('a'), zh('deep.b', { x: 1 }), zh('no.such'), zh('n', { n: 1 }), en('n', { n: 1 }), en('n', { n: 2 }),
        en('toString'), en('deep'), none('a')];
    }""")

    assert got == ["甲", "B 1 {y}", "no.such", "1 个", "1 thing", "2 things", "toString", "deep", "a"]


def test_names_of_the_page(lab: Page) -> None:
    """Texts name what the page says, at the start of a sentence in capitals; without names they use plain words."""
    got = lab.evaluate("""async () => {
      const { createTranslate, withNames } = await import('/web/panel/strings.js');
      const messages = await (await fetch('/i18n')).json();
      const [en, zh] = ['en', 'zh'].map((lang) => createTranslate(messages, lang));
      const names = { program: 'ComfyUI', assistant: 'Copilot' };
      return [withNames(en, names), withNames(en), withNames(zh, names), withNames(zh)]
        .flatMap((t) => [t('verdict.well.title'), t('kindAdvice.auth')])
        .concat(withNames(en, { program: 'python -m x' })('health.loop_stalled.title', { seconds: '2 s' }));
    }""")

    assert got == [
        "Copilot is well.", "Set a valid API key in Copilot's settings.",
        "This host is well.", "Set a valid API key in this host's settings.",
        "Copilot 正常。", "请在 Copilot 设置中填写有效的 API 密钥。",
        "本程序正常。", "请在本程序设置中填写有效的 API 密钥。",
        "python -m x stood still for 2 s.",
    ]  # fmt: skip


def test_short_names(lab: Page) -> None:
    """A breaker's name and a URL are shown by their host, and by their model if they have one."""
    got = lab.evaluate("""async () => {
      const { shortName } = await import('/web/panel/verdict.js');
      return ['llm:127.0.0.1:11434 org/model:8b', 'llm:api.example.com', 'https://mcp.example.com/sse', 'mine']
        .map(shortName);
    }""")

    assert got == ["127.0.0.1:11434 org/model:8b", "api.example.com", "mcp.example.com", "mine"]


def test_a_setting_is_put_back_to_what_the_server_has(lab: Page) -> None:
    """Two refused changes, the second made before the first was answered: each waits its turn, and neither stays."""
    got = lab.evaluate("""async () => {
      const { comfySettings } = await import('/web/comfy/settings.js');
      const until = async (it) => { while (!it()) await new Promise((done) => setTimeout(done, 5)); };
      const [posts, refuse, put] = [[], [], []];
      const post = (name, value) => {
        posts.push(value);
        return new Promise((done) => refuse.push(() => done(new Response('{}', { status: 400 }))));
      };
      const set = (id, value) => { put.push(value); setting.onChange(value); };
      const host = { post, set, t: (key) => key, text: () => undefined, warn: () => undefined };
      const [setting] = comfySettings([{ name: 'max_retries', type: 'integer', default: 3, low: 0, high: 10 }], host);
      setting.onChange(3);
      setting.onChange(77);
      await until(() => refuse.length > 0);
      setting.onChange(88);
      refuse[0]();
      await until(() => refuse.length > 1);
      refuse[1]();
      await until(() => put.length > 0);
      return [posts, put];
    }""")

    assert got == [[77, 88], [3]]


HISTORY = """async (steps) => {
  const { HistoryTrack, SERIES } = await import('/web/panel/history.js');
  const base = await (await fetch('/copilot-pulse/metrics')).json();
  const track = new HistoryTrack(steps.range ?? '1h');
  const fill = (n) => Object.fromEntries(SERIES.map((name) => [name, Array(n).fill(1)]));
  const step = 1;
  if (steps.end) track.load({ range: track.range, step, end: steps.end, series: fill(steps.points ?? 60) });
  const kept = steps.adds.map(([time, cpu, total, events]) => track.add({ ...base, time,
    system: { ...base.system, cpu_percent: cpu },
    errors: { ...base.errors, total, recent: [], recovery_rate: null } }, events ?? []));
  const tail = (name) => track.series[name].slice(-(steps.tail ?? 4));
  return {
    cpu: tail('cpu_percent'), errors: tail('errors'), first: tail('first_token_p50'),
    speed: tail('tokens_per_second'), recovery: tail('recovery_rate'),
    length: track.series.cpu_percent.length, kept,
  };
}"""


def test_history_goes_on_with_the_snapshots(lab: Page) -> None:
    """A new second is a new point; two snapshots in one second are folded: means averaged, errors summed."""
    got = lab.evaluate(HISTORY, {"end": 100.4, "adds": [[99.5, 9, 10], [100.5, 2, 10], [100.9, 4, 13], [101.5, 7, 15]]})

    assert got["cpu"] == [1, 5, 3, 7]
    assert got["errors"][-2:] == [3, 2]
    assert got["length"] == 3600
    assert got["kept"] == [True] * 4


def test_history_tells_a_hole(lab: Page) -> None:
    """A late update is bridged; a long silence stays a gap, and asks for the server's points."""
    late = lab.evaluate(HISTORY, {"end": 100.0, "adds": [[100.5, 2, 0], [102.5, 4, 0]]})
    silent = lab.evaluate(HISTORY, {"end": 100.0, "adds": [[100.5, 2, 0], [110.5, 4, 0]]})

    assert late["cpu"][-3:] == [2, 4, 4]
    assert silent["cpu"] == [None, None, None, 4]
    assert silent["kept"] == [True, False]


def test_history_survives_a_restart_of_the_server(lab: Page) -> None:
    """Counters that begin at zero again count from there, and a clock that was set back does no harm."""
    got = lab.evaluate(HISTORY, {"end": 100.0, "adds": [[100.5, 2, 50], [101.5, 2, 3], [40.0, 9, 3], [102.5, 2, 4]]})

    assert got["errors"][-2:] == [3, 1]
    assert got["kept"] == [True, True, False, True]


def test_history_takes_a_chat_s_figures_from_its_events(lab: Page) -> None:
    """First-token time and speed are points of the moment; without a chat there is none."""
    first = {"type": "chat.first_token", "time": 100.5, "data": {"seconds": 0.7}}
    end = {"type": "chat.finished", "time": 100.5, "data": {"stream_tokens": 100, "stream_seconds": 2.0}}
    old = {"type": "chat.first_token", "time": 10.0, "data": {"seconds": 99}}
    got = lab.evaluate(HISTORY, {"end": 100.0, "adds": [[100.5, 1, 0, [old, first, end]], [101.5, 1, 0]]})

    assert got["first"][-2:] == [0.7, None]
    assert got["speed"][-2:] == [50, None]
    assert got["recovery"][-1] is None


def test_shorter_history_is_padded_at_its_old_end(lab: Page) -> None:
    """A server that has just started has few points; they stand at the new end."""
    got = lab.evaluate(HISTORY, {"end": 100.0, "points": 3, "adds": [], "tail": 60})

    assert got["cpu"] == [None] * 57 + [1] * 3


def test_repeated_failures_are_one_problem(lab: Page) -> None:
    """One failure's tries are one row with its end, and the same failure again counts up."""
    row = {"kind": "timeout", "type": "APITimeoutError", "host": "h", "model": "m"}
    rows = [
        {**row, "time": 1, "error_id": "a", "outcome": "retrying"},
        {**row, "time": 2, "error_id": "a", "outcome": "gave_up"},
        {**row, "time": 3, "error_id": "b", "outcome": "gave_up"},
        {**row, "time": 4, "error_id": "c", "outcome": "recovered"},
    ]
    got = lab.evaluate(
        """async (rows) => (await import('/web/panel/view-problems.js'))
          .latest(rows, 1000).map((r) => [r.time, r.outcome, r.count])""",
        rows,
    )

    assert got == [[4, "recovered", 1], [3, "gave_up", 2]]


def test_scale_ends_on_short_numbers(lab: Page) -> None:
    """The top of a scale is at or above the data, and half of it is a short number too."""
    code = "async () => { const { niceAbove } = await import('/web/panel/chart-paths.js'); return %s.map(niceAbove); }"

    assert lab.evaluate(code % "[0, -1, 0.03, 1, 1.1, 3, 4.5, 7, 9, 11, 640]") == [
        0, 0, 0.04, 1, 2, 4, 5, 8, 10, 20, 800,
    ]  # fmt: skip


def test_bars_are_sums_over_round_times(lab: Page) -> None:
    """Each error is in one bar, a bar begins at a round time and is wide enough, and nothing known is no bar of 0."""
    got = lab.evaluate("""async () => {
      const { bars, barSeconds } = await import('/web/panel/chart-paths.js');
      const seconds = [[5, 720, 286], [60, 1440, 286], [900, 672, 286], [5, 720, 3000]].map((it) => barSeconds(...it));
      const values = Array.from({ length: 25 }, (_, i) => (i < 3 ? null : 1));
      return [seconds, bars(values, { end: 1_000_000_000, step: 5, seconds: 60 })];
    }""")

    assert got[0] == [60, 1800, 10800, 5]
    # The newest step begins 40 s after a full minute.
    assert [(bar["from"], bar["to"], bar["sum"]) for bar in got[1]] == [(0, 3, 1), (4, 15, 12), (16, 24, 9)]


def test_labels_of_time_are_round_and_have_room(lab: Page) -> None:
    """However wide the chart, its labels are full hours or days by the reader's clock, and do not touch."""
    got = lab.evaluate("""async () => {
      const { timeTicks } = await import('/web/panel/chart-paths.js');
      const to = 1_790_000_123;
      return [[3600, 230], [3600, 900], [86400, 230], [604800, 230], [604800, 900]].map(([span, room]) => {
        const { times, days } = timeTicks(to - span, to, room);
        const clocks = times.map((time) => new Date(time * 1000));
        const gaps = times.slice(1).map((time, i) => ((time - times[i]) / span) * room);
        return { n: times.length, days, least: Math.min(...gaps), round: clocks.every((it) => it.getMinutes() % 5 === 0
          && it.getSeconds() === 0 && (!days || it.getHours() === 0)) };
      });
    }""")

    assert all(one["round"] and one["n"] >= 2 and one["least"] >= 46 for one in got), got
    assert [one["days"] for one in got] == [False, False, False, True, True]


def test_what_is_nearest(lab: Page) -> None:
    """The nearest known value, of any line; without one there is none."""
    got = lab.evaluate("""async () => {
      const { nearest } = await import('/web/panel/chart-paths.js');
      const lines = [[null, 1, null, null, null, 2], [null, null, null, 3, null, null]];
      return [0, 2, 4, 5].map((at) => nearest(lines, at)).concat(nearest([[null, null]], 1), nearest([], 0));
    }""")

    assert got == [1, 1, 3, 5, -1, -1]


def test_a_story_from_memory(lab: Page) -> None:
    """Without a store each break ends an attempt; a chat that was given up has no attempt behind its last break."""
    got = lab.evaluate("""async () => {
      const { storyOfRow } = await import('/web/panel/story.js');
      const error = { kind: 'timeout', type: 'T' };
      const row = { chat_id: 'c', seconds: 9, first_token: 4.5, model: 'm', host: 'h', error };
      return [{ ...row, state: 'failed', breaks: [1, 4, 9] }, { ...row, state: 'done', breaks: [4] },
        { ...row, state: 'streaming', breaks: [] }].map((it) => storyOfRow(it).spans.map(
          ({ start, end, outcome, first_token: first }) => [start, end, outcome, first]));
    }""")

    assert got == [
        [[0, 1, "failed", None], [1, 4, "failed", None], [4, 9, "failed", 4.5]],
        [[0, 4, "failed", None], [4, 9, "completed", 4.5]],
        [[0, None, None, 4.5]],
    ]


def test_silence_is_a_line_of_the_story(lab: Page) -> None:
    """A model that says nothing right now is a line from when it fell silent until now, and so is what still runs."""
    got = lab.evaluate("""async () => {
      const { storyLines } = await import('/web/panel/story.js');
      const { createFormat } = await import('/web/panel/format.js');
      const spans = [{ kind: 'attempt', start: 0, end: null, attempt: 1, first_token: 2 }];
      const story = { chat_id: 'c', outcome: null, started: 0, seconds: null, spans, errors: [] };
      const row = { chat_id: 'c', state: 'streaming', silent: { since: 14 } };
      return storyLines(story, { row, now: 20, t: (key) => key, format: createFormat('en') })
        .map(({ kind, start, end, open }) => [kind, start, end, open]);
    }""")

    assert got == [["attempt", 0, 20, True], ["silent", 6, 20, True]]


def test_spike_of_one_point_is_drawn(lab: Page) -> None:
    """In a day on a narrow chart a single high minute is still as high as it was."""
    got = lab.evaluate("""async () => {
      const { Chart } = await import('/web/panel/charts.js');
      const life = new AbortController();
      const values = Array(1440).fill(1);
      values[777] = 100;
      const chart = new Chart({ title: 't', lines: [{ key: 'a', label: 'a', tone: 1 }], format: String, t: String,
        axis: (values) => values.map(String), signal: life.signal, onCursor() {},
        times: { clock: String, weekday: String, duration: String, day: String } });
      chart._width = 260;
      chart.data = { end: 1e9, step: 60, series: { a: values } };
      chart.draw();
      life.abort();
      const path = chart.element.querySelector('.cpulse-series').getAttribute('d');
      return { ys: path.match(/,[\\d.]+/g).map((y) => Number(y.slice(1))), points: path.match(/[ML]/g).length };
    }""")

    assert min(got["ys"]) == 8
    assert got["points"] < 600


def test_the_cost_of_drawing_can_be_measured(lab: Page) -> None:
    """`python -m tests.browser.measure` draws the chart as it is today."""
    assert len(draw_times(lab)) == 60
