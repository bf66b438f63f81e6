// The labels that people can give, with their buttons and keys.

export const labels = JSON.parse(document.body.dataset.labels);
export const { foreign } = document.body.dataset; // of a picture that shows no class
const FOREIGN = "-"; // its key

export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

// Add a button for each label to an element; `give` gets the label.
export function addButtons(parent, give) {
  for (const value of [...labels, foreign]) {
    const button = document.createElement("button");
    const textContent = value === foreign ? sentence(value).slice(0, -1) : value;
    Object.assign(button, { type: "button", value, textContent });
    button.addEventListener("click", () => give(value));
    parent.append(button);
  }
}

// The label that a key gives, if any: letters do with and without Shift.
export function labelOf(key) {
  if (key === FOREIGN) return foreign;
  return labels.find((label) => label === key)
    ?? labels.find((label) => label.toLowerCase() === key.toLowerCase());
}

// Whether a key is for a text field or a command of the browser, or is still down.
export const isTaken = (event) => event.ctrlKey || event.metaKey || event.altKey || event.repeat
  || event.target.matches("input:not([type=file]), [role=tab]");
