// @ts-check
/**
 * One answer, asked for or come back to, read to its end over the same streams as in ComfyUI (docs/protocol.md). A
 * server that does not know streams (COPILOT_PULSE=off) answers in Copilot's own lines.
 */

import { StreamReader } from "../../../web/streams/reader.js";

/** @typedef {import("../../../web/streams/frames.js").Answer} Answer */

/**
 * @typedef {{ role: "user" | "assistant", content: string }} Message
 * @typedef {object} Progress
 * @property {string} text  all of the answer so far
 * @property {number} updates  how often it has changed
 * @property {number} bytes  what came for it
 * @property {boolean} lost  whether the connection is gone and we try to come back
 * @property {string} chat  the chat's id in the monitor's data, "" while it is not known
 * @property {number} retries  how often a model call of it was made again
 * @property {string} repair  the kind of failure that is being repaired, "" for none
 * @property {readonly number[]} seams  where in the text a broken attempt ended
 * @property {number | null} again  seconds after which asking again makes sense
 */
/**
 * `completed`, `failed`, `cancelled` (by somebody else): the server's word. `stopped`: by us. `refused`: no chat, for
 * a `reason`. `unreachable`: nothing was heard at all. `forgotten`: the server has nothing more of it. `broken`: the
 * connection ended too early, and there is no way back.
 * @typedef {"completed" | "failed" | "cancelled" | "stopped" | "refused" | "unreachable" | "forgotten" | "broken"}
 *   Outcome
 */

const CHAT = "/api/chat/invoke";
/** A question that nobody takes for so long is given back to the user. */
const UNREACHABLE_MS = 4_000;

/** Of an answer of which nothing has come yet. @returns {Progress} */
export function noProgress() {
  return { text: "", updates: 0, bytes: 0, lost: false, chat: "", retries: 0, repair: "", seams: [], again: null };
}

/**
 * Never rejects. Aborting `signal` stops the server's work, too; leaving the page does not.
 *
 * @param {object} chat
 * @param {string} chat.id  of the stream
 * @param {string} chat.session
 * @param {{ messages: Message[], locale: string } | null} chat.question  null: it was asked before, go on reading
 * @param {boolean} chat.socket  whether a WebSocket may be tried
 * @param {AbortSignal} chat.signal
 * @param {(progress: Readonly<Progress>) => void} onProgress
 * @returns {Promise<{ outcome: Outcome, reason: string }>}
 */
export async function readAnswer({ id, session, question, socket, signal }, onProgress) {
  const reader = new StreamReader({
    fetch: (input, init) => fetch(input, init),
    base: new URL("api", document.baseURI).href,
    id,
    session,
    socket,
    question: question && {
      path: CHAT,
      url: new URL(CHAT.slice(1), document.baseURI).href,
      headers: { "Content-Type": "application/json", "Accept-Language": question.locale },
      body: bodyOf(session, question.messages),
    },
  });
  const { answer } = reader;
  const progress = noProgress();
  let newest = "";
  let unreachable = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let patience;

  reader.addEventListener("change", () => {
    newest = newestLine(answer) ?? newest;
    takeFacts(progress, newest);
    if (answer.text !== progress.text) progress.updates += 1;
    progress.text = answer.text;
    progress.bytes = reader.bytes;
    progress.lost = reader.lost;
    if (!question || !reader.lost || answer.seq > 0) {
      clearTimeout(patience);
      patience = undefined;
    } else {
      patience ??= setTimeout(() => {
        unreachable = true;
        reader.cancel();
      }, UNREACHABLE_MS);
    }
    onProgress(progress);
  });
  const stop = () => (reader.foreign ? reader.leave() : reader.cancel());
  signal.addEventListener("abort", stop, { once: true });
  try {
    await reader.run();
    if (signal.aborted) return { outcome: "stopped", reason: "" };
    if (unreachable) return { outcome: "unreachable", reason: "" };
    if (reader.foreign) return await readLines(reader.foreign, progress, onProgress);
    if (answer.head && answer.head.status >= 400)
      return { outcome: "refused", reason: reasonOf(newest, answer.head.status) };
    if (answer.outcome === null) return { outcome: "forgotten", reason: "" };
    return { outcome: /** @type {Outcome} */ (answer.outcome), reason: "" };
  } catch {
    return { outcome: signal.aborted ? "stopped" : "broken", reason: "" };
  } finally {
    clearTimeout(patience);
    signal.removeEventListener("abort", stop);
  }
}

/** What Copilot's page sends. @param {string} session @param {Message[]} messages */
function bodyOf(session, messages) {
  return JSON.stringify({ session_id: session, prompt: messages.at(-1)?.content ?? "", messages, ext: [] });
}

/** The newest line that waits, or null; each has all the text. @param {Answer} answer */
function newestLine(answer) {
  let line = null;
  while (answer.pending) line = answer.next();
  return line;
}

/** @param {Progress} progress @param {string} line */
function takeFacts(progress, line) {
  const { chat_id, retries, repair, seams, again_in } = parsed(line);
  if (typeof chat_id === "string") progress.chat = chat_id;
  if (typeof retries === "number") progress.retries = retries;
  progress.repair = typeof repair === "string" ? repair : "";
  progress.seams = Array.isArray(seams) ? seams.filter(Number.isInteger) : [];
  progress.again = typeof again_in === "number" ? again_in : null;
}

/**
 * Read an answer in Copilot's own lines. Rejects if the connection breaks.
 * @param {Response} response
 * @param {Progress} progress
 * @param {(progress: Progress) => void} onProgress
 * @returns {Promise<{ outcome: Outcome, reason: string }>}
 */
async function readLines(response, progress, onProgress) {
  if (!response.ok || !response.body)
    return { outcome: "refused", reason: reasonOf(await response.text(), response.status) };
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let finished = false;
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    progress.bytes += value?.length ?? 0;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines.filter((each) => each.trim())) {
      const update = parsed(line);
      finished = update.finished === true;
      progress.updates += 1;
      progress.text = String(update.text ?? progress.text);
    }
    onProgress(progress);
    if (done) return { outcome: finished ? "completed" : "broken", reason: "" };
  }
}

/** @param {string} body @param {number} status */
function reasonOf(body, status) {
  return String(parsed(body).error ?? `HTTP ${status}`);
}

/** @param {string} text @returns {Record<string, unknown>} */
function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
