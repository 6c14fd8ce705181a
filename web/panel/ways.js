// @ts-check
/** Ways from one thing to another: from a problem to its chat, from a chat to its lines in the log. */

/** @returns {import("../types").Ways} */
export function createWays() {
  /** @type {Map<string, (id: string) => void>} */
  const shown = new Map();
  return {
    on: (what, show) => void shown.set(what, show),
    go: (what, id) => void shown.get(what)?.(id),
  };
}

/**
 * Bring an element into sight and give the focus to `target`, at once for who wants no motion.
 * @param {HTMLElement} element
 * @param {HTMLElement} [target]
 */
export function reveal(element, target = element) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "start", behavior: still ? "instant" : "smooth" });
  target.focus({ preventScroll: true });
}
