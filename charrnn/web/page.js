"use strict";
/* What all parts of the page share: the model, the worker, the names of characters, the tabs. */

const $ = (id) => document.getElementById(id);
const model = JSON.parse($("data").textContent);
model.weights = unpack(model.weights, model.dtype);
model.startStates = unpack(model.startStates, model.dtype);
const chars = model.codePoints.map((codePoint) => String.fromCodePoint(codePoint));
const ids = new Map(chars.map((char, id) => [char, id]));
const NEWLINE = ids.get("\n") ?? -1;

const worker = new Worker(URL.createObjectURL(new Blob([$("engine").textContent])));
const waiting = new Map(); // the function that takes the result of each call
let calls = 0;
worker.postMessage({ ...model, text: "", units: [] });
worker.onmessage = ({ data: [number, result] }) => {
  waiting.get(number)(result);
  waiting.delete(number);
};

/* Call a method in the worker; return a promise of its result. */
function call(...message) {
  worker.postMessage([++calls, ...message]);
  return new Promise((resolve) => waiting.set(calls, resolve));
}

/* Return the characters of a text as the model reads them, and their ids, -1 where unknown. */
const fold = (text) => Array.from(text, (char) => (model.lowercase ? char.toLowerCase() : char));
const encode = (characters) => Int32Array.from(characters, (char) => ids.get(char) ?? -1);

/* Return what is shown for a character: a mark for white space, an escape for what is invisible. */
const hex = (char) => char.codePointAt(0).toString(16);
const isInvisible = (char) => /(?! )[\p{C}\p{Z}]/u.test(char); // as by Python's str.isprintable
const label = (char) =>
  ({ "\n": "↵", "\t": "→" })[char] ?? (isInvisible(char) ? `\\u{${hex(char)}}` : char);
const glyph = (char) => (char === " " ? "␣" : label(char));
const nameOf = (char) => ({ "\n": "newline", "\t": "tab", " ": "space" })[char] ?? label(char);

const number = (n) => n.toLocaleString("en");
const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(2);
const percent = (p) =>
  `${p >= 0.9995 ? "≈ 100" : p < 0.0005 ? "< 0.1" : (100 * p).toFixed(1)}\u00a0%`;

/* Return an element with a class and its contents. */
function make(tag, className, ...contents) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...contents);
  return element;
}

/* Return what a row about a character shows: the character, a bar for its probability, a number. */
function probabilityBar(char, p) {
  const bar = make("i");
  bar.style.width = `${100 * p}%`;
  const track = make("span", "track", bar);
  return [make("span", "char", glyph(char)), track, make("span", "", percent(p))];
}

const LEVELS = 8; // of the shades
const level = (bits) => (Number.isNaN(bits) ? 0 : Math.min(LEVELS, Math.floor(bits)));

const TABS = ["write", "type", "read", "learn"];
let shown;

function showTab(name) {
  shown = name;
  for (const tab of TABS) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  if (name === "read" && $("source").value === "own" && characters !== typed) openText("own");
  if (name === "read" || name === "learn") showCurrent();
}

for (const [k, name] of TABS.entries()) {
  $(`tab-${name}`).addEventListener("click", () => showTab(name));
  $(`tab-${name}`).addEventListener("keydown", ({ key }) => {
    const next = TABS[{ ArrowRight: (k + 1) % 4, ArrowLeft: (k + 3) % 4, Home: 0, End: 3 }[key]];
    if (!next) return;
    showTab(next);
    $(`tab-${next}`).focus();
  });
}
