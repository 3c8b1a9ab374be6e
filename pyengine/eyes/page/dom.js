// What all parts of the page make elements and words with.

export function make(tag, fields = {}, ...children) {
  const { data = {}, ...rest } = fields;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

export const short = (v) => (v === 0 ? "0" : Math.abs(v) >= 1000 ? v.toFixed(0) : Math.abs(v) >= 100 ? v.toFixed(1) : Number(v.toPrecision(3)).toString());

/** A number that was typed, or null. */
export function numberIn(field) {
  const v = Number(field.value.trim().replace(",", "."));
  return field.value.trim() !== "" && Number.isFinite(v) ? v : null;
}

const NAMES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
export const noteName = (n) => `${NAMES[n % 12]}${Math.floor(n / 12) - 1}`;
