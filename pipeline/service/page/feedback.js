// Labels by the people who drew: whether the answer is right, or what the picture shows.

import { token } from "./token.js";

const byId = (id) => document.getElementById(id);
const labels = JSON.parse(document.body.dataset.labels);
const { noun, foreign } = document.body.dataset;
const SECONDS = 30; // to wait for the service
const RIGHT = "+";
const FOREIGN = "-"; // the key for a picture that shows no class

let id = null; // of the answer on the page, in the journal
let answered = null; // the label in it

// Ask about an answer that the service keeps; null: there is none.
export function ask(answer) {
  id = answer?.id ?? null;
  answered = answer && (answer.label ?? (answer.verdict === foreign ? foreign : null));
  byId("feedback").hidden = id === null;
  for (const button of document.querySelectorAll("#feedback button")) button.disabled = false;
  byId("noted").textContent = "";
  byId("right").hidden = answered === null;
  for (const button of byId("labels").children) button.ariaPressed = "false";
}

async function send(method, path, content) {
  try {
    const response = await fetch(path, {
      method, headers: { ...token.headers, "Content-Type": "application/json" },
      body: content && JSON.stringify(content), signal: AbortSignal.timeout(1000 * SECONDS),
    });
    if (response.ok) return null;
    return (await response.json().catch(() => ({}))).error ?? `status ${response.status}`;
  } catch {
    return "the service is not responding";
  }
}

async function label(value) {
  const of = id;
  const problem = await send("POST", "feedback", { id, label: value });
  if (of !== id) return; // another picture is on the page
  for (const button of byId("labels").children) {
    button.ariaPressed = String(!problem && button.value === value);
  }
  const what = value === foreign ? foreign : `the ${noun} ${value}`;
  byId("noted").textContent = problem ? `Not noted: ${problem}.` : `Noted: ${what}. Thank you.`;
}

async function remove() {
  const of = id;
  const problem = await send("DELETE", `journal/${id}`);
  if (of !== id) return;
  if (!problem) {
    id = null;
    for (const button of document.querySelectorAll("#feedback button")) button.disabled = true;
  }
  byId("noted").textContent = problem
    ? `Not deleted: ${problem}.` : "Deleted: the service keeps this picture no longer.";
}

for (const value of [...labels, foreign]) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value, textContent: value, ariaPressed: "false" });
  button.addEventListener("click", () => label(value));
  byId("labels").append(button);
}
byId("labels").lastChild.textContent = foreign.replace(/^./, (first) => first.toUpperCase());
byId("right").addEventListener("click", () => label(answered));
byId("delete").addEventListener("click", remove);

// by keys, unless they are for a text field or a command of the browser
document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (id === null || byId("draw").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches("input, [role=tab]")) return;
  if (key === RIGHT && answered !== null) label(answered);
  else if (key === FOREIGN) label(foreign);
  else if (labels.includes(key)) label(key);
});
