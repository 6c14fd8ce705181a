// @ts-check
/** One chat request, as Copilot's own page makes it: JSON in, a line of JSON for each update out. */

/**
 * @typedef {{ role: "user" | "assistant", content: string }} Message
 * @typedef {{ text: string, finished: boolean, format?: string }} Line
 */

/** The server answered with a status instead of a chat; `message` is its reason. */
export class Refused extends Error {}

/**
 * Ask, and hand each line to `onLine(line, bytes)`; `bytes` is all that has arrived so far.
 *
 * Resolves to true if the answer came to its end, false if the connection ended before that. Rejects with
 * Refused, with an AbortError when `signal` aborts, or with what `fetch` rejects with.
 *
 * @param {{ session: string, messages: Message[], locale: string, signal: AbortSignal }} chat
 * @param {(line: Line, bytes: number) => void} onLine
 * @returns {Promise<boolean>}
 */
export async function ask({ session, messages, locale, signal }, onLine) {
  const response = await fetch(new URL("api/chat/invoke", document.baseURI), {
    method: "POST",
    headers: { "Content-Type": "application/json", "Accept-Language": locale },
    body: JSON.stringify({
      session_id: session,
      prompt: messages[messages.length - 1]?.content ?? "",
      messages,
      ext: [],
    }),
    signal,
  });
  if (!response.ok || !response.body) throw new Refused(await reasonOf(response));

  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let bytes = 0;
  let finished = false;
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    bytes += value?.length ?? 0;
    const lines = rest.split("\n");
    rest = done ? "" : (lines.pop() ?? "");
    for (const line of lines) {
      if (!line.trim()) continue;
      /** @type {Line} */
      const update = JSON.parse(line);
      finished = update.finished;
      onLine(update, bytes);
    }
    if (done) return finished;
  }
}

/** @param {Response} response */
async function reasonOf(response) {
  const text = await response.text();
  try {
    return String(JSON.parse(text).error ?? response.status);
  } catch {
    return `HTTP ${response.status}`;
  }
}
