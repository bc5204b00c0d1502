/* Writes text: the random numbers of rng.py, the drawing of sampling/drawing.py, and the texts of
   sampling/sampler.py. With the same float32 weights a seed gives the text of `charrnn sample`. */

const GOLDEN = 0x9e3779b97f4a7c15n;
const uint64 = (x) => BigInt.asUintN(64, x);

/* Return the hash of a 64-bit number, by the mixing function of SplitMix64 (Steele et al. 2014). */
function mix(x) {
  x = uint64(x);
  x = uint64((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = uint64((x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}

/* Return the key for the random numbers of a text, and its number in [0, 1) at a position. */
const textKey = (seed, number) => mix(mix(BigInt(seed)) + BigInt(number) * GOLDEN);
const uniform = (key, position) => Number(mix(key + BigInt(position) * GOLDEN) >> 11n) * 2 ** -53;

/* Draw an id by a random number u in [0, 1), from softmax(logits / temperature) cut to the top k.
   Temperature 0 takes the likeliest. `p` (V) is a Float64Array to compute in. */
function draw(logits, { temperature, topK }, u, p) {
  const V = logits.length;
  let best = 0;
  for (let i = 1; i < V; i++) if (logits[i] > logits[best]) best = i;
  if (temperature === 0) return best;
  for (let i = 0; i < V; i++) p[i] = Math.exp((logits[i] - logits[best]) / temperature);
  if (topK) { // the sort is stable: of equal ones the first are kept
    const order = Array.from(p.keys()).sort((i, j) => p[j] - p[i]);
    for (const i of order.slice(topK)) p[i] = 0;
  }
  let [total, sum] = [0, 0];
  for (let i = 0; i < V; i++) total += p[i];
  for (let i = 0; i < V; i++) {
    sum += p[i];
    if (sum > u * total) return i;
  }
  return best; // u * total was rounded up to the total
}

/* Writes one text, or the lines of a list one after another. `options`: seed, temperature, topK,
   prime (characters), and chars or lines, the number of them after which it ends. */
class Writer {
  constructor(network, model, options) {
    const { codePoints, V } = model;
    Object.assign(this, { network, model, options, p: new Float64Array(V), chars: 0, lines: 0 });
    this.newline = codePoints.indexOf(10);
    this.prime = options.prime.map((char) => codePoints.indexOf(char.codePointAt(0)));
    this.start(0);
  }

  /* Start the text of a number: read the prime, from a start state or after a newline. */
  start(number) {
    const { startIds, startStates, V } = this.model;
    const { seed } = this.options;
    Object.assign(this, { number, key: textKey(seed, number), drawn: 0 });
    let first = this.newline;
    this.network.state.fill(0);
    if (startIds.length) {
      const k = Math.floor(uniform(this.key, -2) * startIds.length);
      this.network.state.set(split(startStates, startIds.length)[k]);
      first = startIds[k];
    } else if (first < 0) first = Math.floor(uniform(textKey(seed, 0), -1) * V);
    for (const id of [first, ...this.prime]) this.network.read(id);
  }

  /* Write for some milliseconds or up to the end. Return the text, and whether it ended; after its
     end the next call writes as much again. */
  write(ms) {
    const { network, newline, model, options, p } = this;
    const deadline = performance.now() + ms;
    let text = "";
    for (let step = 1; step % 8 || performance.now() < deadline; step++) {
      if (this.drawn === 0) text += options.prime.join("");
      const logits = network.predict();
      // No line is empty in training, so none begins with a newline.
      if (model.lines && this.drawn + this.prime.length === 0) logits[newline] = -Infinity;
      const id = draw(logits, options, uniform(this.key, this.drawn++), p);
      text += String.fromCodePoint(model.codePoints[id]);
      this.chars++;
      if (id === newline) this.lines++;
      if (model.lines && id === newline) this.start(this.number + 1);
      else network.read(id);
      if (this.chars === options.chars || this.lines === options.lines) {
        this.chars = this.lines = 0;
        return { text, ended: true };
      }
    }
    return { text, ended: false };
  }
}
