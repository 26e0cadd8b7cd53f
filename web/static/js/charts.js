// Draws each `figure.chart` from the table of numbers inside it. The key T opens and closes all of these tables.
import uPlot from "../vendor/uplot.js";

const DASHES = { 1: [6, 4], 2: [], 3: [2, 3], 4: [10, 3, 2, 3], 5: [1, 5], 6: [12, 4] };
const HEIGHT = 260;
const number = (text) => (text === undefined || text === "" || text === "None" ? null : Number(text));
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (look) => css(`--look-${look}`);

// The numbers of a figure: x (n,), and series with values, low and high (n,) or null.
export function numbersOf(figure) {
  const table = figure.querySelector(".numbers table");
  const rows = [...table.tBodies[0].rows];
  const text = figure.dataset.xUnit === "text";
  const names = rows.map((row) => row.cells[0].textContent.trim());
  const x = rows.map((row, i) => (text ? i : number(row.cells[0].querySelector("data").value)));
  const series = [...table.tHead.rows[0].cells].slice(1).map((head, column) => {
    const found = rows.map((row) => row.cells[column + 1].querySelector("data"));
    return {
      name: head.textContent.trim(),
      look: head.dataset.look,
      level: "level" in head.dataset,
      values: found.map((data) => (data ? number(data.value) : null)),
      low: found.map((data) => number(data?.dataset.low)),
      high: found.map((data) => number(data?.dataset.high)),
    };
  });
  return { x, names, series };
}

function written(unit, value, names, digits = 0) {
  if (value === null || value === undefined) return "";
  if (unit === "text") return Number.isInteger(value) ? (names[value] ?? "") : "";
  if (unit === "percent") return (100 * value).toFixed(digits);
  if (unit === "time") return new Date(1000 * value).toISOString().slice(0, 16).replace("T", " ");
  const size = Math.abs(value);
  if (size >= 10000) return value.toLocaleString("en", { notation: "compact" });
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
}

// How many decimals tell ticks, as per cent, apart.
function digitsOf(splits) {
  const step = Math.abs(splits[1] - splits[0]);
  return step > 0 ? Math.min(4, Math.max(0, Math.ceil(-Math.log10(100 * step) - 1e-9))) : 0;
}

// The places of ticks: under each word, and of a few numbers that lie by powers of ten under each of them.
function splitsOf(figure, x) {
  if (figure.dataset.xUnit === "text" || ("log" in figure.dataset && x.length <= 12)) return { splits: () => x, filter: (_, at) => at };
  return { space: 60 };
}

// The ends of the horizontal axis: with room for a whole bar, or a word.
function ends(figure, x) {
  const [first, last] = [x[0], x.at(-1)];
  if (figure.dataset.kind === "bars" || figure.dataset.xUnit === "text") {
    const room = x.length > 1 ? (last - first) / (x.length - 1) / 2 : 0.5;
    return [first - room, last + room];
  }
  return first === last ? [first - 0.5, last + 0.5] : [first, last];
}

function axis(figure, side, names, x) {
  const unit = figure.dataset[`${side}Unit`];
  const ink = css("--soft");
  const across = side === "x";
  return {
    label: figure.dataset[`${side}Label`] + (unit === "percent" ? ", %" : ""),
    labelSize: 22,
    labelFont: `12px ${css("--sans")}`,
    font: `12px ${css("--sans")}`,
    stroke: ink,
    size: across ? 34 : 48,
    grid: { stroke: css("--line"), width: 1, show: !across },
    ticks: { stroke: css("--line"), width: 1, size: 4 },
    ...(across ? splitsOf(figure, x) : {}),
    ...(across && unit === "text" && names.length > 6 ? { rotate: -35, size: 70 } : {}),
    values: (_, splits) => splits.map((v) => written(unit, v, names, digitsOf(splits))),
  };
}

function lineOf(one, kind) {
  const stroke = colour(one.look);
  const line = { label: one.name, stroke, width: 2, dash: DASHES[one.look], points: { show: kind === "line" && !one.level && one.values.length <= 30, size: 6, fill: stroke } };
  if (kind === "steps") return { ...line, paths: uPlot.paths.stepped({ align: 1 }), fill: `${stroke}22`, points: { show: false } };
  if (kind === "bars") return { ...line, paths: uPlot.paths.bars({ size: [0.7, 60] }), fill: `${stroke}55`, dash: [], points: { show: false } };
  return line;
}

// Marks are drawn by a hook: lines across at values of x.
function marksOf(figure) {
  const marks = [...figure.querySelectorAll(".keys .mark")].map((m) => ({ at: number(m.dataset.at), look: m.dataset.look }));
  return (plot) => {
    const { ctx, bbox } = plot;
    for (const mark of marks) {
      const left = plot.valToPos(mark.at, "x", true);
      ctx.save();
      ctx.strokeStyle = colour(mark.look);
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash([5 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
      ctx.restore();
    }
  };
}

// What the pointer is at, written over the drawing: uPlot's own legend would not fit a phone.
function reader(figure, names, shown) {
  const box = document.createElement("p");
  box.className = "reading-at";
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor: (plot) => {
        const i = plot.cursor.idx;
        box.hidden = i === null || i === undefined;
        if (box.hidden) return;
        const says = [written(figure.dataset.xUnit, plot.data[0][i], names, 1)];
        for (const { at, name } of shown) says.push(`${name.replace(/, %$/, "")} ${written(figure.dataset.yUnit, plot.data[at][i], names, 1)}`);
        box.textContent = says.join(" · ");
      },
    },
  };
}

export function draw(figure) {
  const host = figure.querySelector(".drawing");
  const { x, names, series } = numbersOf(figure);
  const kind = figure.dataset.kind;
  figure.plot?.destroy();
  if (!x.length) return;
  const data = [x];
  const shapes = [{}];
  const bands = [];
  const shown = [];
  for (const one of series) {
    data.push(one.values);
    shapes.push(lineOf(one, kind));
    shown.push({ at: data.length - 1, name: one.name });
    if (one.low.some((v) => v !== null)) {
      const edge = { stroke: "transparent", width: 0, points: { show: false } };
      data.push(one.high, one.low);
      shapes.push(edge, edge);
      bands.push({ series: [data.length - 2, data.length - 1], fill: `${colour(one.look)}2b` });
    }
  }
  const zero = kind !== "line" || figure.dataset.yUnit === "count";
  const values = data.slice(1).flat().filter((v) => v !== null);
  const only = values.length && Math.min(...values) === Math.max(...values);
  figure.plot = new uPlot(
    {
      width: Math.max(host.clientWidth, 200),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { show: kind === "line" }, drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: ends(figure, x), ...("log" in figure.dataset ? { distr: 3 } : {}) },
        y: zero ? { range: (_, __, high) => [0, high * 1.06 || 1] } : only ? { range: [values[0] - 0.05, values[0] + 0.05] } : {},
      },
      series: shapes,
      bands,
      axes: [axis(figure, "x", names, x), axis(figure, "y", names, x)],
      plugins: [reader(figure, names, shown)],
      hooks: { draw: [marksOf(figure)] },
    },
    data,
    host,
  );
}

export function drawAll(root = document) {
  for (const figure of root.querySelectorAll("figure.chart")) draw(figure);
}

function install() {
  drawAll();
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const figure = target.closest("figure.chart");
      if (figure.plot && Math.abs(figure.plot.width - target.clientWidth) > 1) figure.plot.setSize({ width: Math.max(target.clientWidth, 200), height: HEIGHT });
    }
  });
  for (const host of document.querySelectorAll("figure.chart .drawing")) sizes.observe(host);
  document.addEventListener("themechange", () => drawAll());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "t" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const all = [...document.querySelectorAll("details.numbers")];
    const open = all.some((details) => !details.open);
    for (const details of all) details.open = open;
  });
}

install();
