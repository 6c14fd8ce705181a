// @ts-check
/** The chat at the left of the page: messages, the answer as it grows, what to press. */

import { newStreamId } from "../../../web/streams/reader.js";
import { h, setText, show } from "../../../web/panel/dom.js";
import { copyToClipboard } from "../../../web/panel/panel.js";
import { isTrouble, Status, told } from "./answer.js";
import { render } from "./markdown.js";
import { Mending, pasteable, withMarks } from "./seam.js";
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
const COPIED_MS = 2_000;
const SPOKEN = 200; // characters of an answer that are read out; the rest can be gone through
const SILENCES = new Set(["stalled", "timeout"]);

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
  const title = h("h2", { class: "unseen" });
  root.replaceChildren(
    title,
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
    setText(title, t("chat"));
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
    log.replaceChildren(...(entries.length ? entries.map((entry) => bubble(entry, entry).element) : [welcome()]));
    log.scrollTop = log.scrollHeight;
  }

  function welcome() {
    const text = info.scripted ? t("welcome") : t("welcomeReal", { model: info.model, host: info.host });
    return h("div", { class: "welcome" }, h("h2", { text: t("welcomeTitle") }), h("p", { text }));
  }

  /**
   * What shows a message.
   * @param {Entry} message
   * @param {Entry | null} entry  the message's place in the transcript, once it has one
   */
  function bubble({ role, content, facts }, entry) {
    const body = h("div", { class: "body" });
    const meta = h("p", { class: "meta" });
    const foot = h("div", { class: "foot" }, meta);
    const element = h(
      "article",
      { class: `message ${role}`, "aria-label": t(role === "user" ? "you" : "answer") },
      body,
      foot,
    );
    /** @type {string[]} */
    let blocks = [];
    /** @param {string} text @param {Partial<import("./seam.js").View> & { repair?: string }} [marks] */
    const write = (text, { seams = [], broken = null, repair = "" } = {}) => {
      if (role === "user") return setText(body, text);
      // What is written again must not make the page jump.
      if (broken !== null && !body.style.minHeight) body.style.minHeight = `${body.offsetHeight}px`;
      blocks = render(body, blocks, withMarks({ text, seams, broken }));
      for (const seam of body.querySelectorAll(".seam:not([title])")) {
        for (const [name, value] of Object.entries({ role: "img", title: t("seam"), "aria-label": t("seam") }))
          seam.setAttribute(name, value);
      }
      for (const place of body.querySelectorAll(".break"))
        setText(place, t(SILENCES.has(repair) ? "silentHere" : "brokeHere"));
    };
    const note = (/** @type {string} */ words) => {
      setText(meta, words);
      show(meta, Boolean(words));
    };
    /** @param {import("./transcript.js").Facts} how @param {string} text @param {() => void} again */
    const end = (how, text, again) => {
      body.style.minHeight = "";
      element.classList.toggle("failed", how.outcome === "failed");
      meta.classList.toggle("trouble", isTrouble(how) && how.outcome !== "failed");
      write(text, { seams: how.seams });
      note(told(how, locale));
      foot.append(actions(text, how, again));
    };
    note("");
    if (facts) end(facts, content, () => sendAgain(/** @type {Entry} */ (entry)));
    else write(content);
    return { element, body, write, note, end };
  }

  /**
   * Copy and Send again.
   * @param {string} text
   * @param {import("./transcript.js").Facts} how
   * @param {() => void} again
   */
  function actions(text, how, again) {
    const copy = h("button", { type: "button", class: "act", text: t("copy") });
    copy.addEventListener("click", async () => {
      const copied = await copyToClipboard(pasteable(text));
      setText(copy, t(copied ? "copied" : "copyFailed"));
      setTimeout(() => setText(copy, t("copy")), COPIED_MS);
    });
    const resend = h("button", { type: "button", class: "act again" });
    resend.disabled = running !== null;
    resend.addEventListener("click", () => !running && again());
    // The server's own count would stand still: here it runs down.
    const count = () => {
      const seconds = Math.ceil(((how.again ?? 0) - Date.now()) / 1000);
      setText(resend, seconds > 0 ? t("againIn", { seconds }) : t("again"));
      if (seconds > 0) setTimeout(() => resend.isConnected && count(), TICK_MS);
    };
    const row = h("div", { class: "acts" }, text ? copy : null, resend);
    count();
    return row;
  }

  /** Ask the question of an answer once more; the newest answer makes room for the new one. @param {Entry} entry */
  function sendAgain(entry) {
    const at = transcript.entries.indexOf(entry);
    const asked = transcript.entries.slice(0, Math.max(0, at)).findLast(({ role }) => role === "user");
    if (!asked) return;
    if (at === transcript.entries.length - 1) {
      transcript.entries.length = transcript.entries.indexOf(asked);
      draw();
    }
    submit(asked.content);
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
    const question = bubble({ role: "user", content: text }, null).element;
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
    const answer = bubble({ role: "assistant", content: "" }, null);
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
    let shown = "";
    const mending = new Mending();
    const ticking = setInterval(tick, TICK_MS);
    const question = messages && { messages, locale };
    const chat = { id: pending.id, session, question, socket: info.streams, signal: abort.signal };
    const { outcome, reason } = await readAnswer(chat, (progress) => {
      mine.take(progress);
      const { repair, seams } = progress;
      const state = JSON.stringify([progress.text, repair, seams]);
      if (state !== shown) {
        const view = mending.view(progress);
        atEnd(() => answer.write(view.text, { ...view, repair }));
        shown = state;
        text = progress.text;
      }
      tick();
    });
    clearInterval(ticking);
    const facts = mine.facts(outcome, reason);
    const ended = /** @type {Entry} */ ({ role: "assistant", content: text, facts });
    answer.element.classList.remove("growing");
    if (running !== abort) return; // a new chat has begun meanwhile, and nothing of this one is shown
    // A message without an answer is not sent again as history.
    const unanswered = text ? null : transcript.entries.pop();
    if (text) transcript.entries.push(ended);
    transcript.pending = null;
    transcript.keep();
    setRunning(null);
    atEnd(() => answer.end(facts, text, () => (unanswered ? submit(unanswered.content) : sendAgain(ended))));
    if (unanswered) giveBack(unanswered, isTrouble(facts) ? [...asked, answer.element] : []);
    setText(live, text ? `${t("answer")}: ${spoken(answer.body)}` : told(facts, locale));
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
    const waiting = /** @type {NodeListOf<HTMLButtonElement>} */ (root.querySelectorAll(".chip, .again"));
    for (const element of waiting) element.disabled = abort !== null;
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

/** The begin of an answer as it is read, without Markdown's signs. @param {HTMLElement} body */
function spoken(body) {
  const text = body.innerText.replaceAll("\u2063", "").replace(/\s+/g, " ").trim();
  return text.length <= SPOKEN ? text : `${text.slice(0, SPOKEN).replace(/\s\S*$/, "")} …`;
}
