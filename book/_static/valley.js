// A valley with two directions: L = ½ (a x² + b y²), a walk on it with a learning rate and gradient noise.
(function () {
  "use strict";
  const FLAT = 0.05, STEPS = 40, START = [-9, 1.2];

  // Reproducible normal numbers (mulberry32 and Box–Muller): the same noise at each setting.
  function normals(seed) {
    const uniform = () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  function walk(rate, steep, noise) {
    const normal = normals(7), path = [START], gradients = [];
    for (let t = 0; t < STEPS; t++) {
      const [x, y] = path[t];
      // Noise lies along the steep direction, as that of mini-batches does.
      const gradient = [FLAT * x, steep * y + noise * normal()];
      gradients.push(gradient);
      path.push([x - rate * gradient[0], y - rate * gradient[1]]);
    }
    return { path, gradients };
  }

  function start(root, { element }) {
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const svg = find("valley"), said = find("said");
    const inputs = ["rate", "steep", "noise"].map(find);
    const x = (v) => 320 + v * 32, y = (v) => 130 - v * 60;

    function draw() {
      const [rate, steep, noise] = inputs.map((input) => Number(input.value));
      inputs.forEach((input) => { input.nextElementSibling.textContent = input.value; });
      const { path, gradients } = walk(rate, steep, noise);
      svg.replaceChildren();
      for (const level of [0.02, 0.1, 0.3, 0.7, 1.3, 2.1])
        element("ellipse", { cx: x(0), cy: y(0), rx: 32 * Math.sqrt((2 * level) / FLAT), ry: 60 * Math.sqrt((2 * level) / steep), class: "walk-contour" }, svg);
      element("path", { d: `M0,${y(0)}H640`, class: "walk-floor" }, svg);
      const shown = path.map(([a, b]) => [Math.max(-50, Math.min(50, a)), Math.max(-50, Math.min(50, b))]);
      element("path", { d: "M" + shown.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("L"), class: "walk-path" }, svg);
      shown.forEach(([a, b]) => element("circle", { cx: x(a), cy: y(b), r: 3, class: "walk-point" }, svg));
      let cosine = 0;
      for (let t = 1; t < STEPS; t++) {
        const [a, b] = [gradients[t - 1], gradients[t]];
        cosine += (a[0] * b[0] + a[1] * b[1]) / (Math.hypot(...a) * Math.hypot(...b) || 1) / (STEPS - 1);
      }
      const product = rate * steep, [endX, endY] = path[STEPS];
      const kind = product < 1 ? "it stays on its side of the valley" : product < 2 ? "it bounces from wall to wall and comes down" : product === 2 ? "it bounces for ever" : "it bounces higher at each step: divergence";
      const loss = 0.5 * (FLAT * endX ** 2 + steep * endY ** 2);
      said.textContent = `η times the steep curvature is ${product.toFixed(2)}: without noise ${kind}. ` +
        `Mean cosine ${cosine.toFixed(2)}; loss after ${STEPS} steps ${loss.toPrecision(3)}; ` +
        `it went ${(endX - START[0]).toFixed(1)} along the valley.`;
    }

    inputs.forEach((input) => input.addEventListener("input", draw));
    draw();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("valley");
    if (root) start(root, window.valleywalk);
  });
})();
