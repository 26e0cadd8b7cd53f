// Draws many dots into the pixels of a canvas: each look is drawn once, as a stamp, and stamped wherever it is wanted.
// Some tens of thousands of dots take a few milliseconds, where paths would take a hundred times as long.

const OUTLINED_FROM = 3; // px: below, an outline would eat the dot

function outline(ctx, shape, r) {
  const thick = r * 0.42;
  if (shape === "square") ctx.rect(-r * 0.88, -r * 0.88, r * 1.76, r * 1.76);
  else if (shape === "triangle") polygon(ctx, [[0, -r * 1.15], [r * 1.1, r * 0.8], [-r * 1.1, r * 0.8]]);
  else if (shape === "wedge") polygon(ctx, [[0, r * 1.15], [r * 1.1, -r * 0.8], [-r * 1.1, -r * 0.8]]);
  else if (shape === "diamond") polygon(ctx, [[0, -r * 1.25], [r * 1.25, 0], [0, r * 1.25], [-r * 1.25, 0]]);
  else if (shape === "plus" || shape === "cross") {
    if (shape === "cross") ctx.rotate(Math.PI / 4);
    const l = r * 1.25;
    polygon(ctx, [[-thick, -l], [thick, -l], [thick, -thick], [l, -thick], [l, thick], [thick, thick], [thick, l], [-thick, l], [-thick, thick], [-l, thick], [-l, -thick], [-thick, -thick]]);
  } else ctx.arc(0, 0, r, 0, 2 * Math.PI);
}

function polygon(ctx, corners) {
  corners.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.closePath();
}

// Draws one dot by paths, for a stamp or a legend.
export function dot(ctx, { shape, colour, edge }, r) {
  ctx.save();
  ctx.beginPath();
  outline(ctx, shape, r);
  ctx.restore();
  if (edge && r >= OUTLINED_FROM) {
    ctx.lineWidth = Math.max(1, r * 0.3);
    ctx.strokeStyle = edge;
    ctx.stroke();
  }
  ctx.fillStyle = colour;
  ctx.fill();
}

// The pixels of a dot of radius `r`: where they lie around its middle, and their colours.
export function stampOf(look, r) {
  const reach = Math.ceil(r * 1.25 + 1.5);
  const size = 2 * reach + 1;
  const canvas = new OffscreenCanvas(size, size);
  const ctx = canvas.getContext("2d", { willReadFrequently: true });
  ctx.translate(reach + 0.5, reach + 0.5);
  dot(ctx, look, r);
  const { data } = ctx.getImageData(0, 0, size, size);
  const dx = [], dy = [], colours = [], covers = [];
  for (let at = 0; at < size * size; at += 1) {
    const cover = data[4 * at + 3];
    if (!cover) continue;
    dx.push((at % size) - reach);
    dy.push(Math.floor(at / size) - reach);
    colours.push(data[4 * at] | (data[4 * at + 1] << 8) | (data[4 * at + 2] << 16) | 0xff000000);
    covers.push(cover + (cover >> 7)); // of 256
  }
  return { reach, dx, dy, colours: Int32Array.from(colours), covers: Uint16Array.from(covers) };
}

// A canvas for dots; `reach` pixels around it are there but not seen, so that no dot needs to be cut.
export class Sheet {
  constructor(canvas) {
    this.canvas = canvas;
    this.ctx = canvas.getContext("2d", { alpha: false });
  }

  #fit(reach) {
    const [width, height] = [this.canvas.width + 2 * reach, this.canvas.height + 2 * reach];
    if (this.image?.width === width && this.image.height === height) return;
    this.image = this.ctx.createImageData(width, height);
    this.pixels = new Int32Array(this.image.data.buffer);
  }

  // Stamps items in `order`, each with `stamps[kinds[i]]`, at x * scale + left, y * -scale + top.
  stamp({ places, order, kinds, stamps, ground, scale, left, top }) {
    const reach = Math.max(0, ...stamps.map((stamp) => stamp.reach));
    this.#fit(reach);
    const { pixels, image, canvas } = this;
    const [width, height, stride] = [canvas.width, canvas.height, image.width];
    const offsets = stamps.map((stamp) => Int32Array.from(stamp.dx, (dx, k) => stamp.dy[k] * stride + dx));
    const { x, y } = places;
    pixels.fill(ground);
    for (let at = 0; at < order.length; at += 1) {
      const i = order[at];
      const px = Math.round(x[i] * scale + left);
      const py = Math.round(top - y[i] * scale);
      if (px < 0 || py < 0 || px >= width || py >= height) continue;
      blend(pixels, (py + reach) * stride + px + reach, stamps[kinds[i]], offsets[kinds[i]]);
    }
    this.ctx.putImageData(image, -reach, -reach);
  }
}

// Red and blue are mixed in one number, green in another; what overflows between them is masked away.
function blend(pixels, middle, { colours, covers }, offsets) {
  for (let k = 0; k < offsets.length; k += 1) {
    const at = middle + offsets[k];
    const cover = covers[k];
    const colour = colours[k];
    if (cover === 256) {
      pixels[at] = colour;
      continue;
    }
    const behind = pixels[at];
    const rb = behind & 0xff00ff;
    const g = behind & 0x00ff00;
    pixels[at] =
      0xff000000 |
      ((rb + ((((colour & 0xff00ff) - rb) * cover) >> 8)) & 0xff00ff) |
      ((g + ((((colour & 0x00ff00) - g) * cover) >> 8)) & 0x00ff00);
  }
}
