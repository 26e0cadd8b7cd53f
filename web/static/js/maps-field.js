// One map: a canvas of dots, one above it for what the pointer is at, and the part of the plane that is in view.
import KDBush from "../vendor/kdbush.js";
import { Sheet } from "./maps-paint.js";

const MOST_ZOOM = 60;
const MARGIN = 0.93; // of the half width that the outermost item is at
const DENSEST = 2; // device pixels for each of the page's: more would only cost time
const NEAR = 14; // px in which the pointer finds an item
const NODE = 256; // items that are looked at one by one: fewer take longer to sort than they save

export class Field {
  constructor(figure, items) {
    this.figure = figure;
    this.side = figure.dataset.side;
    this.places = items.places[this.side];
    this.n = items.n;
    this.over = figure.querySelector(".over");
    this.sheet = new Sheet(figure.querySelector(".dots"));
    this.view = { x: 0, y: 0, zoom: 1 };
    this.built = null;
  }

  // Which items lie near a place; built when it is asked for, which is after the first drawing.
  get index() {
    if (this.built) return this.built;
    this.built = new KDBush(this.n, NODE, Float32Array);
    for (let i = 0; i < this.n; i += 1) this.built.add(this.places.x[i], this.places.y[i]);
    return this.built.finish();
  }

  // Takes the size that the page gives; whether that is another one.
  resize() {
    this.dense = Math.min(devicePixelRatio || 1, DENSEST);
    const box = this.over.getBoundingClientRect();
    const [width, height] = [Math.round(box.width * this.dense), Math.round(box.height * this.dense)];
    if (this.over.width === width && this.over.height === height) return false;
    for (const canvas of [this.over, this.sheet.canvas]) [canvas.width, canvas.height] = [width, height];
    return true;
  }

  get scale() {
    return (Math.min(this.over.width, this.over.height) / 2) * MARGIN * this.view.zoom;
  }

  get left() {
    return this.over.width / 2 - this.view.x * this.scale;
  }

  get top() {
    return this.over.height / 2 + this.view.y * this.scale;
  }

  // Where a place is on the canvas, in device pixels.
  toCanvas(x, y) {
    return [this.left + x * this.scale, this.top - y * this.scale];
  }

  // The place under a point of the canvas, given in the page's pixels from its corner.
  toPlace(px, py) {
    return [(px * this.dense - this.left) / this.scale, (this.top - py * this.dense) / this.scale];
  }

  // Where item `i` is on the canvas, in the page's pixels from its corner.
  at(i) {
    return this.toCanvas(this.places.x[i], this.places.y[i]).map((value) => value / this.dense);
  }

  sees(i) {
    const [px, py] = this.toCanvas(this.places.x[i], this.places.y[i]);
    return px >= 0 && py >= 0 && px <= this.over.width && py <= this.over.height;
  }

  // The item nearest to a point, of those that `counts` if there are some.
  nearest(px, py, counts) {
    const [x, y] = this.toPlace(px, py);
    const found = this.index.within(x, y, (NEAR * this.dense) / this.scale);
    const lit = found.filter(counts);
    let [best, least] = [-1, Infinity];
    for (const i of lit.length ? lit : found) {
      const far = (this.places.x[i] - x) ** 2 + (this.places.y[i] - y) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  // The next item from item `i` (or from the middle, for -1) in a direction: near, and not far to the side.
  next(i, dx, dy) {
    const { x, y } = this.places;
    const [x0, y0] = i < 0 ? [this.view.x, this.view.y] : [x[i], y[i]];
    let [best, least] = [-1, Infinity];
    for (let j = 0; j < this.n; j += 1) {
      const [ax, ay] = [x[j] - x0, y[j] - y0];
      const along = ax * dx + ay * dy;
      const aside = Math.abs(ax * dy - ay * dx);
      if (j === i || along <= 0 || aside > along) continue;
      const far = along + 2 * aside;
      if (far < least) [best, least] = [j, far];
    }
    return best;
  }

  middle() {
    const { x, y } = this.places;
    let [best, least] = [-1, Infinity];
    for (let i = 0; i < this.n; i += 1) {
      const far = (x[i] - this.view.x) ** 2 + (y[i] - this.view.y) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  // The items inside a polygon of places [[x, y], …], by the even-odd rule.
  inside(polygon) {
    const xs = Float64Array.from(polygon, ([x]) => x);
    const ys = Float64Array.from(polygon, ([, y]) => y);
    const near = this.index.range(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys));
    return near.filter((i) => holds(xs, ys, this.places.x[i], this.places.y[i]));
  }

  // The corners of what is in view.
  frame() {
    const { clientWidth: width, clientHeight: height } = this.over;
    return [[0, 0], [width, 0], [width, height], [0, height]].map(([px, py]) => this.toPlace(px, py));
  }

  look(view) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom));
    const most = zoom === 1 ? 0 : 1;
    const within = (value) => Math.min(most, Math.max(-most, value));
    this.view = { zoom, x: within(view.x), y: within(view.y) };
  }

  // `times` closer, with the place under a point staying there.
  zoomed(times, px = this.over.clientWidth / 2, py = this.over.clientHeight / 2) {
    const [x, y] = this.toPlace(px, py);
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.view.zoom * times));
    const stays = this.view.zoom / zoom;
    return { zoom, x: x + (this.view.x - x) * stays, y: y + (this.view.y - y) * stays };
  }

  moved(dx, dy) {
    const step = this.dense / this.scale;
    return { zoom: this.view.zoom, x: this.view.x - dx * step, y: this.view.y + dy * step };
  }
}

function holds(xs, ys, x, y) {
  let odd = false;
  for (let i = 0, j = xs.length - 1; i < xs.length; j = i, i += 1) {
    if (ys[i] > y !== ys[j] > y && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i]) odd = !odd;
  }
  return odd;
}
