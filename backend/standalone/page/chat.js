// @ts-check
/** The chat at the left of the page: messages, the answer as it grows, what to press. */

import { h, setText, show } from "../../../web/dom.js";
import { render } from "./markdown.js";
import { ask, Refused } from "./stream.js";
import { examples, say } from "./words.js";

/**
 * @typedef {import("./words.js").Locale} Locale
 * @typedef {import("./stream.js").Message} Message
 * @typedef {{ name: string, doc: Record<Locale, string> }} Command
 * @typedef {{ version: string, model: string, host: string, scripted: boolean, commands: Command[] }} Info
 * @typedef {import("../../../web/types").Update} Update
 * @typedef {import("../../../web/types").ChatRow} ChatRow
 */

const KEY = "copilot-pulse.chat";
const KEPT = 60;
const NEAR = 80; // pixels from the end within which the view follows the answer

/**
 * @param {{ root: HTMLElement, info: Info, locale: Locale }} options
 * @returns {{ show(update: Update): void, retell(locale: Locale): void }} `show` takes what the panel gets
 */
export function createChat({ root, info, locale }) {
  const session = newId();
  let transcript = restore();
  /** @type {AbortController | null} */
  let running = null;
  /** What the live data says goes to the newest answer. @type {((update: Update) => void) | null} */
  let follow = null;
  const t = (/** @type {import("./words.js").Word} */ word, /** @type {Record<string, string | number>} */ values = {}) =>
    say(locale, word, values);

  const log = h("div", { class: "log", role: "log", "aria-live": "off", tabindex: "0" });
  const live = h("p", { class: "unseen", role: "status" });
  const input = h("textarea", { rows: "1", autocomplete: "off", spellcheck: "false" });
  const send = h("button", { type: "submit", class: "send" });
  const fresh = h("button", { type: "button", class: "quiet" });
  const title = h("span", { class: "hint" });
  const chips = h("div", { class: "chips" });
  const form = h("form", { class: "compose" }, input, send);
  root.replaceChildren(log, live, h("div", { class: "tray" }, h("div", { class: "tray-head" }, title, fresh), chips), form);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else void submit(input.value);
  });
  input.addEventListener("keydown", (event) => {
    // While a Chinese or Japanese word is being composed, Enter belongs to the input method.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!running) form.requestSubmit();
    }
    if (event.key === "Escape" && running) running.abort();
  });
  input.addEventListener("input", grow);
  fresh.addEventListener("click", () => {
    running?.abort();
    transcript = [];
    keep();
    draw();
    input.focus();
  });
  retell(locale);

  /** @param {Locale} next */
  function retell(next) {
    locale = next;
    input.placeholder = t(info.scripted ? "placeholder" : "placeholderReal");
    input.setAttribute("aria-label", t("message"));
    log.setAttribute("aria-label", t("chat"));
    setText(fresh, t("fresh"));
    setText(title, t(info.scripted ? "tryFaults" : "tryThese"));
    chips.replaceChildren(
      ...(info.scripted
        ? info.commands.map((command) => chip(`/${command.name}`, command.doc[locale].replaceAll("`", "")))
        : examples(locale).map((text) => chip(text, ""))),
    );
    setRunning(running);
    if (!running) draw();
  }

  /** @param {string} text @param {string} tip */
  function chip(text, tip) {
    const element = h("button", { type: "button", class: "chip", title: tip || null, text });
    element.disabled = running !== null;
    element.addEventListener("click", () => void submit(text));
    return element;
  }

  function draw() {
    log.replaceChildren(...(transcript.length ? transcript.map((m) => bubble(m).element) : [welcome()]));
    log.scrollTop = log.scrollHeight;
  }

  function welcome() {
    const text = info.scripted ? t("welcome") : t("welcomeReal", { model: info.model, host: info.host });
    return h("div", { class: "welcome" }, h("h2", { text: t("welcomeTitle") }), h("p", { text }));
  }

  /** @param {{ role: string, content: string, meta?: string }} message */
  function bubble(message) {
    const body = h("div", { class: "body" });
    const meta = h("p", { class: "meta", text: message.meta ?? "" });
    const element = h("article", { class: `message ${message.role}` }, body, meta);
    element.setAttribute("aria-label", t(message.role === "user" ? "you" : "answer"));
    /** @type {string[]} */
    let blocks = [];
    const write = (/** @type {string} */ text) => {
      if (message.role === "user") setText(body, text);
      else blocks = render(body, blocks, text);
    };
    write(message.content);
    show(meta, Boolean(message.meta));
    return { element, meta, write };
  }

  /** @param {string} text */
  async function submit(text) {
    text = text.trim();
    if (!text || running) return;
    const abort = new AbortController();
    setRunning(abort);
    input.value = "";
    grow();
    if (!transcript.length) log.replaceChildren();
    transcript.push({ role: "user", content: text });
    const messages = transcript.map(({ role, content }) => /** @type {Message} */ ({ role, content }));
    log.append(bubble({ role: "user", content: text }).element);
    const answer = bubble({ role: "assistant", content: "" });
    answer.element.classList.add("growing");
    log.append(answer.element);
    log.scrollTop = log.scrollHeight;

    const began = performance.now();
    const state = { text: "", updates: 0, bytes: 0, retries: 0 };
    const note = (/** @type {string} */ words) => {
      setText(answer.meta, words);
      show(answer.meta, true);
    };
    const facts = (/** @type {number} */ now) => {
      const seconds = ((now - began) / 1000).toFixed(1);
      const parts = [t(state.updates === 1 ? "metaOne" : "meta", { seconds, updates: state.updates, bytes: size(state.bytes) })];
      if (state.retries) parts.push(t("metaRetries", { n: state.retries }));
      return parts;
    };
    note(t("waiting"));
    let end = "";
    let over = 0;
    const finish = () => [...(end ? [end] : []), ...facts(over)].join(" · ");
    follow = ({ snapshot, events }) => {
      const retries = events.filter((event) => event.type === "chat.retrying" && event.session === session).length;
      state.retries += retries;
      const row = snapshot.chat.current.find((candidate) => candidate.session_id === session);
      if (!over && row) note(told(row, state.text));
      if (over && retries) {
        // An answer may be complete before the news of its last retry is.
        note(finish());
        const last = transcript[transcript.length - 1];
        if (last?.role === "assistant") last.meta = finish();
        keep();
      }
    };
    try {
      const whole = await ask({ session, messages, locale, signal: abort.signal }, (line, bytes) => {
        const near = isNearEnd();
        state.updates += 1;
        state.bytes = bytes;
        if (line.text !== state.text) answer.write((state.text = line.text));
        if (near) log.scrollTop = log.scrollHeight;
      });
      if (!whole) end = t("broken");
      else if (!state.text) end = t("empty");
    } catch (error) {
      end = abort.signal.aborted ? t("stopped") : error instanceof Refused ? t("refused", { reason: error.message }) : t("broken");
    }
    over = performance.now();
    const near = isNearEnd();
    note(finish());
    answer.element.classList.remove("growing");
    if (running === abort) {
      if (state.text) transcript.push({ role: "assistant", content: state.text, meta: finish() });
      else transcript.pop(); // an unanswered message is not sent again as history
      keep();
      setRunning(null);
      setText(live, end || `${t("answer")}: ${state.text.slice(0, 200)}`);
    }
    if (near) log.scrollTop = log.scrollHeight;
  }

  function isNearEnd() {
    return log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  }

  /** @param {ChatRow} row @param {string} text */
  function told(row, text) {
    if (row.state === "retrying") {
      const values = { attempt: row.attempt ?? 1, of: (row.of ?? 0) + 1, seconds: Math.ceil(row.retry_in ?? 0) };
      return t(values.seconds ? "retryingIn" : "retrying", values);
    }
    if (row.state === "tool") return t("tool", { tool: row.tool ?? "" });
    return t(text && row.state === "streaming" ? "streaming" : "waiting");
  }

  /** @param {AbortController | null} abort */
  function setRunning(abort) {
    running = abort;
    setText(send, t(abort ? "stop" : "send"));
    send.classList.toggle("stop", abort !== null);
    for (const element of chips.querySelectorAll("button")) element.disabled = abort !== null;
  }

  function grow() {
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 180)}px`;
  }

  function keep() {
    transcript = transcript.slice(-KEPT);
    try {
      sessionStorage.setItem(KEY, JSON.stringify(transcript));
    } catch {
      sessionStorage.removeItem(KEY); // too long for the browser: the chat itself goes on
    }
  }

  return {
    show: (update) => follow?.(update),
    retell,
  };
}

/** @returns {{ role: "user" | "assistant", content: string, meta?: string }[]} */
function restore() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((m) => typeof m?.content === "string" && typeof m?.role === "string") : [];
  } catch {
    return [];
  }
}

/** @param {number} bytes */
function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(bytes < 100_000 ? 1 : 0)} KB`;
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
