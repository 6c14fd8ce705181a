// @ts-check
/**
 * Lets Copilot's chats survive the network. Copilot's page asks with `fetch("/api/chat/invoke")`; that call, and no
 * other, gets the same Response with the same lines, but read by a StreamReader. Whatever goes wrong in here before
 * the server has been asked, the request is made as Copilot made it.
 */

import { KeptStreams } from "./kept.js";
import { newStreamId, StreamReader } from "./reader.js";

const CHAT = "/api/chat/invoke";
const NO_BODY = new Set([101, 103, 204, 205, 304]);
/** What a request of a WebSocket can hold; with any other option the request goes over HTTP, where the option holds. */
const PLAIN = new Set(["method", "headers", "body", "signal"]);
const encoder = new TextEncoder();

/**
 * @typedef {object} UpgradeOptions
 * @property {() => unknown} transport  "auto" (the WebSocket where it works), or "http"
 * @property {KeptStreams} kept  where the ids of answers are kept over a reload
 */

/**
 * Wrap `target.fetch`; what is returned puts the old one back, if nobody has wrapped ours meanwhile.
 * @param {Window & typeof globalThis} target
 * @param {UpgradeOptions} options
 * @returns {() => void}
 */
export function upgradeChats(target, { transport, kept }) {
  const plain = target.fetch;
  /** @type {typeof target.fetch} */
  const upgraded = (input, init) => {
    const question = questionOf(target, input, init);
    if (!question) return plain.call(target, input, init);
    const again = () => plain.call(target, input, init);
    let reader;
    try {
      const socket = transport() !== "http" && Object.keys(init ?? {}).every((option) => PLAIN.has(option));
      reader = new StreamReader({ ...question, fetch: plain.bind(target), id: newStreamId(), socket });
    } catch {
      return again(); // nothing has been asked yet
    }
    return answerOf(reader, init?.signal ?? null, kept, again);
  };
  target.fetch = upgraded;
  return () => {
    if (target.fetch === upgraded) target.fetch = plain;
  };
}

/**
 * What Copilot asks, or null if the request is not one of Copilot's chats.
 * @param {Window & typeof globalThis} target
 * @param {RequestInfo | URL} input
 * @param {RequestInit | undefined} init
 */
export function questionOf(target, input, init) {
  try {
    if (!init || typeof init.body !== "string" || (init.method ?? "GET").toUpperCase() !== "POST") return null;
    if (!(typeof input === "string" || input instanceof URL)) return null;
    const url = new URL(String(input), target.location.href);
    if (url.origin !== target.location.origin || !url.pathname.endsWith(CHAT) || url.search) return null;
    const body = JSON.parse(init.body);
    const session = body?.session_id;
    if (typeof session !== "string" || !session || session.length > 200) return null;
    const headers = Object.fromEntries(new Headers(init.headers).entries());
    const base = `${url.origin}${url.pathname.slice(0, -CHAT.length)}/api`;
    return { base, session, question: { path: CHAT, url: url.href, headers, body: init.body, init } };
  } catch {
    return null; // not Copilot's: the browser says what is wrong with it
  }
}

/**
 * The Response that Copilot reads.
 * @param {StreamReader} reader
 * @param {AbortSignal | null} signal
 * @param {KeptStreams} kept
 * @param {() => Promise<Response>} again  the request as it was
 * @returns {Promise<Response>}
 */
function answerOf(reader, signal, kept, again) {
  const { answer, options } = reader;
  const over = new AbortController();
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    let begun = false;
    /** @type {ReadableStreamDefaultController<Uint8Array>} */
    let controller;
    let ended = false;
    const end = () => {
      ended = true;
      over.abort();
      kept.forget(options.id);
    };
    const feed = () => {
      if (ended || !begun) return;
      while ((controller.desiredSize ?? 0) > 0 && answer.pending)
        controller.enqueue(encoder.encode(answer.next() ?? ""));
      if (answer.pending || !reader.closed) return;
      end();
      if (answer.outcome !== null) controller.close();
      else controller.error(reader.error ?? new TypeError("network error"));
    };
    const body = new ReadableStream(
      {
        start: (given) => void (controller = given),
        pull: feed,
        cancel() {
          end();
          reader.cancel();
        },
      },
      { highWaterMark: 1 },
    );

    const begin = () => {
      if (begun || !answer.head) return;
      begun = true;
      const without = NO_BODY.has(answer.head.status);
      resolve(responseOf(answer.head, without ? null : body, options.question?.url ?? ""));
      if (without) end();
    };
    reader.addEventListener(
      "change",
      () => {
        begin();
        feed();
      },
      { signal: over.signal },
    );
    reader.addEventListener(
      "close",
      () => {
        begin();
        feed();
        if (begun || ended) return;
        end();
        const { foreign } = reader;
        // A server that has too much to do for streams, or does not know them, is asked as Copilot does.
        if (foreign) {
          signal?.addEventListener("abort", () => reader.leave(), { once: true });
          resolve(foreign.status === 429 ? again() : foreign);
        } else reject(reader.error ?? new TypeError("Failed to fetch"));
      },
      { signal: over.signal },
    );
    signal?.addEventListener(
      "abort",
      () => {
        if (ended) return;
        end();
        if (begun) controller.error(signal.reason);
        else reject(signal.reason);
        reader.cancel();
      },
      { signal: over.signal },
    );
    kept.remember({ id: options.id, session: options.session, base: options.base });
    void reader.run();
  });
}

/**
 * @param {{ status: number, headers: Record<string, string> }} head
 * @param {ReadableStream<Uint8Array> | null} body
 * @param {string} url
 */
function responseOf({ status, headers }, body, url) {
  const shown = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    try {
      shown.append(name, value);
    } catch {
      // A server may send what no page may make, such as a value that is not Latin-1: the others count.
    }
  }
  const valid = status >= 200 && status <= 599 ? status : 200;
  const response = new Response(body, { status: valid, statusText: valid === 200 ? "OK" : "", headers: shown });
  Object.defineProperty(response, "url", { value: url.split("#", 1)[0] });
  return response;
}
