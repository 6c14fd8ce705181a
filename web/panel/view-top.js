// @ts-check
/** The panel's head: the verdict, the tiles, and its foot with version, diagnostics and settings. */

import { button, h, icon, keyedList, setAttr, setText, show } from "./dom.js";
import { verdict } from "./verdict.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").View} View */

/** @param {ViewContext} context @returns {View} */
export function createVerdict({ t, format, service }) {
  const mark = h("span", { class: "cpulse-mark", "aria-hidden": "true" });
  const title = h("p", { class: "cpulse-verdict-title", role: "status" });
  const advice = h("p", { class: "cpulse-verdict-advice" });
  const more = h("ul", { class: "cpulse-verdict-more" });
  const fill = keyedList(more, (/** @type {string} */ text) => ({
    element: h("li", { text }),
    update: () => undefined,
  }));
  const element = h(
    "section",
    { class: "cpulse-verdict", "aria-label": t("sections.verdict") },
    mark,
    h("div", {}, title, advice, more),
  );
  return {
    element,
    update() {
      const found = verdict(service, t, format);
      setAttr(element, "data-status", found.status);
      setText(title, found.title);
      setText(advice, found.advice);
      show(advice, found.advice !== "");
      fill(found.more, (text) => text);
      show(more, found.more.length > 0);
    },
  };
}

/** @param {ViewContext} context @returns {View} */
export function createTiles({ t, format, service }) {
  /** @param {string} name */
  const tile = (name) => {
    const value = h("dd", { class: "cpulse-tile-value" });
    const note = h("dd", { class: "cpulse-tile-note" });
    const box = h("div", { class: "cpulse-tile" }, h("dt", { text: t(`tiles.${name}.title`) }), value, note);
    return {
      box,
      /** @param {string} main @param {string} small */
      set(main, small) {
        setText(value, main);
        setText(note, small);
        setAttr(note, "title", small);
      },
    };
  };
  const tiles = {
    chats: tile("chats"),
    firstToken: tile("firstToken"),
    speed: tile("speed"),
    recovered: tile("recovered"),
    events: tile("events"),
    memory: tile("memory"),
  };
  const element = h(
    "dl",
    { class: "cpulse-tiles", "aria-label": t("sections.tiles") },
    ...Object.values(tiles).map((one) => one.box),
  );
  return {
    element,
    update() {
      const { snapshot } = service;
      show(element, snapshot !== null);
      if (!snapshot) return;
      const { chat, errors, events, system } = snapshot;
      tiles.chats.set(
        format.number(chat.active),
        t("tiles.chats.note", { done: format.compact(chat.completed), failed: format.compact(chat.failed) }),
      );
      tiles.firstToken.set(
        format.seconds(chat.first_token_seconds.p50),
        t("tiles.firstToken.note", { p99: format.seconds(chat.first_token_seconds.p99) }),
      );
      tiles.speed.set(format.number(chat.tokens_per_second.p50), t("tiles.speed.note"));
      tiles.recovered.set(
        format.percent(errors.recovery_rate),
        errors.total ? t("tiles.recovered.note") : t("tiles.recovered.none"),
      );
      tiles.events.set(
        format.compact(events.rate["10s"]),
        t("tiles.events.note", { total: format.compact(events.published_total) }),
      );
      tiles.memory.set(
        format.bytes(system.rss_bytes),
        t("tiles.memory.note", { cpu: format.percent(system.cpu_percent / 100) }),
      );
    },
  };
}

/**
 * @param {ViewContext} context
 * @param {{ openSettings?: () => void, copyText: (text: string) => Promise<boolean> }} host
 * @returns {View}
 */
export function createFoot({ t, format, service, signal }, host) {
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

  return {
    element: h("footer", { class: "cpulse-foot" }, buttons, said, fallback, about),
    update() {
      const { snapshot } = service;
      setText(
        about,
        snapshot
          ? t("foot.about", { version: snapshot.version, uptime: format.duration(snapshot.uptime_seconds) })
          : "",
      );
    },
  };
}
