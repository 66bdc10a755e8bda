// A small network, its gradient, and an optimizer's walk with it, for the page "Play a walk". All numbers are float64.
window.valleywalkNetwork = (function () {
  "use strict";
  const INPUTS = 64, HIDDEN = 32, CLASSES = 10, POINTS = 10;
  // The vector of all weights, in the order of PyTorch's Linear(64, 32), Tanh, Linear(32, 10).
  const BIAS1 = HIDDEN * INPUTS, WEIGHT2 = BIAS1 + HIDDEN, BIAS2 = WEIGHT2 + CLASSES * HIDDEN, SIZE = BIAS2 + CLASSES;
  // What is random has a stream each: the noise moves no batch, and a re-drawn plan moves no step.
  const STREAMS = { weights: 0, batches: 1, noise: 2, plan: 3 };

  // Uniform numbers in [0, 1): sfc32 of PractRand, seeded as its author does, with the stream for its second word.
  function uniforms(seed, stream) {
    let a = seed | 0, b = stream | 0, c = 0, counter = 1;
    const next = () => {
      const sum = (a + b + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + sum) | 0;
      return (sum >>> 0) / 4294967296;
    };
    for (let i = 0; i < 12; i++) next();
    return next;
  }

  // Standard normal numbers: Box–Muller, the cosine alone. 1 − u is never 0.
  function normals(uniform) {
    return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  // Weights of variance 1 / inputs, biases 0.
  function initial(seed) {
    const normal = normals(uniforms(seed, STREAMS.weights)), weights = new Float64Array(SIZE);
    for (let k = 0; k < BIAS1; k++) weights[k] = normal() / Math.sqrt(INPUTS);
    for (let k = WEIGHT2; k < BIAS2; k++) weights[k] = normal() / Math.sqrt(HIDDEN);
    return weights;
  }

  // Images and labels from the page's data: a digit of base 17 a pixel.
  function decode({ images, labels }) {
    return {
      images: Float64Array.from(images.join(""), (pixel) => Number.parseInt(pixel, 17) / 16),
      labels: Uint8Array.from(labels),
    };
  }

  // What the hidden units receive from image i, written to `received` from `at` on.
  function receive(weights, images, i, received, at) {
    for (let j = 0; j < HIDDEN; j++) {
      let sum = weights[BIAS1 + j];
      for (let k = 0; k < INPUTS; k++) sum += weights[j * INPUTS + k] * images[i * INPUTS + k];
      received[at + j] = sum;
    }
  }

  // The cross-entropy of one image; leaves the probabilities of the classes in `output`.
  function crossEntropy(weights, hidden, label, output) {
    let highest = -Infinity, total = 0;
    for (let c = 0; c < CLASSES; c++) {
      let sum = weights[BIAS2 + c];
      for (let j = 0; j < HIDDEN; j++) sum += weights[WEIGHT2 + c * HIDDEN + j] * hidden[j];
      output[c] = sum;
      if (sum > highest) highest = sum;
    }
    // The highest is taken out, so that no exponential overflows.
    const loss = highest - output[label];
    for (let c = 0; c < CLASSES; c++) total += output[c] = Math.exp(output[c] - highest);
    for (let c = 0; c < CLASSES; c++) output[c] /= total;
    return loss + Math.log(total);
  }

  // Mean loss over a batch, an array of image numbers, and its gradient.
  function gradient(weights, { images, labels }, batch) {
    const slope = new Float64Array(SIZE), hidden = new Float64Array(HIDDEN), output = new Float64Array(CLASSES);
    let loss = 0;
    for (const i of batch) {
      receive(weights, images, i, hidden, 0);
      for (let j = 0; j < HIDDEN; j++) hidden[j] = Math.tanh(hidden[j]);
      loss += crossEntropy(weights, hidden, labels[i], output) / batch.length;
      output[labels[i]] -= 1;
      for (let c = 0; c < CLASSES; c++) {
        output[c] /= batch.length;
        slope[BIAS2 + c] += output[c];
        for (let j = 0; j < HIDDEN; j++) slope[WEIGHT2 + c * HIDDEN + j] += output[c] * hidden[j];
      }
      for (let j = 0; j < HIDDEN; j++) {
        let back = 0;
        for (let c = 0; c < CLASSES; c++) back += output[c] * weights[WEIGHT2 + c * HIDDEN + j];
        back *= 1 - hidden[j] * hidden[j];
        slope[BIAS1 + j] += back;
        for (let k = 0; k < INPUTS; k++) slope[j * INPUTS + k] += back * images[i * INPUTS + k];
      }
    }
    return { loss, gradient: slope };
  }

  // The loss of each image at the points of the segment between two vectors of weights: a row a point, both ends
  // included. What the hidden units receive is linear in the weights, so that it is computed at the ends alone.
  function segment(from, to, { images, labels }) {
    const count = labels.length, first = new Float64Array(count * HIDDEN), last = new Float64Array(count * HIDDEN);
    for (let i = 0; i < count; i++) {
      receive(from, images, i, first, i * HIDDEN);
      receive(to, images, i, last, i * HIDDEN);
    }
    const hidden = new Float64Array(HIDDEN), output = new Float64Array(CLASSES), rows = [];
    for (let point = 0; point <= POINTS; point++) {
      const alpha = point / POINTS, weights = from.map((weight, k) => (1 - alpha) * weight + alpha * to[k]);
      rows.push(Float64Array.from(labels, (label, i) => {
        for (let j = 0; j < HIDDEN; j++) {
          const at = i * HIDDEN + j;
          hidden[j] = Math.tanh((1 - alpha) * first[at] + alpha * last[at]);
        }
        return crossEntropy(weights, hidden, label, output);
      }));
    }
    return rows;
  }

  function inner(one, other) {
    let sum = 0;
    for (let k = 0; k < one.length; k++) sum += one[k] * other[k];
    return sum;
  }

  // A walk from seeded weights. `step` takes a step, and gives what was seen of it: the losses along the segment by both
  // plans, the cosine of this gradient and the one before, and the distance from the initialisation after the step.
  function walk(data, seed) {
    const count = data.labels.length, start = initial(seed), velocity = new Float64Array(SIZE);
    const batches = uniforms(seed, STREAMS.batches), normal = normals(uniforms(seed, STREAMS.noise));
    const plan = uniforms(seed, STREAMS.plan), order = Uint16Array.from({ length: count }, (_, i) => i);
    let weights = start, used = count, before = null, end = null;

    // The next images of a shuffled order; shuffled again when too few are left.
    function batch(size) {
      if (used + size > count) {
        for (let i = count - 1; i > 0; i--) {
          const other = Math.floor(batches() * (i + 1));
          [order[i], order[other]] = [order[other], order[i]];
        }
        used = 0;
      }
      used += size;
      return order.slice(used - size, used);
    }

    const mean = (row) => row.reduce((sum, loss) => sum + loss, 0) / count;
    // As many images as there are, drawn with replacement.
    const redrawn = (row) => mean(row.map(() => row[Math.floor(plan() * count)]));

    function step({ learningRate, batchSize, noise, momentum }) {
      const slope = gradient(weights, data, batch(batchSize)).gradient, from = weights;
      if (noise) for (let k = 0; k < SIZE; k++) slope[k] += noise * normal();
      for (let k = 0; k < SIZE; k++) velocity[k] = momentum * velocity[k] + slope[k];
      weights = from.map((weight, k) => weight - learningRate * velocity[k]);
      const rows = segment(from, weights, data), anew = rows.map(redrawn);
      // Each point is drawn once: a segment begins with the draw with which the one before ended.
      if (end !== null) anew[0] = end;
      end = anew[POINTS];
      const cosine = before && inner(before, slope) / Math.sqrt(inner(before, before) * inner(slope, slope));
      before = slope;
      return { loss: { frozen: rows.map(mean), redrawn: anew }, cosine, distance: Math.hypot(...weights.map((weight, k) => weight - start[k])) };
    }

    return { step, weights: () => weights };
  }

  // The numbers of a segment: the place of its lowest point, height and barrier as in `valleywalk.analysis`.
  function measure(loss) {
    const floor = Math.min(...loss), ends = [loss[0], loss[POINTS]], inside = loss.slice(1, -1);
    return {
      lowest: loss.indexOf(floor),
      height: (ends[0] + ends[1]) / 2 - floor,
      barrier: Math.max(...inside) > Math.max(...ends),
      inside: Math.min(...inside) < Math.min(...ends),
    };
  }

  const ALPHA = Array.from({ length: POINTS + 1 }, (_, point) => point / POINTS);
  return { ALPHA, uniforms, normals, initial, decode, gradient, segment, walk, measure };
})();
