// Draws over a clean picture what the server found in it. All of it can be switched off here,
// because nothing of it is in the picture.

import { DARK, LINE_COLOUR, colourOfNumber, colourOfZone } from "./colours.js";
import { tally, total } from "./format.js";

/** What can be drawn: the switch's key, its name, and the key that toggles it. */
export const LAYERS = [
  { name: "masks", text: "Masks", key: "m" },
  { name: "boxes", text: "Boxes", key: "b" },
  { name: "labels", text: "Labels", key: "l" },
  { name: "keypoints", text: "Keypoints", key: "k" },
  { name: "trails", text: "Trails", key: "t" },
  { name: "zones", text: "Zones", key: "z" },
];

// COCO's 17 keypoints, from the nose down: which are joined by a bone
const SKELETON = [
  [0, 1],
  [0, 2],
  [1, 3],
  [2, 4],
  [5, 6],
  [5, 7],
  [7, 9],
  [6, 8],
  [8, 10],
  [5, 11],
  [6, 12],
  [11, 12],
  [11, 13],
  [13, 15],
  [12, 14],
  [14, 16],
];
const MASK_OPACITY = 0.4;
const ZONE_OPACITY = 0.18;

/** The objects that pass the score and the classes (a Set, or null for all). */
export function chosen(objects, { score, classes }) {
  return objects.filter(
    (one) => one.score >= score && (classes === null || classes.has(one.label)),
  );
}

/**
 * Draws on a canvas that shows a frame.
 *
 * `frame` is the message's header, `objects` those to draw, `layers` a Set of names of LAYERS;
 * `places` are the camera's zones and lines, `inside` who is in each zone, `crossed` who has crossed
 * each line, in and out.
 */
export function drawOverlay(context, frame, { objects, layers, places, inside, crossed }) {
  const brush = new Brush(context, frame);
  if (layers.has("zones")) {
    places.zones.forEach((zone, i) => drawZone(brush, zone, colourOfZone(i)));
    places.lines.forEach((line) => drawLine(brush, line));
  }
  if (layers.has("masks")) objects.forEach((one) => drawMask(brush, one));
  if (layers.has("trails")) objects.forEach((one) => drawTrail(brush, one));
  const certainLast = [...objects].reverse();
  if (layers.has("boxes")) certainLast.forEach((one) => drawBox(brush, one));
  if (layers.has("keypoints")) certainLast.forEach((one) => drawPose(brush, one));
  if (layers.has("labels")) certainLast.forEach((one) => drawLabel(brush, one));
  if (layers.has("zones")) {
    places.zones.forEach((zone, i) => nameZone(brush, zone, colourOfZone(i), inside?.[zone.name]));
    places.lines.forEach((line) => nameLine(brush, line, crossed?.[line.name]));
  }
}

/** A canvas with the frame's scale, and line and text sizes that suit how large it is shown. */
class Brush {
  constructor(context, frame) {
    const { width, height, clientWidth } = context.canvas;
    this.context = context;
    this.width = width;
    this.height = height;
    this.scaleX = width / frame.width;
    this.scaleY = height / frame.height;
    const dense = width / (clientWidth || width);
    this.line = Math.max(1, dense * (clientWidth > 560 ? 2 : 1.5));
    this.text = dense * (clientWidth > 560 ? 13 : 11);
    context.lineJoin = "round";
    context.lineCap = "round";
  }

  /** A path through [[x, y], …] px of the frame. */
  path(points, { closed = false } = {}) {
    const path = new Path2D();
    points.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"](x * this.scaleX, y * this.scaleY));
    if (closed) path.closePath();
    return path;
  }

  /** A path through parts of the picture's width and height. */
  partPath(points, closed) {
    const path = new Path2D();
    points.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"](x * this.width, y * this.height));
    if (closed) path.closePath();
    return path;
  }

  /** A coloured line with a dark rim, which shows on any background. */
  stroke(path, colour, width = this.line) {
    const { context } = this;
    context.strokeStyle = DARK;
    context.lineWidth = width + this.line;
    context.stroke(path);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
  }

  tint(path, colour, opacity) {
    const { context } = this;
    context.globalAlpha = opacity;
    context.fillStyle = colour;
    context.fill(path);
    context.globalAlpha = 1;
  }

  /** White text on a dark plate with a coloured edge, above (x, y) or as near as there is room. */
  plate(text, x, y, colour) {
    const { context } = this;
    context.font = `600 ${this.text}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const margin = this.text * 0.4;
    const width = context.measureText(text).width + 3 * margin;
    const height = this.text * 1.5;
    const left = clamp(x, 0, this.width - width);
    const top = clamp(y - height, 0, this.height - height);
    context.fillStyle = DARK;
    context.beginPath();
    context.roundRect(left, top, width, height, this.text * 0.25);
    context.fill();
    context.fillStyle = colour;
    context.fillRect(left, top, margin * 0.6, height);
    context.fillStyle = "#fff";
    context.fillText(text, left + 1.8 * margin, top + height / 2);
  }
}

function drawMask(brush, one) {
  for (const flat of one.polygons) {
    const points = [];
    for (let i = 0; i < flat.length; i += 2) points.push([flat[i], flat[i + 1]]);
    const path = brush.path(points, { closed: true });
    brush.tint(path, one.colour, MASK_OPACITY);
    brush.stroke(path, one.colour, brush.line * 0.6);
  }
}

function drawBox(brush, one) {
  const [x1, y1, x2, y2] = one.box;
  const corners = [
    [x1, y1],
    [x2, y1],
    [x2, y2],
    [x1, y2],
  ];
  brush.stroke(brush.path(corners, { closed: true }), one.colour);
}

function drawLabel(brush, one) {
  const number = one.track === null ? "" : ` #${one.track}`;
  const text = `${one.label}${number} ${one.score.toFixed(2)}`;
  brush.plate(text, one.box[0] * brush.scaleX, one.box[1] * brush.scaleY, one.colour);
}

function drawTrail(brush, one) {
  if (one.track === null || one.trail.length < 2) return;
  brush.stroke(brush.path(one.trail), colourOfNumber(one.track), brush.line * 0.8);
}

function drawPose(brush, one) {
  if (!one.keypoints) return;
  const isSeen = (i) => one.keypoints[i][2] > 0; // torchvision's scores of keypoints are logits
  if (one.keypoints.length === 17) {
    for (const [from, to] of SKELETON) {
      if (!isSeen(from) || !isSeen(to)) continue;
      brush.stroke(brush.path([one.keypoints[from], one.keypoints[to]]), one.colour);
    }
  }
  one.keypoints.forEach(([x, y], i) => {
    if (!isSeen(i)) return;
    const dot = new Path2D();
    dot.arc(x * brush.scaleX, y * brush.scaleY, brush.line * 1.6, 0, 2 * Math.PI);
    brush.tint(dot, "#fff", 1);
  });
}

function drawZone(brush, zone, colour) {
  const path = brush.partPath(zone.polygon, true);
  brush.tint(path, colour, ZONE_OPACITY);
  brush.stroke(path, colour);
}

function nameZone(brush, zone, colour, inside) {
  const [x, y] = zone.polygon.reduce((top, corner) => (corner[1] < top[1] ? corner : top));
  const text = inside === undefined ? zone.name : `${zone.name}: ${tally(inside)}`;
  brush.plate(text, x * brush.width, y * brush.height, colour);
}

function drawLine(brush, line) {
  brush.stroke(brush.partPath([line.from, line.to], false), LINE_COLOUR);
  brush.stroke(arrow(brush, line), LINE_COLOUR);
}

function nameLine(brush, line, crossed) {
  const counts = crossed && `in ${total(crossed.in)}, out ${total(crossed.out)}`;
  const text = counts ? `${line.name}: ${counts}` : line.name;
  brush.plate(text, line.from[0] * brush.width, line.from[1] * brush.height, LINE_COLOUR);
}

/** From the middle of a line to where "in" is: its right, for who looks from start to end. */
function arrow(brush, line) {
  const start = [line.from[0] * brush.width, line.from[1] * brush.height];
  const end = [line.to[0] * brush.width, line.to[1] * brush.height];
  const length = Math.max(1, Math.hypot(end[0] - start[0], end[1] - start[1]));
  const along = [(end[0] - start[0]) / length, (end[1] - start[1]) / length];
  const across = [-along[1], along[0]];
  const middle = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
  const at = (far, aside) =>
    [0, 1].map((axis) => middle[axis] + brush.line * (far * across[axis] + aside * along[axis]));
  const path = new Path2D();
  for (const [from, to] of [
    [at(0, 0), at(10, 0)],
    [at(6, 3), at(10, 0)],
    [at(6, -3), at(10, 0)],
  ]) {
    path.moveTo(...from);
    path.lineTo(...to);
  }
  return path;
}

function clamp(value, least, most) {
  return Math.max(least, Math.min(most, value));
}
