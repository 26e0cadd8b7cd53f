// Rules that choose items, and how the address tells of them: `#maps?by=overlap&pick=flips%3Alost`.
import { flipped, isQuery } from "./maps-data.js";

const START = "#maps?";
const MOST_CORNERS = 60;
const MOST_PICKS = 8;

// A rule is text, so that an address can hold it: `flips:lost`, `overlap:30`, `label.class:shoes`, `old:0.1,0.2;…`.
// The items that it chooses, or null where it makes no sense for these items.
export function choose(rule, items, fields) {
  const at = rule.indexOf(":");
  const [kind, value] = [rule.slice(0, at), rule.slice(at + 1)];
  const all = (test) => {
    const found = [];
    for (let i = 0; i < items.n; i += 1) if (test(i)) found.push(i);
    return found;
  };
  const share = Number(value) / 100;
  if (kind in fields) return inside(fields[kind], value);
  if (kind === "item") return all((i) => items.ids[i] === value);
  if (kind === "id") return value ? all((i) => items.ids[i].includes(value)) : null;
  if (kind === "flips" && items.after) return all((i) => flipped(items, i) === (value === "won" ? 1 : -1));
  if (value === "" || Number.isNaN(share)) return byLabel(kind, value, items, all);
  if (kind === "overlap") return all((i) => items.overlapOf(i) <= share + 1e-6);
  if (kind === "loses" && items.after) return all((i) => isQuery(items, i) && items.apBefore[i] - items.apAfter[i] >= share - 1e-6);
  return byLabel(kind, value, items, all);
}

function byLabel(kind, value, items, all) {
  const label = items.labels.find(({ name }) => kind === `label.${name}`);
  const code = label ? label.values.findIndex((one) => (one ?? "") === value) : -1;
  return code < 0 ? null : all((i) => label.codes[i] === code);
}

function inside(field, value) {
  const corners = value.split(";").map((pair) => pair.split(",").map(Number));
  return corners.length >= 3 && corners.flat().every(Number.isFinite) && corners.every((c) => c.length === 2) ? field.inside(corners) : null;
}

// The rule of a lasso: a corner now and then says as much as all of them, and fits an address.
export function lassoRule(side, corners) {
  const step = Math.max(1, Math.ceil(corners.length / MOST_CORNERS));
  const written = corners.filter((_, i) => i % step === 0).map((c) => c.map((value) => Number(value.toFixed(5))).join(","));
  return `${side}:${written.join(";")}`;
}

// What the address says: the key of a way to colour, and rules, of which those after the first begin with + or -.
export function readAddress() {
  if (!location.hash.startsWith(START)) return null;
  const said = new URLSearchParams(location.hash.slice(START.length));
  return { by: said.get("by"), picks: said.getAll("pick") };
}

// Leaves out what an address cannot hold: a choice made of many steps.
export function writeAddress({ by, picks }) {
  const said = new URLSearchParams();
  if (by) said.set("by", by);
  if (picks.length <= MOST_PICKS) for (const pick of picks) said.append("pick", pick);
  if (said.size || location.hash.startsWith(START)) history.replaceState(history.state, "", said.size ? START + said : location.pathname + location.search);
}
