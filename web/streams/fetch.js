// @ts-check
/**
 * Our one hand on the page's `fetch`, for requests of Copilot's page and no others. It completes them, and lets the
 * chat survive the network: the page gets the same Response with the same lines, but read by a StreamReader. Whatever
 * goes wrong in here before the server has been asked, the request is made as Copilot made it.
 *
 * What a request of Copilot's may lack: the base URL of the user's model server, which the page keeps, but sends only
 * once it has a key and has fetched a public key from its hosted service (that service is gone, and a local server
 * wants no key); the folder in which ComfyUI lies where it is not at the root of its host; and which page it is that
 * asks, so that what becomes of its chat is told there.
 */

import { KeptStreams } from "./kept.js";
import { newStreamId, StreamReader } from "./reader.js";

const CHAT = "/api/chat/invoke";
const DEBUG = "/api/debug-agent";
const BASE_URL = "Openai-Base-Url";
const PAGE = "X-Copilot-Pulse-Page";
/** Routes of Copilot's server part, as far as its page asks for them. */
const COPILOT = new RegExp(
  "^(/api/(chat/invoke|debug-agent|model_config|model-searchs|model-paths|download-model|download-progress|" +
    "save-workflow-checkpoint|restore-workflow-checkpoint|update-workflow-ui|expert/experts)|/verify_openai_key)(/|$)",
);
const NO_BODY = new Set([101, 103, 204, 205, 304]);
/** What a request of a WebSocket can hold; with any other option the request goes over HTTP, where the option holds. */
const PLAIN = new Set(["method", "headers", "body", "signal"]);
/** Options of a Request, beside those, and what they are if nobody has set them. @type {Record<string, unknown>} */
const USUAL = {
  cache: "default",
  credentials: "same-origin",
  integrity: "",
  keepalive: false,
  mode: "cors",
  redirect: "follow",
  referrer: "about:client",
  referrerPolicy: "",
};
const encoder = new TextEncoder();

/**
 * @typedef {object} WrapOptions
 * @property {() => unknown} transport  "auto" (the WebSocket where it works), or "http"
 * @property {KeptStreams} kept  where the ids of answers are kept over a reload
 * @property {() => string} [folder]  the path under which ComfyUI lies, "" at the root: its `api.api_base`
 * @property {() => string} [page]  ComfyUI's name for this page, "" while it has none: its `api.clientId`
 */

/**
 * Wrap `target.fetch`; what is returned puts the old one back, if nobody has wrapped ours meanwhile.
 * @param {Window & typeof globalThis} target
 * @param {WrapOptions} options
 * @returns {() => void}
 */
export function wrapFetch(target, { transport, kept, folder = () => "", page = () => "" }) {
  const plain = target.fetch;
  /** @type {typeof target.fetch} */
  const wrapped = (input, init) => {
    const url = copilotUrl(target, input, folder);
    return url ? send(url, input, init) : plain.call(target, input, init);
  };

  /** @param {URL} url @param {RequestInfo | URL} input @param {RequestInit} [init] @returns {Promise<Response>} */
  async function send(url, input, init) {
    let options;
    let lacking;
    try {
      options = await optionsOf(input, init);
      lacking = url.href !== addressOf(target, input).href;
      if (complete(url, options, { storage: target.localStorage, page: page() })) lacking = true;
    } catch {
      return plain.call(target, input, init); // the browser says what is wrong with it
    }
    const again = () => (lacking ? plain.call(target, url.href, options) : plain.call(target, input, init));
    const question = questionOf(url, options);
    if (!question) return again();
    let reader;
    try {
      const socket = transport() !== "http" && Object.keys(options).every((option) => PLAIN.has(option));
      reader = new StreamReader({ ...question, fetch: plain.bind(target), id: newStreamId(), socket });
    } catch {
      return again(); // nothing has been asked yet
    }
    return answerOf(reader, options.signal ?? null, kept, again);
  }

  target.fetch = wrapped;
  return () => {
    if (target.fetch === wrapped) target.fetch = plain;
  };
}

/**
 * Where a request of Copilot's goes, or null if it passes as it is.
 * @param {Window & typeof globalThis} target
 * @param {RequestInfo | URL} input
 * @param {() => string} folder
 */
function copilotUrl(target, input, folder) {
  try {
    const url = addressOf(target, input);
    if (url.origin !== target.location.origin) return null;
    const base = folder().replace(/\/$/, "");
    const outside = base && !url.pathname.startsWith(`${base}/`) && COPILOT.test(url.pathname);
    if (outside) url.pathname = base + url.pathname;
    return outside || url.pathname.endsWith(CHAT) || url.pathname.endsWith(DEBUG) ? url : null;
  } catch {
    return null;
  }
}

/** @param {Window & typeof globalThis} target @param {RequestInfo | URL} input */
function addressOf(target, input) {
  return new URL(input instanceof Request ? input.url : String(input), target.location.href);
}

/**
 * A request's options, with its headers as an object: Copilot's page passes a URL and `init`, and another plugin that
 * wraps `fetch` may hand on a Request. The request itself stays as it is, and can still be sent.
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 * @returns {Promise<RequestInit & { headers: Headers }>}
 */
async function optionsOf(input, init) {
  if (!(input instanceof Request)) return { ...init, headers: new Headers(init?.headers) };
  /** @type {RequestInit} */
  const own = { method: input.method, signal: input.signal };
  for (const [name, usual] of Object.entries(USUAL)) {
    const value = /** @type {any} */ (input)[name];
    if (value !== undefined && value !== usual) /** @type {any} */ (own)[name] = value;
  }
  if (init?.body === undefined && !["GET", "HEAD"].includes(input.method)) own.body = await input.clone().text();
  return { ...own, ...init, headers: new Headers(init?.headers ?? input.headers) };
}

/**
 * Add to a question the base URL that the user entered in Copilot's own settings, where Copilot's page leaves it out,
 * and the page that asks; whether anything was lacking.
 * @param {URL} url
 * @param {RequestInit & { headers: Headers }} options
 * @param {{ storage: Pick<Storage, "getItem">, page: string }} own
 */
function complete(url, options, { storage, page }) {
  const asks = url.pathname.endsWith(CHAT) || url.pathname.endsWith(DEBUG);
  if (!asks || options.method?.toUpperCase() !== "POST") return false;
  const baseUrl = options.headers.get(BASE_URL) ? "" : storage.getItem("openaiBaseUrl")?.trim();
  if (baseUrl) options.headers.set(BASE_URL, baseUrl);
  if (page) options.headers.set(PAGE, page);
  return Boolean(baseUrl || page);
}

/**
 * What Copilot asks, or null if an answer to this request cannot be come back to.
 * @param {URL} url
 * @param {RequestInit & { headers: Headers }} options
 */
function questionOf(url, options) {
  const { body } = options;
  if (typeof body !== "string" || options.method?.toUpperCase() !== "POST") return null;
  if (!url.pathname.endsWith(CHAT) || url.search) return null;
  const session = sessionOf(body);
  if (!session || session.length > 200) return null;
  const base = `${url.origin}${url.pathname.slice(0, -CHAT.length)}/api`;
  const headers = Object.fromEntries(options.headers.entries());
  return { base, session, question: { path: CHAT, url: url.href, headers, body, init: options } };
}

/** @param {string} body */
function sessionOf(body) {
  try {
    const session = JSON.parse(body)?.session_id;
    return typeof session === "string" ? session : "";
  } catch {
    return "";
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
