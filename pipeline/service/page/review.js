// The page for reviewers: one key press labels an image.

import { Token } from "./token.js";

const byId = (id) => document.getElementById(id);
const labels = JSON.parse(document.body.dataset.labels);
const { foreign } = document.body.dataset;
const canvas = byId("item");
const context = canvas.getContext("2d", { willReadFrequently: true });
const FOREIGN = "-"; // the key for an image that shows no class
const BATCH = 20; // images to fetch at a time
const FEW = 5; // images left when the next are fetched
const REMEMBERED = 100; // ids that the service may not have noted yet
const SECONDS = 30; // to wait for the service

const token = new Token("review-token");
const name = new Token("reviewer");
let items = []; // still to label
let done = []; // labelled or skipped, the latest last
let waiting = 0; // in the queue, as the service says
let fetching = null;

async function call(path, content) {
  const response = await fetch(path, {
    method: content ? "POST" : "GET", headers: { ...token.headers, "Content-Type": "application/json" },
    body: content && JSON.stringify(content), signal: AbortSignal.timeout(1000 * SECONDS),
  }).catch(() => null);
  const answer = await response?.json().catch(() => ({}));
  if (response?.ok) return answer;
  throw new Error(answer?.error ?? "the service is not responding");
}

async function more() {
  const query = new URLSearchParams({ count: BATCH });
  for (const { id } of [...done.slice(-REMEMBERED), ...items]) query.append("skip", id);
  const found = await call(`review/queue?${query}`);
  const known = new Set([...done, ...items].map(({ id }) => id));
  items.push(...found.items.filter(({ id }) => !known.has(id)));
  waiting = Object.values(found.waiting).reduce((sum, count) => sum + count, 0);
}

async function fill() {
  if (items.length >= FEW) return;
  fetching ??= more().finally(() => { fetching = null; });
  await fetching;
}

function show(text = "") {
  const [item] = items;
  byId("work").hidden = !item && done.length === 0;
  const labelled = done.filter(({ label }) => label).length;
  const left = item ? `${waiting} in the queue` : "No image waits for a label";
  byId("state").textContent = [text, `${left}, ${labelled} labelled here.`].filter(Boolean).join(" ");
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const button of byId("labels").children) button.disabled = !item;
  byId("skip").disabled = !item;
  byId("back").disabled = done.length === 0;
  if (!item) return;
  const pixels = context.createImageData(canvas.width, canvas.height);
  item.image.flat().forEach((grey, n) => pixels.data.set([grey, grey, grey, 255], 4 * n));
  context.putImageData(pixels, 0, 0);
}

async function next(label) {
  const item = items.shift();
  if (!item) return;
  done.push({ ...item, label });
  show(label ? `Noted: ${label}.` : "Skipped.");
  try {
    if (label) await call("review/labels", { id: item.id, label, name: name.value });
    await fill();
    if (items.length <= FEW || done.at(-1)?.id === item.id) show(label ? `Noted: ${label}.` : "Skipped.");
  } catch (error) {
    if (label) {
      done = done.filter(({ id }) => id !== item.id);
      items.unshift(item);
    }
    show(`Not noted: ${error.message}.`);
  }
}

function back() {
  const last = done.pop();
  if (!last) return;
  items.unshift(last);
  show(last.label ? `It was labelled ${last.label}.` : "It was skipped.");
}

async function start() {
  byId("state").textContent = "Looking for images …";
  try {
    await more();
  } catch (error) {
    byId("state").textContent = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
    return;
  }
  byId("reviewer").hidden = true;
  show();
  if (items.length) canvas.focus();
}

for (const value of [...labels, foreign]) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value, textContent: value });
  button.addEventListener("click", () => next(value));
  byId("labels").append(button);
}
byId("labels").lastChild.textContent = foreign.replace(/^./, (first) => first.toUpperCase());
byId("skip").addEventListener("click", () => next(null));
byId("back").addEventListener("click", back);
byId("name").value = name.value ?? "";

byId("reviewer").addEventListener("submit", (event) => {
  event.preventDefault();
  name.set(byId("name").value.trim());
  if (byId("token").value) token.set(byId("token").value);
  start();
});

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (byId("work").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (target.matches("input") || (key === " " && target.matches("button"))) return;
  if (key === FOREIGN) next(foreign);
  else if (key === " ") next(null);
  else if (key === "Backspace") back();
  else if (labels.includes(key)) next(key);
  else return;
  event.preventDefault();
});
