// Two walks, step by step: all segments, the present one, the cosine and the distance of each. No server, no library.
(function () {
  "use strict";
  const PANELS = { loss: 220, segment: 200, cosine: 150, distance: 150 };
  const CAPTIONS = {
    loss: "training loss along all segments; dashed: the valley floor",
    segment: "the segment of this step; filled: measured, hollow: read off the polynomial",
    cosine: "cosine of this gradient and the one before",
    distance: "distance from the initialisation",
  };

  function start(root, chart) {
    const { walks, pairs } = chart.content("explorer-data");
    walks.push(...chart.content("two-plans-data").walks);
    const byId = Object.fromEntries(walks.map((walk) => [walk.id, walk]));
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const slider = find("iteration"), play = find("play"), same = find("same"), columns = find("columns");
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    let timer = null, writing = null;

    const sides = ["First", "Second"].map((which) => {
      const head = document.createElement("div");
      head.innerHTML = `<label>${which} walk <select></select></label>
        <p class="walk-setting"><span></span> <a>Its page</a></p><p role="status" data-part="said"></p>`;
      const choice = head.querySelector("select");
      walks.forEach((walk) => choice.add(new Option(`${walk.label}. ${walk.title}`, walk.id)));
      choice.addEventListener("change", () => choose(sides.map((side) => side.choice.value)));
      columns.appendChild(head);
      return { head, choice, charts: {} };
    });
    // Panel after panel, so that in one column the same panels of both walks follow each other.
    for (const name in PANELS)
      for (const side of sides) {
        const svg = chart.figure(columns, PANELS[name]);
        svg.parentNode.dataset.part = name;
        side.charts[name] = svg;
      }

    function draw() {
      const shown = sides.map((side) => byId[side.choice.value]);
      const at = shown.map((walk) => Math.min(Number(slider.value), walk.loss.length - 1));
      const ranges = (values) => {
        const own = shown.map((walk) => chart.range(values(walk)));
        return same.checked ? own.map(() => chart.range(own.flat())) : own;
      };
      const longest = Math.max(...shown.map((walk) => walk.loss.length));
      const losses = ranges((walk) => walk.loss.flat()), distances = ranges((walk) => [0, ...walk.distance]);
      // Two segments lie at different losses: what they can share is the length of the axis.
      const segments = shown.map((walk, i) => chart.range(walk.loss[at[i]]));
      const length = Math.max(...segments.map(([low, high]) => high - low));
      const centred = segments.map(([low, high]) => [(low + high - length) / 2, (low + high + length) / 2]);

      sides.forEach((side, i) => {
        const walk = shown[i], t = at[i], steps = { x: [0, same.checked ? longest : walk.loss.length], whole: true };
        steps.xLabel = walk.start ? `step t, from iteration ${walk.start} on` : "step t";
        for (const name in PANELS) chart.caption(side.charts[name], `${walk.label}: ${CAPTIONS[name]}`);
        goes(side.charts.loss, walk, 0, chart.losses(side.charts.loss, walk, { ...steps, y: losses[i], now: t }));
        segment(side.charts.segment, walk, t, same.checked ? centred[i] : segments[i]);
        // The cosine belongs to where a step begins, the distance to where it ends.
        series(side.charts.cosine, walk, t, "cosine", { ...steps, after: 0, y: [-1.05, 1.05] });
        series(side.charts.distance, walk, t, "distance", { ...steps, after: 1, y: distances[i] });
        say(side, walk, t);
      });
      const ids = sides.map((side) => side.choice.value).join();
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", ids === pairs[i].walks.join()));
    }

    function segment(svg, walk, t, y) {
      const loss = walk.loss[t], lowest = walk.lowest[t];
      const place = chart.axes(svg, { x: [0, 1], y, xLabel: `α, from step ${t} to ${t + 1}` });
      chart.line(svg, place, [0, 1], [loss[0], loss[loss.length - 1]], "walk-chord");
      chart.line(svg, place, walk.alpha, loss, "walk-line");
      chart.points(svg, place, walk, t, 0);
      chart.ring(svg, place, walk.alpha[lowest], loss[lowest]);
      chart.hover(svg, place, (at, layer) => {
        const i = chart.nearest(walk.alpha, at);
        chart.ring(layer, place, walk.alpha[i], loss[i]);
        return [`α = ${chart.number(walk.alpha[i])}`, chart.lossText(walk, t, i)];
      });
    }

    function series(svg, walk, t, name, how) {
      const place = chart.series(svg, name, walk[name], { ...how, now: t, shaded: true });
      goes(svg, walk, 0.5 - how.after, place);
    }

    // A click or tap goes to the step there, and says again what is under the pointer.
    function goes(svg, walk, shift, place) {
      svg.classList.add("walk-goes");
      svg.onclick = (event) => {
        stop();
        go(chart.step(place.inverse(event.clientX - svg.getBoundingClientRect().left) + shift, walk));
        svg.onpointermove(event);
      };
    }

    // What a walk has of one step.
    function at(walk, t) {
      const names = ["loss", "lowest", "height", "barrier", "cosine", "distance"];
      return Object.fromEntries(names.map((name) => [name, walk[name][t]]));
    }

    function say(side, walk, t) {
      const last = t < Number(slider.value) ? ", the last one" : "";
      side.head.querySelector(".walk-setting span").textContent = `${walk.setting}.`;
      side.head.querySelector("a").href = `../figures/${walk.page}.html`;
      side.head.querySelector("[data-part=said]").textContent = chart.said(t, { ...at(walk, t), alpha: walk.alpha }, last);
    }

    // The address of what is seen. A browser takes few changes a second, so that it follows with a pause.
    function write() {
      clearTimeout(writing);
      writing = setTimeout(() => {
        const ids = sides.map((side) => side.choice.value).join(",");
        history.replaceState(null, "", `#walks=${ids}&step=${slider.value}${same.checked ? "&axes=same" : ""}`);
      }, 250);
    }

    function read() {
      const given = new URLSearchParams(location.hash.slice(1));
      const ids = (given.get("walks") || "").split(",");
      if (ids.length !== sides.length || !ids.every((id) => Object.hasOwn(byId, id))) return false;
      same.checked = given.get("axes") === "same";
      set(ids, Number.parseInt(given.get("step"), 10) || 0);
      return true;
    }

    function set(ids, t) {
      stop();
      sides.forEach((side, i) => { side.choice.value = ids[i]; });
      slider.max = Math.max(...ids.map((id) => byId[id].loss.length)) - 1;
      slider.value = t;
    }

    function choose(ids) {
      set(ids, 0);
      draw();
      write();
    }

    function go(t) {
      slider.value = t;
      draw();
      write();
    }

    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = still.matches ? "Next step" : "Play";
    }

    function next() {
      if (slider.value === slider.max) return false;
      go(Number(slider.value) + 1);
      return true;
    }

    const buttons = pairs.map((pair) => {
      const button = find("pairs").appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = pair.name;
      button.addEventListener("click", () => choose(pair.walks));
      return button;
    });
    slider.addEventListener("input", () => { stop(); go(slider.value); });
    same.addEventListener("change", () => { draw(); write(); });
    // Where the focus is not on something with arrow keys of its own.
    root.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const to = { ArrowLeft: slider.value - 1, ArrowRight: Number(slider.value) + 1, Home: 0, End: slider.max }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      stop();
      go(to);
    });
    // Whoever asked for less motion gets a step a press.
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (slider.value === slider.max) go(0);
      else next();
      if (still.matches) return;
      play.textContent = "Pause";
      timer = setInterval(() => next() || stop(), 400);
    });
    still.addEventListener("change", stop);
    window.addEventListener("hashchange", () => { if (read()) draw(); });

    if (!read()) set((pairs[0] || { walks: [walks[0].id, walks[0].id] }).walks, 0);
    chart.drawn(root, draw);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("explorer");
    if (root) start(root, window.valleywalk);
  });
})();
