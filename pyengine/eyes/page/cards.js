// A card for every module: a slider for every parameter, a button for every gate. Ranges, units and choices are those
// that the engine tells of its modules.
import { rowsOf } from "./cables.js";
import { make, numberIn, short } from "./dom.js";
import { colourOf } from "./graph.js";

const UNITS = { semitones: "st" }; // where there is little room
const LOW_MS = 0.1, LOW_HZ = 1; // where the logarithmic scale of a range that begins at 0 begins
const STEPS = 1000;
const HELD_MS = 400; // a slider that is dragged is not moved by what comes back

/** Return [value of a place 0..1, place of a value] for a parameter. */
export function scaleOf(param) {
  const low = param.min, high = param.max;
  if (param.is_integer) return [(t) => Math.round(low + t * (high - low)), (v) => (v - low) / (high - low)];
  if (param.unit === "Hz" || param.unit === "ms") {
    const least = low > 0 ? low : Math.min(high / 10, param.unit === "ms" ? LOW_MS : LOW_HZ);
    const span = Math.log(high / least);
    return [(t) => (t <= 0 ? low : Math.min(high, least * Math.exp(t * span))), (v) => (v <= least ? 0 : Math.log(v / least) / span)];
  }
  if (low === 0 && param.default < high / 8) return [(t) => high * t ** 3, (v) => Math.cbrt(v / high)];
  return [(t) => low + t * (high - low), (v) => (v - low) / (high - low)];
}

export class Cards {
  constructor(root, filter, send, edit, onChoose) {
    Object.assign(this, { root, filter, send, edit, onChoose, onValue: null, modules: {}, cards: new Map(), params: new Map() });
    filter.addEventListener("input", () => this.sift());
  }

  setModules(modules) {
    this.modules = modules;
    this.cards.clear();
    this.params.clear();
    this.root.replaceChildren();
  }

  setPatch(nodes, cables) {
    const driven = new Set(cables.filter((c) => c.is_mod).map((c) => `${c.to}.${c.text.split(".").pop()}`));
    const coming = new Map(); // handle -> cables
    for (const cable of cables) coming.set(cable.to, [...(coming.get(cable.to) ?? []), cable]);
    const kept = new Map();
    for (const node of nodes) {
      let card = this.cards.get(node.handle);
      if (!card) card = this.build(node);
      card.className = `card ${node.state}${card.classList.contains("chosen") ? " chosen" : ""}`;
      card.querySelector(".tag").textContent = node.state === "new" ? "pending" : node.state === "gone" ? "to be removed" : "";
      for (const row of card.querySelectorAll(".row")) row.classList.toggle("driven", driven.has(`${node.handle}.${row.dataset.name}`));
      this.showCables(card, coming.get(node.handle) ?? []);
      kept.set(node.handle, card);
      for (const param of this.modules[node.type]?.params ?? []) this.show(node.handle, param.name, node.values[param.name] ?? param.default);
    }
    for (const [handle, card] of this.cards) if (!kept.has(handle)) this.forget(handle, card);
    this.cards = kept;
    const order = [...kept.values()];
    if (order.some((card, i) => this.root.children[i] !== card)) this.root.replaceChildren(...order);
    this.sift();
  }

  showCables(card, cables) {
    const text = JSON.stringify(cables);
    if (card.cables === text) return;
    card.cables = text;
    card.querySelector(".cables").replaceChildren(...rowsOf(cables.filter((cable) => cable.state !== "gone"), this.edit));
  }

  forget(handle, card) {
    card.remove();
    for (const key of [...this.params.keys()]) if (key.startsWith(`${handle}.`)) this.params.delete(key);
  }

  build(node) {
    const title = make("h3", { tabIndex: 0 }, make("span", { textContent: node.id }), make("span", { className: "dim", textContent: node.type }), make("span", { className: "tag" }));
    title.style.borderLeft = `3px solid ${colourOf(node.type)}`;
    title.style.borderRadius = "7px 0 0 0";
    const card = make("article", { className: "card" }, title);
    card.dataset.node = node.id;
    card.dataset.handle = node.handle;
    const choose = () => {
      this.choose(node.handle, false);
      this.onChoose(node.handle);
    };
    title.addEventListener("click", choose);
    title.addEventListener("keydown", (event) => event.key === "Enter" && choose());
    (this.modules[node.type]?.params ?? []).forEach((param, index) => card.append(this.row(node, param, index)));
    card.append(make("div", { className: "cables" }));
    return card;
  }

  row(node, param, index) {
    const row = make("div", { className: "row", title: `${param.help}: ${param.range}` }, make("label", { textContent: param.name }));
    row.dataset.name = param.name;
    const key = `${node.handle}.${param.name}`, entry = { node, param, index, heldUntil: 0, value: param.default };
    const set = (value) => {
      this.show(node.handle, param.name, value);
      entry.heldUntil = performance.now() + HELD_MS;
      if (param.is_gate) this.send(`/gate/${node.id}`, value);
      else this.send(`/mod/${node.id}/${param.name}`, value);
    };
    const name = `${node.id}.${param.name}`;
    entry.set = set;
    if (param.is_event) {
      row.append(...this.deed(name, param, set));
      entry.show = () => {};
    } else if (param.is_gate) {
      const button = make("button", { className: "gate", ariaLabel: name, data: { param: name } });
      button.addEventListener("click", () => set(entry.value >= 0.5 ? 0 : 1));
      entry.show = (v) => {
        button.textContent = (param.name === "gate" ? ["closed", "open"] : ["off", "on"])[Number(v >= 0.5)];
        button.ariaPressed = String(v >= 0.5);
        button.classList.toggle("on", v >= 0.5);
      };
      row.append(button);
    } else if (param.choices.length) {
      const select = make("select", { ariaLabel: name }, ...param.choices.map((text, i) => make("option", { value: i, textContent: text })));
      select.dataset.param = name;
      select.addEventListener("change", () => set(Number(select.value)));
      entry.show = (v) => (select.value = Math.round(v));
      row.append(select);
    } else {
      row.append(...this.slider(name, param, entry, set));
    }
    this.params.set(key, entry);
    entry.show(entry.value);
    return row;
  }

  /** What is done and not kept: a number and a button. */
  deed(name, param, set) {
    const number = make("input", { type: "text", inputMode: "decimal", value: short(param.default), ariaLabel: name, data: { param: name } });
    const button = make("button", { className: "small", textContent: "do", title: `/mod/${name.replace(".", "/")}` });
    button.addEventListener("click", () => numberIn(number) !== null && set(numberIn(number)));
    return [make("span", { className: "value deed" }, number, make("span", { textContent: param.unit })), button];
  }

  slider(name, param, entry, set) {
    const [valueOf, placeOf] = scaleOf(param);
    const range = make("input", { type: "range", min: 0, max: STEPS, step: 1, ariaLabel: name });
    const number = make("input", { type: "text", inputMode: "decimal", ariaLabel: `${name} as a number` });
    range.dataset.param = name;
    number.dataset.number = name;
    range.addEventListener("input", () => set(Number(valueOf(range.value / STEPS).toPrecision(6))));
    range.addEventListener("dblclick", () => set(param.default));
    number.addEventListener("change", () => {
      const v = numberIn(number);
      if (v !== null) set(v); // out of range: the engine says so
      else entry.show(entry.value);
    });
    entry.show = (v) => {
      const t = Math.min(1, Math.max(0, placeOf(v)));
      range.value = Math.round(t * STEPS);
      range.style.setProperty("--at", `${100 * t}%`);
      if (document.activeElement !== number) number.value = short(v);
    };
    return [range, make("span", { className: "value" }, number, make("span", { textContent: UNITS[param.unit] ?? param.unit }))];
  }

  show(handle, name, value) {
    const entry = this.params.get(`${handle}.${name}`);
    if (!entry || entry.value === value) return;
    entry.value = value;
    entry.show(value);
    this.onValue?.(handle, name, value);
  }

  /** A value was set, here or elsewhere. Returns the words for the log. */
  setValue(handle, index, value) {
    const card = this.cards.get(handle);
    for (const entry of card ? this.params.values() : [])
      if (entry.node.handle === handle && entry.index === index) {
        if (performance.now() > entry.heldUntil) this.show(handle, entry.param.name, value);
        return `${entry.node.id}.${entry.param.name} = ${entry.param.choices[value] ?? short(value)}${entry.param.unit && ` ${entry.param.unit}`}`;
      }
    return "";
  }

  choose(handle, scroll) {
    for (const [h, card] of this.cards) card.classList.toggle("chosen", h === handle);
    if (scroll) this.cards.get(handle)?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  sift() {
    const words = this.filter.value.trim().toLowerCase();
    for (const card of this.cards.values()) card.hidden = words !== "" && !card.querySelector("h3").textContent.toLowerCase().includes(words);
  }
}
