// The panel of chosen items: what they have in common, a list of them, and a file of them.
import { flipped, isQuery, valueOf } from "./maps-data.js";
import { count, make, percent, points } from "./maps-parts.js";

const LISTED = 200;
const BARS = 8;

// Numbers about items: means are of those that have a value, average precision of those that were queries.
export function summary(items, chosen) {
  const queries = chosen.filter((i) => isQuery(items, i));
  const known = chosen.map(items.overlapOf).filter((value) => !Number.isNaN(value));
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN);
  return {
    items: chosen.length,
    queries: queries.length,
    overlap: mean(known),
    before: mean(queries.map((i) => items.apBefore[i])),
    after: mean(queries.map((i) => items.apAfter[i])),
    lost: queries.filter((i) => flipped(items, i) < 0).length,
    won: queries.filter((i) => flipped(items, i) > 0).length,
  };
}

function figures(items, found) {
  const shown = [["neighbours kept, mean", Number.isNaN(found.overlap) ? "–" : `${percent(found.overlap)} %`]];
  const of = found.queries ? `mAP of ${count(found.queries)} ${found.queries === 1 ? "query" : "queries"} among them, %` : "mAP: no query is among them";
  const both = items.after ? `${percent(found.before)} → ${percent(found.after)}` : percent(found.before);
  shown.push([of, found.queries ? both : "–"]);
  if (items.after && found.queries) {
    shown.push(["change, points", points(found.after - found.before)]);
    shown.push(["right before, wrong now", count(found.lost)]);
    shown.push(["wrong before, right now", count(found.won)]);
  }
  return shown.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })));
}

// How often each value of a label column is among the chosen, as bars; the longest one fills its row.
function mix(label, chosen) {
  const counts = new Map();
  for (const i of chosen) counts.set(label.codes[i], (counts.get(label.codes[i]) ?? 0) + 1);
  const all = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const rows = all.slice(0, BARS).map(([code, n]) => bar(label.values[code] ?? "no label", n, chosen.length, all[0][1]));
  const rest = all.slice(BARS).reduce((sum, [, n]) => sum + n, 0);
  if (rest) rows.push(bar(`${count(all.length - BARS)} others`, rest, chosen.length, all[0][1]));
  return make("div", { className: "mix" }, make("h4", { textContent: `By ${label.name}` }), make("ul", {}, ...rows));
}

function bar(name, n, of, most) {
  const fill = make("span", { className: "fill" });
  fill.style.width = `${Math.min(100, (100 * n) / most)}%`;
  const track = make("span", { className: "track", ariaHidden: "true" }, fill);
  return make("li", {}, make("span", { className: "name", textContent: name, title: name }), track, make("span", { className: "num", textContent: `${count(n)} · ${percent(n / of)} %` }));
}

function row(items, i) {
  const query = isQuery(items, i);
  const overlap = items.overlapOf(i);
  const turn = flipped(items, i);
  const cells = items.labels.map((label) => make("td", { textContent: valueOf(label, i) }));
  const numbers = [Number.isNaN(overlap) ? "–" : `${Math.round(overlap * items.k)} of ${items.k}`, query ? percent(items.apBefore[i]) : "–"];
  if (items.after) numbers.push(query ? percent(items.apAfter[i]) : "–", query ? points(items.apAfter[i] - items.apBefore[i]) : "–");
  cells.push(...numbers.map((text) => make("td", { className: "num", textContent: text })));
  if (items.after) cells.push(make("td", { textContent: turn ? (turn < 0 ? "✗ wrong now" : "✓ right now") : "" }));
  const button = make("button", { type: "button", className: "show", textContent: items.ids[i], dataset: { item: i } });
  return make("tr", { dataset: { item: i } }, make("th", { scope: "row" }, button), ...cells);
}

// The first of the chosen: queries, whoever loses most before all others, and then who keeps the fewest neighbours.
function urgent(items, chosen) {
  const change = (i) => items.apAfter[i] - items.apBefore[i] || 0;
  const queries = chosen.filter((i) => isQuery(items, i)).sort((a, b) => change(a) - change(b) || a - b);
  if (queries.length >= LISTED) return queries.slice(0, LISTED);
  const others = chosen.filter((i) => !isQuery(items, i)).sort((a, b) => items.overlap[a] - items.overlap[b] || a - b);
  return [...queries, ...others].slice(0, LISTED);
}

// Fills the panel; without items it is hidden.
export function showChosen(panel, items, chosen) {
  panel.hidden = !chosen.length;
  const found = summary(items, chosen);
  panel.querySelector("h3").textContent = `${count(chosen.length)} of ${count(items.n)} items chosen`;
  panel.querySelector("dl").replaceChildren(...figures(items, found));
  panel.querySelector(".mixes").replaceChildren(...items.labels.map((label) => mix(label, chosen)));
  panel.querySelector("tbody").replaceChildren(...urgent(items, chosen).map((i) => row(items, i)));
  panel.querySelector(".listed").textContent = `Queries come first, the largest loss before all others.${chosen.length > LISTED ? ` These are ${LISTED} of ${count(chosen.length)}; the file has all of them.` : ""}`;
  return found;
}

export function headsOf(items) {
  const heads = items.labels.map(({ name }) => make("th", { scope: "col", textContent: name }));
  const numbers = ["neighbours kept", "AP today, %", ...(items.after ? [`AP ${items.after}, %`, "change, points"] : [])];
  heads.push(...numbers.map((name) => make("th", { scope: "col", className: "num", textContent: name })));
  if (items.after) heads.push(make("th", { scope: "col", textContent: "first result" }));
  return [make("th", { scope: "col", textContent: "item" }), ...heads];
}

// A cell that a spreadsheet takes for a formula gets an apostrophe before it.
function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(items, chosen) {
  const stages = items.after ? ["today", items.after] : ["today"];
  const head = ["id", ...items.labels.map(({ name }) => name), "overlap", ...stages.map((s) => `ap_${s}`), ...stages.map((s) => `hit_${s}`)];
  const rows = chosen.map((i) => {
    const query = isQuery(items, i);
    const overlap = items.overlapOf(i);
    const precisions = [items.apBefore[i], items.apAfter[i]].slice(0, stages.length).map((value) => (query ? value : ""));
    const hits = [1, 2].slice(0, stages.length).map((bit) => (query ? Number((items.hits[i] & bit) > 0) : ""));
    return [items.ids[i], ...items.labels.map((label) => label.values[label.codes[i]] ?? ""), Number.isNaN(overlap) ? "" : overlap, ...precisions, ...hits];
  });
  return [head, ...rows].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

export function download(items, chosen) {
  const name = ["chosen", items.benchmark, items.old, items.new].join("-").replace(/[^\w.-]+/g, "-");
  const link = make("a", { href: URL.createObjectURL(new Blob([csv(items, chosen)], { type: "text/csv" })), download: `${name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
