// How dots look: the colours of the theme, their size, and in which order they are drawn.
import { dot, stampOf } from "./maps-paint.js";

const SIZES = [[400, 5], [2500, 4], [12000, 3], [Infinity, 2]]; // up to so many items, px
const GROWTH = 0.4; // of the radius, as a power of the zoom
const LARGEST = 8; // px
const WIDE = 500; // px: on narrower maps dots are smaller, down to a share
const SMALLEST = 0.65;
const MARK = 5.5; // px, that a class of marks may reach by being drawn larger
const FADED = 0.8; // of the way to the ground
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Style {
  constructor(n) {
    this.base = SIZES.find(([most]) => n <= most)[1];
    this.shuffled = shuffle(n);
    this.order = this.shuffled;
    this.kinds = new Uint8Array(n);
    this.readTheme();
  }

  readTheme() {
    this.kept = new Map();
    this.ground = rgb(css("--sheet"));
    this.ink = css("--ink");
    this.sheet = css("--sheet");
  }

  // Says of each item which stamp it gets: that of its class, faded unless `lit(i)`.
  sort({ classes, codes }, lit) {
    this.classes = classes;
    this.some = false;
    const { kinds } = this;
    for (let i = 0; i < kinds.length; i += 1) {
      const on = lit(i);
      kinds[i] = 2 * codes[i] + on;
      this.some ||= !on;
    }
    const ranks = classes.flatMap(({ rank }) => [0, rank]);
    this.order = byRank(this.shuffled, kinds, ranks);
  }

  radius(field) {
    const wide = Math.min(1, Math.max(SMALLEST, field.over.width / field.dense / WIDE));
    return Math.min(LARGEST, this.base * wide * field.view.zoom ** GROWTH) * field.dense;
  }

  stamps(field) {
    this.dense = field.dense;
    const r = Math.round(this.radius(field) * 4) / 4;
    return this.classes.flatMap((one) => [this.#stamp(one, r, true), this.#stamp(one, this.some ? r * 1.2 : r, false)]);
  }

  #stamp({ look, shape, size = 1 }, r, faded) {
    const key = [look, shape, size, r, faded].join();
    if (!this.kept.has(key)) {
      const colour = faded ? mixed(rgb(css(look)), this.ground, FADED) : css(look);
      const reach = faded ? r * 0.85 : size < 1 ? r * size : Math.max(r, Math.min(r * size, MARK * this.dense));
      this.kept.set(key, stampOf({ shape: faded ? "circle" : shape, colour, edge: faded ? null : this.sheet }, reach));
    }
    return this.kept.get(key);
  }

  paint(field) {
    const { kinds, order } = this;
    const [red, green, blue] = this.ground;
    const ground = red | (green << 8) | (blue << 16) | 0xff000000;
    field.sheet.stamp({ places: field.places, order, kinds, ground, stamps: this.stamps(field), scale: field.scale, left: field.left, top: field.top });
  }

  // The mark of a class, for its legend.
  key(canvas, { look, shape }) {
    const dense = Math.min(devicePixelRatio || 1, 2);
    canvas.width = canvas.height = 16 * dense;
    const ctx = canvas.getContext("2d");
    ctx.scale(dense, dense);
    ctx.translate(8, 8);
    dot(ctx, { shape, colour: css(look) }, 5);
  }
}

// The same order of 0 … n - 1 each time, in which no class lies above another for being stored later.
function shuffle(n) {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let state = 1;
  for (let i = n - 1; i > 0; i -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

function byRank(shuffled, kinds, ranks) {
  const sizes = new Uint32Array(Math.max(...ranks) + 2);
  for (const kind of kinds) sizes[ranks[kind] + 1] += 1;
  for (let rank = 1; rank < sizes.length; rank += 1) sizes[rank] += sizes[rank - 1];
  const order = new Uint32Array(shuffled.length);
  for (const i of shuffled) order[sizes[ranks[kinds[i]]]++] = i;
  return order;
}

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mixed = (a, b, share) => `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * share)).join(" ")})`;
