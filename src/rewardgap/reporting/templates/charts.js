"use strict";
// Draws every <figure data-chart> when it comes into view, in the colours of the theme.

(() => {
  const { style, figures: specs } = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Set();

  function themed(width) {
    const [ink, line, muted] = ["--ink", "--line", "--muted"].map(theme.colour);
    return {
      ...style,
      font: "system-ui, sans-serif",
      axis: {
        ...style.axis, labelColor: ink, titleColor: muted, gridColor: line, domainColor: line,
        tickColor: line, labelLimit: Math.min(220, width / 3),
      },
      legend: { ...style.legend, labelColor: ink, columns: Math.max(2, Math.floor(width / 160)) },
    };
  }

  async function draw(figure) {
    const choice = figure.querySelector("select");
    const plot = figure.querySelector(".plot");
    drawn.add(figure);
    const spec = specs[figure.dataset.chart][choice ? Number(choice.value) : 0];
    await vegaEmbed(plot, { ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" } }, {
      ast: true, // expressions are interpreted: the page allows no code made from text
      actions: false,
      renderer: "svg",
      config: themed(plot.clientWidth),
      tooltip: { theme: theme.isDark() ? "dark" : "light" },
    });
    plot.style.minHeight = "";
  }

  const figures = document.querySelectorAll("figure[data-chart]");
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((seen) => seen.isIntersecting)) {
      observer.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  for (const figure of figures) {
    observer.observe(figure);
    figure.querySelector("select")?.addEventListener("change", () => draw(figure));
  }
  // The rest when nothing else is to be done, so that a printed page has them all.
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 500));
  const rest = [...figures].filter((figure) => !figure.closest("details"));
  const drawNext = () => {
    const next = rest.find((figure) => !drawn.has(figure));
    if (!next) return;
    observer.unobserve(next);
    draw(next).then(() => idle(drawNext));
  };
  idle(drawNext);
  document.addEventListener("themechange", () => drawn.forEach(draw));
})();
