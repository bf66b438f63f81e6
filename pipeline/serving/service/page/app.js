// The page: a digit drawn or dropped goes to /predict; what comes back is shown.

const byId = (id) => document.getElementById(id);
const canvas = byId("canvas");
// both kept in memory, since a graphics process can lose its canvases
const [pen, seen] = [canvas, byId("seen")].map(
  (surface) => surface.getContext("2d", { willReadFrequently: true }),
);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// answers

let wanted = null; // what is to be read next: the canvas, or a file
let shown = null; // what was read last
let reading = false;

async function read(source) {
  wanted = source;
  if (reading) return;
  reading = true;
  byId("verdict").ariaBusy = "true"; // a screen reader waits for the last answer
  while (wanted) {
    shown = wanted;
    wanted = null;
    await ask(shown);
  }
  reading = false;
  byId("verdict").ariaBusy = "false";
}

async function ask(source) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const body = source === canvas ? await drawing() : source;
    const response = await fetch("predict", { method: "POST", body, headers });
    const content = await response.json();
    if (source !== shown) return; // it was cleared in the meantime
    byId("token-form").hidden = response.status !== 401;
    if (response.ok) show(content);
    else say(content.error);
  } catch {
    if (source === shown) say("The service does not answer.");
  }
}

function show({ digit, confidence, probabilities, image }) {
  const strong = document.createElement("strong");
  strong.textContent = digit;
  byId("verdict").replaceChildren(strong, percent(confidence));
  probabilities.forEach((share, n) => fill(n, share));
  const pixels = seen.createImageData(28, 28);
  image.flat().forEach((grey, n) => pixels.data.set([grey, grey, grey, 255], 4 * n));
  seen.putImageData(pixels, 0, 0);
}

function say(text) {
  byId("verdict").textContent = text;
  for (let n = 0; n < 10; n += 1) fill(n, null);
  seen.clearRect(0, 0, 28, 28);
}

function fill(digit, share) {
  const row = byId("bars").children[digit];
  row.querySelector(".bar span").style.width = `${100 * (share ?? 0)}%`;
  row.querySelector(".share").textContent = share === null ? "" : percent(share);
}

for (let digit = 0; digit < 10; digit += 1) {
  const row = document.createElement("li");
  row.innerHTML = `<span>${digit}</span><span class="bar"><span></span></span><span class="share"></span>`;
  byId("bars").append(row);
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value);
  read(shown);
});

// drawing

let last = null; // where the pen is down

function clear() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  canvas.classList.remove("picture");
  wanted = null;
  shown = null;
  say("Draw a digit.");
}

function line(from, to) {
  if (canvas.classList.contains("picture")) clear();
  pen.lineWidth = canvas.width / 13;
  pen.lineCap = "round";
  pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
  read(canvas);
}

function drawing() {
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  last = place(event);
  line(last, last);
});

canvas.addEventListener("pointermove", (event) => {
  if (!last) return;
  const next = place(event);
  line(last, next);
  last = next;
});

for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => { last = null; });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let spot = [canvas.width / 2, canvas.height / 4]; // of the pen that the keys move

canvas.addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  const inside = (value) => Math.min(Math.max(value, 0), canvas.width);
  const next = spot.map((value, n) => inside(value + (step[n] * canvas.width) / 20));
  if (!event.shiftKey) line(spot, next);
  spot = next;
});

byId("clear").addEventListener("click", clear);

// pictures

async function take(file) {
  clear();
  canvas.classList.add("picture");
  say(`Reading ${file.name} …`);
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(canvas.width / image.width, canvas.height / image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    pen.drawImage(image, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  } catch {
    // a TIFF, which browsers do not draw, or no picture, which the service tells
  }
  read(file);
}

byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) take(file);
  event.target.value = "";
});

const paper = document.querySelector(".paper");
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // a file beside the paper is not opened instead of the page
    paper.classList.toggle("over", name.startsWith("drage") || name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}

// views

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(chosen) {
  for (const tab of tabs) {
    tab.ariaSelected = String(tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  }
  chosen.focus();
}

for (const [n, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (["ArrowLeft", "ArrowRight"].includes(event.key)) choose(tabs[1 - n]);
  });
}

for (const image of document.querySelectorAll("#model img")) {
  image.addEventListener("error", () => { image.closest("figure").hidden = true; });
}

async function showMetrics() {
  const response = await fetch("figures/metrics.json");
  if (!response.ok) return;
  const found = await response.json();
  const rows = {
    "test accuracy": `${(100 * found.accuracy).toFixed(2)} % (95 % interval ${(100 * found.accuracy_low).toFixed(2)} % to ${(100 * found.accuracy_high).toFixed(2)} %)`,
    misclassified: `${found.mistakes} of ${found.images.toLocaleString("en")}`,
    "test loss (cross-entropy)": found.loss.toFixed(4),
    "expected calibration error": found.expected_calibration_error.toFixed(4),
  };
  for (const [name, value] of Object.entries(rows)) {
    const row = byId("metrics").insertRow();
    row.append(document.createElement("th"));
    row.cells[0].scope = "row";
    row.cells[0].textContent = name;
    row.insertCell().textContent = value;
  }
}

clear();
showMetrics();
