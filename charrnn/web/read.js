/* Read: a text shaded by surprisal or by a hidden unit, and all about the character at the cursor.

The text is cut into blocks. Only those in view have an element for each character, and numbers
from the worker, which scores them first and then reads on. */

const [MIN_CHARS, MAX_CHARS] = [512, 2048]; // of a block: it ends with a line, or here
const STRIP_CHARS = 121; // in the strip, with the current one in the middle
const narrow = matchMedia("(max-width: 52rem)"); // as in page.css
const { states: stateNames } = CELLS[model.cell];
const SIZE = model.L * stateNames.length * model.H; // numbers of the state
const scales = new Float32Array(SIZE); // the largest magnitude of each so far

let characters = []; // of the text
let textIds;
let blocks = [];
let current = 0; // position of the character with the focus, or that gets it
let selected = null; // index in the state of the unit that shades the text; null: surprisal
let scale = 1; // magnitude of the darkest shade by that unit
let frontier = 0; // the worker knows the states up to here
let isWorking = false;

/* Show the given text, or the user's own. */
function openText(source) {
  characters = source === "own" ? typed : Array.from(model.text);
  textIds = encode(characters);
  [blocks, current, frontier, $("source").value] = [[], 0, 0, source];
  const [window, primed] = source === "own" ? [null, true] : [model.window, false];
  call("open", textIds, { lines: model.lines, newline: NEWLINE, window, primed });
  const longest = characters.join("").split("\n").reduce((n, line) => Math.max(n, line.length), 0);
  observer.disconnect();
  for (let start = 0, stop; start < characters.length; start = stop) {
    const lineEnd = characters.indexOf("\n", start + MIN_CHARS) + 1 || characters.length;
    stop = Math.min(lineEnd, start + MAX_CHARS);
    const block = Object.assign(make("div", "block"), { start, stop, role: "group" });
    if (model.lines && longest <= 32) block.style.columnWidth = `${longest + 2}ch`;
    blocks.push(block);
    hide(block);
    observer.observe(block);
  }
  $("text").replaceChildren(...(blocks.length ? blocks : ["Nothing is typed yet."]));
  if (blocks.length) moveTo(0, false);
}

/* Show the blocks that come into view, and hide those that leave it. */
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) show(target);
    else if (target !== blockOf(current)) hide(target);
  }
}, { rootMargin: "300px" });

/* Return the block of character i, what is shown for the character, and its element. */
const blockOf = (i) => blocks.find(({ start, stop }) => start <= i && i < stop);
const shownAs = (char) => (char === "\n" ? "↵\n" : label(char));
function element(i) {
  const block = blockOf(i);
  show(block);
  return block.children[i - block.start];
}

/* Give each character of a block an element, and have the worker score it. */
function show(block) {
  if (block.isShown) return;
  block.isShown = true;
  block.replaceChildren(...characters.slice(block.start, block.stop).map((char, k) =>
    Object.assign(make("span", "", shownAs(char)), { role: "option", i: block.start + k })));
  shade(block);
  work();
}

/* Leave only the text of a block. */
function hide(block) {
  block.textContent = characters.slice(block.start, block.stop).map(shownAs).join("");
  Object.assign(block, { isShown: false, isExact: true, numbers: [] }); // numbers: see Scorer.score
}

/* Have the worker score the blocks in view and read on, some milliseconds a call. */
async function work() {
  if (isWorking) return;
  isWorking = true;
  while (shown === "read" || shown === "learn") {
    const visible = blocks.filter(({ isShown }) => isShown);
    const unscored = visible.find(({ numbers, start, stop }) => numbers.length < stop - start);
    const block = unscored ?? visible.find(({ isExact, start }) => !isExact && start <= frontier);
    const opened = blocks; // results about another text do not count
    if (block) {
      if (!unscored) block.numbers = [];
      const { numbers, start, stop } = block;
      const part = await call("score", start + numbers.length, stop, 12);
      if (opened === blocks && numbers === block.numbers) store(block, part);
    } else if (frontier < characters.length) {
      const position = await call("scan", 12);
      if (opened === blocks) frontier = position;
    } else break;
  }
  isWorking = false;
}

/* Store the numbers of a part of a block, and shade it. */
function store(block, { before, isExact, scored }) {
  const from = block.numbers.length;
  if (from === 0) Object.assign(block, { before, isExact });
  block.numbers.push(...scored);
  for (const { state } of scored) {
    for (let n = 0; n < SIZE; n++) scales[n] = Math.max(scales[n], Math.abs(state[n]));
  }
  shade(block, from);
  if (block === blockOf(current)) showCurrent();
}

/* Return what the worker computed for character i: nothing if it has not come to it yet. */
const numbersOf = (i) => blockOf(i)?.numbers[i - blockOf(i).start];

/* Shade the characters of a block, from one on. */
function shade(block, from = 0) {
  for (let k = from; k < block.children.length; k++) {
    const [i, { bits = NaN, state }] = [block.start + k, block.numbers[k] ?? {}];
    const value = selected === null || !state ? 0 : state[selected];
    const part = Math.min(LEVELS, Math.round((LEVELS * Math.abs(value)) / scale));
    const isUnknown = textIds[i] < 0;
    const depth = isUnknown ? 0 : selected === null ? level(bits) : part;
    const names = [`a${depth}`, value < 0 && "negative", characters[i] === "\n" && "newline",
      label(characters[i]) !== characters[i] && "mark", isUnknown && "unknown",
      i === current && "current"];
    block.children[k].className = names.filter(Boolean).join(" ");
  }
}

/* Shade the text by a number of the state, or by surprisal if it is null. */
function shadeBy(index) {
  [selected, scale] = [index, scales[index] || 1];
  $("shade").value = index ?? "";
  $("read").classList.toggle("by-unit", index !== null);
  for (const block of blocks) if (block.isShown) shade(block);
  const levels = index === null ? [0, 1, 2, 3, 4, 5, 6, 7, 8] : [-8, -6, -4, -2, 0, 2, 4, 6, 8];
  $("legend").replaceChildren(...levels.map((n) => {
    const value = n % LEVELS ? "\u00a0" : n && signed((scale * n) / LEVELS);
    const text = index !== null ? value : n === LEVELS ? "8+" : n;
    return make("span", `a${Math.abs(n)}${n < 0 ? " negative" : ""}`, text);
  }));
  showCurrent();
}

/* Show all about character i in the panel, and return its score in words. */
function showDetails(i) {
  const [char, numbers] = [characters[i], numbersOf(i)];
  const { bits, rank, top, state } = numbers ?? { top: [] };
  let score = numbers ? "Not scored" : "Not scored yet";
  if (textIds[i] < 0) score = "Not in the vocabulary of the model";
  const ranked = `Rank ${number(rank ?? 0)} of ${number(model.V)}`;
  if (rank) score = `${ranked}, ${percent(2 ** -bits)}, ${bits.toFixed(2)} bits`;
  $("glyph").textContent = glyph(char);
  $("score").textContent = score;
  const value = selected === null || !state ? "" : `, unit ${signed(state[selected])}`;
  const position = `character ${number(i + 1)} of ${number(characters.length)}`;
  $("position").textContent = `U+${hex(char).toUpperCase().padStart(4, "0")}, ${position}${value}`;
  $("likeliest").replaceChildren(...top.map(([id, p]) =>
    make("li", chars[id] === char ? "actual" : "", ...probabilityBar(chars[id], p))));
  return score;
}

/* Show all about the current character: the panel, its description, the strip, the step. */
function showCurrent() {
  if (!blocks.length) return;
  const score = showDetails(current);
  element(current).setAttribute("aria-label", `${nameOf(characters[current])}. ${score}`);
  drawStrip();
  if (shown === "learn") learn();
  work();
}

/* Draw the states around the current character, numbers beyond 1 by their tanh. */
function drawStrip() {
  const values = new Float32Array(STRIP_CHARS * SIZE);
  for (let x = 0; x < STRIP_CHARS; x++) {
    const state = numbersOf(current + x - (STRIP_CHARS - 1) / 2)?.state ?? [];
    state.forEach((value, y) => {
      values[y * STRIP_CHARS + x] = Math.abs(value) > 1 ? tanh(value) : value;
    });
  }
  paint($("strip"), values, STRIP_CHARS);
}

/* Paint numbers from -1 to 1 on a canvas, row by row. */
function paint(canvas, values, columns) {
  const style = getComputedStyle(document.documentElement);
  const [positive, negative] = ["--positive", "--negative"].map((name) => {
    const [red, green, blue] = style.getPropertyValue(name).split(" ");
    return red | (green << 8) | (blue << 16);
  });
  [canvas.width, canvas.height] = [columns, values.length / columns];
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer); // alpha, blue, green, red
  values.forEach((value, i) => {
    pixels[i] = (value < 0 ? negative : positive) | ((255 * Math.abs(value)) << 24);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/* Make another character the current one, and give it the focus. */
function moveTo(i, focus = true) {
  const old = current < characters.length ? element(current) : null;
  current = Math.max(0, Math.min(characters.length - 1, i));
  for (const span of new Set([old, element(current)])) {
    span.classList.toggle("current", span.i === current);
    span.setAttribute("aria-selected", span.i === current);
    span.tabIndex = span.i === current ? 0 : -1;
  }
  showCurrent();
  if (!focus) return;
  // The bar, and on a phone the panel, must not cover the character.
  const panel = narrow.matches ? document.querySelector("aside").offsetHeight : 0;
  document.documentElement.style.scrollPadding = `${$("bar").offsetHeight + 8}px 0 ${panel + 8}px`;
  element(current).focus();
}

/* Return the character nearest to character i in the next row of the screen (step 1, or -1). */
function inNextRow(i, step) {
  let { left, top } = element(i).getClientRects()[0];
  let [best, distance, rows] = [i, Infinity, 0];
  for (let j = i + step; characters[j]; j += step) {
    const box = element(j).getClientRects()[0];
    if (Math.abs(box.top - top) > box.height / 2) [rows, top] = [rows + 1, box.top];
    if (rows > 1) break;
    if (rows === 1 && Math.abs(box.left - left) < distance) {
      [best, distance] = [j, Math.abs(box.left - left)];
    }
  }
  return best;
}

const KEYS = {
  ArrowRight: (i) => i + 1,
  ArrowLeft: (i) => i - 1,
  ArrowDown: (i) => inNextRow(i, 1),
  ArrowUp: (i) => inNextRow(i, -1),
  Home: (i, ctrl) => (ctrl || i === 0 ? 0 : characters.lastIndexOf("\n", i - 1) + 1),
  End: (i, ctrl) => (ctrl ? Infinity : characters.indexOf("\n", i) + 1 || Infinity) - 1,
};

/* List the units that follow a feature, the most correlated first, and then all. */
function listUnits() {
  const groups = new Map();
  const all = Array.from({ length: model.L * model.H }, (_, k) =>
    ({ layer: Math.floor(k / model.H), unit: k % model.H }));
  for (const { layer, unit, feature, correlation } of [...model.units, ...all]) {
    const group = feature || "all units";
    if (!groups.has(group)) groups.set(group, Object.assign(make("optgroup"), { label: group }));
    const name = `unit ${unit + 1}${model.L > 1 ? ` of layer ${layer + 1}` : ""}`;
    const option = make("option", "", feature ? `${name}: ${signed(correlation)}` : name);
    option.value = layer * stateNames.length * model.H + unit; // its index in the state
    groups.get(group).append(option);
  }
  $("shade").append(...groups.values());
}

listUnits();
openText("given");
shadeBy(null);
$("state").open = !narrow.matches;
$("text").addEventListener("pointerover", ({ pointerType, target }) => {
  if (pointerType === "mouse" && target.role === "option") showDetails(target.i);
});
$("text").addEventListener("pointerleave", showCurrent);
$("text").addEventListener("click", ({ target }) => target.role === "option" && moveTo(target.i));
$("text").addEventListener("keydown", (event) => {
  if (!KEYS[event.key] || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  moveTo(KEYS[event.key](current, event.ctrlKey));
});
for (const button of document.querySelectorAll(".step")) {
  button.addEventListener("click", () => moveTo(current + Number(button.dataset.step), false));
}
$("source").addEventListener("change", ({ target }) => openText(target.value));
$("shade").addEventListener("change", ({ target: { value } }) => {
  shadeBy(value === "" ? null : Number(value));
});
addEventListener("keydown", ({ key }) => key === "Escape" && shadeBy(null));
