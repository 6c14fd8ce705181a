// @ts-check
/**
 * Completes Copilot's chat requests. Copilot's page keeps the user's base URL, but sends it only once it has
 * fetched a public key from its hosted service; that service is gone, so the URL that the user entered would
 * never be used and every chat would go to a dead server. Nothing else of any request is touched.
 */

const CHAT = /\/api\/chat\/invoke$/;
const HEADER = "Openai-Base-Url";

/**
 * The headers that a request of Copilot's lacks, or null: the base URL that the user entered in Copilot's own
 * settings. Without a key of the user's, Copilot's hosted model is meant, and nothing is added.
 * @param {string} method
 * @param {string} path
 * @param {Headers} headers
 * @param {Pick<Storage, "getItem">} storage
 * @returns {Record<string, string> | null}
 */
export function missingHeaders(method, path, headers, storage) {
  if (method.toUpperCase() !== "POST" || !CHAT.test(path)) return null;
  if (headers.get(HEADER) || !headers.get("Openai-Api-Key")) return null;
  const baseUrl = storage.getItem("openaiBaseUrl")?.trim();
  return baseUrl ? { [HEADER]: baseUrl } : null;
}

/**
 * Wrap `target.fetch` once. Every other request passes as it is, and whatever goes wrong here, the
 * request is made as Copilot asked for it. Returns a function that puts the old one back.
 * @param {Window & typeof globalThis} target
 * @returns {() => void}
 */
export function completeChatRequests(target) {
  const plain = target.fetch;
  /** @type {typeof target.fetch} */
  const fetch = (input, init) => plain.call(target, input, completed(target, input, init) ?? init);
  target.fetch = fetch;
  return () => {
    if (target.fetch === fetch) target.fetch = plain;
  };
}

/**
 * @param {Window & typeof globalThis} target
 * @param {RequestInfo | URL} input
 * @param {RequestInit | undefined} init
 * @returns {RequestInit | null}
 */
function completed(target, input, init) {
  try {
    // A Request object has headers of its own; Copilot's page passes a string.
    if (!init || !(typeof input === "string" || input instanceof URL)) return null;
    const url = new URL(String(input), target.location.href);
    if (url.origin !== target.location.origin) return null;
    const headers = new Headers(init.headers);
    const more = missingHeaders(init.method ?? "GET", url.pathname, headers, target.localStorage);
    if (!more) return null;
    for (const [name, value] of Object.entries(more)) headers.set(name, value);
    return { ...init, headers };
  } catch {
    return null;
  }
}
