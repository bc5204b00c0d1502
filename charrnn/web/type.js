/* Type: what is typed is shaded at once, by a network of its own outside the worker. */

const typing = new Scorer(new Network(model, model.weights), 8);
let typed = []; // the characters
let typedBits = []; // of the characters scored so far
let statusTimer;

/* Score what is typed from its first change on, and shade it. */
function readTyped() {
  const before = typed;
  typed = fold($("typed").value);
  let same = 0;
  while (same < typed.length && typed[same] === before[same]) same++;
  typing.change(encode(typed), same);
  typedBits.length = Math.min(typedBits.length, same);
  const spans = $("backdrop").children;
  while (spans.length > same) spans[same].remove();
  // A newline needs a character before it to have a shade, and after it to have a height.
  const changed = Array.from($("typed").value).slice(same);
  $("backdrop").append(...changed.map((char) => make("span", "", char === "\n" ? " \n" : char)));
  scoreTyped();
}

/* Score for some milliseconds, and the rest in later tasks, so that no input waits. */
function scoreTyped() {
  const start = typedBits.length;
  typedBits.push(...typing.score(start, typed.length, 8).scored.map(({ bits }) => bits));
  for (let i = start; i < typedBits.length; i++) {
    const className = typing.ids[i] < 0 ? "unknown" : `a${level(typedBits[i])}`;
    $("backdrop").children[i].className = className;
  }
  if (typedBits.length < typed.length) setTimeout(scoreTyped);
  else suggest();
}

/* Show the likeliest next characters as buttons. The status waits until typing pauses. */
function suggest() {
  const [top] = typing.last < 0 ? [[]] : likeliest(typing.network.predict());
  $("suggestions").replaceChildren(...top.map(([id, p]) => {
    const button = make("button", "", ...probabilityBar(chars[id], p));
    button.ariaLabel = `${nameOf(chars[id])}, ${percent(p)}`;
    button.addEventListener("pointerdown", (event) => event.preventDefault()); // keep the focus
    button.addEventListener("click", () => { // adds it at the end, as a key would, to be undone
      $("typed").focus({ preventScroll: true });
      $("typed").selectionStart = $("typed").value.length;
      document.execCommand("insertText", false, chars[id]);
    });
    return make("li", "", button);
  }));
  clearTimeout(statusTimer);
  statusTimer = setTimeout(() => {
    const bits = typedBits.filter((x) => !Number.isNaN(x)).reduce((sum, x) => sum + x, 0);
    const unknown = typing.ids.filter((id) => id < 0).length;
    const rest = unknown ? `; the model does not know ${number(unknown)} of them` : "";
    const length = `${number(typed.length)} characters`;
    $("type-status").textContent = `${length}, ${bits.toFixed(1)} bits${rest}`;
  }, 700);
}

$("typed").addEventListener("input", readTyped);
$("typed").addEventListener("keydown", (event) => {
  const { altKey, ctrlKey, metaKey, shiftKey, key, code } = event;
  const isAtEnd = $("typed").selectionStart === $("typed").value.length;
  const digit = altKey && /^Digit([1-5])$/.exec(code)?.[1];
  const isArrow = key === "ArrowRight" && isAtEnd && !(altKey || ctrlKey || metaKey || shiftKey);
  if (!digit && !isArrow) return;
  event.preventDefault();
  $("suggestions").children[digit ? digit - 1 : 0]?.firstChild.click();
});
$("inspect").addEventListener("click", () => {
  openText("own");
  showTab("read");
});
typing.open(encode(typed), { lines: model.lines, newline: NEWLINE, window: null, primed: true });
suggest();
