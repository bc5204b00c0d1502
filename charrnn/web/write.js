/* Write: the network continues a beginning, in the worker, and the text streams in. */

const FRAME_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 16;
let written = "";
let run = 0; // number of the last run; an older one ends
let isWriting = false;
let speed = 0; // of the last run, in characters a second
let seed;

/* Return the options of the form. Throw an Error for a character that the model does not know. */
function readOptions() {
  const prime = fold($("prime").value);
  const unknown = prime.find((char) => !ids.has(char));
  if (unknown !== undefined) throw new Error(`The model does not know ${glyph(unknown)}`);
  seed = $("seed").value || String(crypto.getRandomValues(new Uint32Array(1))[0]);
  const [temperature, topK] = [Number($("temperature").value), Number($("top-k").value)];
  return { prime, seed, temperature, topK, [$("unit").value]: Number($("length").value) };
}

/* Add to the text that is shown, an element for each line. */
function append(text) {
  for (const [k, line] of text.split("\n").entries()) {
    if (k > 0 || !written) $("written").append(Object.assign(make("div", "line"), { dir: "auto" }));
    $("written").lastChild.append(Array.from(line, label).join(""));
  }
  written += text;
}

/* Show whether the network writes, and what can be pressed now. */
function setWriting(value, status) {
  isWriting = value;
  $("stop").disabled = !value;
  $("copy").disabled = $("continue").disabled = value || !written;
  $("write-status").textContent = status;
}

/* Write until the end, the next run or Stop. The page changes once a frame. */
async function write() {
  const [current, before, start] = [run, written.length, performance.now()];
  let [text, shownAt, ended] = ["", start, false];
  setWriting(true, `Writing with seed ${seed}`);
  while (isWriting && !ended) {
    const part = await call("write", 16);
    if (current !== run) return;
    [text, ended] = [text + part.text, part.ended];
    if (!ended && isWriting && performance.now() - shownAt < FRAME_MS) continue;
    append(text);
    [text, shownAt] = ["", performance.now()];
  }
  speed = (1000 * (written.length - before)) / (performance.now() - start);
  setWriting(false, `${number(written.length - before)} characters with seed ${seed}, \
${number(Math.round(speed))} a second`);
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const [options, current] = [readOptions(), ++run];
    await call("begin", options);
    if (current !== run) return;
    written = "";
    $("written").replaceChildren();
    write();
  } catch (error) {
    setWriting(false, error.message);
  }
});
$("stop").addEventListener("click", () => (isWriting = false));
$("continue").addEventListener("click", write);
$("copy").addEventListener("click", async () => {
  const copied = navigator.clipboard?.writeText(written) ?? Promise.reject();
  const status = await copied.then(() => "Copied", () => "This browser does not let a page copy");
  $("write-status").textContent = status;
});
$("temperature").addEventListener("input", ({ target: { value } }) => {
  $("warmth").value = Number(value).toFixed(2);
});
$("written").classList.toggle("columns", model.lines);
if (model.lines) [$("length").value, $("unit").value] = [10, "lines"];
$("unit").parentElement.hidden = model.lines || NEWLINE < 0;
setWriting(false, "");
