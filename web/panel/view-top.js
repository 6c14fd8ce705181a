// @ts-check
/** The panel's head: the verdict, the tiles, and its foot with version, diagnostics and settings. */

import { ABOUT } from "./format.js";
import { button, h, icon, keyedList, setAttr, setText, show } from "./dom.js";
import { chartRows, download } from "./export.js";
import { shortName, verdict } from "./verdict.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").View} View */

/** @param {ViewContext} context @returns {View} */
export function createVerdict({ t, format, service, signal }) {
  const mark = h("span", { class: "cpulse-mark", "aria-hidden": "true" });
  const title = h("p", { class: "cpulse-verdict-title", role: "status" });
  const advice = h("p", { class: "cpulse-verdict-advice" });
  const more = h("ul", { class: "cpulse-verdict-more" });
  const fill = keyedList(more, (/** @type {string} */ text) => ({
    element: h("li", { text }),
    update: () => undefined,
  }));
  /** @type {import("./verdict.js").Verdict["retry"]} */
  let what = null;
  /** What could not be tried: told until the next press, or until it is not what the headline is about. */
  let failed = "";
  const retry = button(
    { label: t("links.tryNow"), icon: "retry", text: t("links.tryNow") },
    () => {
      if (!what || retry.disabled) return;
      const { of, name } = what;
      retry.disabled = true;
      failed = "";
      const tried = of === "breaker" ? service.probeBreaker(name) : service.probeMcp(name);
      tried
        .catch(() => {
          failed = name;
          update();
        })
        .finally(() => {
          retry.disabled = false;
        });
    },
    signal,
  );
  const element = h(
    "section",
    { class: "cpulse-verdict", "aria-label": t("sections.verdict") },
    mark,
    h("div", {}, title, advice, h("div", { class: "cpulse-verdict-do" }, retry), more),
  );

  function update() {
    const found = verdict(service, t, format);
    what = found.retry ?? null;
    if (failed !== what?.name) failed = "";
    const advised = failed ? t("links.retryFailed") : found.advice;
    setAttr(element, "data-status", found.status);
    setText(title, found.title);
    setText(advice, advised);
    show(advice, advised !== "");
    show(/** @type {HTMLElement} */ (retry.parentElement), what !== null);
    if (what) setAttr(retry, "aria-label", `${t("links.tryNow")}: ${shortName(what.name)}`);
    fill(found.more, (text) => text);
    show(more, found.more.length > 0);
  }
  return { element, update };
}

/** Each tile tells one figure of one time, and names both. @param {ViewContext} context @returns {View} */
export function createTiles({ t, format, service }) {
  /** @param {string} name */
  const tile = (name) => {
    const title = h("dt", { text: t(`tiles.${name}.title`) });
    const value = h("dd", { class: "cpulse-tile-value" });
    const note = h("dd", { class: "cpulse-tile-note" });
    const window = h("dd", { class: "cpulse-tile-window" });
    return {
      box: h("div", { class: "cpulse-tile" }, title, value, note, window),
      /**
       * @param {string} main
       * @param {string} small
       * @param {"start" | "hour" | "minutes" | "now"} time
       * @param {string} [head]
       */
      set(main, small, time, head) {
        setText(value, main);
        setText(note, small);
        setAttr(note, "title", small || null);
        setText(window, t(`tiles.windows.${time}`));
        if (head) setText(title, head);
      },
    };
  };
  const tiles = {
    chats: tile("chats"),
    saved: tile("saved"),
    firstToken: tile("firstToken"),
    speed: tile("speed"),
    tokens: tile("tokens"),
    memory: tile("memory"),
  };
  const element = h(
    "dl",
    { class: "cpulse-tiles", "aria-label": t("sections.tiles") },
    ...Object.values(tiles).map((one) => one.box),
  );

  /** @param {import("../types").Snapshot} snapshot */
  function setSaved({ chat, errors }) {
    const { failures, saved = 0, explained = 0 } = chat;
    if (failures === undefined) {
      // A server of before: the share of calls that were mended is all that it tells.
      tiles.saved.set(format.percent(errors.recovery_rate), t("tiles.saved.calls"), "minutes");
    } else if (!failures) tiles.saved.set(t("tiles.saved.none"), t("tiles.saved.noFailure"), "start");
    else {
      const value = t("tiles.saved.value", { saved: format.number(saved), failures: format.number(failures) });
      tiles.saved.set(
        value,
        explained ? t("tiles.saved.note", { n: format.number(explained) }) : t("tiles.saved.all"),
        "start",
      );
    }
  }

  /** @param {import("../types").Snapshot["chat"]} chat */
  function setTokens(chat) {
    const { input_tokens: input = null, cost = null } = chat;
    const output = chat.tokens ?? chat.output_tokens ?? null;
    const about = chat.tokens_estimated ? ABOUT : "";
    const both = { input: format.compact(input), output: format.compact(output) };
    const counts = input && output !== null ? t("story.tokens", both) : "";
    if (cost) {
      const value = (chat.cost_estimated ? ABOUT : "") + format.money(cost, service.sign);
      tiles.tokens.set(value, about + counts, "start", t("tiles.tokens.cost"));
    } else {
      const known = input !== null || output !== null;
      const sum = known ? (input ?? 0) + (output ?? 0) : null;
      tiles.tokens.set((sum ? about : "") + format.compact(sum), counts, "start", t("tiles.tokens.title"));
    }
  }

  return {
    element,
    update() {
      const { snapshot } = service;
      show(element, snapshot !== null);
      if (!snapshot) return;
      const { chat, system } = snapshot;
      const ended = chat.completed + chat.failed + chat.cancelled;
      const counts = ended ? [t("tiles.chats.done", { n: format.compact(chat.completed) })] : [];
      if (chat.failed) counts.push(t("tiles.chats.failed", { n: format.compact(chat.failed) }));
      if (chat.cancelled) counts.push(t("tiles.chats.stopped", { n: format.compact(chat.cancelled) }));
      tiles.chats.set(format.compact(ended), counts.join(t("tiles.chats.and")), "start");
      setSaved(snapshot);
      const { p50, count } = chat.first_token_seconds;
      tiles.firstToken.set(format.seconds(p50), count ? t("tiles.median", { n: count }) : "", "hour");
      const speed = chat.tokens_per_second;
      tiles.speed.set(format.number(speed.p50), speed.count ? t("tiles.median", { n: speed.count }) : "", "hour");
      setTokens(chat);
      const cpu = format.percent(system.cpu_percent / 100);
      tiles.memory.set(format.bytes(system.rss_bytes), t("tiles.memory.note", { cpu }), "now");
    },
  };
}

/** What can be saved as a file. @typedef {{ name: string, rows: () => readonly object[] }} Table */

/**
 * Buttons that save what is shown as CSV or JSON.
 * @param {ViewContext} context
 * @param {Table[]} tables
 */
function createExport({ t, signal }, tables) {
  const rows = tables.map(({ name, rows }) =>
    h(
      "div",
      { class: "cpulse-export-row", role: "group", "aria-label": t(`sections.${name}`) },
      h("span", { text: t(`sections.${name}`) }),
      ...["csv", "json"].map((kind) => {
        const label = t("foot.save", { what: t(`sections.${name}`), kind: kind.toUpperCase() });
        const save = () => download(name, /** @type {"csv" | "json"} */ (kind), rows());
        return button({ label, text: kind.toUpperCase() }, save, signal);
      }),
    ),
  );
  const summary = h("summary", { class: "cpulse-button" }, icon("download"), h("span", { text: t("foot.export") }));
  return h("details", { class: "cpulse-export" }, summary, h("div", { class: "cpulse-export-rows" }, ...rows));
}

/** The points of the charts, for a file. @param {ViewContext} context @returns {Table} */
export function chartTable({ service }) {
  return { name: "charts", rows: () => chartRows(service.history) };
}

/**
 * @param {ViewContext} context
 * @param {{ openSettings?: () => void, copyText: (text: string) => Promise<boolean> }} host
 * @param {Table[]} tables  what can be saved as a file
 * @returns {View}
 */
export function createFoot(context, host, tables) {
  const { t, format, service, signal } = context;
  const about = h("p", { class: "cpulse-about" });
  const said = h("span", { class: "cpulse-said", role: "status" });
  const fallback = h("textarea", {
    class: "cpulse-report",
    readonly: true,
    rows: 8,
    hidden: true,
    "aria-label": t("foot.report"),
  });
  const copy = button(
    { label: t("foot.copyHint"), icon: "copy", text: t("foot.copy") },
    () => void copyReport(),
    signal,
  );
  const buttons = h("div", { class: "cpulse-foot-buttons" }, copy);
  if (host.openSettings) {
    const open = host.openSettings;
    buttons.append(
      button({ label: t("foot.settings"), icon: "settings", text: t("foot.settings") }, () => open(), signal),
    );
  }
  buttons.append(createExport(context, tables));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });

  async function copyReport() {
    let ok = false;
    let report = "";
    try {
      report = await service.diagnostics();
      ok = await host.copyText(report);
    } catch {
      report = "";
    }
    if (signal.aborted) return;
    setText(said, report === "" ? t("foot.failed") : ok ? t("foot.copied") : t("foot.copyByHand"));
    copy.replaceChild(icon(ok ? "check" : "copy"), /** @type {Element} */ (copy.firstElementChild));
    show(fallback, report !== "" && !ok);
    fallback.value = ok ? "" : report;
    if (!fallback.hidden) fallback.select();
    clearTimeout(timer);
    timer = setTimeout(() => {
      setText(said, "");
      copy.replaceChild(icon("copy"), /** @type {Element} */ (copy.firstElementChild));
    }, 4000);
  }

  const element = h("div", { class: "cpulse-foot" }, buttons, said, fallback, about);
  return {
    element,
    update() {
      const { snapshot, connection } = service;
      show(element, connection !== "private");
      setText(
        about,
        snapshot
          ? t("foot.about", { version: snapshot.version, uptime: format.duration(snapshot.uptime_seconds) })
          : "",
      );
    },
  };
}
