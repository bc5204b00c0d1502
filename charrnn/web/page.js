"use strict";
const inspection = JSON.parse(document.getElementById("inspection").textContent);
const $ = (id) => document.getElementById(id);
const unpack = (packed, Type) => {
  const raw = atob(packed);
  return new Type(Uint8Array.from(raw, (byte) => byte.charCodeAt(0)).buffer);
};
const ids = unpack(inspection.text, Uint16Array); // (N,): indices into `chars`
const bits = unpack(inspection.bits, Float32Array); // (N,): NaN where not scored
const ranks = unpack(inspection.ranks, Uint16Array); // (N,): 0 where not scored
const likeliest = unpack(inspection.likeliest, Uint16Array); // (N, K): indices into `chars`
const probabilities = unpack(inspection.probabilities, Uint16Array); // (N, K): in 65,535ths
const activations = unpack(inspection.activations, Int8Array); // (units, N): in 127ths; -128 where not read
const { chars, codePoints, units, layers, K, V } = inspection;
const N = ids.length;
const LEVELS = 8;
const NOT_READ = -128;

const NEWLINE = codePoints.indexOf(10);
const unknown = new Set(inspection.unknown);
const marks = new Set(inspection.marks);
const narrow = matchMedia("(max-width: 52rem)"); // as in page.css
const spans = [];
let current = Math.max(0, ranks.findIndex((rank) => rank > 0)); // the position with the focus, or that gets it
let selected = null; // index into `units` of the unit that shades the text; null: surprisal

const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
const glyph = (id) => (codePoints[id] === 32 ? "␣" : chars[id]);
const nameOfChar = (id) => ({ 10: "newline", 32: "space", 9: "tab" })[codePoints[id]] ?? chars[id];
const percent = (p) => (p >= 0.9995 ? "≈ 100" : p < 0.0005 ? "< 0.1" : (100 * p).toFixed(1)) + " %";
const signed = (r) => (r < 0 ? "−" : "+") + Math.abs(r).toFixed(2);
const nameOfUnit = ({ layer, unit }) => `unit ${unit}${layers > 1 ? ` of layer ${layer}` : ""}`;

/* Write the text, a span for each character and a div for each line. */
function writeText() {
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
  // Short lines of a list are laid out in as many columns as fit, row by row.
  const longest = Math.max(...[...$("text").children].map((child) => child.childElementCount));
  if (!inspection.lines || longest > 32) return;
  $("text").classList.add("columns");
  $("text").style.setProperty("--longest", `${longest + 1}ch`);
}

/* Return the shade of character i: a level from 0 to 8, and whether the value is negative. */
function levelOf(i) {
  if (selected === null) return [Number.isNaN(bits[i]) ? 0 : Math.min(LEVELS, Math.floor(bits[i])), false];
  const value = activations[selected * N + i];
  if (value === NOT_READ) return [0, false];
  return [Math.round((Math.abs(value) / 127) * LEVELS), value < 0];
}

/* Shade the text and the legend, and mark the button that is pressed. */
function shade() {
  $("text").classList.toggle("by-unit", selected !== null);
  $("legend").classList.toggle("by-unit", selected !== null);
  for (let i = 0; i < N; i++) {
    const id = ids[i];
    const [level, negative] = levelOf(i);
    let name = `a${level}`;
    if (negative) name += " negative";
    if (marks.has(id)) name += id === NEWLINE ? " mark newline" : " mark";
    if (unknown.has(id)) name += " unknown";
    spans[i].className = i === current ? `${name} current` : name;
  }
  const pair = selected === null ? null : units[selected];
  $("shading").textContent = pair
    ? `Shaded by ${nameOfUnit(pair)}${pair.feature && `: ${pair.feature}, ${signed(pair.correlation)}`}`
    : "Shaded by surprisal, in bits per character";
  const levels = pair ? [-8, -6, -4, -2, 0, 2, 4, 6, 8] : [0, 1, 2, 3, 4, 5, 6, 7, 8];
  $("legend").replaceChildren(
    ...levels.map((level) => {
      const labelled = Math.abs(level) === LEVELS || level === 0;
      const label = !pair
        ? level === LEVELS ? "8+" : level
        : labelled ? signed((pair.scale * level) / LEVELS).replace("+0.00", "0") : "\u00a0";
      return make("span", `a${Math.abs(level)}${level < 0 ? " negative" : ""}`, label);
    }),
  );
  $("surprisal").setAttribute("aria-pressed", selected === null);
  for (const button of $("units").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", Number(button.dataset.unit) === selected);
  }
}

/* Shade the text by a unit, or by surprisal if it is null. */
function shadeBy(index) {
  selected = index;
  shade();
  showDetails(current);
}

/* Return the rank, the probability and the surprisal of character i, in words. */
function scoreOf(i) {
  if (unknown.has(ids[i])) return "Not in the vocabulary of the model";
  if (Number.isNaN(bits[i])) return "Not scored";
  return `Rank ${ranks[i]} of ${V}, ${percent(2 ** -bits[i])}, ${bits[i].toFixed(2)} bits`;
}

/* Show everything about character i in the panel. */
function showDetails(i) {
  $("glyph").textContent = glyph(ids[i]);
  $("score").textContent = scoreOf(i);
  const codePoint = `U+${codePoints[ids[i]].toString(16).toUpperCase().padStart(4, "0")}`;
  const value = selected === null ? NOT_READ : activations[selected * N + i];
  const activation = value === NOT_READ ? "" : `; unit ${signed((value / 127) * units[selected].scale)}`;
  $("position").textContent = `${codePoint}, character ${(i + 1).toLocaleString("en")}${activation}`;
  const rows = [];
  for (let k = i * K; ranks[i] && k < (i + 1) * K; k++) {
    const p = probabilities[k] / 65535;
    const row = make("li", likeliest[k] === ids[i] ? "actual" : "");
    const track = make("span", "track");
    const bar = make("i");
    bar.style.width = `${100 * p}%`;
    track.append(bar);
    row.append(make("span", "char", glyph(likeliest[k])), track, make("span", "percent", percent(p)));
    rows.push(row);
  }
  $("likeliest").replaceChildren(...rows);
}

/* Return the description of character i for screen readers. */
function describe(i) {
  const predictions = [];
  for (let k = i * K; ranks[i] && k < (i + 1) * K; k++) {
    predictions.push(`${nameOfChar(likeliest[k])} ${percent(probabilities[k] / 65535)}`);
  }
  return `${nameOfChar(ids[i])}. ${scoreOf(i)}.` + (predictions.length ? ` Likeliest: ${predictions.join(", ")}` : "");
}

/* Make another character the current one, and give it the focus. */
function moveTo(i, focus = true) {
  const old = spans[current];
  old.classList.remove("current");
  old.removeAttribute("tabindex");
  old.removeAttribute("aria-label");
  old.setAttribute("aria-selected", "false");
  current = Math.max(0, Math.min(N - 1, i));
  const span = spans[current];
  span.classList.add("current");
  span.tabIndex = 0;
  span.setAttribute("aria-label", describe(current));
  span.setAttribute("aria-selected", "true");
  if (focus) {
    // The bar, and on a phone the panel, must not cover the focused character.
    const panelHeight = narrow.matches ? document.querySelector("aside").offsetHeight : 0;
    document.documentElement.style.scrollPadding = `${$("bar").offsetHeight + 8}px 0 ${panelHeight + 8}px`;
    span.focus();
  }
  showDetails(current);
}

/* Return the character nearest to `start`, `rows` screen rows further down, or up if negative. */
function rowsAway(start, rows) {
  const step = Math.sign(rows);
  const x = spans[start].getBoundingClientRect().left;
  let { top } = spans[start].getBoundingClientRect();
  let remaining = Math.abs(rows);
  let [best, distance] = [start, Infinity];
  for (let i = start + step; i >= 0 && i < N; i += step) {
    const box = spans[i].getBoundingClientRect();
    if (Math.abs(box.top - top) > box.height / 2) {
      if (remaining === 0) break;
      [remaining, top, distance] = [remaining - 1, box.top, Infinity];
    }
    if (remaining < Math.abs(rows) && Math.abs(box.left - x) < distance) {
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

/* List the units as buttons, grouped by feature. */
function listUnits() {
  const groups = new Map(); // in the order of their strongest units, as `units` is sorted
  units.forEach((pair, index) => {
    if (!groups.has(pair.feature)) groups.set(pair.feature, make("ul"));
    const button = make("button");
    button.type = "button";
    button.dataset.unit = index;
    const label = `${nameOfUnit(pair)}, ${pair.feature ? `${pair.feature}, correlation ${signed(pair.correlation)}` : "no feature"}`;
    button.setAttribute("aria-label", label);
    button.append(make("span", "", layers > 1 ? `${pair.layer} · ${pair.unit}` : pair.unit));
    button.append(make("b", "", pair.feature ? signed(pair.correlation) : ""));
    const item = make("li");
    item.append(button);
    groups.get(pair.feature).append(item);
  });
  for (const [feature, list] of groups) $("units").append(make("h3", "", feature || "no feature"), list);
}

writeText();
listUnits();
$("unit-panel").open = !narrow.matches;
shade();
moveTo(current, false);

$("text").addEventListener("pointerover", (event) => {
  const i = event.pointerType === "mouse" ? spans.indexOf(event.target) : -1;
  if (i >= 0) showDetails(i);
});
$("text").addEventListener("pointerleave", () => showDetails(current));
$("text").addEventListener("click", (event) => {
  const i = spans.indexOf(event.target);
  if (i >= 0) moveTo(i);
});
$("text").addEventListener("keydown", (event) => {
  const target = KEYS[event.key];
  if (!target || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  moveTo(target(current, event.ctrlKey));
});
$("previous").addEventListener("click", () => moveTo(current - 1, false));
$("next").addEventListener("click", () => moveTo(current + 1, false));
$("surprisal").addEventListener("click", () => shadeBy(null));
$("units").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) shadeBy(Number(button.dataset.unit));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") shadeBy(null);
});
