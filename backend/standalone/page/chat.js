// @ts-check
/** The chat at the left of the page: messages, the answer as it grows, what to press. */

import { newStreamId } from "../../../web/streams/reader.js";
import { h, setText, show } from "../../../web/panel/dom.js";
import { isTrouble, Status, told } from "./answer.js";
import { render } from "./markdown.js";
import { readAnswer } from "./stream.js";
import { Transcript } from "./transcript.js";
import { examples, say } from "./words.js";

/**
 * @typedef {import("./words.js").Locale} Locale
 * @typedef {import("./stream.js").Message} Message
 * @typedef {import("./transcript.js").Entry} Entry
 * @typedef {import("./transcript.js").Pending} Pending
 * @typedef {"repaired" | "told" | "plain"} Group
 * @typedef {{ name: string, doc: Record<Locale, string>, group: Group }} Command
 * @typedef {object} Info
 * @property {string} version
 * @property {string} model
 * @property {string} host
 * @property {boolean} scripted
 * @property {boolean} streams
 * @property {Command[]} commands
 */
/**
 * @typedef {import("../../../web/types").Update} Update
 */

/** @type {Group[]} */
const GROUPS = ["repaired", "told", "plain"];
const NEAR = 80; // pixels from the end within which the view follows the answer
const TALLEST = 180; // pixels of the input
const TICK_MS = 250;

/**
 * @param {{ root: HTMLElement, info: Info, locale: Locale }} options
 * @returns {{ show(update: Update): void, retell(locale: Locale): void }} `show` takes what the panel gets
 */
export function createChat({ root, info, locale }) {
  const transcript = new Transcript();
  /** @type {AbortController | null} */
  let running = null;
  /** What the live data says goes to the newest answer. @type {Status | null} */
  let status = null;
  /** A question that was given back, and what became of it: gone when the next one is sent. @type {Element[]} */
  let givenBack = [];
  const t = (
    /** @type {import("./words.js").Word} */ word,
    /** @type {Record<string, string | number>} */ values = {},
  ) => say(locale, word, values);

  const log = h("div", { class: "log", role: "log", "aria-live": "off", tabindex: "0" });
  const live = h("p", { class: "unseen", role: "status" });
  const input = h("textarea", { rows: "1", autocomplete: "off", spellcheck: "false" });
  const send = h("button", { type: "submit", class: "send" });
  const fresh = h("button", { type: "button", class: "quiet" });
  const hint = h("span", { class: "hint" });
  const chips = h("div", { class: "chips" });
  const form = h("form", { class: "compose" }, input, send);
  root.replaceChildren(
    log,
    live,
    h("div", { class: "tray" }, h("div", { class: "tray-head" }, hint, fresh), chips),
    form,
  );

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else submit(input.value);
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
    setRunning(null);
    transcript.clear();
    draw();
    input.focus();
  });
  retell(locale);
  if (transcript.pending) void follow(transcript.pending, null, [...log.querySelectorAll(".user")].slice(-1));

  /** @param {Locale} next */
  function retell(next) {
    locale = next;
    input.placeholder = t("placeholder");
    input.setAttribute("aria-label", t("message"));
    log.setAttribute("aria-label", t("chat"));
    setText(fresh, t("fresh"));
    explain("");
    chips.replaceChildren(
      ...(info.scripted ? GROUPS.map(groupOfChips) : examples(locale).map((text) => chip(text, ""))),
    );
    setRunning(running);
    if (!running) draw();
  }

  /** @param {Group} group */
  function groupOfChips(group) {
    const id = `chips-${group}`;
    const commands = info.commands.filter((command) => command.group === group);
    return h(
      "div",
      { class: "chip-group", role: "group", "aria-labelledby": id },
      h("span", { class: "hint", id, text: t(group) }),
      ...commands.map(({ name, doc }) => chip(`/${name}`, doc[locale].replaceAll("`", ""))),
    );
  }

  /** @param {string} text @param {string} tip */
  function chip(text, tip) {
    const element = h("button", { type: "button", class: "chip", "aria-description": tip || null, text });
    element.disabled = running !== null;
    element.addEventListener("click", () => submit(text));
    for (const name of ["pointerenter", "focus"])
      element.addEventListener(name, () => explain(tip && `${text}: ${tip}`));
    for (const name of ["pointerleave", "blur"]) element.addEventListener(name, () => explain(""));
    return element;
  }

  /** Say above the buttons what one of them does. @param {string} tip */
  function explain(tip) {
    setText(hint, tip || t(info.scripted ? "tryFaults" : "tryThese"));
  }

  function draw() {
    givenBack = [];
    const { entries } = transcript;
    log.replaceChildren(...(entries.length ? entries.map((entry) => bubble(entry).element) : [welcome()]));
    log.scrollTop = log.scrollHeight;
  }

  function welcome() {
    const text = info.scripted ? t("welcome") : t("welcomeReal", { model: info.model, host: info.host });
    return h("div", { class: "welcome" }, h("h2", { text: t("welcomeTitle") }), h("p", { text }));
  }

  /** @param {Entry} entry */
  function bubble({ role, content, facts }) {
    const body = h("div", { class: "body" });
    const meta = h("p", { class: "meta" });
    const element = h(
      "article",
      { class: `message ${role}`, "aria-label": t(role === "user" ? "you" : "answer") },
      body,
      meta,
    );
    /** @type {string[]} */
    let blocks = [];
    const write = (/** @type {string} */ text) => {
      if (role === "user") setText(body, text);
      else blocks = render(body, blocks, text);
    };
    const note = (/** @type {string} */ words) => {
      setText(meta, words);
      show(meta, Boolean(words));
    };
    const end = (/** @type {import("./transcript.js").Facts} */ how) => {
      element.classList.toggle("failed", how.outcome === "failed");
      meta.classList.toggle("trouble", isTrouble(how) && how.outcome !== "failed");
      note(told(how, locale));
    };
    write(content);
    note("");
    if (facts) end(facts);
    return { element, write, note, end };
  }

  /** @param {string} text */
  function submit(text) {
    text = text.trim();
    if (!text || running) return;
    for (const element of givenBack) element.remove();
    givenBack = [];
    input.value = "";
    grow();
    if (!transcript.entries.length) log.replaceChildren();
    transcript.entries.push({ role: "user", content: text });
    const messages = transcript.entries.map(({ role, content }) => /** @type {Message} */ ({ role, content }));
    const question = bubble({ role: "user", content: text }).element;
    log.append(question);
    void follow({ id: newStreamId(), began: Date.now() }, messages, [question]);
  }

  /**
   * Show an answer from its first word to its end.
   * @param {Pending} pending
   * @param {Message[] | null} messages  null: they were sent before the page was loaded anew
   * @param {Element[]} asked  what shows the question
   */
  async function follow(pending, messages, asked) {
    const abort = new AbortController();
    const { session } = transcript;
    setRunning(abort);
    // A server without streams could not give the answer a second time.
    transcript.pending = info.streams ? pending : null;
    transcript.keep();
    const mine = new Status({ session, began: pending.began });
    mine.returned = messages === null;
    status = mine;
    const answer = bubble({ role: "assistant", content: "" });
    const atEnd = (/** @type {() => void} */ change) => {
      const near = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
      change();
      if (near) log.scrollTop = log.scrollHeight;
    };
    const tick = () => atEnd(() => answer.note(mine.words(locale)));
    answer.element.classList.add("growing");
    log.append(answer.element);
    tick();
    log.scrollTop = log.scrollHeight;

    let text = "";
    const ticking = setInterval(tick, TICK_MS);
    const question = messages && { messages, locale };
    const chat = { id: pending.id, session, question, socket: info.streams, signal: abort.signal };
    const { outcome, reason } = await readAnswer(chat, (progress) => {
      mine.take(progress);
      if (progress.text !== text) atEnd(() => answer.write((text = progress.text)));
      tick();
    });
    clearInterval(ticking);
    const facts = mine.facts(outcome, reason);
    atEnd(() => answer.end(facts));
    answer.element.classList.remove("growing");
    if (running !== abort) return; // a new chat has begun meanwhile
    if (text) transcript.entries.push({ role: "assistant", content: text, facts });
    // A message without an answer is not sent again as history.
    else giveBack(transcript.entries.pop(), isTrouble(facts) ? [...asked, answer.element] : []);
    transcript.pending = null;
    transcript.keep();
    setRunning(null);
    setText(live, text ? `${t("answer")}: ${text.slice(0, 200)}` : told(facts, locale));
  }

  /**
   * Let the user send a question again that got no answer.
   * @param {Entry | undefined} entry
   * @param {Element[]} shown
   */
  function giveBack(entry, shown) {
    if (!entry || !shown.length || input.value) return;
    input.value = entry.content;
    grow();
    givenBack = shown;
  }

  /** @param {AbortController | null} abort */
  function setRunning(abort) {
    running = abort;
    if (!abort) status = null;
    setText(send, t(abort ? "stop" : "send"));
    send.classList.toggle("stop", abort !== null);
    for (const element of chips.querySelectorAll("button")) element.disabled = abort !== null;
  }

  function grow() {
    input.style.height = "auto";
    if (input.scrollHeight <= input.clientHeight) return; // one line: as tall as before
    const borders = input.offsetHeight - input.clientHeight;
    input.style.height = `${Math.min(input.scrollHeight + borders, TALLEST)}px`;
  }

  return {
    show: (update) => status?.watch(update),
    retell,
  };
}
