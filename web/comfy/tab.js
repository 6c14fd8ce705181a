// @ts-check
/**
 * The sidebar tab's life in ComfyUI. Its frontend does not always say when a tab is left: another custom tab is
 * rendered into the same element without a word, a core tab just takes the element out of the page, and moving the
 * sidebar calls `destroy()` after the next `render()` in some versions. So the tab looks for itself.
 */

import { h } from "../panel/dom.js";
import { createPanel } from "../panel/panel.js";

export const TAB_ID = "copilot-pulse";
/** What the panel calls what it shows here. */
export const NAMES = { program: "ComfyUI", assistant: "Copilot" };

/** @typedef {import("../panel/panel.js").Panel} Panel */
/** @typedef {Omit<import("../panel/panel.js").PanelOptions, "root">} TabOptions */

export class PulseTab {
  /** @param {() => TabOptions} options  asked each time the panel opens */
  constructor(options) {
    this._options = options;
    /** @type {{ root: HTMLElement, panel: Panel, stop: () => void } | null} */
    this._open = null;
  }

  /** The open panel, or null. */
  get panel() {
    return this._open?.panel ?? null;
  }

  /** What ComfyUI calls to show the tab; `host` may not be in the page yet. @param {HTMLElement} host */
  render(host) {
    this.stop();
    const root = h("div", { style: "height:100%;min-height:0" });
    host.style.height = "100%";
    host.replaceChildren(root);
    const panel = createPanel({
      root,
      names: NAMES,
      heading: true,
      ...this._options(),
    });

    // Another extension rendered into our element: leave it to it.
    const intruders = new MutationObserver((records) => {
      const foreign = records.some((record) => [...record.addedNodes].some((node) => node !== root));
      if (foreign && this._open?.root === root) this.stop();
    });
    intruders.observe(host, { childList: true });
    // An element that leaves the page shrinks to nothing: the one sign that is always given, and costs no timer.
    const absence = new ResizeObserver(() => {
      if (!root.isConnected && this._open?.root === root) this.stop();
    });
    absence.observe(root);

    const stop = () => {
      intruders.disconnect();
      absence.disconnect();
      panel.destroy();
      root.remove();
    };
    this._open = { root, panel, stop };
  }

  /** What ComfyUI calls when it believes the tab gone; it may be another one's, or too early. */
  destroy() {
    const was = this._open;
    if (!was) return;
    if (!was.root.isConnected) this.stop();
    else {
      queueMicrotask(() => {
        if (this._open === was && !was.root.isConnected) this.stop();
      });
    }
  }

  /** Close the panel for good. Idempotent. */
  stop() {
    const was = this._open;
    this._open = null;
    was?.stop();
  }
}
