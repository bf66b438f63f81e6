// The paper: a canvas for strokes by mouse, pen, finger or keys, or for a picture.

const canvas = document.getElementById("canvas");
const spot = document.getElementById("spot"); // shows the pen that the keys move
const SIDE = canvas.width;
const PEN = SIDE / 13;
const CELLS = 32; // per side, to check what the browser has read from a canvas
const SECONDS = 10; // for the browser to read its canvas
// kept in memory: a graphics process can lose its canvases
const copy = Object.assign(document.createElement("canvas"), { width: CELLS, height: CELLS });
const [pen, small] = [canvas, copy].map(
  (surface) => surface.getContext("2d", { willReadFrequently: true }),
);

let strokes = []; // lists of points without gaps
let drawn = () => {}; // called after each stroke; true: the pen is still moving

export function onDraw(call) { drawn = call; }

export function wipe() {
  stop();
  blank();
}

function blank() {
  strokes = [];
  pen.clearRect(0, 0, SIDE, SIDE);
  canvas.classList.remove("picture");
}

export function undo() {
  const left = strokes.slice(0, -1);
  wipe();
  for (const points of left) {
    strokes.push([]);
    points.forEach((point, n) => line(points[Math.max(n - 1, 0)], point));
  }
  return strokes.length > 0;
}

export function put(image) {
  const scale = Math.min(SIDE / image.width, SIDE / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  const place = [(SIDE - width) / 2, (SIDE - height) / 2, width, height];
  pen.fillStyle = "#fff"; // under transparent pixels
  pen.fillRect(...place);
  pen.drawImage(image, ...place);
}

// The drawing as a PNG file; null if the browser does not let a page read its canvas.
export function file() {
  return inTime(read(strokes.flat()));
}

// The image as a file of this type whose longer side has this many pixels; null as above.
export function shrink(image, side, type) {
  const scale = side / Math.max(image.width, image.height);
  const [width, height] = [image.width, image.height].map((of) => Math.max(1, Math.round(of * scale)));
  const surface = Object.assign(document.createElement("canvas"), { width, height });
  const context = surface.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return inTime(encode(surface, type));
}

// What the promise gives; null if it fails or takes too long. A browser that does not let a page
// read its canvas gives nothing, gives other pixels or never answers.
function inTime(promise) {
  const late = new Promise((resolve) => { setTimeout(resolve, 1000 * SECONDS, null); });
  return Promise.race([late, promise]).catch(() => null);
}

async function read(points) {
  const blob = await written(canvas, "image/png");
  const greys = sample(await decoded(blob));
  const dark = (column, row) => greys[CELLS * row + column] < 128;
  const cell = (value) => Math.min(Math.floor((value * CELLS) / SIDE), CELLS - 1);
  const middle = (n) => ((n + 0.5) * SIDE) / CELLS;
  const near = ([x, y], n) =>
    Math.hypot(x - middle(n % CELLS), y - middle(Math.floor(n / CELLS))) < 2 * PEN;
  const inked = points.every(([x, y]) => dark(cell(x), cell(y)));
  const stained = Array.from({ length: CELLS * CELLS }, (_, n) => n)
    .some((n) => dark(n % CELLS, Math.floor(n / CELLS)) && !points.some((point) => near(point, n)));
  return inked && !stained ? blob : null;
}

async function encode(surface, type) {
  const blob = await written(surface, type);
  const before = sample(surface);
  const after = sample(await decoded(blob));
  const blank = before.every((grey) => grey === before[0]); // or replaced by one colour
  return !blank && before.every((grey, n) => Math.abs(grey - after[n]) < 64) ? blob : null;
}

function written(surface, type) {
  return new Promise((resolve) => { surface.toBlob(resolve, type); });
}

async function decoded(blob) {
  const image = new Image(); // not an ImageBitmap, which a graphics process can lose
  image.src = URL.createObjectURL(blob);
  await image.decode().finally(() => URL.revokeObjectURL(image.src));
  return image;
}

// The greys of a grid of pixels of an image on white paper.
function sample(image) {
  small.imageSmoothingEnabled = false;
  small.fillStyle = "#fff";
  small.fillRect(0, 0, CELLS, CELLS);
  small.drawImage(image, 0, 0, CELLS, CELLS);
  const { data } = small.getImageData(0, 0, CELLS, CELLS);
  return Array.from({ length: CELLS * CELLS }, (_, n) => data[4 * n]);
}

function line(from, to) {
  if (canvas.classList.contains("picture")) {
    blank();
    strokes.push([]);
  }
  pen.lineWidth = PEN;
  pen.lineCap = "round";
  pen.fillStyle = "#000";
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
  pen.beginPath();
  pen.arc(...to, PEN / 2, 0, 2 * Math.PI); // a line of length zero is not drawn
  pen.fill();
  const steps = Math.max(1, Math.ceil((2 * Math.hypot(to[0] - from[0], to[1] - from[1])) / PEN));
  for (let n = 1; n <= steps; n += 1) {
    strokes.at(-1).push([0, 1].map((axis) => from[axis] + ((to[axis] - from[axis]) * n) / steps));
  }
}

// by mouse, pen or finger: only the pointer that began a stroke continues it

let pointer = null;
let last = null;

function stop() { // a pointer that keeps moving draws nothing
  pointer = null;
  last = null;
  moving = false;
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (value) => Math.min(Math.max(value * SIDE, 0), SIDE);
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(inside);
}

function go(event) {
  const next = place(event);
  line(last ?? next, next);
  last = next;
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || pointer !== null) return;
  canvas.setPointerCapture(event.pointerId);
  pointer = event.pointerId;
  strokes.push([]);
  go(event);
  drawn(true);
});

canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const moves = event.getCoalescedEvents?.() ?? []; // several, if the browser was busy
  (moves.length ? moves : [event]).forEach(go);
  drawn(true);
});

for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
  canvas.addEventListener(name, (event) => {
    if (event.pointerId !== pointer) return;
    stop();
    drawn(false);
  });
}

// by keys

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let [x, y] = [SIDE / 2, SIDE / 4];
let moving = false;

function point() {
  spot.style.left = `${(100 * x) / SIDE}%`;
  spot.style.top = `${(100 * y) / SIDE}%`;
}

canvas.addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  if (pointer !== null) return;
  const from = [x, y];
  [x, y] = from.map((value, n) => Math.min(Math.max(value + (step[n] * SIDE) / 20, 0), SIDE));
  point();
  if (event.shiftKey) return;
  strokes.push([]);
  line(from, [x, y]);
  moving = true;
  drawn(true);
});

canvas.addEventListener("keyup", () => {
  if (moving) drawn(false);
  moving = false;
});

point();
