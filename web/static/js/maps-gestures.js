// Pointer, wheel and keys on one map, told as what they mean: point, tap, pan, zoom, lasso, step.

const STILL = 5; // px that a finger or a mouse may move and still tap
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const CLOSER = 1.5;

const within = (field, event) => {
  const box = field.over.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

// `act` is told; `act.draws()` says whether dragging draws a lasso.
export function listen(field, act) {
  const held = new Map(); // pointers that are down: id -> point
  let drag = null;
  const { over } = field;

  over.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    over.focus({ preventScroll: true });
    capture(over, event.pointerId);
    const point = within(field, event);
    held.set(event.pointerId, point);
    if (held.size === 1) drag = { from: point, last: point, lasso: act.draws() ? [field.toPlace(...point)] : null, moved: false };
    else drag = pinch(drag, act, field);
  });

  over.addEventListener("pointermove", (event) => {
    const point = within(field, event);
    if (!held.has(event.pointerId)) return act.point(field, point);
    if (held.size === 2) return zoomBy(field, held, event.pointerId, point, act);
    held.set(event.pointerId, point);
    return dragTo(field, drag, point, act);
  });

  const end = (event) => {
    if (!held.delete(event.pointerId)) return;
    if (held.size || !drag) return;
    const done = drag;
    drag = null;
    if (event.type === "pointercancel") return act.lasso(field, null);
    if (done.pinched) return;
    if (!done.moved) act.tap(field, within(field, event));
    else if (done.lasso) act.choose(field, done.lasso, event.shiftKey ? "+" : event.altKey ? "-" : "");
  };
  over.addEventListener("pointerup", end);
  over.addEventListener("pointercancel", end);
  over.addEventListener("pointerleave", () => held.size || act.leave());
  over.addEventListener("dblclick", () => act.look(field, { x: 0, y: 0, zoom: 1 }));
  over.addEventListener("wheel", (event) => wheel(field, event, act), { passive: false });
  over.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !drag?.lasso) return key(field, event, act);
    drag = null;
    event.stopPropagation();
    return act.lasso(field, null);
  });
}

function capture(over, id) {
  try {
    over.setPointerCapture(id);
  } catch {
    // the pointer is gone already
  }
}

function pinch(drag, act, field) {
  if (drag?.lasso) act.lasso(field, null);
  return { ...drag, lasso: null, moved: true, pinched: true };
}

function dragTo(field, drag, point, act) {
  if (!drag || drag.pinched) return;
  const [dx, dy] = [point[0] - drag.last[0], point[1] - drag.last[1]];
  drag.moved ||= Math.hypot(point[0] - drag.from[0], point[1] - drag.from[1]) > STILL;
  if (!drag.moved) return;
  if (!drag.lasso) act.look(field, field.moved(dx, dy));
  else if (Math.hypot(dx, dy) < 3) return;
  else {
    drag.lasso.push(field.toPlace(...point));
    act.lasso(field, drag.lasso);
  }
  drag.last = point;
}

// Two fingers: what is between them stays between them.
function zoomBy(field, held, id, point, act) {
  const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const apart = ([a, b]) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
  const before = [...held.values()];
  held.set(id, point);
  const now = [...held.values()];
  const [from, to] = [middle(before), middle(now)];
  field.look(field.zoomed(apart(now) / apart(before), ...from));
  act.look(field, field.moved(to[0] - from[0], to[1] - from[1]));
}

// The wheel scrolls the page until the map was clicked, or Ctrl is held, which is also how a touchpad says pinch.
function wheel(field, event, act) {
  if (!event.ctrlKey && document.activeElement !== field.over) return act.hint();
  event.preventDefault();
  const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 16 : event.deltaY;
  const times = Math.exp(Math.max(-300, Math.min(300, -pixels)) * (event.ctrlKey ? 0.01 : 0.0025));
  return act.look(field, field.zoomed(times, ...within(field, event)));
}

function key(field, event, act) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = STEPS[event.key];
  if (step && event.shiftKey) act.look(field, field.moved(-step[0] * 60, step[1] * 60));
  else if (step) act.step(field, ...step);
  else if (event.key === "+" || event.key === "=") act.look(field, field.zoomed(CLOSER));
  else if (event.key === "-") act.look(field, field.zoomed(1 / CLOSER));
  else if (event.key === "0" || event.key === "Home") act.look(field, { x: 0, y: 0, zoom: 1 });
  else if (event.key === "Enter" || event.key === " ") act.toggle();
  else return;
  event.preventDefault();
}
