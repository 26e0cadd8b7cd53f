// The backfill planner, live: what a share brings is read from the tables of the measured curves, see charts.js.
import { numbersOf } from "./charts.js";

const NAMES = { "worst served first": "chosen", "random order": "random", today: "today" };
const NOTHING = 0.0005; // a change that is written as none, as in web/planner.py
const percent = (value) => (100 * value).toFixed(1);
const count = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");

// Between the measured shares by a straight line.
function at(x, values, share) {
  const right = x.findIndex((end) => end >= share);
  if (right <= 0) return values[Math.max(right, 0)];
  const part = (share - x[right - 1]) / (x[right] - x[right - 1]);
  return values[right - 1] + part * (values[right] - values[right - 1]);
}

function curvesOf(metric) {
  const { x, series } = numbersOf(document.querySelector(`#chart-filling-${metric.replace("@", "-")}`));
  const curves = { x };
  for (const { name, values } of series) {
    const kind = NAMES[name.replace(/, %$/, "")];
    if (kind) curves[kind] = values;
  }
  return curves;
}

function words(share) {
  if (share === 0.5) return "Half a backfill";
  if (share === 1) return "A whole backfill";
  return share === 0 ? "No backfill" : `A backfill of ${Number((100 * share).toFixed(1))}\u00a0%`;
}

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function tell(root, name, text) {
  const place = root.querySelector(`[data-out="${name}"]`);
  if (place && place.textContent !== text) place.textContent = text;
}

function partWords(before, best, after) {
  if (after <= before) return `; a whole one brings it to ${percent(after)}\u00a0%, which is no gain`;
  if (best < before - NOTHING) return `, a loss: scores of old and new vectors mix badly until all is embedded anew, which brings ${percent(after)}\u00a0%`;
  const part = Math.max((best - before) / (after - before), 0);
  if (part >= 0.995) return `, as much as a whole one, ${percent(after)}\u00a0%`;
  return `: ${Math.round(100 * part)}\u00a0% of the gain of a whole one, which brings ${percent(after)}\u00a0%`;
}

function showQuality(line, share) {
  const { x, chosen, random, today } = curvesOf(line.dataset.metric);
  const [before, after] = [random[0], random.at(-1)];
  const [first, any] = [at(x, chosen, share), at(x, random, share)];
  const best = Math.max(first, any);
  tell(line, "words", words(share));
  tell(line, "order", first >= any ? "the worst served items first" : "in random order");
  tell(line, "best", percent(best));
  tell(line, "part", partWords(before, best, after));
  tell(line, "orders", `Worst served first ${percent(first)}\u00a0%, random order ${percent(any)}\u00a0%${today ? `, today ${percent(today[0])}\u00a0%` : ""}.`);
}

function showCost(root, { items, rate, price, per, share }) {
  const number = items * share;
  const seconds = rate > 0 ? number / rate : null;
  const amount = per === "thousand" ? number / 1000 : seconds === null ? null : seconds / 3600;
  tell(root, "items", count(number));
  tell(root, "time", seconds === null ? "–" : duration(seconds));
  tell(root, "cost", amount === null || price === null ? "–" : (amount * price).toFixed(2));
  const missing = root.querySelector('[data-out="missing"]');
  if (missing) missing.hidden = seconds !== null;
}

function wishOf(form) {
  const value = (name) => (form.elements[name].value === "" ? null : Number(form.elements[name].value));
  return { items: value("items") ?? 0, rate: value("rate"), price: value("price"), per: form.elements.per.value, share: value("share") / 100 };
}

// The address says what is shown, so that it can be kept and sent.
function keep(form) {
  const address = new URL(location.href);
  for (const name of ["items", "rate", "price", "per", "share"]) {
    const { value } = form.elements[name];
    if (value === "") address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  history.replaceState(null, "", address);
}

for (const root of document.querySelectorAll("[data-planner]")) {
  const form = root.querySelector("form");
  form.querySelector("button").hidden = true;
  form.addEventListener("input", () => {
    const wish = wishOf(form);
    tell(root, "share", String(Number((100 * wish.share).toFixed(1))));
    for (const line of root.querySelectorAll("[data-metric]")) showQuality(line, wish.share);
    showCost(root, wish);
  });
  form.addEventListener("change", () => keep(form));
  form.addEventListener("submit", (event) => event.preventDefault());
}
