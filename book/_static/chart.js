// What the book's charts share: axes with round ticks, lines, points, and what is under the pointer.
window.valleywalk = (function () {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 58, RIGHT = 12, TOP = 12, BOTTOM = 38;

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    parent.appendChild(made);
    return made;
  }

  function minus(text) {
    return text.replace("-", "−");
  }

  function superscript(power) {
    return [...String(power)].map((sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign])).join("");
  }

  function number(value, digits = 4) {
    if (value === null) return "none";
    const [mantissa, power] = value.toExponential(digits - 1).split("e").map(Number);
    if (value && power < -3) return `${minus(String(mantissa))} × 10${superscript(power)}`;
    return minus(String(Number(value.toPrecision(digits))));
  }

  // Digits that tell losses of one segment from each other.
  function digits(losses) {
    const high = Math.max(...losses), low = Math.min(...losses);
    return high === low ? 4 : Math.max(4, 3 + Math.ceil(Math.log10(Math.abs(high) / (high - low))));
  }

  // Lowest and highest of the values, with a margin.
  function range(values) {
    const known = values.filter((value) => value !== null);
    const low = Math.min(...known), high = Math.max(...known);
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.06 || 1;
    return [low - margin, high + margin];
  }

  // At most `count` + 1 round numbers in a range, 1, 2 or 5 times a power of ten apart. Very small and very
  // large ones have that power taken out of them.
  function ticks([low, high], count, whole = false) {
    const rough = Math.max((high - low) / count, whole ? 1 : 0);
    const power = Math.floor(Math.log10(rough));
    // A little more than the step wanted counts as the step: a power of ten is not exact in floating point.
    const step = [1, 2, 5, 10].map((m) => m * 10 ** power).find((each) => each >= rough * (1 - 1e-9));
    const size = Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high))));
    const factor = size < -3 || size > 4 ? size : 0;
    const decimals = Math.max(0, factor - Math.floor(Math.log10(step) + 1e-9));
    const values = [];
    // Adding 0 makes 0 of −0.
    for (let i = Math.ceil(low / step); i <= Math.floor(high / step); i++) values.push(i * step + 0);
    return { values, factor, text: (value) => minus((value / 10 ** factor).toFixed(decimals)) };
  }

  // Axes in an emptied <svg>, as wide as it is shown; gives functions from numbers to places in it.
  function axes(svg, { x: xs, y: ys, xLabel, whole = false }) {
    const width = svg.clientWidth || 640, height = Number(svg.dataset.height);
    const right = width - RIGHT, bottom = height - BOTTOM;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    const x = (value) => LEFT + ((value - xs[0]) / (xs[1] - xs[0])) * (right - LEFT);
    const y = (value) => bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (bottom - TOP);
    const text = (words, attributes) => { element("text", attributes, svg).textContent = words; };
    const across = ticks(xs, Math.max(2, Math.min(8, Math.floor((right - LEFT) / 60))), whole);
    for (const value of across.values) {
      element("path", { d: `M${x(value)},${bottom}v4`, class: "walk-axis" }, svg);
      text(across.text(value), { x: x(value), y: bottom + 16, "text-anchor": "middle", class: "walk-tick" });
    }
    const up = ticks(ys, Math.max(3, Math.floor((bottom - TOP) / 30)));
    for (const value of up.values) {
      element("path", { d: `M${LEFT - 4},${y(value)}H${right}`, class: "walk-grid" }, svg);
      text(up.text(value), { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end", class: "walk-tick" });
    }
    if (up.factor) text(`× 10${superscript(up.factor)}`, { x: 2, y: height - 4, class: "walk-tick" });
    element("path", { d: `M${LEFT},${TOP}V${bottom}H${right}`, class: "walk-axis" }, svg);
    text(xLabel, { x: right, y: height - 4, "text-anchor": "end", class: "walk-label" });
    return { x, y, top: TOP, bottom, inverse: (place) => xs[0] + ((place - LEFT) / (right - LEFT)) * (xs[1] - xs[0]) };
  }

  function line(svg, place, xs, ys, name) {
    let path = "", pen = "M";
    xs.forEach((value, i) => {
      if (ys[i] !== null) path += `${pen}${place.x(value).toFixed(1)},${place.y(ys[i]).toFixed(1)}`;
      pen = ys[i] === null ? "M" : "L";
    });
    element("path", { d: path, class: name }, svg);
  }

  // The points of a segment from `from` on: filled where measured, hollow where read off the polynomial.
  function points(parent, place, walk, t, from) {
    walk.alpha.forEach((alpha, i) => {
      const kind = walk.measured[t][i] === "1" ? "walk-measured" : "walk-read-off";
      element("circle", { cx: place.x(from + alpha), cy: place.y(walk.loss[t][i]), r: 3.2, class: kind }, parent);
    });
  }

  function ring(parent, place, x, y) {
    element("circle", { cx: place.x(x), cy: place.y(y), r: 6, class: "walk-ring" }, parent);
  }

  // The stretch of the axis that belongs to a step.
  function shade(svg, place, t, name) {
    element("rect", { x: place.x(t), y: place.top, width: place.x(1) - place.x(0), height: place.bottom - place.top, class: name }, svg);
  }

  function lossText(walk, t, i) {
    const loss = walk.loss[t];
    return `loss ${number(loss[i], digits(loss))} (${walk.measured[t][i] === "1" ? "measured" : "read off"})`;
  }

  // The top panel of a walk: all segments, the floor, barriers, and step `now` shaded if it is given. The segments of a
  // walk that has gone on for long begin at its step `first`.
  function losses(svg, walk, { x = [0, walk.loss.length], y = range(walk.loss.flat()), xLabel, now = null }) {
    const place = axes(svg, { x, y, xLabel, whole: true }), first = walk.first ?? 0;
    walk.barrier.forEach((crossed, t) => { if (crossed) shade(svg, place, first + t, "walk-barrier-step"); });
    if (now !== null) shade(svg, place, first + now, "walk-now");
    const along = walk.loss.flatMap((_, t) => walk.alpha.map((alpha) => first + t + alpha));
    line(svg, place, along, walk.loss.flat(), "walk-line");
    line(svg, place, walk.lowest.map((i, t) => first + t + walk.alpha[i]), walk.lowest.map((i, t) => walk.loss[t][i]), "walk-floor");
    walk.barrier.forEach((crossed, t) => {
      if (!crossed) return;
      const inside = walk.loss[t].slice(1, -1), highest = Math.max(...inside);
      const top = place.x(first + t + walk.alpha[1 + inside.indexOf(highest)]);
      element("path", { d: `M${top},${place.y(highest) - 3}l-5,-9h10z`, class: "walk-barrier" }, svg);
    });
    hover(svg, place, (at, layer) => {
      const t = step(at - first, walk), i = nearest(walk.alpha, at - first - t);
      points(layer, place, walk, t, first + t);
      ring(layer, place, first + t + walk.alpha[i], walk.loss[t][i]);
      return [`step ${first + t}, α = ${number(walk.alpha[i])}`, lossText(walk, t, i), walk.barrier[t] ? "a barrier" : "no barrier"];
    });
    return place;
  }

  // What a step did, in words: its losses, their lowest point, the rest as numbers.
  function said(t, { loss, alpha, lowest, height, barrier, cosine, distance }, more = "") {
    const digit = digits(loss);
    return `Step ${t}${more}: loss ${number(loss[0], digit)} to ${number(loss[loss.length - 1], digit)}, ` +
      `floor ${number(loss[lowest], digit)} at α = ${number(alpha[lowest])}, height ${number(height)}, ` +
      `${barrier ? "a barrier" : "no barrier"}; cosine ${number(cosine)}, distance ${number(distance)}.`;
  }

  // The panel of the cosine or the distance: a number a step, from step `first` on, drawn `after` the step's beginning;
  // that of step `now` is ringed, and its stretch of the axis may be shaded.
  function series(svg, name, values, { first = 0, after = 0, now, shaded = false, ...how }) {
    const place = axes(svg, how), at = (i) => first + i + after;
    if (shaded) shade(svg, place, first + now, "walk-now");
    if (name === "cosine") line(svg, place, how.x, [0, 0], "walk-chord");
    line(svg, place, values.map((_, i) => at(i)), values, "walk-line");
    const known = (i) => values[i] !== undefined && values[i] !== null;
    if (known(now)) ring(svg, place, at(now), values[now]);
    hover(svg, place, (under, layer) => {
      const i = Math.max(0, Math.min(values.length - 1, Math.round(under - at(0))));
      if (!known(i)) return null;
      ring(layer, place, at(i), values[i]);
      return [`step ${first + i}`, `${name} ${number(values[i])}`];
    });
    return place;
  }

  // The step of a walk in which a place on its axis lies.
  function step(at, walk) {
    return Math.max(0, Math.min(walk.loss.length - 1, Math.floor(at)));
  }

  function nearest(values, wanted) {
    const away = values.map((value) => Math.abs(value - wanted));
    return away.indexOf(Math.min(...away));
  }

  // What `show` draws onto a layer, and says, of the place under the pointer. It stays after a tap.
  function hover(svg, place, show) {
    const tip = svg.parentNode.querySelector(".walk-tip");
    const hide = () => {
      svg.querySelectorAll(".walk-layer").forEach((layer) => layer.remove());
      tip.hidden = true;
    };
    const here = (event) => place.inverse(event.clientX - svg.getBoundingClientRect().left);
    svg.onpointermove = svg.onpointerdown = (event) => {
      hide();
      const lines = show(here(event), element("g", { class: "walk-layer" }, svg));
      if (!lines) return hide();
      tip.textContent = lines.join("\n");
      tip.hidden = false;
      const box = svg.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      const left = x > box.width / 2 ? x - tip.offsetWidth - 14 : x + 14;
      tip.style.left = `${Math.max(0, left)}px`;
      tip.style.top = `${svg.parentNode.offsetHeight - svg.clientHeight + Math.max(0, y - tip.offsetHeight - 8)}px`;
    };
    svg.onpointerleave = (event) => { if (event.pointerType === "mouse") hide(); };
    hide();
    return here;
  }

  // A <figure> with a caption, an <svg> and the box that says what is under the pointer.
  function figure(parent, height) {
    const made = document.createElement("figure");
    made.className = "walk-figure";
    made.innerHTML = `<figcaption></figcaption><svg data-height="${height}" role="img"></svg><div class="walk-tip" aria-hidden="true" hidden></div>`;
    parent.appendChild(made);
    return made.querySelector("svg");
  }

  // The caption is the picture's accessible name, too.
  function caption(svg, words) {
    svg.parentNode.querySelector("figcaption").textContent = words;
    svg.setAttribute("aria-label", words);
  }

  function content(name) {
    return JSON.parse(document.getElementById(name).textContent);
  }

  // Draw now, and again whenever the width changes.
  function drawn(root, draw) {
    let width = null;
    new ResizeObserver(() => {
      if (root.clientWidth !== width) draw();
      width = root.clientWidth;
    }).observe(root);
  }

  return { element, number, digits, range, axes, line, points, ring, lossText, losses, said, series, step, nearest, hover, figure, caption, content, drawn };
})();
