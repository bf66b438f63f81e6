// The page: sends what is drawn, chosen, dropped or pasted to /predict and shows the answer.

import * as feedback from "./feedback.js";
import { labels, sentence } from "./labels.js";
import * as paper from "./paper.js";
import { token } from "./token.js";

const byId = (id) => document.getElementById(id);
const canvas = byId("canvas");
// kept in memory: a graphics process can lose its canvases
const seen = byId("seen").getContext("2d", { willReadFrequently: true });
const { noun, aNoun } = document.body.dataset; // such as digit, a digit
// a network is never certain
const percent = (share) => `${(100 * share).toFixed(1)} %`.replace("100.0", ">99.9");
const either = new Intl.ListFormat("en", { type: "disjunction" });
const UNREADABLE = "This browser does not let the page read its canvas. Choose a file instead.";
const SECONDS = 60; // to wait for an answer
const [FOR, AGAINST] = [[255, 140, 0], [60, 130, 255]]; // colours of ink for and against the label
const PAUSE = 1500; // ms after a stroke until the drawing is complete
const LARGEST = 2048; // pixels of a picture's longer side; larger pictures are shrunk

// answers

let next = null; // what to classify next: a file, or without one the paper
let shown = null; // what was classified last
let busy = false;

async function classify(source) {
  next = source;
  if (busy) return;
  busy = true;
  byId("verdict").ariaBusy = "true"; // a screen reader waits for the last answer
  while (next) {
    shown = next;
    next = null;
    await ask(shown);
  }
  busy = false;
  byId("verdict").ariaBusy = "false";
}

async function ask(source) {
  const { file, image, preview = false } = source;
  const { headers } = token;
  const body = file ? await bytesOf(file, image) : await paper.file();
  if (source !== shown) return; // the user has cleared it
  if (!body) {
    say(file ? `${file.name}: The browser cannot read this file.` : UNREADABLE);
    return;
  }
  if (body.size === 0) {
    say(`${file.name}: The file is empty.`);
    return;
  }
  try {
    const explain = byId("explain").ariaPressed;
    const response = await fetch(`predict?${new URLSearchParams({ preview, explain, source: "page" })}`, {
      method: "POST", body, headers, signal: AbortSignal.timeout(1000 * SECONDS),
    });
    const content = await response.json().catch(() => ({})); // a proxy may answer with something else
    if (source !== shown) return;
    byId("token-form").hidden = response.status !== 401;
    const text = response.status === 401 ? "the token is missing or wrong" : content.error;
    const problem = sentence(text ?? `the service returned status ${response.status}`);
    if (response.ok && content.version !== document.body.dataset.version) renew(content.version);
    if (!source.again) feedback.ask(response.ok ? content : null);
    if (response.ok) show(content);
    else say(file ? `${file.name}: ${problem}` : problem);
  } catch {
    if (source === shown) say("The service is not responding.");
  }
}

// Another model has answered than the one that the page was made for: show its version and figures.
function renew(version) {
  document.body.dataset.version = version;
  byId("version").textContent = version;
  if (!byId("model").hidden) showFigures();
}

// The file, or a smaller one of the same type if its picture is large and the browser can shrink it.
async function bytesOf(file, image) {
  const small = image && Math.max(image.width, image.height) > LARGEST
    ? await paper.shrink(image, LARGEST, file.type) : null;
  // a browser cannot read a folder, or a file that was removed or changed since it was chosen
  return small ?? file.arrayBuffer().then((bytes) => new Blob([bytes]), () => null);
}

function show(answer) {
  const { label, probabilities, image, explanation } = answer;
  const [large, small] = summary(answer);
  say(small);
  if (!probabilities) return; // the picture was not classified
  if (large) {
    const strong = document.createElement("strong");
    strong.textContent = large;
    byId("verdict").prepend(strong);
  }
  byId("bars").classList.toggle("doubtful", label === null);
  probabilities.forEach((share, n) => fill(n, share));
  const pixels = seen.createImageData(seen.canvas.width, seen.canvas.height);
  const falls = explanation?.flat() ?? [];
  const most = Math.max(0, ...falls.map(Math.abs));
  image.flat().forEach((grey, n) => {
    const weight = most ? (falls[n] ?? 0) / most : 0;
    const colour = weight > 0 ? FOR : AGAINST;
    const shade = (part) => grey + (part - grey) * Math.abs(weight);
    pixels.data.set([...colour.map(shade), 255], 4 * n);
  });
  seen.putImageData(pixels, 0, 0);
}

// An answer in words: a few large ones, if it has a label, and small ones.
function summary({ label, confidence, set, verdict, reason }) {
  if (verdict === noun) return [label, percent(confidence)];
  if (verdict === "unsure") return [either.format(set), `${percent(confidence)} for ${label}`];
  if (verdict === "several") return ["", `Several ${noun}s: show one at a time.`];
  if (verdict === "no ink") return ["", sentence(reason)];
  return ["", `This does not look like ${aNoun}.`];
}

function say(text) {
  byId("verdict").textContent = text;
  labels.forEach((_, n) => fill(n, null));
  seen.clearRect(0, 0, seen.canvas.width, seen.canvas.height);
}

function fill(n, share) {
  const row = byId("bars").children[n];
  row.querySelector(".bar span").style.width = `${100 * (share ?? 0)}%`;
  row.querySelector(".share").textContent = share === null ? "" : percent(share);
}

for (const label of labels) {
  const row = document.createElement("li");
  row.innerHTML = '<span></span><span class="bar"><span></span></span><span class="share"></span>';
  row.firstChild.textContent = label;
  byId("bars").append(row);
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value);
  if (shown) classify({ ...shown });
});

// drawing

function forget() {
  clearTimeout(pause);
  next = null;
  shown = null;
  feedback.ask(null);
  say(`Draw ${aNoun}.`);
}

function clear() {
  paper.wipe();
  forget();
}

function undo() {
  if (!canvas.classList.contains("picture") && paper.undo()) classify({ preview: true });
  else clear();
}

let pause = null;

// the service counts a prediction only once the drawing is complete
paper.onDraw((moving) => {
  clearTimeout(pause);
  classify({ preview: true });
  if (!moving) pause = setTimeout(classify, PAUSE, {});
});
byId("explain").addEventListener("click", ({ currentTarget: button }) => {
  button.ariaPressed = String(button.ariaPressed === "false");
  byId("legend").hidden = button.ariaPressed === "false";
  if (shown) classify({ ...shown, preview: true, again: true });
});
byId("clear").addEventListener("click", clear);
byId("undo").addEventListener("click", undo);

document.addEventListener("keydown", (event) => {
  if (byId("draw").hidden || event.target.matches("input")) return;
  if (event.key === "Escape") clear();
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    undo();
  }
});

// pictures

let taken = null; // the file on the paper

async function take(files) {
  if (files.length === 0) return;
  choose(tabs[0]);
  clear();
  if (files.length > 1) {
    say(`Choose one picture at a time, not ${files.length}.`);
    return;
  }
  const [file] = files;
  taken = file;
  canvas.classList.add("picture");
  say(`Reading ${file.name} …`);
  // a browser cannot draw a TIFF; the service reports what is not a picture
  const image = await createImageBitmap(file).catch(() => null);
  if (taken !== file || !canvas.classList.contains("picture")) return; // cleared meanwhile
  if (image) paper.put(image);
  classify({ file, image });
}

byId("file").addEventListener("change", (event) => {
  take([...event.target.files]); // a copy, since the next line empties the list
  event.target.value = "";
});

document.addEventListener("paste", (event) => take(event.clipboardData.files));

const sheet = document.querySelector(".paper");
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // otherwise a file dropped next to the paper replaces the page
    sheet.classList.toggle("over", name.startsWith("drage") || name === "dragover");
    if (name === "drop") take(event.dataTransfer.files);
  });
}

// views, each with its own URL: #draw and #model

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(chosen) {
  for (const tab of tabs) {
    tab.ariaSelected = String(tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  }
  const address = `#${chosen.getAttribute("aria-controls")}`;
  if ((location.hash || "#draw") !== address) history.replaceState(null, "", address);
  if (address === "#model") showFigures();
}

function follow() {
  choose(tabs[location.hash === "#model" ? 1 : 0]);
}

for (const [n, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    choose(tabs[1 - n]);
    tabs[1 - n].focus();
  });
}
window.addEventListener("hashchange", follow);

// figures of the model that the page was made for, even if the service has another one meanwhile

const figure = (name) => `figures/${name}?version=${document.body.dataset.version}`;

async function showFigures() {
  let found = null;
  try {
    const response = await fetch(figure("metrics.json"));
    if (response.ok) found = await response.json();
  } catch {
    // treated as no reports
  }
  byId("no-figures").hidden = found !== null;
  byId("measured").hidden = found === null;
  for (const image of document.querySelectorAll("#model img[data-of-the-model]")) {
    image.closest("figure").hidden = found === null;
    if (!found) continue;
    image.src = figure(image.dataset.ofTheModel);
    image.parentElement.href = figure(image.dataset.ofTheModel);
  }
  if (found) showMetrics(found);
}

function showMetrics(found) {
  const images = found.images.toLocaleString("en");
  byId("measured").caption.textContent = `This model on the ${images} test images`;
  const rows = {
    "test accuracy": `${(100 * found.accuracy).toFixed(2)} % (95 % interval ${(100 * found.accuracy_low).toFixed(2)} % to ${(100 * found.accuracy_high).toFixed(2)} %)`,
    misclassified: `${found.misclassified} of ${images}`,
    "test loss (cross-entropy)": found.loss.toFixed(4),
    "expected calibration error": found.expected_calibration_error.toFixed(4),
  };
  byId("metrics").replaceChildren();
  for (const [name, value] of Object.entries(rows)) {
    const row = byId("metrics").insertRow();
    row.append(document.createElement("th"));
    row.cells[0].scope = "row";
    row.cells[0].textContent = name;
    row.insertCell().textContent = value;
  }
}

for (const image of document.querySelectorAll("#model img")) {
  image.addEventListener("error", () => { image.closest("figure").hidden = true; });
}

clear();
follow();
