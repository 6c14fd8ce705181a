// @ts-check
/**
 * Puts the frames of an answer (docs/protocol.md) together again, as the lines that Copilot's page reads: one JSON
 * object a line, each with all the text so far.
 */

/** @typedef {Record<string, any> & { type: string }} Frame */

export class Answer {
  constructor() {
    /** The newest number, after which to go on. */
    this.seq = 0;
    /** The newest number there ever was: what comes up to it a second time is text, and no news. */
    this._most = 0;
    this.text = "";
    /** How the answer ended, or null. @type {string | null} */
    this.outcome = null;
    /** @type {{ status: number, headers: Record<string, string> } | null} */
    this.head = null;
    /** The fields of the newest line that had any of its own. @type {Record<string, any>} */
    this._line = {};
    /** What the page has not taken yet; "" stands for a line with the newest text. @type {string[]} */
    this._waiting = [];
  }

  /** Take one frame. A frame that was taken before changes nothing. @param {Frame | unknown[]} wire */
  take(wire) {
    const frame = Array.isArray(wire) ? this._long(wire) : wire;
    // Another machine may have less of the answer than came here: it begins anew then, and its numbers with it.
    if (frame.type === "state" && frame.after < this.seq) this.seq = frame.after;
    if (typeof frame.seq !== "number" || frame.type === "state" || frame.seq <= this.seq) return;
    this.seq = frame.seq;
    if (typeof frame.at === "number") this.text = this.text.slice(0, frame.at) + frame.text;
    if (frame.seq <= this._most) return this._again(frame);
    this._most = frame.seq;
    if (frame.type === "head") this.head = { status: frame.status, headers: frame.headers ?? {} };
    else if (frame.type === "delta" || frame.type === "gap") this._newest();
    else if (frame.type === "item") this._item(frame);
    else if (frame.type === "raw") this._waiting.push(`${frame.data}\n`);
    else if (frame.type === "body") this._waiting.push(String(frame.data));
    else if (frame.type === "end") this.outcome = String(frame.outcome);
  }

  /**
   * The short form of a delta that only appends: its last elements are the step and the text.
   * @param {unknown[]} wire
   * @returns {Frame}
   */
  _long(wire) {
    return { type: "delta", seq: this.seq + Number(wire.at(-2)), at: this.text.length, text: String(wire.at(-1)) };
  }

  /** Whether a line waits to be taken. */
  get pending() {
    return this._waiting.length > 0;
  }

  /** The oldest line that waits, or null. */
  next() {
    const line = this._waiting.shift();
    if (line !== "") return line ?? null;
    const plain = { ...this._line };
    if ("ext" in plain) plain.ext = null;
    if ("finished" in plain) plain.finished = false;
    return `${JSON.stringify({ ...plain, text: this.text })}\n`;
  }

  _newest() {
    if (this._waiting.at(-1) !== "" && Object.keys(this._line).length) this._waiting.push("");
  }

  /** A frame that came before: only its text may differ from what the page has. @param {Frame} frame */
  _again(frame) {
    if (typeof frame.at !== "number") return;
    if (frame.type === "item") this._line = frame.line;
    this._newest();
  }

  /** @param {Frame} frame */
  _item(frame) {
    if (!("at" in frame)) {
      // a line without text: the next one that has some is whole again
      this._waiting.push(`${JSON.stringify(frame.line)}\n`);
      return;
    }
    // The item holds the text that an untaken line before it would have shown.
    if (this._waiting.at(-1) === "") this._waiting.pop();
    this._line = frame.line;
    this._waiting.push(`${JSON.stringify({ ...frame.line, text: this.text })}\n`);
  }
}

/**
 * The frames of a body in NDJSON.
 * @param {ReadableStream<Uint8Array>} body
 * @param {(bytes: number) => void} [onBytes]  told of each piece that came
 * @returns {AsyncGenerator<Frame | unknown[]>}
 */
export async function* framesOf(body, onBytes) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes?.(value.length);
      rest += decoder.decode(value, { stream: true });
      let start = 0;
      for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n", start)) {
        if (end > start) yield JSON.parse(rest.slice(start, end));
        start = end + 1;
      }
      rest = rest.slice(start);
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
