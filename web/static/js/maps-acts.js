// What gestures on a map, the buttons around it and the list below it do.
import { download } from "./maps-chosen.js";
import { describe } from "./maps-data.js";
import { lassoRule } from "./maps-rules.js";
import { ruleOf } from "./maps-tools.js";

export function acts(maps) {
  return {
    draws: () => maps.one("[name=drag][value=lasso]").checked,
    point(field, [x, y]) {
      const found = field.nearest(x, y, (i) => maps.isLit(i));
      if (found === maps.hovered) return maps.draw("over");
      maps.hovered = found;
      return maps.show();
    },
    leave() {
      maps.hovered = -1;
      maps.show();
    },
    tap(field, [x, y]) {
      maps.hovered = -1;
      maps.pinned = field.nearest(x, y, (i) => maps.isLit(i));
      maps.show();
    },
    look: (field, view) => maps.look(field, view),
    lasso(field, corners) {
      maps.lasso = corners && { field, corners };
      maps.hovered = -1;
      maps.draw("over");
    },
    choose(field, corners, how) {
      maps.lasso = null;
      if (corners.length > 2) maps.add(lassoRule(field.side, corners), how);
      maps.draw("over");
    },
    step(field, dx, dy) {
      const from = maps.item;
      const found = from < 0 ? field.middle() : field.next(from, dx, dy);
      if (found < 0) return maps.say("No item lies further that way.");
      [maps.hovered, maps.pinned] = [-1, found];
      if (!field.sees(found)) maps.look(field, { ...field.view, x: field.places.x[found], y: field.places.y[found] });
      return maps.show(describe(maps.items, found));
    },
    toggle() {
      if (maps.item < 0) return;
      const i = maps.item;
      maps.add(`item:${maps.items.ids[i]}`, maps.chosen[i] ? "-" : "+");
    },
    hint() {
      maps.one(".readout p").textContent = "Click the map first, or hold Ctrl, to zoom with the wheel.";
    },
  };
}

export function listenToTools(maps) {
  const { root } = maps;
  maps.one("[name=by]").addEventListener("change", (event) => {
    maps.colourBy(event.target.value);
    maps.remember();
  });
  for (const field of maps.all()) {
    const tools = { in: () => field.zoomed(1.6), out: () => field.zoomed(1 / 1.6), whole: () => ({ x: 0, y: 0, zoom: 1 }) };
    for (const button of field.figure.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => maps.look(field, tools[button.dataset.zoom]()));
    field.figure.querySelector(".seen").addEventListener("click", () => maps.add(lassoRule(field.side, field.frame()), ""));
  }
  maps.one(".picker").addEventListener("submit", (event) => {
    event.preventDefault();
    maps.add(ruleOf(event.target), event.submitter?.value ?? "");
  });
  maps.one(".download").addEventListener("click", () => download(maps.items, maps.list));
  maps.one(".clear").addEventListener("click", () => maps.clear());
  for (const radio of root.querySelectorAll("[name=drag]")) radio.addEventListener("change", () => root.classList.toggle("lassoing", radio.value === "lasso" && radio.checked));
  root.addEventListener("keydown", (event) => event.key === "Escape" && maps.clear());
  listenToList(maps, maps.one(".chosen tbody"));
}

// Rows of the list ring their items; their buttons keep them ringed.
function listenToList(maps, list) {
  const itemAt = (event) => Number(event.target.closest("tr")?.dataset.item ?? -1);
  list.addEventListener("pointerover", (event) => [(maps.hovered = itemAt(event)), maps.show()]);
  list.addEventListener("pointerleave", () => [(maps.hovered = -1), maps.show()]);
  list.addEventListener("click", (event) => event.target.closest("button") && [(maps.pinned = itemAt(event)), maps.show()]);
  list.addEventListener("focusin", (event) => [(maps.pinned = itemAt(event)), maps.show()]);
}
