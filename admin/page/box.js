import { the } from "./dom.js";

const LEAST_SIDE = 0.03;
const STEP = 0.02;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The box on the photo: drawn, moved and sized by pointer, by keys or by numbers.
 * `box` is [left, top, right, bottom], parts of the width and the height, or null.
 */
export class Box {
  /** @param {(box: ?number[]) => void} changed called when somebody has changed it */
  constructor(changed) {
    this.changed = changed;
    this.frame = the("frame");
    this.node = the("box");
    this.sides = [0, 1, 2, 3].map((side) => the(`side-${side}`));
    this.frame.addEventListener("pointerdown", (event) => this.grab(event));
    this.node.addEventListener("keydown", (event) => this.press(event));
    for (const input of this.sides) input.addEventListener("input", () => this.type());
  }

  /** Show a box, or none. */
  show(box) {
    this.box = box;
    this.node.hidden = !box;
    const [left, top, right, bottom] = box ?? [0, 0, 1, 1];
    const style = this.node.style;
    style.left = `${100 * left}%`;
    style.top = `${100 * top}%`;
    style.width = `${100 * (right - left)}%`;
    style.height = `${100 * (bottom - top)}%`;
    this.sides.forEach((input, side) => {
      if (input !== document.activeElement) input.value = Math.round(1000 * [left, top, right, bottom][side]) / 10;
    });
  }

  set(box) {
    this.show(box && box.map((side) => Math.round(1e4 * side) / 1e4));
    this.changed(this.box);
  }

  /** Begin with the middle of the photo. */
  mark() {
    this.set([0.2, 0.2, 0.8, 0.8]);
    this.node.focus();
  }

  grab(event) {
    if (event.button !== 0 || !this.frame.classList.contains("markable")) return;
    const before = this.box;
    const from = this.place(event);
    const drag = this.dragged(event, from);
    event.preventDefault();
    if (before && this.node.contains(event.target)) this.node.focus();
    this.frame.setPointerCapture(event.pointerId);
    const move = (now) => this.show(drag(this.place(now)));
    const end = (last) => {
      this.frame.removeEventListener("pointermove", move);
      this.frame.removeEventListener("pointerup", end);
      this.frame.removeEventListener("pointercancel", end);
      if (last.type === "pointercancel" || isTooSmall(this.box)) this.show(before);
      else if (String(this.box) !== String(before)) this.set(this.box);
    };
    this.frame.addEventListener("pointermove", move);
    this.frame.addEventListener("pointerup", end);
    this.frame.addEventListener("pointercancel", end);
  }

  /** What a drag that begins here makes: of a pointer's place, the box. */
  dragged(event, [x, y]) {
    const corner = event.target.dataset?.corner?.split(" ").map(Number);
    if (this.box && corner) {
      const [anchorX, anchorY] = [this.box[2 - corner[0]], this.box[4 - corner[1]]];
      return (to) => between([anchorX, anchorY], to);
    }
    if (this.box && this.node.contains(event.target)) {
      const box = this.box;
      return (to) => moved(box, to[0] - x, to[1] - y);
    }
    return (to) => between([x, y], to);
  }

  /** Where a pointer is on the photo, 0 to 1. */
  place(event) {
    const frame = this.frame.getBoundingClientRect();
    return [
      within((event.clientX - frame.left) / frame.width),
      within((event.clientY - frame.top) / frame.height),
    ];
  }

  press(event) {
    if (event.key === "Delete" || event.key === "Backspace") this.set(null);
    const arrow = ARROWS[event.key];
    if (!arrow || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const [dx, dy] = arrow.map((way) => way * STEP);
    this.set(event.shiftKey ? sized(this.box, dx, dy) : moved(this.box, dx, dy));
  }

  type() {
    const box = this.sides.map((input) => within(input.valueAsNumber / 100));
    if (!isTooSmall(box)) this.set(box);
  }
}

const within = (part) => Math.min(1, Math.max(0, part));

const between = ([x, y], [toX, toY]) => [
  Math.min(x, toX), Math.min(y, toY), Math.max(x, toX), Math.max(y, toY),
];

const isTooSmall = (box) =>
  !box || !(box[2] - box[0] >= LEAST_SIDE && box[3] - box[1] >= LEAST_SIDE);

/** The box moved as far as the photo goes. */
function moved([left, top, right, bottom], dx, dy) {
  const x = Math.min(1 - right, Math.max(-left, dx));
  const y = Math.min(1 - bottom, Math.max(-top, dy));
  return [left + x, top + y, right + x, bottom + y];
}

/** The box with its right and bottom sides elsewhere. */
const sized = ([left, top, right, bottom], dx, dy) => [
  left, top,
  Math.min(1, Math.max(left + LEAST_SIDE, right + dx)),
  Math.min(1, Math.max(top + LEAST_SIDE, bottom + dy)),
];
