// Labels by the people who drew: whether the answer is right, or what the picture shows.

import { addButtons, foreign, isTaken, labelOf } from "./labels.js";
import { token } from "./token.js";

const byId = (id) => document.getElementById(id);
const { noun } = document.body.dataset;
const SECONDS = 30; // to wait for the service
const RIGHT = "+"; // the key for a right answer

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
    if (response.status === 401) byId("token-form").hidden = false;
    return (await response.json().catch(() => ({}))).error ?? `status ${response.status}`;
  } catch {
    return "the service is not responding";
  }
}

async function label(value) {
  const of = id;
  const problem = await send("POST", "feedback", { id, label: value });
  if (of !== id) return; // another picture is on the page
  const what = value === foreign ? foreign : `the ${noun} ${value}`;
  byId("noted").textContent = problem ? `Not noted: ${problem}.` : `Noted: ${what}. Thank you.`;
  if (problem) return; // what was noted before still holds
  for (const button of byId("labels").children) button.ariaPressed = String(button.value === value);
}

async function remove() {
  const of = id;
  const problem = await send("DELETE", `journal/${id}`);
  if (of !== id) return;
  if (!problem) {
    id = null;
    byId("canvas").focus({ preventScroll: true }); // a disabled button cannot keep it
    for (const button of document.querySelectorAll("#feedback button")) button.disabled = true;
    for (const button of byId("labels").children) button.ariaPressed = "false";
  }
  byId("noted").textContent = problem
    ? `Not deleted: ${problem}.` : "Deleted: the service no longer keeps this picture.";
}

addButtons(byId("labels"), label);
byId("right").addEventListener("click", () => label(answered));
byId("delete").addEventListener("click", remove);

document.addEventListener("keydown", (event) => {
  if (id === null || byId("draw").hidden || isTaken(event)) return;
  const value = event.key === RIGHT ? answered : labelOf(event.key);
  if (value) label(value);
});
