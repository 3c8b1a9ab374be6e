// A small keyboard for voices: by pointer, and by the keys of the computer while it is armed.
import { make, noteName } from "./dom.js";

const COMPUTER_KEYS = "awsedftgyhujkolp";
const BLACK = new Set([1, 3, 6, 8, 10]);
const OCTAVES = 3, LOWEST = 24, HIGHEST = 84;
const VELOCITY = 0.8;

let armed = null; // one keyboard at a time

const isTyped = (target) => target instanceof Element && target.closest("input, textarea, select") !== null;

document.addEventListener("keydown", (event) => {
  if (!armed || isTyped(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase(), step = COMPUTER_KEYS.indexOf(key);
  if (event.target instanceof Element && event.target.closest(".steps")) return; // there x is a hit
  if (key === "z" || key === "x") armed.shift(key === "z" ? -12 : 12);
  else if (step >= 0 && !event.repeat) armed.press(armed.first + 12 + step);
  else if (step < 0) return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => {
  const step = COMPUTER_KEYS.indexOf(event.key.toLowerCase());
  if (armed && step >= 0 && event.key.length === 1) armed.releaseKey(step);
});
window.addEventListener("blur", () => armed?.releaseAll());

export class Keyboard {
  constructor(id, send) {
    Object.assign(this, { id, send, first: 48, down: new Map(), held: new Set() });
    this.arm = make("button", { className: "small arm", textContent: "keys A–P", title: "play with the computer's keys: A W S E D F … are C C# D Eb E F; Z and X change the octave", ariaPressed: "false", data: { arm: id } });
    this.arm.addEventListener("click", () => this.setArmed(armed !== this));
    this.keys = make("div", { className: "keys", role: "group", ariaLabel: `keyboard of ${id}` });
    const octave = (by, words, title) => {
      const button = make("button", { className: "small", textContent: words, title, ariaLabel: title });
      button.addEventListener("click", () => this.shift(by));
      return button;
    };
    this.root = make("div", { className: "keyboard" }, octave(-12, "◂", "an octave down"), this.keys, octave(12, "▸", "an octave up"), this.arm);
    this.draw();
  }

  draw() {
    this.keys.replaceChildren(...Array.from({ length: 12 * OCTAVES + 1 }, (_, i) => this.key(this.first + i)));
    this.light(this.held);
  }

  key(note) {
    const key = make("button", { className: BLACK.has(note % 12) ? "key black" : "key", title: noteName(note), ariaLabel: noteName(note), tabIndex: -1, data: { note: `${this.id}.${note}` } });
    if (note % 12 === 0) key.append(make("span", { textContent: noteName(note) }));
    key.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      key.setPointerCapture(event.pointerId);
      this.setArmed(true);
      this.press(note, "pointer");
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) key.addEventListener(kind, () => this.release(note, "pointer"));
    return key;
  }

  setArmed(isArmed) {
    if (armed && armed !== this) armed.setArmed(false);
    if (!isArmed) this.releaseAll();
    armed = isArmed ? this : null;
    this.arm.ariaPressed = String(isArmed);
    this.arm.classList.toggle("on", isArmed);
  }

  press(note, by = note - this.first - 12) {
    if (note > 127 || this.down.has(by)) return;
    this.down.set(by, note);
    this.send("/note/on", this.id, note, VELOCITY);
  }

  release(note, by) {
    if (!this.down.has(by)) return;
    const played = this.down.get(by);
    this.down.delete(by);
    if (![...this.down.values()].includes(played)) this.send("/note/off", this.id, played);
  }

  releaseKey(step) {
    this.release(0, step);
  }

  releaseAll() {
    for (const by of [...this.down.keys()]) this.release(0, by);
  }

  shift(by) {
    this.releaseAll();
    this.first = Math.min(HIGHEST, Math.max(LOWEST, this.first + by));
    this.draw();
  }

  light(held) {
    this.held = held;
    for (const key of this.keys.children) key.classList.toggle("held", held.has(Number(key.dataset.note.split(".").pop())));
  }

  close() {
    this.releaseAll();
    if (armed === this) this.setArmed(false);
  }
}
