// The same steps measured twice: on one frozen plan, and on a plan that is drawn anew at every point.
(function () {
  "use strict";

  function start(root, chart) {
    const { walks } = chart.content("two-plans-data");
    const svg = chart.figure(root.querySelector("[data-part=chart]"), 230), said = root.querySelector("[data-part=said]");
    const inputs = [...root.querySelectorAll("input")];
    const y = chart.range(walks.flatMap((walk) => walk.loss.flat()));

    function draw() {
      const chosen = inputs.findIndex((input) => input.checked), walk = walks[chosen];
      const crossed = walk.barrier.filter(Boolean).length, steps = walk.barrier.length;
      chart.caption(svg, `Training loss along ${steps} steps of SGD; dashed: the valley floor; a triangle on each barrier`);
      chart.losses(svg, walk, { y, xLabel: "step t" });
      said.textContent = `${["On one frozen plan", "Drawn anew at every point"][chosen]}: ${crossed} of ${steps} steps show a barrier.`;
      root.querySelector("[data-part=setting]").textContent = `${walk.setting}.`;
    }

    inputs.forEach((input) => input.addEventListener("change", draw));
    chart.drawn(root, draw);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("two-plans");
    if (root) start(root, window.valleywalk);
  });
})();
