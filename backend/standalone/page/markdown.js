// @ts-check
/**
 * Markdown as chat models write it, made into elements. Text only ever goes in as text and links only lead to
 * web addresses, so nothing that a model says can run.
 */

import { BREAK, MARKS, SEAM } from "./seam.js";

const FENCE = /^\s*(`{3,}|~{3,})\s*(\S*)/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^\s*([-*_])\s*(?:\1\s*){2,}$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
// Copilot Pulse marks what it tells the user itself with invisible separators.
const NOTICE = "\u2063";
const QUOTE = /^[\s\u2063]*>\s?/;
const TASK = /^\[([ xX])\]\s+/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const INLINE = new RegExp(
  [
    /(`+)(.+?)\1(?!`)/,
    /\*\*(.+?)\*\*/,
    /__(.+?)__/,
    /~~(.+?)~~/,
    /\*([^\s*](?:.*?[^\s*])?)\*/,
    /(?<!\w)_([^\s_](?:.*?[^\s_])?)_(?!\w)/,
    /!?\[([^\]]*)\]\(\s*(\S+?)(?:\s+"[^"]*")?\s*\)/,
  ]
    .map((each) => each.source)
    .join("|"),
  "g",
);
// Matching takes time in the square of a line's length, and a model may send one line without an end.
const LONGEST_LINE = 2000;

/**
 * The blocks of a text: runs of lines that are rendered together. A growing text changes its last blocks only.
 *
 * @param {string} text
 * @returns {string[]}
 */
function blocksOf(text) {
  /** @type {string[]} */
  const blocks = [];
  /** @type {string[]} */
  let lines = [];
  let fence = "";
  const flush = () => {
    if (lines.length) blocks.push(lines.join("\n"));
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = FENCE.exec(line)?.[1] ?? "";
    if (fence) {
      lines.push(line);
      if (mark.startsWith(fence)) {
        fence = "";
        flush();
      }
    } else if (mark) {
      flush();
      fence = mark;
      lines.push(line);
    } else if (!line.trim()) {
      flush();
    } else if (HEADING.test(line) || RULE.test(line)) {
      flush();
      blocks.push(line);
    } else {
      if (ITEM.test(line) && lines.length && !ITEM.test(lines[0])) flush();
      lines.push(line);
    }
  }
  flush();
  return blocks;
}

/**
 * Show `text` in `parent`, keeping the elements of blocks that did not change.
 *
 * @param {HTMLElement} parent
 * @param {string[]} shown  the blocks that `parent` holds now, one element each
 * @param {string} text
 * @returns {string[]} the blocks that it holds afterwards
 */
export function render(parent, shown, text) {
  const blocks = blocksOf(text);
  let same = 0;
  while (same < blocks.length && same < shown.length && blocks[same] === shown[same]) same += 1;
  while (parent.children.length > same) parent.lastElementChild?.remove();
  let level = blocks.slice(0, same).reduce(levelAfter, HEADINGS_BELOW);
  for (const block of blocks.slice(same)) parent.append(blockElement(block, (level = levelAfter(level, block))));
  return blocks;
}

/** The page has its own h1 and h2: what a model heads begins below them. */
const HEADINGS_BELOW = 2;

/**
 * The level of the newest heading. One that jumps over levels, as models like to do, is the next one below.
 * @param {number} level
 * @param {string} block
 */
function levelAfter(level, block) {
  const heading = HEADING.exec(block);
  return heading && !block.includes("\n") ? Math.min(6, heading[1].length + HEADINGS_BELOW, level + 1) : level;
}

/** @param {string} block @param {number} level  of a heading @returns {HTMLElement} */
function blockElement(block, level) {
  const lines = block.split("\n");
  const fence = FENCE.exec(lines[0]);
  if (fence) return codeBlock(lines, fence[1]);
  const heading = HEADING.exec(block);
  if (heading && lines.length === 1) {
    return inline(document.createElement(`h${level}`), heading[2]);
  }
  if (lines.length === 1 && RULE.test(block)) return document.createElement("hr");
  if (ITEM.test(lines[0])) return list(lines);
  if (lines.length > 1 && lines[0].includes("|") && TABLE_RULE.test(lines[1].replace(MARKS, ""))) return table(lines);
  if (lines.every((line) => QUOTE.test(line))) {
    const quote = document.createElement("blockquote");
    if (block.includes(NOTICE)) quote.className = "notice";
    render(quote, [], lines.map((line) => line.replace(QUOTE, "")).join("\n"));
    return quote;
  }
  return paragraph(lines);
}

/** @param {string[]} lines @param {string} fence */
function codeBlock(lines, fence) {
  const closed = lines.length > 1 && lines[lines.length - 1].trim().startsWith(fence);
  const pre = document.createElement("pre");
  const code = document.createElement("code");
  put(code, lines.slice(1, closed ? -1 : undefined).join("\n"));
  pre.append(code);
  return pre;
}

/** @param {string[]} lines */
function paragraph(lines) {
  const element = document.createElement("p");
  lines.forEach((line, index) => {
    if (index) element.append(/ {2,}$/.test(lines[index - 1]) ? document.createElement("br") : " ");
    inline(element, line.trim());
  });
  return element;
}

/** Lists nest by indentation. @param {string[]} lines @returns {HTMLElement} */
function list(lines) {
  /** @type {{ indent: number, element: HTMLElement }[]} */
  const open = [];
  /** @type {HTMLElement | null} */
  let item = null;
  for (const line of lines) {
    const match = ITEM.exec(line);
    if (!match) {
      if (item) inline(item, ` ${line.trim()}`);
      continue;
    }
    const [, blanks, number, text] = match;
    while (open.length > 1 && blanks.length < open[open.length - 1].indent) open.pop();
    let top = open[open.length - 1];
    if (!top || blanks.length > top.indent + 1) {
      const element = document.createElement(number ? "ol" : "ul");
      if (number && number !== "1") element.setAttribute("start", number);
      item?.append(element);
      top = { indent: blanks.length, element };
      open.push(top);
    }
    item = document.createElement("li");
    const task = TASK.exec(text);
    if (task) {
      item.className = "task";
      item.append(checkbox(task[1] !== " "));
    }
    inline(item, text.slice(task?.[0].length ?? 0));
    top.element.append(item);
  }
  return open[0].element;
}

/** @param {boolean} checked */
function checkbox(checked) {
  const element = document.createElement("input");
  element.type = "checkbox";
  element.disabled = true;
  element.checked = checked;
  return element;
}

/** @param {string[]} lines */
function table(lines) {
  const element = document.createElement("table");
  const cells = (/** @type {string} */ line) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => cell.trim());
  const aligned = cells(lines[1].replace(MARKS, "")).map((rule) =>
    rule.endsWith(":") ? (rule.startsWith(":") ? "center" : "end") : "",
  );
  const row = (/** @type {string} */ line, /** @type {"th" | "td"} */ tag) => {
    const tr = document.createElement("tr");
    cells(line).forEach((text, index) => {
      const cell = inline(document.createElement(tag), text);
      cell.style.textAlign = aligned[index] ?? "";
      tr.append(cell);
    });
    return tr;
  };
  element.append(row(lines[0], "th"), ...lines.slice(2).map((line) => row(line, "td")));
  const scroller = document.createElement("div");
  scroller.className = "table";
  scroller.append(element);
  return scroller;
}

/**
 * @template {HTMLElement} T
 * @param {T} parent
 * @param {string} text
 * @returns {T}
 */
function inline(parent, text) {
  if (text.length > LONGEST_LINE) return put(parent, text);
  let position = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, , code, bold, bold2, struck, em, em2, label, url] = match;
    put(parent, text.slice(position, match.index));
    position = match.index + whole.length;
    if (code !== undefined) {
      const element = document.createElement("code");
      parent.append(put(element, code));
    } else if (url !== undefined) {
      parent.append(link(label || url.replace(MARKS, ""), url.replace(MARKS, "")), ...marksOf(url));
    } else {
      const strong = bold ?? bold2;
      const tag = strong !== undefined ? "strong" : struck !== undefined ? "s" : "em";
      parent.append(inline(document.createElement(tag), strong ?? struck ?? em ?? em2));
    }
  }
  return put(parent, text.slice(position));
}

/**
 * Append text; where it holds a mark, the element for that.
 * @template {HTMLElement} T
 * @param {T} parent
 * @param {string} text
 * @returns {T}
 */
function put(parent, text) {
  let from = 0;
  for (const { index, 0: mark } of text.matchAll(MARKS)) {
    parent.append(text.slice(from, index), markElement(mark));
    from = index + 1;
  }
  parent.append(text.slice(from));
  return parent;
}

/** The page gives them their words. @param {string} mark */
function markElement(mark) {
  const element = document.createElement("span");
  element.className = mark === BREAK ? "break" : "seam";
  return element;
}

/** @param {string} text */
function marksOf(text) {
  return [...text].filter((each) => each === SEAM || each === BREAK).map(markElement);
}

/** @param {string} label @param {string} url @returns {Node} */
function link(label, url) {
  if (!/^https?:\/\//i.test(url)) return put(document.createElement("span"), label);
  const element = document.createElement("a");
  element.href = url;
  element.target = "_blank";
  element.rel = "noopener noreferrer";
  return put(element, label);
}
