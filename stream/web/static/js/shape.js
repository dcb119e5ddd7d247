// Draws one zone or line over a picture, by mouse, finger or keyboard.

import { drawing } from "./dom.js";

const STEP = 0.01; // of the picture, for an arrow key; a tenth of it with shift
const SAME = 0.012; // nearer than this to the last corner, a click is the second of a double click
const FIRST = {
  zone: [
    [0.3, 0.3],
    [0.7, 0.3],
    [0.7, 0.7],
    [0.3, 0.7],
  ],
  line: [
    [0.2, 0.5],
    [0.8, 0.5],
  ],
};

/**
 * An editor over a picture.
 *
 * `kind` is "zone" or "line", `points` are parts of the picture's width and height. `onChange` is
 * told of new points, `onDone` that somebody wants them kept.
 */
export class ShapeEditor {
  constructor(kind, points, { onChange, onDone }) {
    Object.assign(this, { kind, onChange, onDone, dragged: null });
    this.points = points.map((point) => [...point]);
    this.shape = drawing(kind === "zone" ? "polygon" : "polyline", {
      "vector-effect": "non-scaling-stroke",
    });
    const stretched = {
      viewBox: "0 0 1 1",
      preserveAspectRatio: "none",
      width: "100%",
      height: "100%",
    };
    this.handles = drawing("g");
    this.root = drawing(
      "svg",
      { class: "editor" },
      drawing("svg", stretched, this.shape),
      this.handles,
    );
    this.root.addEventListener("pointerdown", (event) => this.#press(event));
    this.root.addEventListener("pointermove", (event) => this.#drag(event));
    this.root.addEventListener("pointerup", () => this.#release());
    this.root.addEventListener("pointercancel", () => this.#release());
    this.root.addEventListener("dblclick", () => this.onDone());
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.#draw();
  }

  /** Points that were typed. */
  set(points) {
    this.points = points;
    this.#draw();
  }

  /** One corner more, in the middle of the longest side; a whole shape if there is none yet. */
  addCorner() {
    if (this.points.length < FIRST[this.kind].length - 1)
      this.points = FIRST[this.kind].map((point) => [...point]);
    else if (this.kind === "zone") {
      const lengths = this.#sides().map(([from, to]) =>
        Math.hypot(to[0] - from[0], to[1] - from[1]),
      );
      const longest = lengths.indexOf(Math.max(...lengths));
      this.points.splice(longest + 1, 0, middle(...this.#sides()[longest]));
    }
    this.#changed();
    this.#focus(0);
  }

  #press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    const at = this.#place(event);
    const { corner, side } = event.target.dataset;
    if (corner !== undefined) this.dragged = Number(corner);
    else if (side !== undefined) this.#insert(Number(side) + 1, at);
    else if (this.kind === "zone") this.#append(at);
    else this.#putLine(at);
    if (this.dragged !== null) {
      this.root.setPointerCapture(event.pointerId);
      this.#focus(this.dragged);
    }
  }

  #insert(at, point) {
    this.points.splice(at, 0, point);
    this.dragged = at;
    this.#changed();
  }

  #append(point) {
    const last = this.points.at(-1);
    if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < SAME) return;
    this.#insert(this.points.length, point);
  }

  /** Press, drag, release; or press at both ends. */
  #putLine(point) {
    const [start, end] = this.points;
    if (!start) this.points = [point, [...point]];
    else if (start[0] === end[0] && start[1] === end[1]) this.points = [start, point];
    else return;
    this.dragged = 1;
    this.#changed();
  }

  #drag(event) {
    if (this.dragged === null) return;
    this.points[this.dragged] = this.#place(event);
    this.#changed();
  }

  #release() {
    this.dragged = null;
  }

  #key(event) {
    const corner = Number(event.target.dataset.corner ?? NaN);
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter") this.onDone();
    else if (Number.isNaN(corner)) return;
    else if (moves[event.key])
      this.#move(corner, moves[event.key], event.shiftKey ? STEP / 10 : STEP);
    else if (["Delete", "Backspace"].includes(event.key)) this.#remove(corner);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #move(corner, [right, down], step) {
    const [x, y] = this.points[corner];
    this.points[corner] = [within(x + right * step), within(y + down * step)];
    this.#changed();
    this.#focus(corner);
  }

  #remove(corner) {
    if (this.kind === "line") return;
    this.points.splice(corner, 1);
    this.#changed();
    this.#focus(Math.min(corner, this.points.length - 1));
  }

  #changed() {
    this.#draw();
    this.onChange(this.points);
  }

  #focus(corner) {
    this.handles.querySelector(`[data-corner="${corner}"]`)?.focus();
  }

  #place(event) {
    const frame = this.root.getBoundingClientRect();
    const part = (at, from, size) => within((at - from) / (size || 1));
    return [
      part(event.clientX, frame.left, frame.width),
      part(event.clientY, frame.top, frame.height),
    ];
  }

  #sides() {
    return this.points.map((from, i) => [from, this.points[(i + 1) % this.points.length]]);
  }

  #draw() {
    this.shape.setAttribute("points", this.points.map((point) => point.join(",")).join(" "));
    const focused =
      this.handles.contains(document.activeElement) && document.activeElement.dataset.corner;
    const corners = this.points.map((point, i) =>
      handle(point, 7, {
        class: "corner",
        tabindex: 0,
        role: "button",
        "data-corner": i,
        "aria-label": `Corner ${i + 1} at ${written([point])}: arrows move it`,
      }),
    );
    const isClosed = this.kind === "zone" && this.points.length > 2;
    const sides = isClosed ? this.#sides() : [];
    const middles = sides.map((side, i) =>
      handle(middle(...side), 4, { class: "side", "data-side": i }),
    );
    this.handles.replaceChildren(...middles, ...corners);
    if (focused) this.#focus(focused);
  }
}

/** `0.1,0.6 0.9,0.6`, as `--zone` takes them. */
export function written(points) {
  return points.map((point) => point.map((part) => Number(part.toFixed(3))).join(",")).join(" ");
}

/** The points of such a text; null if it is none. */
export function read(text) {
  const points = text
    .trim()
    .split(/\s+/)
    .map((point) => point.split(",").map(Number));
  const isPoint = (point) => point.length === 2 && point.every((part) => part >= 0 && part <= 1);
  return text.trim() && points.every(isPoint) ? points : null;
}

function handle([x, y], r, attributes) {
  return drawing("circle", { cx: `${x * 100}%`, cy: `${y * 100}%`, r, ...attributes });
}

function middle(from, to) {
  return [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
}

function within(part) {
  return Math.round(Math.max(0, Math.min(1, part)) * 1000) / 1000;
}
