// @ts-check
/** What only matters to who looks after Pulse itself: its event bus, and where it is attached. Closed at first. */

import { h, icon, setText, show } from "./dom.js";

/** @typedef {import("../types").ViewContext} ViewContext */

/**
 * @param {ViewContext} context
 * @param {HTMLElement[]} parts
 * @returns {import("../types").View}
 */
export function createInside({ t, format, service }, parts) {
  const figures = h("span", { class: "cpulse-idle" });
  const element = h(
    "details",
    { class: "cpulse-section cpulse-inside" },
    h("summary", {}, icon("chevron"), h("h3", { text: t("sections.inside") }), figures),
    ...parts,
  );
  return {
    element,
    update() {
      const { snapshot } = service;
      show(element, snapshot !== null);
      if (!snapshot) return;
      const { rate, published_total: total } = snapshot.events;
      setText(figures, t("inside.events", { rate: format.compact(rate["10s"]), total: format.compact(total) }));
    },
  };
}
