// What sphinx-tippy has no setting for; see its settings in _config.yml.
tippy.setDefaultProps({
  // A table that scrolls would cut them.
  appendTo: () => document.body,
  aria: { content: "describedby", expanded: false },
  duration: 0,
  // Mathematics and pictures get their size when they are shown.
  onMount: (tip) => new ResizeObserver(() => tip.popperInstance?.update()).observe(tip.popper),
  // A tooltip has plain text.
  role: "note",
  // A tap follows the link.
  touch: false,
});
document.addEventListener("keydown", (event) => event.key === "Escape" && tippy.hideAll());
