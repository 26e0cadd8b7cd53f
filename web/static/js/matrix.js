// Arrow keys go from cell to cell of the matrix, Home and End along a row; the Tab key passes the whole in one step.
const table = document.querySelector("table.heat");
const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("td.cell")]);
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -Infinity], End: [0, Infinity] };
let current = null;

const stops = (cell) => {
  const found = [...cell.querySelectorAll("a, summary")];
  return found.length ? found : [cell];
};

function open(cell, isIn) {
  for (const stop of stops(cell)) {
    if (isIn && stop !== cell) stop.removeAttribute("tabindex");
    else stop.tabIndex = isIn ? 0 : -1;
  }
}

function enter(cell) {
  if (cell === current) return;
  if (current) open(current, false);
  open(cell, true);
  current = cell;
}

const within = (at, all) => Math.min(Math.max(at, 0), all - 1);

function move(cell, [down, right]) {
  const at = rows.findIndex((row) => row.includes(cell));
  const row = rows[within(at + down, rows.length)];
  const next = row[within(rows[at].indexOf(cell) + right, row.length)];
  enter(next);
  stops(next)[0].focus();
}

table.addEventListener("focusin", (event) => {
  const cell = event.target.closest("td.cell");
  if (cell) enter(cell);
});

table.addEventListener("keydown", (event) => {
  const cell = event.target.closest("td.cell");
  if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    for (const details of cell.querySelectorAll("details[open]")) {
      details.open = false;
      details.querySelector("summary").focus();
    }
  } else if (event.key in STEPS) {
    event.preventDefault();
    move(cell, STEPS[event.key]);
  }
});

for (const cell of rows.flat()) open(cell, false);
enter(rows[0][0]);
