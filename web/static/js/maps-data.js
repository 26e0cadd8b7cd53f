// Reads what web/points.py writes: a line of JSON, and columns of numbers behind it, which are looked at where they lie.
import { percent, points } from "./maps-parts.js";

const FORM = 1;
const LARGEST = 32767;
const OVERLAP_PARTS = 200;
const UNKNOWN = 255;
const KINDS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int16: Int16Array, float32: Float32Array };

// The items of a study: places in [-1, 1] of both maps, overlaps and average precisions in [0, 1], NaN where there is none.
export function read(buffer) {
  const end = new Uint8Array(buffer).indexOf(10);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 0, end)));
  if (head.form !== FORM) throw new Error("this page is older than its server: load it again");
  const columns = {};
  for (const { name, dtype, at, length } of head.columns) columns[name] = new KINDS[dtype](buffer, end + 1 + at, length);
  const after = ["upgraded", "backfilled"].find((stage) => `ap_${stage}` in columns);
  return {
    ...head,
    n: head.items,
    after,
    places: { old: placesOf(columns, "old"), new: placesOf(columns, "new") },
    overlap: columns.overlap,
    overlapOf: (i) => (columns.overlap[i] === UNKNOWN ? NaN : columns.overlap[i] / OVERLAP_PARTS),
    labels: head.labels.map(({ name, values }) => ({ name, values, codes: columns[`label.${name}`] })),
    ...queriesOf(columns, head.items, after),
  };
}

function placesOf(columns, side) {
  const scaled = (column) => {
    const places = new Float32Array(column.length);
    for (let i = 0; i < places.length; i += 1) places[i] = column[i] / LARGEST;
    return places;
  };
  return { x: scaled(columns[`x_${side}`]), y: scaled(columns[`y_${side}`]) };
}

// What was measured of queries, laid out for all items: `before` and `after` are average precisions, `hits` says where
// the first result was right: 1 today, 2 after, 3 both, and 4 where the item was a query at all.
function queriesOf(columns, n, after) {
  const before = new Float32Array(n).fill(NaN);
  const later = new Float32Array(n).fill(NaN);
  const hits = new Uint8Array(n);
  columns.query.forEach((item, i) => {
    before[item] = columns.ap_today[i];
    if (after) later[item] = columns[`ap_${after}`][i];
    hits[item] = 4 | columns.hit_today[i] | (after ? 2 * columns[`hit_${after}`][i] : 0);
  });
  return { apBefore: before, apAfter: later, hits };
}

export const isQuery = (items, i) => items.hits[i] >= 4;
export const flipped = (items, i) => ({ 5: -1, 6: 1 })[items.hits[i]] ?? 0;

export const valueOf = (label, i) => label.values[label.codes[i]] ?? "no label";

// An item in one line of words.
export function describe(items, i) {
  const said = [items.ids[i], items.labels.map((label) => `${label.name} ${valueOf(label, i)}`).join(", ")];
  const overlap = items.overlapOf(i);
  if (!Number.isNaN(overlap)) said.push(`keeps ${Math.round(overlap * items.k)} of ${items.k} neighbours`);
  if (!isQuery(items, i)) return [...said, "was no query"].filter(Boolean).join(" · ");
  const [before, after] = [items.apBefore[i], items.apAfter[i]];
  if (!items.after) said.push(`AP ${percent(before)} today`);
  else said.push(`AP ${percent(before)} → ${percent(after)} (${points(after - before)})`);
  const turn = flipped(items, i);
  if (turn) said.push(turn < 0 ? "first result was right, is wrong now" : "first result was wrong, is right now");
  return said.filter(Boolean).join(" · ");
}
