// @ts-check
/**
 * Reads one answer to its end, whatever the network does: over a WebSocket where that works, else over HTTP, and
 * after every break again from the number that it has. The server asks the model once for each stream id.
 */

import { Answer, framesOf } from "./frames.js";

/** @typedef {import("./frames.js").Frame} Frame */

const PROTOCOL = "copilot-pulse.v1";
const STREAM = "X-Copilot-Pulse-Stream";
const MODE = "X-Copilot-Pulse-Mode";
/** Marks what our page sends: no page of another origin can send it without asking the server first. */
export const MARK = "X-Copilot-Pulse";
const OPEN_MS = 3_000;
const SILENCE_MS = 25_000;
const PING_MS = 10_000;
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;
/** A laptop may sleep; the server keeps an answer for ten minutes. */
const GIVE_UP_MS = 600_000;
/** After a WebSocket that could not be opened, HTTP is used for this long. */
const AVOID_MS = 60_000;
const CANCEL_TRIES = 4;
/** What a gateway says that has waited long enough; the server behind it may be at work all the same. */
const GATEWAY = new Set([502, 503, 504, 524]);
/** Refusals that may pass. */
const LATER = new Set([408, 425, 429]);
/** A frame of the protocol; a longer question goes over HTTP. */
const LONGEST_FRAME = 7_500_000;
const encoder = new TextEncoder();
let avoidedUntil = 0;

/** Raised when the answer cannot be had any more. */
class AnswerLost extends TypeError {}

/**
 * @typedef {object} Question
 * @property {string} path
 * @property {string} url
 * @property {Record<string, string>} headers
 * @property {string} body
 * @property {RequestInit} [init]  what else the request is to be made with, over HTTP
 */

/**
 * @typedef {object} ReaderOptions
 * @property {typeof fetch} fetch  the browser's own
 * @property {string} base  where the server's routes begin, ending in `/api`
 * @property {string} id
 * @property {string} session
 * @property {Question | null} question  null: read only
 * @property {boolean} [socket]  whether a WebSocket may be tried
 */

/** Fires "change" when there is something new (also about the connection), and "close" once at the end. */
export class StreamReader extends EventTarget {
  /** @param {ReaderOptions} options */
  constructor(options) {
    super();
    this.options = options;
    this.answer = new Answer();
    /** Why there will be no more, if the answer did not come to its end. @type {Error | null} */
    this.error = null;
    /** A response that is not ours: the server does not know streams. @type {Response | null} */
    this.foreign = null;
    this.closed = false;
    /** Whether the connection is gone and we try to come back. */
    this.lost = false;
    /** Bytes of frames that came, without what a connection adds to them. */
    this.bytes = 0;
    this.asked = options.question === null;
    this._life = new AbortController();
    this._wake = () => {};
    this._failures = 0;
    /** Since when there have been failures only. */
    this._failing = 0;
  }

  /** Read to the end; call it once. Never rejects: see `error`. */
  async run() {
    const online = () => this._wake();
    globalThis.addEventListener("online", online);
    try {
      let socket = this.options.socket !== false && this._mayTrySocket();
      while (!this._over) {
        const first = socket && this._failures === 0;
        try {
          if (socket) await this._overSocket();
          else await this._overHttp();
        } catch (error) {
          if (error instanceof AnswerLost) throw error;
        }
        // One try over the WebSocket, and one to come back; a way that does not work is not tried for ever.
        socket = socket && this.answer.seq > 0 && this._failures === 0 && this._mayTrySocket();
        // A page whose WebSocket cannot be opened must not notice.
        if (!this._over && !(first && this.answer.seq === 0)) await this._pause();
      }
    } catch (error) {
      this.error = /** @type {Error} */ (error);
    } finally {
      globalThis.removeEventListener("online", online);
      this.closed = true;
      if (!this.foreign) this._life.abort();
      this.dispatchEvent(new Event("close"));
    }
  }

  /** Stop the server's work on the answer, and reading it. */
  cancel() {
    if (this.closed || this._life.signal.aborted) return;
    if (this.answer.outcome === null && this.asked) void this._cancel();
    this.leave();
  }

  /** Stop reading; the server's work goes on for its grace period. */
  leave() {
    this._life.abort();
    this._wake();
  }

  async _cancel() {
    const { fetch, session } = this.options;
    const body = JSON.stringify({ session });
    const headers = { "Content-Type": "application/json", [MARK]: "1" };
    for (let tries = 0; tries < CANCEL_TRIES; tries += 1) {
      try {
        const { status } = await fetch(`${this._url}/cancel`, { method: "POST", headers, body, keepalive: true });
        // A machine of a fleet may not know yet whose answer it is.
        if (status !== 404 && status < 500 && !LATER.has(status)) return;
      } catch {
        // Offline: the server's grace period ends the answer if we cannot.
      }
      // The question may be on its way yet.
      await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT_MS * 2 ** tries));
    }
  }

  get _over() {
    return this.answer.outcome !== null || this.foreign !== null || this._life.signal.aborted;
  }

  get _url() {
    return `${this.options.base}/copilot-pulse/streams/${this.options.id}`;
  }

  _mayTrySocket() {
    const size = this.options.question?.body.length ?? 0;
    return Date.now() >= avoidedUntil && size < LONGEST_FRAME && typeof WebSocket === "function";
  }

  /** @param {Frame | unknown[]} frame */
  _take(frame) {
    const { seq } = this.answer;
    const back = this.lost;
    this.lost = false;
    this.answer.take(frame);
    const more = this.answer.seq > seq;
    // A beat shows that the connection has lasted. That the server says its state shows nothing: the next bytes may
    // break it, each time.
    if (more || ("type" in frame && (frame.type === "beat" || frame.type === "pong"))) this._failures = 0;
    if (back || more) this.dispatchEvent(new Event("change"));
  }

  /** Wait before the next try: longer each time, and never as long as others that lost the same server. */
  async _pause() {
    if (this._failures === 0) this._failing = Date.now();
    if (Date.now() - this._failing > GIVE_UP_MS) throw new AnswerLost("The connection to ComfyUI did not come back.");
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this._failures);
    this._failures += 1;
    this.lost = true;
    this.dispatchEvent(new Event("change"));
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.random() * longest);
      this._wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  // --- over HTTP ---

  async _overHttp() {
    if (this.asked) {
      const found = await this._resume();
      if (found !== "unknown" || this._over) return;
      // The server has never heard of it: the question got lost on its way.
      if (this.answer.seq > 0 || this.options.question === null) {
        throw new AnswerLost("ComfyUI does not know this answer any more; it may have been started anew.");
      }
    }
    await this._ask();
  }

  async _ask() {
    const { question, id, fetch } = this.options;
    if (!question) return;
    this.asked = true;
    const headers = { ...question.headers, [STREAM]: id, [MODE]: "frames", [MARK]: "1" };
    const watch = this._watch();
    // A question may be long in sending, so silence says nothing before the answer begins. But if the server has the
    // question, it is read beside, and this request may be a dead one.
    /** @type {Promise<unknown> | null} */
    let beside = null;
    const probe = setInterval(() => {
      beside ??= this._resume(watch.abort)
        .catch(() => undefined)
        .then(() => void (beside = null));
    }, SILENCE_MS);
    try {
      const init = { ...question.init, method: "POST", headers, body: question.body, signal: watch.signal };
      const response = await fetch(question.url, init);
      clearInterval(probe);
      if (response.headers.get(STREAM) === "frames" && response.body) await this._read(response.body, watch);
      else if (response.status !== 409 && !(GATEWAY.has(response.status) && (await this._runsBehind()))) {
        this.foreign = response;
        watch.keep();
      }
    } finally {
      clearInterval(probe);
      watch.stop();
      await beside;
    }
  }

  /**
   * Read what is missing. "later": the server cannot say now; "unknown": it does not know the stream.
   * @param {() => void} [known]  called when it does
   */
  async _resume(known) {
    const query = new URLSearchParams({ after: String(this.answer.seq), session: this.options.session });
    const watch = this._watch();
    watch.alive();
    try {
      const response = await this.options.fetch(`${this._url}?${query}`, { signal: watch.signal, cache: "no-store" });
      const { status } = response;
      if (status === 404) return "unknown";
      if (status === 410) throw new AnswerLost(await reasonOf(response));
      if (status >= 400 && status < 500 && !LATER.has(status)) {
        throw new AnswerLost(`ComfyUI does not give this answer (HTTP ${status}).`);
      }
      if (!response.ok || !response.body) return "later";
      known?.();
      await this._read(response.body, watch);
      return "read";
    } finally {
      watch.stop();
    }
  }

  /** Whether the answer runs although a gateway has given up on it; what there is of it is read then. */
  async _runsBehind() {
    const { seq } = this.answer;
    try {
      return (await this._resume()) === "read";
    } catch {
      return this.answer.seq > seq; // broken again, but there
    }
  }

  /** @param {ReadableStream<Uint8Array>} body @param {ReturnType<StreamReader["_watch"]>} watch */
  async _read(body, watch) {
    watch.alive();
    for await (const frame of framesOf(body, (bytes) => (this.bytes += bytes))) {
      watch.alive();
      this._take(frame);
      if (this._over) return;
    }
  }

  /**
   * Aborts a request after a silence that is no longer normal: a dead connection does not say so. Starts with
   * `alive`.
   */
  _watch() {
    const dead = new AbortController();
    const abort = () => dead.abort();
    this._life.signal.addEventListener("abort", abort);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    return {
      signal: dead.signal,
      abort,
      alive() {
        clearTimeout(timer);
        timer = setTimeout(abort, SILENCE_MS);
      },
      keep: () => clearTimeout(timer),
      stop: () => {
        clearTimeout(timer);
        if (!this.foreign) this._life.signal.removeEventListener("abort", abort);
      },
    };
  }

  // --- over a WebSocket ---

  _overSocket() {
    const { base, session, id, question } = this.options;
    const url = new URL(`${base}/ws/chat/${encodeURIComponent(session)}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return new Promise((resolve) => {
      const socket = new WebSocket(url, [PROTOCOL]);
      const life = new AbortController();
      const { signal } = life;
      let heard = Date.now();
      let opened = false;
      let pinged = 0; // when the ping was sent that nothing has followed yet
      let unsent = 0;
      const hear = () => {
        heard = Date.now();
        pinged = 0;
      };
      const done = () => {
        if (signal.aborted) return;
        life.abort();
        clearInterval(timer);
        if (socket.readyState !== WebSocket.CLOSED) socket.close(1000);
        resolve(undefined);
      };
      /** @param {Record<string, unknown>} frame */
      const send = (frame) => socket.send(JSON.stringify({ stream: id, ...frame }));
      const avoid = () => {
        avoidedUntil = Date.now() + AVOID_MS;
        done();
      };
      const timer = setInterval(() => {
        const now = Date.now();
        if (socket.bufferedAmount < unsent) hear(); // the question is on its way up
        unsent = socket.bufferedAmount;
        if (!opened) {
          if (now - heard > OPEN_MS) avoid();
        } else if (pinged) {
          if (now - heard > SILENCE_MS && now - pinged > PING_MS) done();
        } else if (now - heard > PING_MS) {
          // A hidden tab looks once a minute: nobody is dead who has not been asked.
          pinged = now;
          send({ type: "ping" });
        }
      }, 1_000);
      this._life.signal.addEventListener("abort", done, { signal });
      socket.addEventListener(
        "open",
        () => {
          hear();
          opened = true;
          if (!this.asked && question) {
            this.asked = true;
            send({ type: "invoke", path: question.path, headers: question.headers, body: JSON.parse(question.body) });
          } else send({ type: "read", after: this.answer.seq });
        },
        { signal },
      );
      socket.addEventListener(
        "message",
        (event) => {
          hear();
          this.bytes += encoder.encode(event.data).length;
          const frame = JSON.parse(event.data);
          if (frame.type === "state" && frame.state === "refused") {
            this.asked = this.options.question === null; // nothing was done under this name: HTTP asks
            avoid(); // the next one would be refused, too
          } else if (frame.type === "state" && frame.state !== "running" && frame.state !== "finished")
            done(); // HTTP says why
          else if (Array.isArray(frame) || frame.stream === id || frame.type === "pong") this._take(frame);
          if (this._over) done();
        },
        { signal },
      );
      socket.addEventListener(
        "close",
        () => {
          if (opened) done();
          else avoid();
        },
        { signal },
      );
    });
  }
}

/** What the server says of an answer that it no longer has. @param {Response} response */
async function reasonOf(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // Not ours: a proxy's page.
  }
  return "This answer is no longer kept.";
}

/** 144 random bits, as the server wants them. */
export function newStreamId() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_");
}
