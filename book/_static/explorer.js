// A walk, step by step: the segment, the floor, the cosine and the distance together. No server, no library.
(function () {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const BLUE = "var(--walk-blue)", ORANGE = "var(--walk-orange)", GREY = "var(--walk-grey)";

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(made);
    return made;
  }

  function range(values) {
    const known = values.filter((v) => v !== null);
    const low = Math.min(...known), high = Math.max(...known);
    const margin = (high - low) * 0.05 || 1;
    return [low - margin, high + margin];
  }

  function number(value) {
    return value === null ? "none" : Number(value.toPrecision(4)).toString();
  }

  // Axes in an <svg>; gives functions from numbers to places in it.
  function axes(svg, label, xs, ys, xLabel) {
    const width = 640, height = Number(svg.dataset.height), left = 62, right = 10, top = 20, bottom = 34;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const x = (v) => left + ((v - xs[0]) / (xs[1] - xs[0])) * (width - left - right);
    const y = (v) => height - bottom - ((v - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
    element("path", { d: `M${left},${top}V${height - bottom}H${width - right}`, class: "walk-axis" }, svg);
    element("text", { x: left, y: 13, class: "walk-label" }, svg).textContent = label;
    element("text", { x: width - right, y: height - 4, "text-anchor": "end", class: "walk-label" }, svg)
      .textContent = xLabel;
    for (const part of [0.05, 0.5, 0.95]) {
      const vy = ys[0] + part * (ys[1] - ys[0]);
      element("text", { x: left - 6, y: y(vy) + 4, "text-anchor": "end", class: "walk-tick" }, svg)
        .textContent = Number(vy.toPrecision(3));
    }
    for (const part of [0, 0.5, 1]) {
      const vx = xs[0] + part * (xs[1] - xs[0]);
      element("text", { x: x(vx), y: height - bottom + 14, "text-anchor": "middle", class: "walk-tick" }, svg)
        .textContent = Number(vx.toPrecision(3));
    }
    return { x, y };
  }

  function line(svg, place, xs, ys, attributes) {
    let path = "";
    for (let i = 0, pen = "M"; i < xs.length; i++) {
      if (ys[i] === null) { pen = "M"; continue; }
      path += `${pen}${place.x(xs[i]).toFixed(2)},${place.y(ys[i]).toFixed(2)}`;
      pen = "L";
    }
    element("path", Object.assign({ d: path, fill: "none", "stroke-width": 1.6 }, attributes), svg);
  }

  function start(root) {
    const walks = JSON.parse(document.getElementById("explorer-data").textContent);
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const choice = find("walk"), slider = find("iteration"), play = find("play"), said = find("said");
    const charts = { loss: find("loss"), segment: find("segment"), cosine: find("cosine"), distance: find("distance") };
    let timer = null;

    walks.forEach((walk, index) => choice.add(new Option(walk.name, index)));

    function draw() {
      const walk = walks[choice.value], t = Number(slider.value), count = walk.loss.length;
      const all = walk.loss.flat(), alpha = walk.alpha, segment = walk.loss[t];
      const along = walk.loss.flatMap((_, i) => alpha.map((a) => i + a));

      let place = axes(charts.loss, "training loss along the segments, and the valley floor", [0, count], range(all), "iteration t");
      element("rect", { x: place.x(t), y: 20, width: place.x(t + 1) - place.x(t), height: charts.loss.dataset.height - 54, class: "walk-now" }, charts.loss);
      line(charts.loss, place, along, all, { stroke: BLUE });
      line(charts.loss, place, walk.floor.map((_, i) => i + walk.floorAlpha[i]), walk.floor, { stroke: ORANGE, "stroke-dasharray": "5 3" });

      place = axes(charts.segment, `the segment from step ${t} to ${t + 1}`, [0, 1], range(segment), "α");
      line(charts.segment, place, [0, 1], [segment[0], segment[segment.length - 1]], { stroke: GREY, "stroke-dasharray": "2 3" });
      line(charts.segment, place, alpha, segment, { stroke: BLUE, "stroke-width": 2.4 });
      alpha.forEach((a, i) => element("circle", { cx: place.x(a), cy: place.y(segment[i]), r: 3, fill: BLUE }, charts.segment));
      element("circle", { cx: place.x(walk.floorAlpha[t]), cy: place.y(walk.floor[t]), r: 6, fill: "none", stroke: ORANGE, "stroke-width": 2.4 }, charts.segment);

      for (const [name, ys, label] of [
        ["cosine", [-1.05, 1.05], "cosine of this gradient and the one before"],
        ["distance", range([0, ...walk.distance]), "distance from the initialisation"],
      ]) {
        const at = name === "cosine" ? 0 : 1;
        place = axes(charts[name], label, [0, count], ys, "iteration t");
        if (name === "cosine") line(charts[name], place, [0, count], [0, 0], { stroke: GREY, "stroke-width": 1 });
        line(charts[name], place, walk[name].map((_, i) => i + at), walk[name], { stroke: BLUE });
        if (walk[name][t] !== null)
          element("circle", { cx: place.x(t + at), cy: place.y(walk[name][t]), r: 6, fill: "none", stroke: ORANGE, "stroke-width": 2.4 }, charts[name]);
      }

      said.textContent =
        `Step ${t}: loss ${number(segment[0])} to ${number(segment[segment.length - 1])}, ` +
        `floor ${number(walk.floor[t])} at α = ${number(walk.floorAlpha[t])}, height ${number(walk.height[t])}, ` +
        `${walk.barrier[t] ? "a barrier" : "no barrier"}; cosine ${number(walk.cosine[t])}, ` +
        `distance ${number(walk.distance[t])}.`;
    }

    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    }

    function choose() {
      stop();
      slider.max = walks[choice.value].loss.length - 1;
      slider.value = 0;
      draw();
    }

    choice.addEventListener("change", choose);
    slider.addEventListener("input", draw);
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (slider.value === slider.max) slider.value = 0;
      play.textContent = "Pause";
      timer = setInterval(() => {
        if (slider.value === slider.max) return stop();
        slider.value = Number(slider.value) + 1;
        draw();
      }, 400);
    });
    choose();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("explorer");
    if (root) start(root);
  });
})();
