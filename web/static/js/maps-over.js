// What is drawn above the dots: a ring around the item that the pointer is at, and the lasso while it is drawn.

const RING = 9; // px

export function drawOver(field, { item, lasso, ink, ground }) {
  const ctx = field.over.getContext("2d");
  ctx.clearRect(0, 0, field.over.width, field.over.height);
  ctx.lineJoin = "round";
  if (lasso?.length > 1) drawLasso(ctx, lasso.map(([x, y]) => field.toCanvas(x, y)), field.dense, ink, ground);
  if (item >= 0) (field.sees(item) ? drawRing : drawArrow)(ctx, field, item, ink, ground);
}

function twice(ctx, dense, ink, ground) {
  for (const [colour, width] of [[ground, 5], [ink, 2]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * dense;
    ctx.stroke();
  }
}

function drawRing(ctx, field, item, ink, ground) {
  const [x, y] = field.toCanvas(field.places.x[item], field.places.y[item]);
  ctx.beginPath();
  ctx.arc(x, y, RING * field.dense, 0, 2 * Math.PI);
  twice(ctx, field.dense, ink, ground);
}

// The item is out of view: an arrow at the edge points to it.
function drawArrow(ctx, field, item, ink, ground) {
  const { width, height } = field.over;
  const [x, y] = field.toCanvas(field.places.x[item], field.places.y[item]);
  const angle = Math.atan2(y - height / 2, x - width / 2);
  const edge = 14 * field.dense;
  const px = Math.min(width - edge, Math.max(edge, x));
  const py = Math.min(height - edge, Math.max(edge, y));
  ctx.save();
  ctx.translate(px, py);
  ctx.rotate(angle);
  ctx.scale(field.dense, field.dense);
  ctx.beginPath();
  ctx.moveTo(9, 0);
  ctx.lineTo(-6, -8);
  ctx.lineTo(-6, 8);
  ctx.closePath();
  twice(ctx, 1, ink, ground);
  ctx.fillStyle = ink;
  ctx.fill();
  ctx.restore();
}

function drawLasso(ctx, corners, dense, ink, ground) {
  ctx.beginPath();
  corners.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.closePath();
  ctx.globalAlpha = 0.12;
  ctx.fillStyle = ink;
  ctx.fill("evenodd");
  ctx.globalAlpha = 1;
  ctx.setLineDash([6 * dense, 4 * dense]);
  twice(ctx, dense * 0.75, ink, ground);
  ctx.setLineDash([]);
}
