// The figures of the last minutes as lines, drawn by uPlot, and those of the stages as a table.

import { colourOfNumber } from "./colours.js";
import { element, fill } from "./dom.js";
import { clockTime, short } from "./format.js";
import { colourOf, themeChanged } from "./theme.js";

const HEIGHT = 132; // px
const THEME_LINES = 6; // --line-1 and so on in the style sheet
const PERCENTILES = ["p50", "p95", "p99"];

/** Each chart: its title, its unit, and the values of one second by the name of the line. */
export const CHARTS = [
  {
    title: "Frames per second",
    values: (status) => ({ in: status.fps_in, out: status.fps_out }),
  },
  {
    title: "Frame age",
    unit: "ms",
    values: (status) => Object.fromEntries(PERCENTILES.map((one) => [one, status.age_ms[one]])),
  },
  {
    title: "Stage latency",
    unit: "ms",
    choices: PERCENTILES,
    table: stageTable, // in place of a legend
    values: (status, before, choice) => mapped(status.stages, (stage) => stage[`${choice}_ms`]),
  },
  {
    title: "Drops per second",
    values: (status, before, choice, seconds) =>
      mapped(status.drops, (count, reason) =>
        before && seconds > 0 ? Math.max(0, count - (before.drops[reason] ?? 0)) / seconds : 0,
      ),
    empty: "No frame was dropped.",
  },
  {
    title: "Objects by class",
    values: (status) => status.objects,
    empty: "Nothing was found yet.",
  },
];

/** One of CHARTS, drawn again by `show(history)`. */
export class Chart {
  constructor(spec) {
    this.spec = spec;
    this.choice = spec.choices?.[0];
    this.plot = element("div", { class: "plot" });
    this.table = element("div", {});
    this.root = element(
      "section",
      { class: spec.table ? "card chart tall" : "card chart", "aria-label": spec.title },
      element("header", {}, element("h3", {}, title(spec)), this.#choices()),
      this.plot,
      this.table,
    );
    this.lines = [];
    this.forget = () => this.#clear();
    themeChanged.addEventListener("change", this.forget);
    this.observer = new ResizeObserver(() => {
      this.drawn?.setSize({ width: this.plot.clientWidth, height: HEIGHT });
    });
    this.observer.observe(this.plot);
  }

  show(history) {
    this.history = history;
    const rows = this.#rows(history);
    const lines = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    if (!lines.length) {
      this.#clear();
      fill(this.plot, element("p", { class: "faint" }, this.spec.empty ?? "Nothing yet."));
      return;
    }
    const columns = lines.map((line) => rows.map((row) => row[line] ?? null));
    const data = [history.times, ...columns];
    if (this.drawn && lines.join("\n") === this.lines.join("\n")) this.drawn.setData(data);
    else this.#draw(lines, data);
    if (this.spec.table) fill(this.table, this.spec.table(history.samples.at(-1), this.colours));
    // the legend tells the newest values, but for who points at older ones
    if (this.drawn.cursor.left < 0) this.drawn.setLegend({ idx: history.times.length - 1 }, false);
  }

  close() {
    themeChanged.removeEventListener("change", this.forget);
    this.observer.disconnect();
    this.#clear();
  }

  #rows({ times, samples }) {
    return samples.map((status, i) =>
      this.spec.values(status, samples[i - 1], this.choice, i ? times[i] - times[i - 1] : 0),
    );
  }

  #draw(lines, data) {
    this.#clear();
    fill(this.plot);
    this.lines = lines;
    this.colours = Object.fromEntries(lines.map((line, i) => [line, lineColour(i)]));
    const axis = { stroke: colourOf("--faint"), font: "11px system-ui", ticks: { show: false } };
    const grid = { stroke: colourOf("--edge"), width: 1 };
    const options = {
      width: this.plot.clientWidth || 300,
      height: HEIGHT,
      padding: [8, 24, 0, 0],
      legend: { show: this.spec.table === undefined },
      cursor: { y: false, points: { size: 6 } },
      scales: { y: { range: (plot, least, most) => [0, Math.max(1, most * 1.1)] } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          space: 76,
          size: 24,
          values: (plot, at) => at.map(clockTime),
        },
        { ...axis, grid, size: 38, space: 28 },
      ],
      series: [
        { label: "time", value: (plot, at) => (at === null ? "–" : clockTime(at)) },
        ...lines.map((label) => ({
          label,
          stroke: this.colours[label],
          width: 1.5,
          points: { show: false },
          value: (plot, value) => short(value),
        })),
      ],
    };
    this.drawn = new uPlot(options, data, this.plot);
  }

  #clear() {
    this.drawn?.destroy();
    this.drawn = null;
    this.lines = [];
  }

  #choices() {
    if (!this.spec.choices) return null;
    const choose = (event) => {
      this.choice = event.target.value;
      if (this.history) this.show(this.history);
    };
    const options = this.spec.choices.map((one) => element("option", {}, one));
    return element("select", { onchange: choose, "aria-label": "Percentile" }, ...options);
  }
}

/** What the stages take now: the chart of them in figures, for all who cannot see it too. */
function stageTable({ stages }, colours) {
  const rows = Object.entries(stages).map(([name, stage]) => {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colours[name];
    const cells = PERCENTILES.map((one) => element("td", {}, short(stage[`${one}_ms`])));
    return element("tr", {}, element("th", { scope: "row" }, swatch, name), ...cells);
  });
  const heads = ["stage", ...PERCENTILES].map((one) => element("th", { scope: "col" }, one));
  return element(
    "table",
    { class: "stages" },
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
}

/** Those of the style sheet first, which suit dark and light. */
function lineColour(i) {
  return i < THEME_LINES ? colourOf(`--line-${i + 1}`) : colourOfNumber(i);
}

function title(spec) {
  return spec.unit ? `${spec.title}, ${spec.unit}` : spec.title;
}

function mapped(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, one]) => [name, change(one, name)]));
}
