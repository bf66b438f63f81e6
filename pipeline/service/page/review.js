// The page for reviewers: one key press labels an image.

import { addButtons, isTaken, labelOf, sentence } from "./labels.js";
import { Token } from "./token.js";

const byId = (id) => document.getElementById(id);
const canvas = byId("item");
const context = canvas.getContext("2d", { willReadFrequently: true });
const BATCH = 40; // images to fetch at a time
const EVERY = 5; // images after which the next are fetched, without those that others have labelled
const REMEMBERED = 100; // ids that the service may not have noted yet
const SECONDS = 30; // to wait for the service

const token = new Token("review-token");
const name = new Token("reviewer");
let items = []; // still to label; the first is on the page
let done = []; // labelled or skipped, the latest last
let waiting = 0; // in the queue, without those in `done`
let noted = 0; // labels that the service has taken
let fetching = null;

async function call(path, content) {
  const response = await fetch(path, {
    method: content ? "POST" : "GET", headers: { ...token.headers, "Content-Type": "application/json" },
    body: content && JSON.stringify(content), signal: AbortSignal.timeout(1000 * SECONDS),
  }).catch(() => null);
  const answer = await response?.json().catch(() => ({}));
  if (response?.ok) return answer;
  if (response?.status !== 401) throw new Error(answer?.error ?? "the service is not responding");
  ask();
  throw new Error("the review token is missing or wrong");
}

// Show the form for name and token.
function ask() {
  byId("work").hidden = true;
  byId("reviewer").hidden = false;
  byId("token").value = "";
  byId(name.value ? "token" : "name").focus();
}

async function more() {
  const query = new URLSearchParams({ count: BATCH });
  for (const { id } of done.slice(-REMEMBERED)) query.append("skip", id);
  const found = await call(`review/queue?${query}`);
  const [now] = items; // stays on the page
  const known = new Set([...done, now].map((item) => item?.id));
  const others = found.items.filter(({ id }) => !known.has(id));
  items = now ? [now, ...shuffled(others)] : shuffled(others);
  waiting = Math.max(items.length, Object.values(found.waiting).reduce((sum, count) => sum + count, 0));
}

// In any order, so that two reviewers seldom label the same image at the same time.
function shuffled(list) {
  const keys = new Map(list.map((item) => [item, Math.random()]));
  return [...list].sort((a, b) => keys.get(a) - keys.get(b));
}

async function fetchMore() {
  fetching ??= more().finally(() => { fetching = null; });
  await fetching;
}

function tell(text = "") {
  const left = items.length ? `${waiting.toLocaleString("en")} in the queue`
    : "No image waits for a label";
  const counts = `${left}, ${noted.toLocaleString("en")} labelled here.`;
  byId("state").textContent = [text, counts].filter(Boolean).join(" ");
}

function show() {
  const [item] = items;
  const again = byId("again");
  const wasEmpty = canvas.hidden;
  canvas.hidden = !item;
  again.hidden = Boolean(item);
  if (wasEmpty === Boolean(item)) (item ? canvas : again).focus(); // a hidden element loses it
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
  waiting -= 1;
  show();
  try {
    if (label) await call("review/labels", { id: item.id, label, name: name.value });
  } catch (error) {
    done = done.filter(({ id }) => id !== item.id);
    items.unshift(item);
    waiting += 1;
    show();
    tell(`Not noted: ${error.message}.`);
    return;
  }
  const text = label ? `Noted: ${label}.` : "Skipped.";
  if (label) noted += item.label ? 0 : 1; // it may have replaced a label
  tell(text);
  if (items.length >= EVERY && done.length % EVERY) return;
  try {
    await fetchMore();
    show();
    tell(text);
  } catch (error) {
    tell(`${text} No more images: ${error.message}.`);
  }
}

function back() {
  const last = done.pop();
  if (!last) return;
  items.unshift(last);
  waiting += 1;
  show();
  tell(last.label ? `It was labelled ${last.label}.` : "It was skipped.");
}

async function start() {
  byId("state").textContent = "Looking for images …";
  try {
    await fetchMore();
  } catch (error) {
    byId("state").textContent = sentence(error.message);
    return;
  }
  byId("reviewer").hidden = true;
  byId("work").hidden = false;
  show();
  tell();
  if (items.length) canvas.focus();
}

addButtons(byId("labels"), next);
byId("skip").addEventListener("click", () => next(null));
byId("back").addEventListener("click", back);
byId("again").addEventListener("click", () => {
  done = done.filter(({ label }) => label); // those skipped wait again
  start();
});
byId("name").value = name.value ?? "";

byId("reviewer").addEventListener("submit", (event) => {
  event.preventDefault();
  name.set(byId("name").value.trim());
  if (byId("token").value) token.set(byId("token").value);
  start();
});

document.addEventListener("keydown", (event) => {
  if (byId("work").hidden || isTaken(event)) return;
  const { key, target } = event;
  const label = labelOf(key);
  if (key === " " && target.matches("button")) return;
  if (key === " ") next(null);
  else if (key === "Backspace") back();
  else if (label) next(label);
  else return;
  event.preventDefault();
});
