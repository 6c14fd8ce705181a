// @ts-check
/**
 * What a reader has not seen yet: a chat that failed, or a health that got worse, until the panel is looked at. Shown
 * as a badge, and in front of the page's title. Pure but for the title.
 */

/** How bad a state is, and what a badge shows of it. */
const LEVELS = /** @type {Record<string, number>} */ ({ pass: 0, warn: 1, fail: 2 });
const BADGES = [null, "!", "!!"];
const PREFIX = "(!) ";

export class Attention {
  /**
   * @param {object} page
   * @param {() => boolean} page.looking  whether the panel is open and in sight
   * @param {(badge: string | null) => void} page.badge  shows it, or nothing
   */
  constructor({ looking, badge }) {
    this._looking = looking;
    this._badge = badge;
    /** The level of health now, and the worst that has been seen since it was well. */
    this._level = 0;
    this._seen = 0;
    this._failed = false;
  }

  /** The badge of what has not been seen: "!", "!!" or null. */
  get badge() {
    return BADGES[Math.max(this._level > this._seen ? this._level : 0, this._failed ? 1 : 0)];
  }

  /** Whether the title tells, too: of a chat that failed, or a health that does. */
  get urgent() {
    return this._failed || (this._level > this._seen && this._level >= LEVELS.fail);
  }

  /**
   * The server's verdict; what stops no chat is no news.
   * @param {{ status?: string, impact?: string } | undefined} health
   */
  health(health) {
    const level = health?.impact === "none" ? 0 : LEVELS[String(health?.status)];
    if (level === undefined) return;
    this._level = level;
    this._seen = Math.min(this._seen, level);
    this._show();
  }

  /** A chat has failed. */
  failed() {
    this._failed = true;
    this._show();
  }

  /** The panel was opened, or came in sight. */
  looked() {
    this._show();
  }

  _show() {
    if (this._looking()) {
      this._seen = this._level;
      this._failed = false;
    }
    this._badge(this.badge);
    markTitle(this.urgent);
  }
}

/** @type {MutationObserver | null} */
let watching = null;

/** Put a sign in front of the page's title, whatever its owner makes of it meanwhile. @param {boolean} marked */
function markTitle(marked) {
  const bare = document.title.startsWith(PREFIX) ? document.title.slice(PREFIX.length) : document.title;
  const title = marked ? PREFIX + bare : bare;
  if (document.title !== title) document.title = title;
  const element = document.querySelector("title");
  if (marked && !watching && element) {
    watching = new MutationObserver(() => {
      if (!document.title.startsWith(PREFIX)) document.title = PREFIX + document.title;
    });
    watching.observe(element, { childList: true, characterData: true, subtree: true });
  } else if (!marked) {
    watching?.disconnect();
    watching = null;
  }
}
