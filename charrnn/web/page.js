
"use strict";
const reading = JSON.parse(document.getElementById("reading").textContent);
const $ = (id) => document.getElementById(id);
const unpack = (packed, Type) => {
  const raw = atob(packed);
  return new Type(Uint8Array.from(raw, (byte) => byte.charCodeAt(0)).buffer);
};
const ids = unpack(reading.text, Uint16Array); // (N,): into `chars`
const bits = unpack(reading.bits, Float32Array); // (N,): NaN where nothing is scored
const ranks = unpack(reading.ranks, Uint16Array); // (N,)
const likeliest = unpack(reading.likeliest, Uint16Array); // (N, K): into `chars`
const probabilities = unpack(reading.probabilities, Uint16Array); // (N, K): of 65,535
const activations = unpack(reading.activations, Int8Array); // (cells, N): of 127; -128 is none
const { chars, points, cells, K, V } = reading;
const N = ids.length;
const LEVELS = 8;
const UNREAD = -128;

const NEWLINE = points.indexOf(10);
const unknown = new Set(reading.unknown);
const marks = new Set(reading.marks);
const narrow = matchMedia("(max-width: 52rem)"); // as in the style
const spans = [];
let current = Math.max(0, ranks.findIndex((rank) => rank > 0)); // the character that has the focus, or would have it
let cell = null; // the one that shades the text, or none

const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
const shown = (id) => (points[id] === 32 ? "␣" : chars[id]);
const named = (id) => ({ 10: "newline", 32: "space", 9: "tab" })[points[id]] ?? chars[id];
const percent = (p) => (p >= 0.9995 ? "≈ 100" : p < 0.0005 ? "< 0.1" : (100 * p).toFixed(1)) + " %";
const signed = (r) => (r < 0 ? "−" : "+") + Math.abs(r).toFixed(2);
const nameOf = ({ layer, unit }) => `cell ${unit}${reading.layers > 1 ? ` of layer ${layer}` : ""}`;

function write() {
  let line;
  for (let i = 0; i < N; i++) {
    if (i === 0 || ids[i - 1] === NEWLINE) {
      line = make("div", "line");
      line.dir = "auto";
      $("text").append(line);
    }
    const span = make("span", "", chars[ids[i]]);
    span.setAttribute("role", "option");
    span.setAttribute("aria-selected", "false");
    line.append(span);
    spans.push(span);
  }
  // A list of short lines stands in as many columns as there is room for, row by row.
  const longest = Math.max(...[...$("text").children].map((each) => each.childElementCount));
  if (!reading.lines || longest > 32) return;
  $("text").classList.add("list");
  $("text").style.setProperty("--longest", `${longest + 1}ch`);
}

/* The shade of a character: a level from 0 to 8, and whether it is below zero. */
function levelOf(i) {
  if (cell === null) return [Number.isNaN(bits[i]) ? 0 : Math.min(LEVELS, Math.floor(bits[i])), false];
  const value = activations[cell * N + i];
  if (value === UNREAD) return [0, false];
  return [Math.round((Math.abs(value) / 127) * LEVELS), value < 0];
}

function shade() {
  $("text").classList.toggle("by-cell", cell !== null);
  $("legend").classList.toggle("by-cell", cell !== null);
  for (let i = 0; i < N; i++) {
    const id = ids[i];
    const [level, below] = levelOf(i);
    let name = `a${level}`;
    if (below) name += " down";
    if (marks.has(id)) name += id === NEWLINE ? " mark newline" : " mark";
    if (unknown.has(id)) name += " unknown";
    spans[i].className = i === current ? `${name} at` : name;
  }
  const chosen = cell === null ? null : cells[cell];
  $("shading").textContent = chosen
    ? `Shaded by ${nameOf(chosen)}${chosen.feature && `: ${chosen.feature}, ${signed(chosen.correlation)}`}`
    : "Shaded by surprisal: the bits that each character cost the model";
  const steps = chosen ? [-8, -6, -4, -2, 0, 2, 4, 6, 8] : [0, 1, 2, 3, 4, 5, 6, 7, 8];
  $("legend").replaceChildren(
    ...steps.map((step) => {
      const ends = Math.abs(step) === LEVELS || step === 0;
      const label = !chosen
        ? step === LEVELS ? "8+" : step
        : ends ? signed((chosen.most * step) / LEVELS).replace("+0.00", "0") : "\u00a0";
      return make("span", `a${Math.abs(step)}${step < 0 ? " down" : ""}`, label);
    }),
  );
  $("surprisal").setAttribute("aria-pressed", cell === null);
  for (const button of $("list").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", Number(button.dataset.cell) === cell);
  }
}

function shadeBy(chosen) {
  cell = chosen;
  shade();
  tell(current);
}

function sentence(i) {
  if (unknown.has(ids[i])) return "The model does not know this character";
  if (Number.isNaN(bits[i])) return "Not scored";
  return `Rank ${ranks[i]} of ${V}, ${percent(2 ** -bits[i])}, ${bits[i].toFixed(2)} bits`;
}

/* Everything about one character, in the panel. */
function tell(i) {
  $("name").textContent = shown(ids[i]);
  $("figures").textContent = sentence(i);
  const point = `U+${points[ids[i]].toString(16).toUpperCase().padStart(4, "0")}`;
  const value = cell === null ? UNREAD : activations[cell * N + i];
  const active = value === UNREAD ? "" : `; cell ${signed((value / 127) * cells[cell].most)}`;
  $("place").textContent = `${point}, character ${(i + 1).toLocaleString("en")}${active}`;
  const rows = [];
  for (let k = i * K; ranks[i] && k < (i + 1) * K; k++) {
    const p = probabilities[k] / 65535;
    const row = make("li", likeliest[k] === ids[i] ? "right" : "");
    const track = make("span", "track");
    const filled = make("i");
    filled.style.width = `${100 * p}%`;
    track.append(filled);
    row.append(make("span", "char", shown(likeliest[k])), track, make("span", "share", percent(p)));
    rows.push(row);
  }
  $("likeliest").replaceChildren(...rows);
}

/* What a screen reader says of a character. */
function spoken(i) {
  const guesses = [];
  for (let k = i * K; ranks[i] && k < (i + 1) * K; k++) {
    guesses.push(`${named(likeliest[k])} ${percent(probabilities[k] / 65535)}`);
  }
  return `${named(ids[i])}. ${sentence(i)}.` + (guesses.length ? ` Likeliest: ${guesses.join(", ")}` : "");
}

function move(to, focus = true) {
  const old = spans[current];
  old.classList.remove("at");
  old.removeAttribute("tabindex");
  old.removeAttribute("aria-label");
  old.setAttribute("aria-selected", "false");
  current = Math.max(0, Math.min(N - 1, to));
  const span = spans[current];
  span.classList.add("at");
  span.tabIndex = 0;
  span.setAttribute("aria-label", spoken(current));
  span.setAttribute("aria-selected", "true");
  if (focus) {
    // What has the focus is not to be behind the bar, nor, on a phone, behind the panel.
    const below = narrow.matches ? document.querySelector("aside").offsetHeight : 0;
    document.documentElement.style.scrollPadding = `${$("bar").offsetHeight + 8}px 0 ${below + 8}px`;
    span.focus();
  }
  tell(current);
}

/* The character nearest to this one, so many rows of the screen further down, or up. */
function rowsAway(from, rows) {
  const step = Math.sign(rows);
  const x = spans[from].getBoundingClientRect().left;
  let { top } = spans[from].getBoundingClientRect();
  let left = Math.abs(rows);
  let [best, distance] = [from, Infinity];
  for (let i = from + step; i >= 0 && i < N; i += step) {
    const box = spans[i].getBoundingClientRect();
    if (Math.abs(box.top - top) > box.height / 2) {
      if (left === 0) break;
      [left, top, distance] = [left - 1, box.top, Infinity];
    }
    if (left < Math.abs(rows) && Math.abs(box.left - x) < distance) {
      [best, distance] = [i, Math.abs(box.left - x)];
    }
  }
  return best;
}

const startOf = (i) => {
  while (i > 0 && ids[i - 1] !== NEWLINE) i--;
  return i;
};
const endOf = (i) => {
  while (i < N - 1 && ids[i] !== NEWLINE) i++;
  return i;
};
const KEYS = {
  ArrowRight: (i) => i + 1,
  ArrowLeft: (i) => i - 1,
  ArrowDown: (i) => rowsAway(i, 1),
  ArrowUp: (i) => rowsAway(i, -1),
  PageDown: (i) => rowsAway(i, 10),
  PageUp: (i) => rowsAway(i, -10),
  Home: (i, ctrl) => (ctrl ? 0 : startOf(i)),
  End: (i, ctrl) => (ctrl ? N - 1 : endOf(i)),
};

function list() {
  const groups = new Map(); // in the order of their best cells, for the cells are in order
  cells.forEach((each, index) => {
    if (!groups.has(each.feature)) groups.set(each.feature, make("ul"));
    const button = make("button");
    button.type = "button";
    button.dataset.cell = index;
    const about = `${nameOf(each)}, ${each.feature ? `${each.feature}, correlation ${signed(each.correlation)}` : "no feature"}`;
    button.setAttribute("aria-label", about);
    button.append(make("span", "", reading.layers > 1 ? `${each.layer} · ${each.unit}` : each.unit));
    button.append(make("b", "", each.feature ? signed(each.correlation) : ""));
    const item = make("li");
    item.append(button);
    groups.get(each.feature).append(item);
  });
  for (const [feature, items] of groups) $("list").append(make("h3", "", feature || "no feature"), items);
}

write();
list();
$("cells").open = !narrow.matches;
shade();
move(current, false);

$("text").addEventListener("pointerover", (event) => {
  const i = event.pointerType === "mouse" ? spans.indexOf(event.target) : -1;
  if (i >= 0) tell(i);
});
$("text").addEventListener("pointerleave", () => tell(current));
$("text").addEventListener("click", (event) => {
  const i = spans.indexOf(event.target);
  if (i >= 0) move(i);
});
$("text").addEventListener("keydown", (event) => {
  const key = KEYS[event.key];
  if (!key || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  move(key(current, event.ctrlKey));
});
$("previous").addEventListener("click", () => move(current - 1, false));
$("next").addEventListener("click", () => move(current + 1, false));
$("surprisal").addEventListener("click", () => shadeBy(null));
$("list").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) shadeBy(Number(button.dataset.cell));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") shadeBy(null);
});
