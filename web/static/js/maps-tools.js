// The controls around the maps: what to colour by, the legend, choosing by rule, and the preview of an item.
import { count, make } from "./maps-parts.js";

const OFFERED = 300; // values in a list to choose from; others can be typed
const SETTLED = 120; // ms that the pointer rests before a preview is asked for

export function fillWays({ root, ways, items }) {
  const options = ways.map(({ key, name }) => make("option", { value: key, textContent: name }));
  root.querySelector("[name=by]").replaceChildren(...options);
  root.querySelector(".how-many").textContent = `${count(items.n)} items, ${count(items.queries)} of them queries`;
}

// A button for each class: it is lit in both maps while pointed at, and stays so when pressed.
export function showLegend(maps, way) {
  const list = maps.root.querySelector(".legend-keys");
  const keys = maps.way.classes.map((one, place) => {
    const mark = make("canvas", { ariaHidden: "true" });
    maps.style.key(mark, one);
    const button = make("button", { type: "button", ariaPressed: String(maps.held === place) }, mark, make("span", { className: "name", textContent: one.name }), make("span", { className: "many", textContent: count(one.count) }));
    const light = (which) => () => {
      maps.lit = which;
      maps.restyle();
    };
    button.addEventListener("pointerenter", light(place));
    button.addEventListener("pointerleave", light(-1));
    button.addEventListener("click", () => hold(maps, list, button, place));
    return make("li", {}, button);
  });
  list.replaceChildren(...keys);
  list.ariaLabel = `Colours: ${way.name}`;
  maps.root.querySelector(".legend-note").textContent = way.says;
}

function hold(maps, list, button, place) {
  maps.held = maps.held === place ? -1 : place;
  for (const other of list.querySelectorAll("button")) other.ariaPressed = String(other === button && maps.held >= 0);
  if (maps.held < 0) maps.lit = -1;
  maps.restyle();
}

// The rules that the form offers: [value of the option, its words, what the second field asks for].
function rulesOf(items) {
  const rules = items.labels.map((label) => [`label.${label.name}`, `whose ${label.name} is`, { values: label.values }]);
  rules.push(["overlap", "that keep of their neighbours at most", { unit: "%", start: 30 }]);
  if (items.after) {
    rules.push(["flips:lost", "whose first result was right, and is wrong now", null]);
    rules.push(["flips:won", "whose first result was wrong, and is right now", null]);
    rules.push(["loses", "whose average precision falls by at least", { unit: "points", start: 20 }]);
  }
  return [...rules, ["id", "whose id contains", {}]];
}

export function fillPicker({ root, items }) {
  const form = root.querySelector(".picker");
  const rules = rulesOf(items);
  form.elements.rule.replaceChildren(...rules.map(([value, words]) => make("option", { value, textContent: words })));
  const adapt = () => {
    const [, words, asks] = rules[form.elements.rule.selectedIndex];
    const { value } = form.elements;
    form.querySelector(".value").hidden = !asks;
    value.required = Boolean(asks);
    value.disabled = !asks;
    value.ariaLabel = `Items ${words}`;
    if (!asks) return;
    Object.assign(value, asks.unit ? { type: "number", min: 0, max: 100, step: "any" } : { type: "text" });
    value.value = asks.start ?? "";
    form.querySelector(".unit").textContent = asks.unit ?? "";
    const values = (asks.values ?? []).slice(0, OFFERED).map((one) => make("option", { value: one ?? "" }));
    form.querySelector("datalist").replaceChildren(...values);
  };
  form.elements.rule.addEventListener("change", adapt);
  adapt();
}

export function ruleOf(form) {
  const { rule, value } = form.elements;
  return rule.value.includes(":") ? rule.value : `${rule.value}:${value.value}`;
}

// The picture or text of an item, if its gallery has previews, once the pointer rests.
export function showPreview(maps, i) {
  const { preview, previews: kind } = maps.root.dataset;
  clearTimeout(maps.waiting);
  const place = maps.root.querySelector(".shown-item");
  if (!preview || i < 0) return place.replaceChildren();
  maps.waiting = setTimeout(() => fill(maps, place, `${preview}?${new URLSearchParams({ id: maps.items.ids[i] })}`, kind), SETTLED);
}

async function fill(maps, place, address, kind) {
  const picture = () => make("img", { src: address, alt: "", width: 64, height: 64, onerror: (event) => event.target.remove() });
  if (kind === "picture") return place.replaceChildren(picture());
  const answer = await fetch(address);
  return place.replaceChildren(answer.ok ? make("blockquote", { textContent: (await answer.text()).slice(0, 300) }) : "");
}
