// @ts-check
/** The chats that run now, the last ones that ended, all of them as ticks, and the search of older ones. */

import { button, h, keyedList, moreButton, roving, setAttr, setText, show } from "./dom.js";
import { ENDED, fromStored } from "./service.js";
import { createChat } from "./view-chat.js";
import { createSearch } from "./view-search.js";
import { createTicks } from "./view-ticks.js";
import { reveal } from "./ways.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ChatRow} ChatRow */

const FEW = 3;
const MANY = 20;

/** @param {ViewContext} context @returns {import("../types").View & { shown: () => readonly ChatRow[] }} */
export function createChats(context) {
  const { t, service, signal, ways } = context;
  const list = h("ul", { class: "cpulse-list" });
  const stops = roving(list, ".cpulse-open", signal);
  const empty = h("p", { class: "cpulse-empty", text: t("chats.none") });
  /** Rows whose story is read: they stay, however many chats begin. @type {Set<string>} */
  const open = new Set();
  /** A chat that was looked for and is older than those of the list. @type {ChatRow | null} */
  let found = null;
  const more = moreButton(t, () => update(), signal);
  const count = h("span", { class: "cpulse-count" });
  const idle = h("span", { class: "cpulse-idle", text: t("chats.idle") });
  const ticks = createTicks(context);
  const search = createSearch(context);
  const seek = button(
    { label: t("search.open"), icon: "search", kind: "quiet" },
    () => {
      search.open = !search.open;
      setAttr(seek, "aria-expanded", String(search.open));
      update();
    },
    signal,
  );
  seek.setAttribute("aria-expanded", "false");
  const element = h(
    "section",
    { class: "cpulse-section cpulse-chats", "aria-label": t("sections.chats") },
    h("div", { class: "cpulse-head" }, h("h3", {}, t("sections.chats"), count, idle), seek),
    ticks.element,
    search.element,
    empty,
    list,
    more.element,
  );
  /** @type {Map<string, ReturnType<typeof createChat>>} */
  const items = new Map();
  const fill = keyedList(list, (/** @type {ChatRow} */ row) => {
    const item = createChat(row, context, (id, opened) => (opened ? open.add(id) : open.delete(id)));
    items.set(row.chat_id, item);
    return item;
  });
  ways.on("chat", (id) => void go(id));

  /** @param {string} id */
  async function go(id) {
    if (search.open) seek.click();
    const rows = listed();
    if (!rows.some((row) => row.chat_id === id)) {
      const known = service.chats.find((row) => row.chat_id === id);
      found = known ?? (await lookUp(id));
      if (!found || signal.aborted) return;
    }
    open.add(id);
    update();
    const head = items.get(id)?.open();
    if (head) reveal(/** @type {HTMLElement} */ (head.closest(".cpulse-chat")), head);
  }

  /** @param {string} id @returns {Promise<ChatRow | null>} */
  async function lookUp(id) {
    try {
      const story = /** @type {import("../types").StoredChat | null} */ (
        await service.ask(`story?chat=${encodeURIComponent(id)}`)
      );
      return story && fromStored(story);
    } catch {
      return null; // the server is away, which the headline says
    }
  }

  /** @returns {ChatRow[]} */
  function listed() {
    const rows = service.chats;
    const active = rows.filter((row) => !ENDED.has(row.state)).length;
    // A chat that begins takes the place of the oldest one that is shown, so that what stands below stays where it is.
    const shown = Math.max(active, more.all ? MANY : FEW);
    const listed = rows.filter(
      (row, index) => index < shown || open.has(row.chat_id) || row.chat_id === found?.chat_id,
    );
    return found && !listed.some((row) => row.chat_id === found?.chat_id) ? [...listed, found] : listed;
  }

  function update() {
    const { snapshot } = service;
    show(element, snapshot !== null);
    if (!snapshot) return;
    const rows = service.chats;
    const active = rows.filter((row) => !ENDED.has(row.state)).length;
    setText(count, String(active));
    show(count, active > 0);
    show(idle, active === 0 && rows.length > 0);
    show(empty, rows.length === 0 && !search.open);
    show(seek, rows.length > 0 || service.stored === true);
    ticks.update();
    search.update();
    show(list, !search.open);
    const shown = listed();
    fill(shown, (row) => row.chat_id);
    stops();
    for (const id of items.keys()) if (!shown.some((row) => row.chat_id === id)) items.delete(id);
    const rest = Math.min(MANY, rows.length) - Math.max(FEW, active);
    more.update(search.open ? 0 : rest);
  }

  return { element, update, shown: () => (search.open ? search.rows : service.chats) };
}
