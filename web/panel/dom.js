// @ts-check
/** Small helpers to build and change the page. Text only ever goes in as text. */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes]  `class`, `text`, or any attribute
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = String(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} [attributes]
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/**
 * Change the text only when it differs: an equal write still costs a layout.
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Change an attribute only when it differs; null takes it away.
 * @param {Element} element
 * @param {string} name
 * @param {string | number | null} value
 */
export function setAttr(element, name, value) {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, String(value));
  }
}

/** @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/**
 * A list that keeps one element per key, so that focus, an open detail and a text selection survive an update.
 *
 * @template T
 * @param {HTMLElement} parent
 * @param {(row: T) => { element: HTMLElement, update: (row: T) => void }} make
 * @returns {(rows: readonly T[], keyOf: (row: T) => string) => void}
 */
export function keyedList(parent, make) {
  /** @type {Map<string, { element: HTMLElement, update: (row: T) => void }>} */
  const items = new Map();
  return (rows, keyOf) => {
    const wanted = new Set(rows.map(keyOf));
    for (const [key, item] of items) {
      if (!wanted.has(key)) {
        item.element.remove();
        items.delete(key);
      }
    }
    /** @type {Element | null} */
    let place = parent.firstElementChild;
    for (const row of rows) {
      const key = keyOf(row);
      let item = items.get(key);
      if (!item) {
        item = make(row);
        items.set(key, item);
      }
      item.update(row);
      if (item.element === place) place = place.nextElementSibling;
      else parent.insertBefore(item.element, place);
    }
  };
}

/**
 * A list with one tab stop: the arrows, Home and End lead through its items.
 *
 * @param {HTMLElement} list
 * @param {string} items  selects what takes the focus
 * @param {AbortSignal} signal
 * @returns {() => void} to be called after the list has changed
 */
export function roving(list, items, signal) {
  /** @type {HTMLElement | null} */
  let current = null;
  const all = () =>
    /** @type {HTMLElement[]} */ ([...list.querySelectorAll(items)]).filter((one) => one.checkVisibility());
  /** @param {HTMLElement | undefined} next */
  function stopAt(next) {
    if (current !== next) current?.setAttribute("tabindex", "-1");
    next?.setAttribute("tabindex", "0");
    current = next ?? null;
  }
  list.addEventListener(
    "focusin",
    ({ target }) => {
      const item = target instanceof Element ? target.closest(items) : null;
      if (item instanceof HTMLElement && list.contains(item)) stopAt(item);
    },
    { signal },
  );
  list.addEventListener(
    "keydown",
    (event) => {
      const { key, target } = event;
      if (target !== current || event.ctrlKey || event.metaKey || event.altKey) return;
      const shown = all();
      const at = shown.indexOf(/** @type {HTMLElement} */ (target));
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[key];
      if (to === undefined || !shown[to]) return;
      event.preventDefault();
      shown[to].focus();
    },
    { signal },
  );
  return () => {
    for (const item of list.querySelectorAll(items)) {
      if (item !== current && item.getAttribute("tabindex") !== "-1") item.setAttribute("tabindex", "-1");
    }
    if (!current?.isConnected) stopAt(all()[0]);
  };
}

/** 16 x 16 line icons, drawn for this panel. */
const ICONS = {
  stop: "M4.5 4.5h7v7h-7z",
  retry: "M13 8a5 5 0 1 1-1.5-3.55M13 2.5v3h-3",
  copy: "M6 6h7.5v7.5H6zM3.5 10h-1V2.5H10v1",
  check: "M3 8.5l3.2 3.2L13 4.8",
  settings: "M2.5 5h7M12.5 5h1M2.5 11h1M6.5 11h7M11 3.5v3M5 9.5v3",
  table: "M2.5 3.5h11v9h-11zM2.5 6.5h11M2.5 9.5h11M6.5 3.5v9",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.5l7.5 4.5L5 12.5z",
  chevron: "M6 3.5L10.5 8 6 12.5",
  search: "M7 11.5a4.5 4.5 0 1 1 0-9 4.5 4.5 0 0 1 0 9zM10.3 10.3l3.2 3.2",
  download: "M8 2.5v7.5M4.8 7L8 10.2 11.2 7M3 13.5h10",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const element = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: `cpulse-icon cpulse-icon-${name}` });
  element.append(svg("path", { d: ICONS[name] }));
  return element;
}

/**
 * A button with an icon, a text, or both. One without a text shows its label as a tooltip.
 *
 * @param {{ label: string, icon?: keyof typeof ICONS, text?: string, kind?: string }} options
 * @param {() => void} onClick
 * @param {AbortSignal} signal
 */
export function button(options, onClick, signal) {
  const element = h("button", {
    type: "button",
    class: `cpulse-button${options.kind ? ` cpulse-button-${options.kind}` : ""}`,
    "aria-label": options.label,
    title: options.text === options.label ? null : options.label,
  });
  if (options.icon) element.append(icon(options.icon));
  if (options.text) element.append(h("span", { text: options.text }));
  element.addEventListener("click", onClick, { signal });
  return element;
}

/**
 * The button below a list that shows a few of its rows until all are asked for.
 *
 * @param {import("../types").ViewContext["t"]} t
 * @param {() => void} update  draws the list anew, after `all` has changed
 * @param {AbortSignal} signal
 */
export function moreButton(t, update, signal) {
  const toggle = () => {
    more.all = !more.all;
    update();
  };
  const element = button({ label: "", text: "more", kind: "quiet" }, toggle, signal);
  const more = {
    element,
    all: false,
    /** Shown if it would bring any. @param {number} rest  how many more rows there are */
    update(rest) {
      const label = more.all ? t("more.fewer") : t("more.more", { n: rest });
      show(element, rest > 0);
      setText(/** @type {Element} */ (element.lastElementChild), label);
      setAttr(element, "aria-label", label);
      setAttr(element, "aria-expanded", String(more.all));
    },
  };
  return more;
}
