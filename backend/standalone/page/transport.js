// @ts-check
/**
 * Carries the panel's data where there is no ComfyUI: a WebSocket of our own at `/ws?clientId=`, which speaks
 * ComfyUI's message shape `{"type", "data"}`, and plain requests. Every URL is relative to the page.
 */

import { MARK } from "../../../web/streams/reader.js";

const UPDATE = "copilot-pulse.update";
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/** @typedef {import("../../../web/types").Transport} Transport */

/** @implements {Transport} */
export class StandaloneTransport extends EventTarget {
  /** @param {{ base?: string | URL, clientId?: string }} [options]  `base`: the page's folder by default */
  constructor({ base = document.baseURI, clientId = newId() } = {}) {
    super();
    this.base = new URL(".", base);
    this.clientId = clientId;
    this._wait = FIRST_WAIT_MS;
    this._closed = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._timer = undefined;
    /** @type {WebSocket | null} */
    this._socket = null;
    this._connect();
  }

  get connected() {
    return this._socket?.readyState === WebSocket.OPEN;
  }

  /** @param {string} path @param {RequestInit} [init] */
  fetch(path, init) {
    const headers = new Headers(init?.headers);
    headers.set(MARK, "1");
    return fetch(new URL(path.replace(/^\//, ""), this.base), { ...init, headers });
  }

  /** Close the socket for good. Calling it twice changes nothing. */
  close() {
    this._closed = true;
    clearTimeout(this._timer);
    this._socket?.close();
    this._socket = null;
  }

  _connect() {
    if (this._closed) return;
    const url = new URL("ws", this.base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("clientId", this.clientId);
    const socket = new WebSocket(url);
    this._socket = socket;
    socket.addEventListener("open", () => {
      this._wait = FIRST_WAIT_MS;
      this.dispatchEvent(new Event("open"));
    });
    socket.addEventListener("message", (event) => this._onMessage(event.data));
    socket.addEventListener("close", () => {
      if (this._socket !== socket || this._closed) return;
      this.dispatchEvent(new Event("close"));
      // Jitter, so that many pages do not come back in the same instant after a restart.
      this._timer = setTimeout(() => this._connect(), this._wait * (0.5 + Math.random() / 2));
      this._wait = Math.min(this._wait * 2, LONGEST_WAIT_MS);
    });
  }

  /** @param {unknown} text */
  _onMessage(text) {
    if (typeof text !== "string") return;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not ours: a host may send binary previews or plain text on the same socket
    }
    if (message?.type === UPDATE) this.dispatchEvent(new CustomEvent("update", { detail: message.data }));
    else if (message?.type) this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }
}

function newId() {
  // crypto.randomUUID is missing on plain http beyond localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
