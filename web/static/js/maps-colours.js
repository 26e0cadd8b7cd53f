// What the colours of a map may say: each way sorts the items into a few classes, with a look and a shape for each class.
import { flipped, isQuery } from "./maps-data.js";

const MOST_VALUES = 10;
const SHAPES = ["circle", "square", "triangle", "diamond", "plus", "square", "triangle", "diamond", "plus", "circle"];
const NO_QUERY = { name: "was no query", look: "--dot-faint", shape: "circle", rank: 1, size: 0.75 };

// [{ key, name, says, sort }], where `sort()` gives { classes: [{ name, look, shape, rank, count }], codes (n,) }.
export function colourings(items) {
  const ways = items.labels.map((label) => ({
    key: `label.${label.name}`,
    name: label.name,
    says: label.values.length > MOST_VALUES + 1 ? "The ten most frequent values have colours, the others share one." : "",
    sort: () => byLabel(label, items.n),
  }));
  ways.push({ key: "overlap", name: "neighbours kept", says: `The share of an item's ${items.k} nearest neighbours that both versions agree on.`, sort: () => byOverlap(items) });
  if (!items.after) return ways;
  ways.push({ key: "ap", name: "change of average precision", says: `Average precision ${items.after} less today, in points: above 0 is better. Only queries have one.`, sort: () => byChange(items) });
  ways.push({ key: "flips", name: "flips of the first result", says: `Whether the closest item is of the query's ${items.label}, today and ${items.after}. Only queries are judged.`, sort: () => byFlip(items) });
  return ways;
}

function sorted(classes, n, classOf) {
  const codes = new Uint8Array(n);
  for (const one of classes) one.count = 0;
  for (let i = 0; i < n; i += 1) {
    codes[i] = classOf(i);
    classes[codes[i]].count += 1;
  }
  return { classes, codes };
}

// Values lie by frequency: the first ten have colours, all others share one.
function byLabel(label, n) {
  const shown = label.values.length <= MOST_VALUES + 1 ? label.values.length : MOST_VALUES;
  const classes = label.values.slice(0, Math.min(shown, MOST_VALUES)).map((value, i) => ({
    name: value ?? "no label",
    look: `--dot-${i + 1}`,
    shape: SHAPES[i],
    rank: 3,
  }));
  const rest = label.values.length - classes.length;
  if (rest) classes.push({ name: rest === 1 ? label.values.at(-1) ?? "no label" : `${rest} others`, look: "--dot-other", shape: "circle", rank: 3 });
  const last = classes.length - 1;
  return sorted(classes, n, (i) => Math.min(label.codes[i], last));
}

function byOverlap(items) {
  const names = ["under 20 %", "20 – 40 %", "40 – 60 %", "60 – 80 %", "80 % or more"];
  const classes = names.map((name, i) => ({ name, look: `--dot-low-${i + 1}`, shape: "circle", rank: 3 }));
  classes.push({ name: "unknown", look: "--dot-faint", shape: "circle", rank: 1 });
  return trimmed(sorted(classes, items.n, (i) => {
    const share = items.overlapOf(i);
    return Number.isNaN(share) ? 5 : Math.min(4, Math.floor(share * 5 + 1e-6));
  }));
}

function byChange(items) {
  const classes = [
    { name: "loses over 20 points", look: "--dot-loss", size: 1.5, shape: "wedge", rank: 5 },
    { name: "loses 5 – 20", look: "--dot-loss-some", size: 1.5, shape: "wedge", rank: 4 },
    { name: "within 5", look: "--dot-same", size: 1.2, shape: "circle", rank: 2 },
    { name: "gains 5 – 20", look: "--dot-gain-some", size: 1.5, shape: "triangle", rank: 3 },
    { name: "gains over 20", look: "--dot-gain", size: 1.5, shape: "triangle", rank: 4 },
    { ...NO_QUERY },
  ];
  return trimmed(sorted(classes, items.n, (i) => {
    if (!isQuery(items, i)) return 5;
    const change = items.apAfter[i] - items.apBefore[i];
    if (change < -0.05) return change < -0.2 ? 0 : 1;
    return change <= 0.05 ? 2 : change <= 0.2 ? 3 : 4;
  }));
}

function byFlip(items) {
  const classes = [
    { name: "was right, is wrong now", look: "--dot-loss", size: 1.5, shape: "cross", rank: 5 },
    { name: "was wrong, is right now", look: "--dot-gain", size: 1.5, shape: "plus", rank: 4 },
    { name: "right both times", look: "--dot-same", size: 1.2, shape: "circle", rank: 2 },
    { name: "wrong both times", look: "--dot-wrong", size: 1.2, shape: "square", rank: 3 },
    { ...NO_QUERY },
  ];
  return trimmed(sorted(classes, items.n, (i) => {
    if (!isQuery(items, i)) return 4;
    const turn = flipped(items, i);
    return turn ? (turn < 0 ? 0 : 1) : items.hits[i] === 7 ? 2 : 3;
  }));
}

// Without a last class that nothing is in.
function trimmed(found) {
  if (!found.classes.at(-1).count) found.classes.pop();
  return found;
}
