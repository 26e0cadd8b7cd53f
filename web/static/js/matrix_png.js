// Saves the matrix as it is shown, with title and legend, as a picture at twice the size of the screen's.
const SCALE = 2;
const EDGE = 24; // around everything
const GAP = 3; // between cells
const PAD = 8; // inside a cell
const LINE = 1.35; // of a text's size
const WIDEST_NAME = 150;
const style = (element) => getComputedStyle(element);
const css = (name) => style(document.documentElement).getPropertyValue(name).trim();

// The text of an element as it is seen, without what is for screen readers alone.
function seen(element) {
  if (!element) return "";
  const copy = element.cloneNode(true);
  for (const hidden of copy.querySelectorAll(".off")) hidden.remove();
  return copy.textContent.replace(/\s+/g, " ").trim();
}

// The address of what is shown, without this server's name.
function address(link) {
  return link.pathname + decodeURIComponent(link.search);
}

// Text in lines that fit `width`; a word that is too long for one is cut.
export function wrapped(pen, text, width) {
  const lines = [];
  let line = "";
  for (let word of text.split(" ")) {
    const longer = line ? `${line} ${word}` : word;
    if (pen.measureText(longer).width <= width) {
      line = longer;
      continue;
    }
    if (line) lines.push(line);
    while (word.length > 1 && pen.measureText(word).width > width) {
      let fits = word.length - 1;
      while (fits > 1 && pen.measureText(word.slice(0, fits)).width > width) fits -= 1;
      lines.push(word.slice(0, fits));
      word = word.slice(fits);
    }
    line = word;
  }
  return line ? [...lines, line] : lines;
}

// What a cell holds: its verdict, and lines of text with their size and weight.
function cellOf(element) {
  const look = style(element);
  const verdict = element.querySelector(":scope > .verdict");
  const lines = [...element.querySelectorAll(":scope > :is(.number, .range, .gain, .way)")].map((part) => ({
    text: seen(part),
    size: part.matches(".number:not(.aside)") ? 18 : 12,
    weight: part.matches(".number:not(.aside)") ? 600 : 400,
  }));
  return {
    lines,
    verdict: seen(verdict),
    verdictInk: style(verdict).color,
    ground: look.backgroundColor,
    ink: look.color,
    isOwn: element.matches(".own"),
    isEmpty: element.matches(".nopath, .unmeasured"),
  };
}

function read() {
  const table = document.querySelector("table.heat");
  const body = [...table.tBodies[0].rows];
  return {
    title: seen(document.querySelector("#matrix-title")),
    notes: [seen(document.querySelector("#matrix .head .note")), seen(document.querySelector("#matrix-reading"))],
    columns: [...table.tHead.rows[0].querySelectorAll("th")].map(seen),
    rows: body.map((row) => ({ name: seen(row.querySelector("th")), cells: [...row.querySelectorAll("td.cell")].map(cellOf) })),
    says: seen(document.querySelector("#ramp-says")),
    ramp: [...document.querySelectorAll(".ramp li")].map((item) => ({ text: seen(item), ground: item.matches(".swatch") ? style(item).backgroundColor : null })),
    states: [...document.querySelectorAll(".legend dt .verdict")].map((item) => ({ text: seen(item), ink: style(item).color })),
    foot: `samespace · ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC · ${address(document.querySelector("#matrix-address"))}`,
  };
}

class Sheet {
  constructor(pen) {
    this.pen = pen;
    this.sans = css("--sans");
  }

  font(size, weight = 400) {
    this.pen.font = `${weight} ${size}px ${this.sans}`;
  }

  // Lines of text from `top` on; gives where they end.
  text(text, left, top, { size, weight = 400, ink, width }) {
    this.font(size, weight);
    this.pen.fillStyle = ink;
    this.pen.textBaseline = "top";
    for (const line of wrapped(this.pen, text, width)) {
      this.pen.fillText(line, left, top);
      top += size * LINE;
    }
    return top;
  }

  height(text, { size, weight = 400, width }) {
    this.font(size, weight);
    return wrapped(this.pen, text, width).length * size * LINE;
  }

  box(left, top, width, height, ground, round = 6) {
    this.pen.beginPath();
    this.pen.roundRect(left, top, width, height, round);
    this.pen.fillStyle = ground;
    this.pen.fill();
  }

  outline(left, top, width, height, { thick, dash = [] }) {
    this.pen.save();
    this.pen.beginPath();
    this.pen.roundRect(left + thick / 2, top + thick / 2, width - thick, height - thick, 6);
    this.pen.strokeStyle = css("--line-strong");
    this.pen.lineWidth = thick;
    this.pen.setLineDash(dash);
    this.pen.stroke();
    this.pen.restore();
  }
}

// Widths and heights of all parts, so that nothing is cut off.
function measured(sheet, data) {
  const widest = (text, size, weight) => {
    sheet.font(size, weight);
    return sheet.pen.measureText(text).width;
  };
  const all = data.rows.flatMap((row) => row.cells);
  const inside = Math.max(...all.flatMap((cell) => [widest(cell.verdict, 12, 600) + 12, ...cell.lines.map((line) => widest(line.text, line.size, line.weight))]));
  const cell = Math.min(Math.max(inside, 72), 220) + 2 * PAD;
  const side = Math.min(Math.max(...data.rows.map((row) => widest(row.name, 13, 600))), WIDEST_NAME) + PAD;
  const head = Math.max(...data.columns.map((name) => sheet.height(name, { size: 13, weight: 600, width: cell - 2 * PAD }))) + PAD;
  const heights = data.rows.map((row) => {
    const cells = row.cells.map((c) => 12 * LINE + 6 + c.lines.reduce((sum, line) => sum + sheet.height(line.text, { ...line, width: cell - 2 * PAD }), 0) + 2 * PAD);
    return Math.max(...cells, sheet.height(row.name, { size: 13, weight: 600, width: side - PAD }) + PAD);
  });
  const grid = side + data.columns.length * (cell + GAP);
  return { cell, side, head, heights, width: Math.max(grid, 640) + 2 * EDGE };
}

function drawCell(sheet, cell, left, top, width, height) {
  sheet.box(left, top, width, height, cell.ground === "rgba(0, 0, 0, 0)" ? css("--sheet") : cell.ground);
  if (cell.isOwn) sheet.outline(left, top, width, height, { thick: 2 });
  if (cell.isEmpty) sheet.outline(left, top, width, height, { thick: 1, dash: [4, 3] });
  sheet.font(12, 600);
  const chip = sheet.pen.measureText(cell.verdict).width + 12;
  sheet.box(left + PAD - 2, top + PAD - 2, chip, 12 * LINE + 3, css("--sheet"), 9);
  let next = sheet.text(cell.verdict, left + PAD + 4, top + PAD + 1, { size: 12, weight: 600, ink: cell.verdictInk, width }) + 5;
  for (const line of cell.lines) next = sheet.text(line.text, left + PAD, next, { ...line, ink: cell.ink, width: width - 2 * PAD });
}

function drawTable(sheet, data, sizes, top) {
  const ink = css("--ink");
  const at = (i) => EDGE + sizes.side + i * (sizes.cell + GAP);
  sheet.text("query ↓", EDGE, top, { size: 11, ink: css("--soft"), width: sizes.side });
  sheet.text("gallery →", EDGE, top + 14, { size: 11, ink: css("--soft"), width: sizes.side });
  data.columns.forEach((name, i) => sheet.text(name, at(i) + PAD, top, { size: 13, weight: 600, ink, width: sizes.cell - 2 * PAD }));
  top += Math.max(sizes.head, 32);
  data.rows.forEach((row, r) => {
    sheet.text(row.name, EDGE, top + PAD, { size: 13, weight: 600, ink, width: sizes.side - PAD });
    row.cells.forEach((cell, i) => drawCell(sheet, cell, at(i), top, sizes.cell, sizes.heights[r]));
    top += sizes.heights[r] + GAP;
  });
  return top;
}

function drawLegend(sheet, data, sizes, top) {
  const [ink, soft, width] = [css("--ink"), css("--soft"), sizes.width - 2 * EDGE];
  let left = EDGE;
  for (const item of data.ramp) {
    if (item.ground) {
      sheet.box(left, top, 28, 16, item.ground, 0);
      left += 28;
    } else {
      const space = left > EDGE ? 8 : 0;
      sheet.text(item.text, left + space, top + 2, { size: 12, weight: 600, ink, width });
      left += space + sheet.pen.measureText(item.text).width + 8;
    }
  }
  top = sheet.text(data.says, EDGE, top + 26, { size: 12, ink: soft, width }) + 6;
  left = EDGE;
  for (const state of data.states) {
    sheet.font(12, 600);
    const wide = sheet.pen.measureText(state.text).width + 18;
    if (left > EDGE && left + wide > EDGE + width) [left, top] = [EDGE, top + 12 * LINE];
    sheet.text(state.text, left, top, { size: 12, weight: 600, ink: state.ink, width: wide });
    left += wide;
  }
  return sheet.text(data.foot, EDGE, top + 28, { size: 11, ink: soft, width });
}

// Draws all from above to below; gives where it ends.
function drawAll(sheet, data, sizes) {
  const width = sizes.width - 2 * EDGE;
  let top = sheet.text(data.title, EDGE, EDGE, { size: 20, weight: 650, ink: css("--ink"), width }) + 2;
  for (const note of data.notes) top = sheet.text(note, EDGE, top, { size: 12, ink: css("--soft"), width }) + 2;
  top = drawTable(sheet, data, sizes, top + 14);
  return drawLegend(sheet, data, sizes, top + 14) + EDGE;
}

export function picture() {
  const data = read();
  const canvas = document.createElement("canvas");
  const sheet = new Sheet(canvas.getContext("2d"));
  const sizes = measured(sheet, data);
  const height = Math.ceil(drawAll(sheet, data, sizes)); // once to see how high it gets
  canvas.width = Math.ceil(sizes.width * SCALE);
  canvas.height = height * SCALE;
  sheet.pen.scale(SCALE, SCALE);
  sheet.box(0, 0, sizes.width, height, css("--page"), 0);
  drawAll(sheet, data, sizes);
  return canvas;
}

function save(name) {
  picture().toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name.replace(/[^\w.-]+/g, "-")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
}

const button = document.querySelector("#save-png");
button.hidden = false;
button.addEventListener("click", () => save(button.dataset.name));
