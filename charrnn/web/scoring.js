/* Scores a text: what the network predicts before each character, and the state after it.

A stream is scored from the zero state, and its first character is not scored; the lines of a list
are scored each from the zero state after a newline, as in evaluation/text_scoring.py. States are
kept at intervals, from which any part of the text can be scored again. */

const TOP = 5; // likeliest characters
const WARM_UP = 256; // characters read before a part of a stream if the state there is unknown

/* Return the ids and probabilities of the likeliest characters, the likeliest first, and the
   logarithm of the sum of exp(logit). */
function likeliest(logits) {
  const ids = [];
  for (let i = 0; i < logits.length; i++) {
    if (logits[i] <= logits[ids[TOP - 1]]) continue;
    let k = Math.min(ids.length, TOP - 1);
    for (; k > 0 && logits[i] > logits[ids[k - 1]]; k--) ids[k] = ids[k - 1];
    ids[k] = i;
  }
  const max = logits[ids[0]];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  return [ids.map((id) => [id, Math.exp(logits[id] - max) / sum]), max + Math.log(sum)];
}

class Scorer {
  constructor(network, interval) {
    Object.assign(this, { network, interval });
  }

  /* Score a text (N) of ids, -1 for an unknown character. `text`: whether its lines are a list, the
     id of its newline, the characters of a window between zero states (or null), and `primed`:
     whether a newline is read before the first character, which then is scored too. */
  open(ids, text) {
    Object.assign(this, text, { ids, kept: [] });
    this.primed = (text.lines || text.primed) && text.newline >= 0;
    this.restart(0);
    if (this.primed) this.network.read((this.last = this.newline));
    this.keep();
  }

  /* Use other ids, which are the same up to a position. */
  change(ids, from) {
    this.ids = ids;
    this.kept.length = Math.min(this.kept.length, 1 + Math.floor(from / this.interval));
    if (this.position > from) this.restore(this.kept.length - 1);
  }

  /* Set the zero state at a position: `known` counts the characters read so far, without unknown
     ones, `last` is the id of the last one, and `isExact` whether all before it was read. */
  restart(position, isExact = position === 0) {
    this.network.state.fill(0);
    Object.assign(this, { position, isExact, known: 0, last: -1 });
  }

  keep() {
    this.kept.push({ known: this.known, last: this.last, state: this.network.state.slice() });
  }

  restore(k) {
    const { known, last, state } = this.kept[k];
    Object.assign(this, { position: k * this.interval, isExact: true, known, last });
    this.network.state.set(state);
  }

  /* Read the character at the position. */
  advance() {
    const id = this.ids[this.position++];
    if (id >= 0) {
      const { lines, newline, window, known } = this;
      if (lines ? id === newline : window && known % window === 0) this.network.state.fill(0);
      this.network.read(id);
      [this.known, this.last] = [known + 1, id];
    }
    if (this.isExact && this.position === this.kept.length * this.interval) this.keep();
  }

  /* Go to a position. Where the states before it are not known yet, read only the line before it,
     or in a stream `WARM_UP` characters: then `isExact` is false. */
  seek(position) {
    if (this.position === position) return;
    const k = Math.min(Math.floor(position / this.interval), this.kept.length - 1);
    const isBehind = this.isExact && this.position <= position;
    const nearest = Math.max(k * this.interval, isBehind ? this.position : 0);
    const line = this.lines && position ? this.ids.lastIndexOf(this.newline, position - 1) : -1;
    if (line > nearest) this.restart(line, true);
    else if (!this.lines && position - nearest > 2 * WARM_UP) this.restart(position - WARM_UP);
    else if (!isBehind || nearest !== this.position) this.restore(k);
    while (this.position < position) this.advance();
  }

  /* Read on from the last state that is kept, for some milliseconds. Return the position. */
  scan(ms) {
    const [deadline, next] = [performance.now() + ms, this.kept.length * this.interval];
    const isHere = this.isExact && this.position < next && this.position >= next - this.interval;
    if (!isHere) this.restore(this.kept.length - 1);
    while (this.position < this.ids.length && performance.now() < deadline) this.advance();
    return this.position;
  }

  /* Score up to `stop`, for some milliseconds. Return the state before the first character, whether
     it is exact, and for each character its bits (NaN if not scored), its rank, the likeliest
     characters before it and the state after it. */
  score(start, stop, ms) {
    const deadline = performance.now() + ms;
    this.seek(start);
    const [before, isExact, scored] = [this.network.state.slice(), this.isExact, []];
    while (this.position < stop && (!scored.length || performance.now() < deadline)) {
      const id = this.ids[this.position];
      const numbers = { bits: NaN, rank: 0, top: [] };
      const isEmptyLine = this.lines && id === this.newline && this.last === id;
      if (id >= 0 && !isEmptyLine && (this.known > 0 || this.primed)) {
        const logits = this.network.predict();
        const [top, logSum] = likeliest(logits);
        let rank = 1;
        for (let i = 0; i < logits.length; i++) if (logits[i] > logits[id]) rank++;
        Object.assign(numbers, { bits: (logSum - logits[id]) / Math.LN2, rank, top });
      }
      this.advance();
      scored.push(Object.assign(numbers, { state: this.network.state.slice() }));
    }
    return { before, isExact, scored };
  }
}

/* In the worker the first message is the model, and every other the number of a call, the name of
   a method and its values. It is answered by the number and the result. */
if (typeof document === "undefined") {
  onmessage = ({ data: model }) => {
    const [writing, reading] = [0, 1].map(() => new Network(model, model.weights));
    const scorer = new Scorer(reading, 64);
    let writer;
    const methods = {
      begin: (options) => void (writer = new Writer(writing, model, options)),
      write: (ms) => writer.write(ms),
      open: (ids, text) => scorer.open(ids, text),
      score: (start, stop, ms) => scorer.score(start, stop, ms),
      scan: (ms) => scorer.scan(ms),
    };
    onmessage = ({ data: [number, method, ...values] }) => {
      postMessage([number, methods[method](...values)]);
    };
  };
}
