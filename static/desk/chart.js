// Draw throughput with uPlot: items a minute over time, completed and failed. The numbers stand in data-chart; without
// this script the caption says the most of it.

const HEIGHT = 120;
// Seconds between labels: whole minutes, since that is what a point stands for.
const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400];

function colour(name) {
  // uPlot paints on a canvas, which knows no custom properties: ask an element for the colour that they come to.
  const probe = document.createElement("span");
  probe.className = name;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function options(figure) {
  const grid = { stroke: colour("chart-line"), width: 1 };
  const text = colour("muted");
  const axis = { stroke: text, grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return {
    width: figure.clientWidth,
    height: HEIGHT,
    padding: [8, 30, 0, 0], // right: half of a time, where a tick stands at the edge
    cursor: { y: false, points: { size: 6 } },
    legend: { show: false },
    scales: {
      x: { range: (plot, from, to) => (plot.data[0].length > 1 ? [from, to] : [from - 60, from + 60]) },
      y: { range: (plot, min, max) => [0, Math.max(1, max)] },
    },
    axes: [
      { ...axis, space: 60, size: 24, incrs: STEPS, values: (plot, ticks) => ticks.map(clock) },
      { ...axis, space: 30, size: (plot, labels) => 16 + 7 * Math.max(4, ...(labels ?? []).map((one) => one.length)) },
    ],
    series: [
      {},
      { label: figure.dataset.completed, stroke: colour("state-completed"), width: 2, fill: colour("chart-fill") },
      { label: figure.dataset.failed, stroke: colour("state-failed"), width: 2 },
    ],
    hooks: { setCursor: [(plot) => tell(figure, plot)] },
  };
}

function tell(figure, plot) {
  const at = plot.cursor.idx;
  const caption = figure.querySelector("figcaption");
  figure.dataset.caption ??= caption.textContent;
  if (at === null || at === undefined) {
    caption.textContent = figure.dataset.caption;
    return;
  }
  const [times, completed, failed] = plot.data;
  const time = new Date(times[at] * 1000).toLocaleTimeString();
  caption.textContent = `${time} · ${completed[at]} ${figure.dataset.completed} · ${failed[at]} ${figure.dataset.failed}`;
}

function draw(figure) {
  let plot = null;
  function paint() {
    plot?.destroy();
    plot = new uPlot(options(figure), JSON.parse(figure.dataset.chart), figure);
  }
  paint();
  figure.addEventListener("desk-redraw", () => {
    figure.dataset.caption = figure.querySelector("figcaption").textContent;
    plot.setData(JSON.parse(figure.dataset.chart));
  });
  new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: HEIGHT })).observe(figure);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

function drawAll() {
  for (const figure of document.querySelectorAll("[data-chart]:not([data-drawn])")) {
    figure.dataset.drawn = "";
    draw(figure);
  }
}

drawAll();
document.addEventListener("htmx:afterSettle", drawAll);
