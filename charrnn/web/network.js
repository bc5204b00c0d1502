"use strict";
/* The network of nn/model.py and nn/cells.py, one character at a time, in plain loops.

    a[0]   = Wxh[0][id] + bh[0]          a row of Wxh: the product with a one-hot vector
    a[l]   = hs[l-1] Wxh[l] + bh[l]      from the layer below
    q[l]   = hs[l] Whh[l]                from the step before
    hs[l]  = cell(a[l], q[l], hs[l])     see CELLS
    logits = hs Why + by                 hs of the top layer, or of all for which Why has rows

V characters, H hidden units, L layers, G gates, S state arrays of a layer (h, and c in an lstm).
Weights are (in, out), row by row, in single precision; sums are in double precision. */

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const tanh = (x) => 1 - 2 / (1 + Math.exp(2 * x));

/* A cell: the names of its gates and states, what it computes with the meaning, and its step, which
   overwrites the gates and the state. All arrays are (H). */
const CELLS = {
  rnn: {
    gates: ["h"], states: ["h"],
    equations: [["h", "tanh(a_h + q_h)", "the new state"]],
    step([a], [q], _, [h]) {
      for (let k = 0; k < h.length; k++) h[k] = tanh(a[k] + q[k]);
    },
  },

  gru: {
    gates: ["z", "r", "n"], states: ["h"],
    equations: [
      ["z", "sigmoid(a_z + q_z)", "update gate: the share of the old state that is kept"],
      ["r", "sigmoid(a_r + q_r)", "reset gate: its share in the candidate"],
      ["n", "tanh(a_n + r q_n)", "the candidate"],
      ["h", "n + z (h[t-1] - n)", "the new state"],
    ],
    step([a_z, a_r, a_n], [q_z, q_r, q_n], [z, r, n], [h]) {
      for (let k = 0; k < h.length; k++) {
        z[k] = sigmoid(a_z[k] + q_z[k]);
        r[k] = sigmoid(a_r[k] + q_r[k]);
        n[k] = tanh(a_n[k] + r[k] * q_n[k]);
        h[k] = n[k] + z[k] * (h[k] - n[k]);
      }
    },
  },

  lstm: {
    gates: ["i", "f", "o", "g"], states: ["h", "c"],
    equations: [
      ["i", "sigmoid(a_i + q_i)", "input gate: the share of the candidate that is added"],
      ["f", "sigmoid(a_f + q_f)", "forget gate: the share of c[t-1] that is kept"],
      ["o", "sigmoid(a_o + q_o)", "output gate: the share of tanh(c) in h"],
      ["g", "tanh(a_g + q_g)", "the candidate"],
      ["c", "f c[t-1] + i g", "the cell state"],
      ["h", "o tanh(c)", "the new state"],
    ],
    step([a_i, a_f, a_o, a_g], [q_i, q_f, q_o, q_g], [i, f, o, g], [h, c]) {
      for (let k = 0; k < h.length; k++) {
        i[k] = sigmoid(a_i[k] + q_i[k]);
        f[k] = sigmoid(a_f[k] + q_f[k]);
        o[k] = sigmoid(a_o[k] + q_o[k]);
        g[k] = tanh(a_g[k] + q_g[k]);
        c[k] = f[k] * c[k] + i[k] * g[k];
        h[k] = o[k] * tanh(c[k]);
      }
    },
  },
};

/* Return the `count` equal parts of an array, as views. */
function split(array, count) {
  const size = array.length / count;
  return Array.from({ length: count }, (_, k) => array.subarray(k * size, (k + 1) * size));
}

/* Add x W to y. x is (n), W (n, m) and y (m). Four rows at a time take one load and one store of y
   for four products: 1.3 to 1.9 billion products a second, twice as many as row by row. */
function addProduct(y, x, W) {
  const [n, m] = [x.length, y.length];
  let [i, row] = [0, 0]; // row i of W begins at `row`
  for (; i + 4 <= n; i += 4, row += 4 * m) {
    const [row1, row2, row3] = [row + m, row + 2 * m, row + 3 * m];
    const [x0, x1, x2, x3] = [x[i], x[i + 1], x[i + 2], x[i + 3]];
    for (let j = 0; j < m; j++) {
      y[j] += x0 * W[row + j] + x1 * W[row1 + j] + x2 * W[row2 + j] + x3 * W[row3 + j];
    }
  }
  for (; i < n; i++, row += m) for (let j = 0; j < m; j++) y[j] += x[i] * W[row + j];
}

class Network {
  /* A network of these sizes, with its weights one after another as in nn/parameters.py. The state
     (L, S, H) is zero; `read` changes it. */
  constructor({ cell, L, H, V }, weights) {
    let offset = 0;
    const take = (size) => weights.subarray(offset, (offset += size));
    this.cell = CELLS[cell];
    const [G, S] = [this.cell.gates.length, this.cell.states.length];
    this.state = new Float32Array(L * S * H);
    this.layers = split(this.state, L).map((state, l) => {
      const [Wxh, Whh, bh] = [take((l ? H : V) * G * H), take(H * G * H), take(G * H)];
      const [a, q, all] = [0, 1, 2].map(() => new Float32Array(G * H));
      const [a_parts, q_parts, gates] = [a, q, all].map((array) => split(array, G));
      return { Wxh, Whh, bh, a, q, a_parts, q_parts, gates, states: split(state, S) };
    });
    const Why = take(weights.length - offset - V);
    const outputs = Why.length / (H * V); // the layers that the logits read
    this.outputs = split(Why, outputs).map((part, k) => [part, this.layers[L - outputs + k]]);
    this.by = take(V);
    this.logits = new Float32Array(V);
  }

  /* Read a character: compute the state after it. */
  read(id) {
    let below; // h of the layer below
    for (const { Wxh, Whh, bh, a, q, a_parts, q_parts, gates, states } of this.layers) {
      a.set(bh);
      if (below) addProduct(a, below, Wxh);
      else for (let j = 0, row = id * a.length; j < a.length; j++) a[j] += Wxh[row + j];
      q.fill(0);
      addProduct(q, states[0], Whh);
      this.cell.step(a_parts, q_parts, gates, states);
      below = states[0];
    }
  }

  /* Return the logits (V) of the next character. The next call overwrites them. */
  predict() {
    this.logits.set(this.by);
    for (const [Why, { states }] of this.outputs) addProduct(this.logits, states[0], Why);
    return this.logits;
  }
}

/* The value of each float16: a sign, five bits of exponent, ten bits of fraction (IEEE 754). */
const HALVES = Float32Array.from({ length: 1 << 16 }, (_, half) => {
  const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * (1024 + fraction) * 2 ** (exponent - 25) : sign * fraction * 2 ** -24;
});

/* Return the numbers of an array in base 64, whose dtype is float16 or float32. */
function unpack(packed, dtype) {
  const { buffer } = Uint8Array.from(atob(packed), (byte) => byte.charCodeAt(0));
  if (dtype === "float32") return new Float32Array(buffer);
  return Float32Array.from(new Uint16Array(buffer), (half) => HALVES[half]);
}
