/* Learn: the step in which the network reads the current character, with its cell's equations. */

const learner = new Network(model, model.weights);

/* Return a row: a name, its equation and meaning, and its numbers as a strip. */
function stripRow(name, equation, meaning, values) {
  const canvas = Object.assign(make("canvas"), { role: "img", ariaLabel: `${name} as colours` });
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const largest = Math.max(1, -low, high); // is darkest
  paint(canvas, values.map((value) => value / largest), values.length);
  const code = make("code", "", make("b", "", name), equation && ` = ${equation}`);
  const range = make("span", "quiet range", `${signed(low)} to ${signed(high)}`);
  return make("div", "row", make("p", "", code, make("span", "quiet", meaning)), canvas, range);
}

/* Show the step that reads the current character. */
function learn() {
  const id = textIds[current];
  const text = (start, stop) => characters.slice(Math.max(0, start), stop).map(label).join("");
  const char = make("b", "current", text(current, current + 1));
  $("context").replaceChildren(text(current - 30, current), char, text(current + 1, current + 30));
  $("steps").textContent = id < 0 ? "The model does not know this character and skips it." : "";
  if (id < 0 || !numbersOf(current)) return;
  const block = blockOf(current);
  learner.state.set(current > block.start ? numbersOf(current - 1).state : block.before);
  if (model.lines && id === NEWLINE) learner.state.fill(0); // each line starts from the zero state
  const before = learner.state.slice();
  learner.read(id);
  const { gates, states, equations } = learner.cell;
  learner.layers.forEach((layer, l) => {
    const a = l ? ["h' Wxh + bh", "from h' below"] : ["Wxh[x] + bh", "from the input x"];
    const q = ["h[t-1] Whh", "from the old state"];
    const result = (name) => layer.states[states.indexOf(name)] ?? layer.gates[gates.indexOf(name)];
    const old = split(split(before, model.L)[l], states.length);
    $("steps").append(
      make("h2", "", `Layer ${l + 1}`),
      ...states.map((name, s) => stripRow(`${name}[t-1]`, "", "the old state", old[s])),
      ...gates.map((name, g) => stripRow(`a_${name}`, ...a, layer.a_parts[g])),
      ...gates.map((name, g) => stripRow(`q_${name}`, ...q, layer.q_parts[g])),
      ...equations.map((row) => stripRow(...row, result(row[0]))),
    );
  });
  const logits = learner.predict();
  const rows = likeliest(logits)[0].map(([next, p]) =>
    make("li", "", ...probabilityBar(chars[next], p), make("span", "", signed(logits[next]))));
  $("steps").append(
    make("h2", "", "The next character"),
    stripRow("logits", "h Why + by", "the likeliest, with softmax(logits) and logits", logits),
    make("ol", "bars", ...rows),
  );
}

showTab("write");
