/* The update of scripts/min_char_rnn.py as plain C loops, in float32: the time without call overhead.
 *
 * The network and the update are the same, for one row (B = 1). Weights are (in, out), so that the
 * inner loops run along rows. Compiled by scripts/benchmark_process.py with -DH=... -DV=... -DT=...
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define P (V * H + H * H + H + H * V + V)

static float params[P], grads[P], squares[P];
static float h[T + 1][H], p[T][V];

static float *Wxh = params, *Whh = params + V * H, *bh = params + V * H + H * H,
             *Why = params + V * H + H * H + H, *by = params + V * H + H * H + H + H * V;
static float *dWxh = grads, *dWhh = grads + V * H, *dbh = grads + V * H + H * H,
             *dWhy = grads + V * H + H * H + H, *dby = grads + V * H + H * H + H + H * V;

/* Set random weights in [-0.01, 0.01], biases included, and a zero state. */
void initialize(void) {
    srand(1);
    for (int i = 0; i < P; i++) {
        params[i] = 0.02f * (rand() / (float)RAND_MAX - 0.5f);
        squares[i] = 1e-8f;
    }
    memset(h, 0, sizeof h);
}

/* Make one update with a window: forward, backward, clipping by value, one step of Adagrad.
 *
 * `ids` are T + 1 characters: the inputs, and the target of the last. The state is carried from call to
 * call. Return the loss in nats, summed over time.
 */
float step(const int *ids, float learning_rate, float clip) {
    float loss = 0, dh_next[H] = {0};
    memcpy(h[0], h[T], sizeof h[0]);
    for (int t = 0; t < T; t++) {
        float a[H], y[V], max_logit = -1e30f, total = 0;
        for (int j = 0; j < H; j++) a[j] = Wxh[ids[t] * H + j] + bh[j];
        for (int k = 0; k < H; k++)
            for (int j = 0; j < H; j++) a[j] += h[t][k] * Whh[k * H + j];
        for (int j = 0; j < H; j++) h[t + 1][j] = tanhf(a[j]);
        for (int v = 0; v < V; v++) y[v] = by[v];
        for (int k = 0; k < H; k++)
            for (int v = 0; v < V; v++) y[v] += h[t + 1][k] * Why[k * V + v];
        for (int v = 0; v < V; v++) max_logit = y[v] > max_logit ? y[v] : max_logit;
        for (int v = 0; v < V; v++) total += p[t][v] = expf(y[v] - max_logit);
        for (int v = 0; v < V; v++) p[t][v] /= total;
        loss += logf(total) + max_logit - y[ids[t + 1]];
    }
    memset(grads, 0, sizeof grads);
    for (int t = T - 1; t >= 0; t--) {
        float *dy = p[t], da[H];
        dy[ids[t + 1]] -= 1;
        for (int v = 0; v < V; v++) dby[v] += dy[v];
        for (int k = 0; k < H; k++) {
            float dh = dh_next[k];
            for (int v = 0; v < V; v++) dWhy[k * V + v] += h[t + 1][k] * dy[v];
            for (int v = 0; v < V; v++) dh += dy[v] * Why[k * V + v];
            da[k] = (1 - h[t + 1][k] * h[t + 1][k]) * dh;
        }
        for (int j = 0; j < H; j++) dbh[j] += da[j];
        for (int j = 0; j < H; j++) dWxh[ids[t] * H + j] += da[j];
        for (int k = 0; k < H; k++) {
            float sum = 0;
            for (int j = 0; j < H; j++) dWhh[k * H + j] += h[t][k] * da[j];
            for (int j = 0; j < H; j++) sum += da[j] * Whh[k * H + j];
            dh_next[k] = sum;
        }
    }
    for (int i = 0; i < P; i++) {
        float g = grads[i] > clip ? clip : grads[i] < -clip ? -clip : grads[i];
        squares[i] += g * g;
        params[i] -= learning_rate * g / sqrtf(squares[i]);
    }
    return loss;
}
