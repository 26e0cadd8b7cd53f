// Two maps of the same items, one for each version: what is pointed at, lit or chosen in one is so in the other.
import { acts, listenToTools } from "./maps-acts.js";
import { headsOf, showChosen } from "./maps-chosen.js";
import { colourings } from "./maps-colours.js";
import { describe, read } from "./maps-data.js";
import { Field } from "./maps-field.js";
import { listen } from "./maps-gestures.js";
import { drawOver } from "./maps-over.js";
import { count, percent } from "./maps-parts.js";
import { choose, readAddress, writeAddress } from "./maps-rules.js";
import { Style } from "./maps-style.js";
import { fillPicker, fillWays, showLegend, showPreview } from "./maps-tools.js";

class Maps {
  constructor(root, items) {
    this.root = root;
    this.items = items;
    this.fields = Object.fromEntries([...root.querySelectorAll(".map")].map((figure) => [figure.dataset.side, new Field(figure, items)]));
    this.style = new Style(items.n);
    this.ways = colourings(items);
    this.chosen = new Uint8Array(items.n);
    this.list = [];
    this.picks = [];
    this.hovered = this.pinned = this.lit = this.held = -1; // items, and classes
    this.lasso = null;
    this.dirty = new Set();
  }

  get item() {
    return this.hovered >= 0 ? this.hovered : this.pinned;
  }

  all() {
    return Object.values(this.fields);
  }

  one(name) {
    return this.root.querySelector(name);
  }

  // Draws in the next frame: `dots` of both maps, `over` of both, or one map's `dots:old`.
  draw(...what) {
    if (!this.dirty.size) requestAnimationFrame(() => this.#frame());
    for (const name of what) this.dirty.add(name);
  }

  #frame() {
    const { dirty } = this;
    this.dirty = new Set();
    for (const field of this.all()) {
      if (dirty.has("dots") || dirty.has(`dots:${field.side}`)) this.style.paint(field);
      drawOver(field, { item: this.item, lasso: this.lasso?.field === field ? this.lasso.corners : null, ink: this.style.ink, ground: this.style.sheet });
    }
    this.root.dispatchEvent(new Event("maps:drawn"));
  }

  restyle() {
    const light = this.held >= 0 ? this.held : this.lit;
    const { codes } = this.way;
    const some = this.list.length > 0;
    this.style.sort(this.way, (i) => (light < 0 || codes[i] === light) && (!some || this.chosen[i] === 1));
    this.draw("dots");
  }

  isLit(i) {
    return this.style.kinds[i] % 2 === 1;
  }

  colourBy(key) {
    const found = this.ways.find((way) => way.key === key) ?? this.ways[0];
    [this.by, this.lit, this.held] = [found.key, -1, -1];
    this.way = found.sort();
    this.one("[name=by]").value = found.key;
    showLegend(this, found);
    this.restyle();
  }

  show(said = "") {
    const i = this.item;
    this.one(".readout p").textContent = i < 0 ? "Point at a dot to see which item it is, in both maps." : describe(this.items, i);
    showPreview(this, i);
    if (said) this.say(said);
    this.draw("over");
  }

  say(text) {
    this.one(".said").textContent = text;
  }

  // Applies rules one after another: the first one chooses, `+…` adds and `-…` takes away.
  pick(picks, { tell = true } = {}) {
    const mask = new Uint8Array(this.items.n);
    for (const pick of picks) {
      const how = "+-".includes(pick[0]) ? pick[0] : "";
      const found = choose(pick.slice(how.length), this.items, this.fields);
      if (!found) return this.fault(`No rule for these items: ${pick.slice(0, 80)}`);
      for (const i of found) mask[i] = how === "-" ? 0 : 1;
    }
    this.fault("");
    this.chosen = mask;
    this.list = [];
    for (let i = 0; i < mask.length; i += 1) if (mask[i]) this.list.push(i);
    this.picks = this.list.length ? picks : [];
    const found = showChosen(this.one(".chosen"), this.items, this.list);
    if (picks.length && !this.list.length) this.fault("No item is like that.");
    if (tell && this.list.length) this.say(`${count(found.items)} items chosen${found.queries ? `, mAP ${percent(found.before)} today` : ""}`);
    this.restyle();
    return this.remember();
  }

  // A further rule: `how` is "" for a new choice.
  add(rule, how) {
    this.pick(how && this.list.length ? [...this.picks, how + rule] : how === "-" ? [] : [rule]);
  }

  fault(text) {
    const line = this.one(".fault-line");
    line.textContent = text;
    line.hidden = !text;
  }

  clear() {
    this.lasso = null;
    this.hovered = this.pinned = -1;
    [this.lit, this.held] = [-1, -1];
    for (const key of this.root.querySelectorAll(".legend-keys [aria-pressed=true]")) key.ariaPressed = "false";
    this.pick([]);
    this.show("Nothing is chosen.");
  }

  remember() {
    writeAddress({ by: this.by === this.ways[0].key ? "" : this.by, picks: this.picks });
  }

  look(field, view) {
    const moved = this.one("[name=together]").checked ? this.all() : [field];
    for (const one of moved) {
      one.look(view);
      one.over.classList.toggle("near", one.view.zoom > 1);
      this.draw(`dots:${one.side}`);
    }
  }
}

function listenToPage(maps) {
  const sizes = new ResizeObserver(() => {
    for (const field of maps.all()) if (field.resize()) maps.draw(`dots:${field.side}`);
  });
  for (const field of maps.all()) sizes.observe(field.over);
  const retheme = () => {
    maps.style.readTheme();
    showLegend(maps, maps.ways.find(({ key }) => key === maps.by));
    maps.draw("dots");
  };
  document.addEventListener("themechange", retheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", retheme);
  addEventListener("hashchange", () => readAddress() && obey(maps, readAddress()));
}

function obey(maps, said) {
  maps.colourBy(said?.by);
  if (said?.by && maps.by !== said.by) maps.fault(`These items have no ${said.by.slice(0, 80)} to colour by.`);
  else maps.pick(said?.picks ?? [], { tell: false });
}

async function fetchItems(root) {
  const answer = await fetch(root.dataset.points);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return read(await answer.arrayBuffer());
}

async function start(root) {
  const status = root.querySelector(".loading");
  status.textContent = "Loading the items …";
  try {
    const items = await fetchItems(root);
    root.querySelector(".board").hidden = false;
    const maps = new Maps(root, items);
    root.maps = maps;
    for (const field of maps.all()) {
      field.resize();
      listen(field, acts(maps));
    }
    maps.one(".chosen thead tr").append(...headsOf(items));
    fillWays(maps);
    fillPicker(maps);
    listenToTools(maps);
    listenToPage(maps);
    maps.show();
    const said = readAddress();
    root.addEventListener("maps:drawn", () => [performance.mark("maps:drawn"), setTimeout(() => maps.all().map((field) => field.index))], { once: true });
    obey(maps, said);
    if (said) root.scrollIntoView();
    status.remove();
  } catch (error) {
    status.textContent = `The maps could not be drawn: ${error.message}.`;
    status.classList.add("failed");
  }
}

for (const root of document.querySelectorAll(".maps[data-points]")) start(root);
