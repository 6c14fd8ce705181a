// @ts-check
/**
 * Reads one answer to its end, whatever the network does: over a WebSocket where that works, else over HTTP, and
 * after every break again from the number that it has. The server asks the model once for each stream id.
 */

import { Answer, framesOf } from "./stream-frames.js";

/** @typedef {import("./stream-frames.js").Frame} Frame */

export const PROTOCOL = "copilot-pulse.v1";
export const STREAM = "X-Copilot-Pulse-Stream";
export const MODE = "X-Copilot-Pulse-Mode";
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
/** A frame of the protocol; a longer question goes over HTTP. */
const LONGEST_FRAME = 7_500_000;
const encoder = new TextEncoder();
let avoidedUntil = 0;

/** Raised when the answer cannot be had any more. */
export class AnswerLost extends TypeError {}

/**
 * @typedef {object} ReaderOptions
 * @property {typeof fetch} fetch  the browser's own
 * @property {string} base  where the server's routes begin, ending in `/api`
 * @property {string} id
 * @property {string} session
 * @property {{ path: string, url: string, headers: Record<string, string>, body: string } | null} question  null: read only
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
    this._progress = Date.now();
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
    const headers = { "Content-Type": "application/json" };
    for (let tries = 0; tries < CANCEL_TRIES; tries += 1) {
      try {
        const { status } = await fetch(`${this._url}/cancel`, { method: "POST", headers, body, keepalive: true });
        if (status !== 404) return;
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
    this._failures = 0;
    this._progress = Date.now();
    const { seq } = this.answer;
    const back = this.lost;
    this.lost = false;
    this.answer.take(frame);
    if (back || this.answer.seq !== seq) this.dispatchEvent(new Event("change"));
  }

  /** Wait before the next try: longer each time, and never as long as others that lost the same server. */
  async _pause() {
    if (Date.now() - this._progress > GIVE_UP_MS) throw new AnswerLost("The connection to ComfyUI did not come back.");
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
      const known = await this._resume();
      if (known || this._over) return;
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
    const headers = { ...question.headers, [STREAM]: id, [MODE]: "frames" };
    const watch = this._watch();
    try {
      const response = await fetch(question.url, { method: "POST", headers, body: question.body, signal: watch.signal });
      if (response.headers.get(STREAM) === "frames" && response.body) await this._read(response.body, watch);
      else if (response.status !== 409) {
        this.foreign = response;
        watch.keep();
      }
    } finally {
      watch.stop();
    }
  }

  /** Read what is missing; false if the server does not know the stream. */
  async _resume() {
    const query = new URLSearchParams({ after: String(this.answer.seq), session: this.options.session });
    const watch = this._watch();
    try {
      const response = await this.options.fetch(`${this._url}?${query}`, { signal: watch.signal, cache: "no-store" });
      if (response.status === 404) return false;
      if (response.status === 410) throw new AnswerLost("This answer is no longer kept.");
      if (response.ok && response.body) await this._read(response.body, watch);
      return true;
    } finally {
      watch.stop();
    }
  }

  /** @param {ReadableStream<Uint8Array>} body @param {ReturnType<StreamReader["_watch"]>} watch */
  async _read(body, watch) {
    for await (const frame of framesOf(body, (bytes) => (this.bytes += bytes))) {
      watch.alive();
      this._take(frame);
      if (this._over) return;
    }
  }

  /** Aborts a request after a silence that is no longer normal: a dead connection does not say so. */
  _watch() {
    const dead = new AbortController();
    const abort = () => dead.abort();
    this._life.signal.addEventListener("abort", abort);
    let timer = setTimeout(abort, SILENCE_MS);
    return {
      signal: dead.signal,
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
      let silence = OPEN_MS;
      const done = () => {
        if (signal.aborted) return;
        life.abort();
        clearInterval(timer);
        if (socket.readyState !== WebSocket.CLOSED) socket.close(1000);
        resolve(undefined);
      };
      /** @param {Record<string, unknown>} frame */
      const send = (frame) => socket.send(JSON.stringify({ stream: id, ...frame }));
      const timer = setInterval(() => {
        if (Date.now() - heard > silence) {
          if (silence === OPEN_MS) avoidedUntil = Date.now() + AVOID_MS;
          done();
        } else if (socket.readyState === WebSocket.OPEN && Date.now() - heard > PING_MS) send({ type: "ping" });
      }, 1_000);
      this._life.signal.addEventListener("abort", done, { signal });
      socket.addEventListener("open", () => {
        heard = Date.now();
        silence = SILENCE_MS;
        if (!this.asked && question) {
          this.asked = true;
          send({ type: "invoke", path: question.path, headers: question.headers, body: JSON.parse(question.body) });
        } else send({ type: "read", after: this.answer.seq });
      }, { signal });
      socket.addEventListener("message", (event) => {
        heard = Date.now();
        this.bytes += encoder.encode(event.data).length;
        const frame = JSON.parse(event.data);
        if (frame.type === "state" && frame.state !== "running" && frame.state !== "finished") done(); // HTTP says why
        else if (Array.isArray(frame) || frame.stream === id) this._take(frame);
        if (this._over) done();
      }, { signal });
      socket.addEventListener("close", () => {
        if (silence === OPEN_MS) avoidedUntil = Date.now() + AVOID_MS;
        done();
      }, { signal });
    });
  }
}

/** 144 random bits, as the server wants them. */
export function newStreamId() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

/** Forget that a WebSocket could not be opened. */
export function trySocketsAgain() {
  avoidedUntil = 0;
}
