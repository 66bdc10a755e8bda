// A small network that trains in the page: the three panels of a walk, and knobs to turn while it goes on.
(function () {
  "use strict";
  const SHOWN = 40; // steps in the charts, and of a preset
  const PANELS = { loss: 220, cosine: 150, distance: 150 };
  const CAPTIONS = {
    loss: "Training loss along the segments; dashed: the valley floor; a triangle on each barrier",
    cosine: "Cosine of this gradient and the one before",
    distance: "Distance from the initialisation",
  };
  // What a slider's place stands for, and back. Rates are twenty to a power of ten, of two digits.
  const SLIDERS = {
    learningRate: { value: (place) => Number((10 ** (place / 20)).toPrecision(2)), place: (value) => Math.round(20 * Math.log10(value)) },
    batchSize: { value: (place) => 2 ** place, place: Math.log2 },
    noise: { value: Number, place: Number },
    momentum: { value: Number, place: Number },
  };
  const USUAL = { update: "sgd", plan: "frozen", learningRate: 0.2, batchSize: 16, noise: 0, momentum: 0 };
  const PRESETS = [
    {
      name: "Slide", update: "gd", learningRate: 0.4,
      watch: "All images, a small rate. Consecutive gradients point the same way, and each segment falls all the way: its floor is its end.",
    },
    {
      name: "Turn", update: "gd", learningRate: 1,
      watch: "A larger rate. The walk slides until a step reaches beyond the floor: the dashed line leaves the ends of the segments, and the next " +
        "cosine is negative. Later the valley is flatter, and the walk slides again.",
    },
    {
      name: "Bounce", update: "gd", learningRate: 1.4,
      watch: "A rate larger still. Soon the walk goes from wall to wall for a long time: most cosines are negative, some are near −1, and the ends lie " +
        "higher above the floor than before. The floor keeps falling.",
    },
    {
      name: "Two roles", watch: "Mini-batches. Note the mean cosine and the mean height; the next two buttons turn one knob each.",
    },
    {
      name: "Larger batch", batchSize: 64,
      watch: "The batch of “Two roles” four times as large. The mean cosine is far higher; the mean height has hardly moved.",
    },
    {
      name: "Half the rate", learningRate: 0.1,
      watch: "The rate of “Two roles” halved. The mean height is far lower; the mean cosine has moved much less than with the larger batch.",
    },
    {
      name: "Isotropic noise", update: "gd", learningRate: 0.4, noise: 0.2,
      watch: "“Slide” with the same noise in all directions. The cosine is near 0, as most of a step is noise; the walk goes many times as far, and its loss stays higher.",
    },
    {
      name: "Mini-batch noise", learningRate: 0.4,
      watch: "“Slide” with the noise of mini-batches. The cosine falls as well, but the walk goes no farther than without noise: this noise stays in the valley.",
    },
    {
      name: "Frozen plan", batchSize: 32,
      watch: "SGD, each loss measured on the same images. No step crosses a barrier. Now switch to the re-drawn plan.",
    },
    {
      name: "Re-drawn plan", batchSize: 32, plan: "redrawn",
      watch: "The same steps, each loss measured on images that are drawn anew. Most segments have a “barrier”; cosine and distance are what they were.",
    },
  ];

  function start(root, chart, network) {
    const data = network.decode(chart.content("play-data")), count = data.labels.length;
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const play = find("play"), seed = find("seed"), speed = find("speed"), said = find("said");
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const charts = Object.fromEntries(Object.keys(PANELS).map((name) => {
      const svg = chart.figure(find("charts"), PANELS[name]);
      svg.parentNode.dataset.part = name;
      chart.caption(svg, CAPTIONS[name]);
      return [name, svg];
    }));
    let walk = null, steps = [], timer = null, left = Infinity;

    const radios = (name) => [...root.querySelectorAll(`input[type=radio][data-part=${name}]`)];
    const chosen = (name) => radios(name).find((input) => input.checked).value;

    function settings() {
      const values = { update: chosen("update"), plan: chosen("plan") };
      for (const name in SLIDERS) values[name] = SLIDERS[name].value(find(name).value);
      if (values.update === "gd") values.batchSize = count;
      return values;
    }

    function set(values) {
      for (const name of ["update", "plan"]) radios(name).forEach((input) => { input.checked = input.value === values[name]; });
      for (const name in SLIDERS) find(name).value = SLIDERS[name].place(values[name]);
    }

    // What the knobs stand at, beside them and for a screen reader.
    function label() {
      for (const name in SLIDERS) {
        const value = String(SLIDERS[name].value(find(name).value));
        find(name).nextElementSibling.textContent = value;
        find(name).setAttribute("aria-valuetext", value);
      }
      find("batchSize").disabled = chosen("update") === "gd";
    }

    function step() {
      const values = settings(), seen = walk.step(values);
      for (const plan in seen.loss) seen[plan] = network.measure(seen.loss[plan]);
      steps.push({ ...seen, values });
    }

    function draw() {
      label();
      const plan = chosen("plan"), first = Math.max(0, steps.length - SHOWN), shown = steps.slice(first), now = shown.length - 1;
      const how = { x: [first, first + SHOWN], xLabel: "step t", whole: true };
      const y = { loss: [0, 1], cosine: [-1.05, 1.05], distance: [0, 1] };
      if (shown.length) {
        const losses = shown.map((each) => each.loss[plan]);
        const part = (name) => shown.map((each) => each[plan][name]);
        const seen = { first, alpha: network.ALPHA, loss: losses, measured: losses.map(() => "1".repeat(network.ALPHA.length)), lowest: part("lowest"), barrier: part("barrier") };
        chart.losses(charts.loss, seen, { ...how, now, y: chart.range(losses.flat()) });
        y.distance = chart.range([0, ...shown.map((each) => each.distance)]);
      } else chart.axes(charts.loss, { ...how, y: y.loss });
      // The cosine belongs to where a step begins, the distance to where it ends.
      for (const [name, after] of [["cosine", 0], ["distance", 1]])
        chart.series(charts[name], name, shown.map((each) => each[name]), { ...how, first, after, now, y: y[name] });
      say(plan);
    }

    function say(plan) {
      const t = steps.length - 1;
      if (t < 0) {
        said.textContent = `At the initialisation of seed ${seed.value}. “${play.textContent}” and “Step” begin the walk.`;
        find("summary").textContent = "";
        return;
      }
      const { loss, cosine, distance, [plan]: measured } = steps[t];
      const barriers = steps.filter((each) => each[plan].barrier).length;
      said.textContent =
        `${chart.said(t, { ...measured, loss: loss[plan], alpha: network.ALPHA, cosine, distance })} ` +
        `Barriers so far: ${barriers} in ${t + 1} ${t ? "steps" : "step"}.`;
      find("summary").textContent = `This walk: ${summary(plan)}`;
    }

    // The means of the steps that are shown.
    function summary(plan) {
      const shown = steps.slice(-SHOWN), { values } = shown[shown.length - 1];
      const mean = (numbers) => chart.number(numbers.reduce((sum, each) => sum + each, 0) / numbers.length, 3);
      const cosines = shown.map((each) => each.cosine).filter((cosine) => cosine !== null);
      return `${values.update === "gd" ? "gradient descent" : `SGD, batches of ${values.batchSize}`}, rate ${values.learningRate}` +
        `${values.noise ? `, noise ${values.noise}` : ""}${values.momentum ? `, momentum ${values.momentum}` : ""}. ` +
        `Last ${shown.length === 1 ? "step" : `${shown.length} steps`}: mean cosine ${cosines.length ? mean(cosines) : "none"}, ` +
        `mean height ${mean(shown.map((each) => each[plan].height))}, floor inside in ${shown.filter((each) => each[plan].inside).length}, ` +
        `a barrier in ${shown.filter((each) => each[plan].barrier).length} (${plan === "frozen" ? "frozen" : "re-drawn"} plan).`;
    }

    function reset() {
      stop();
      if (steps.length) find("before").textContent = `The walk before: ${summary(chosen("plan"))}`;
      walk = network.walk(data, Number(seed.value));
      steps = [];
      draw();
    }

    // A status that changes many times a second is read out only when the walk has stopped.
    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = still.matches ? `${SHOWN} steps` : "Play";
      said.setAttribute("aria-live", "polite");
    }

    // Go on for so many steps. Whoever asked for less motion gets those of a preset at once.
    function go(count) {
      stop();
      left = count;
      if (still.matches) {
        for (let i = 0; i < SHOWN; i++) step();
        return draw();
      }
      play.textContent = "Pause";
      said.setAttribute("aria-live", "off");
      timer = setInterval(() => {
        step();
        if (--left === 0) stop();
        draw();
      }, 1000 / Number(speed.value));
    }

    for (const preset of PRESETS) {
      const button = find("presets").appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = preset.name;
      button.addEventListener("click", () => {
        reset();
        set({ ...USUAL, ...preset });
        draw();
        find("watch").textContent = `${preset.name}. ${preset.watch}`;
        go(SHOWN);
      });
    }
    play.addEventListener("click", () => (timer ? stop() : go(Infinity)));
    find("step").addEventListener("click", () => { stop(); step(); draw(); });
    find("reset").addEventListener("click", reset);
    seed.addEventListener("change", reset);
    speed.addEventListener("change", () => timer && go(left));
    still.addEventListener("change", stop);
    radios("plan").forEach((input) => input.addEventListener("change", draw));
    radios("update").forEach((input) => input.addEventListener("change", label));
    for (const name in SLIDERS) find(name).addEventListener("input", label);

    // On a phone the charts would be out of sight below them.
    find("knobs").open = matchMedia("(min-width: 720px)").matches;
    set(USUAL);
    reset();
    chart.drawn(root, draw);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("play");
    if (root) start(root, window.valleywalk, window.valleywalkNetwork);
  });
})();
