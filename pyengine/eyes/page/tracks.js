// What plays without audio: clocks, sequences as steps, voices with a keyboard. Steps are changed by the commands of OSC.
import { make, noteName, numberIn, short } from "./dom.js";
import { Keyboard } from "./keyboard.js";
import { divisionOf, hitsBefore, kindOf, nextSign, resized, signsOf, withSign, withWord, wordsOf } from "./steps.js";

const MOST_STEPS = 256; // drawn of one lane; all the others are typed
const BEAT = 2 ** 32;
const SIGN_KEYS = /^[xX.\-_1-9]$/;
const HIT_LANES = { notes: "C4 Eb4 . G4+B4", velocities: "1 0.5 0.8" }; // of each what may be typed
const HINT = "click: rest, hit, accent · x X . - 1-9 type it · arrows move";

export class Tracks {
  /** edit(address, ...args): an edit of the pending patch. send(address, ...args): at once. */
  constructor(panel, rows, cards, edit, send) {
    Object.assign(this, { panel, rows, cards, edit, send, parts: new Map(), values: new Map() });
    cards.onValue = (handle, name, value) => this.values.get(`${handle}.${name}`)?.forEach((show) => show(value));
  }

  setPatch(nodes, cues) {
    this.last = [nodes, cues];
    const ofType = (type) => nodes.filter((node) => node.type === type && node.state !== "gone");
    const ids = new Map(nodes.map((node) => [node.handle, node.id]));
    const played = new Map(); // handle of a seq -> ids of what it plays
    for (const cue of cues) if (cue.state !== "gone") played.set(cue.from, [...(played.get(cue.from) ?? []), ids.get(cue.to)]);
    const shown = new Map();
    for (const node of [...ofType("clock"), ...ofType("seq"), ...ofType("voices")]) {
      const key = JSON.stringify([node.handle, node.id, node.data, node.played, node.state, played.get(node.handle)]);
      const old = this.parts.get(node.handle);
      const isTyped = old?.root.querySelector("input.word"); // it is built anew when that is done
      shown.set(node.handle, old?.key === key || isTyped ? old : this.build(key, node, played.get(node.handle) ?? [], old));
    }
    for (const [handle, part] of this.parts) if (!shown.has(handle)) this.forget(handle, part);
    this.parts = shown;
    this.index = nodes.map((node) => node.handle);
    const order = [...shown.values()].map((part) => part.root);
    if (order.some((root, i) => this.rows.children[i] !== root) || this.rows.childElementCount !== order.length) this.rows.replaceChildren(...order);
    this.panel.hidden = order.length === 0;
    this.refocus();
  }

  forget(handle, part) {
    part.keyboard?.close();
    for (const key of [...this.values.keys()]) if (key.startsWith(`${handle}.`)) this.values.delete(key);
  }

  build(key, node, played, old) {
    const focus = old?.root.contains(document.activeElement) ? document.activeElement.dataset.cell : undefined;
    if (old) this.forget(node.handle, old);
    const part = node.type === "clock" ? this.clock(node) : node.type === "seq" ? this.seq(node, played) : this.voices(node);
    part.root.classList.toggle("new", node.state === "new");
    if (focus) this.wanted = [part.root, focus];
    return Object.assign(part, { key, node });
  }

  /** A step that had the focus has it again when its lane was made anew. */
  refocus() {
    if (!this.wanted) return;
    const [root, cell] = this.wanted;
    this.wanted = null;
    root.querySelector(`[data-cell="${cell}"]`)?.focus();
  }

  /** Show a parameter now and whenever it is set; returns what sets it. */
  follow(node, name, show) {
    const key = `${node.handle}.${name}`, entry = this.cards.params.get(key);
    this.values.set(key, [...(this.values.get(key) ?? []), show]);
    if (entry) show(entry.value);
    return (value) => entry?.set(value);
  }

  // ---- clocks ---------------------------------------------------------------------------------------------

  clock(node) {
    const root = make("div", { className: "clock", data: { node: node.id } }), runs = make("button", { className: "gate small" });
    const beats = make("span", { className: "beats", ariaHidden: "true" }, ...[0, 1, 2, 3].map(() => make("i"))), place = make("span", { className: "place", title: "beats since the clock began" });
    const setRunning = this.follow(node, "running", (v) => {
      runs.textContent = v >= 0.5 ? "runs" : "held";
      runs.ariaPressed = String(v >= 0.5);
      runs.classList.toggle("on", v >= 0.5);
    });
    runs.addEventListener("click", () => setRunning(runs.ariaPressed === "true" ? 0 : 1));
    root.append(make("b", { textContent: node.id }), runs, this.knob(node, "bpm", "bpm"), this.knob(node, "swing", "swing"), beats, place);
    let last = "";
    const show = ([low, high]) => {
      const beat = (high * BEAT + low - 1) / BEAT, now = Math.floor(beat), words = `beat ${now + 1}`;
      if (words === last) return;
      place.textContent = last = words;
      [...beats.children].forEach((lamp, i) => lamp.classList.toggle("now", i === now % 4));
    };
    return { root, show };
  }

  knob(node, name, words) {
    const param = this.cards.params.get(`${node.handle}.${name}`)?.param ?? { min: 0, max: 1 };
    const field = make("input", { type: "number", min: param.min, max: param.max, step: name === "bpm" ? 1 : 0.05, ariaLabel: `${node.id} ${name}`, data: { quick: `${node.id}.${name}` } });
    const set = this.follow(node, name, (v) => (field.value = short(v)));
    field.addEventListener("change", () => numberIn(field) !== null && set(numberIn(field)));
    return make("label", {}, words, field);
  }

  // ---- sequences ------------------------------------------------------------------------------------------

  seq(node, played) {
    const data = node.data ?? {}, root = make("div", { className: "track", data: { node: node.id } });
    const mute = make("button", { className: "mute small", textContent: "M", title: "mute", data: { mute: node.id } });
    const setMute = this.follow(node, "mute", (v) => {
      mute.ariaPressed = String(v >= 0.5);
      mute.ariaLabel = `mute ${node.id}`;
      root.classList.toggle("muted", v >= 0.5);
    });
    mute.addEventListener("click", () => setMute(mute.ariaPressed === "true" ? 0 : 1));
    const [steps, beats] = divisionOf(data), targets = played.join(", ");
    const name = make("div", { className: "name" }, make("b", { textContent: node.id }), mute,
      make("span", { className: "dim", textContent: targets ? `→ ${targets}` : "plays nothing", title: `${steps}${beats > 1 ? `/${beats}` : ""} steps a beat; plays ${targets || "nothing: /seq/target"}` }));
    if (node.played) name.append(make("span", { className: "tag", textContent: "pending" }));
    const lanes = [this.pattern(node, data, steps / beats)];
    const missing = Object.keys(HIT_LANES).filter((kind) => !data[kind]);
    for (const kind of Object.keys(HIT_LANES)) if (data[kind]) lanes.push(this.words(node, kind, data[kind], `/seq/${kind}`, [], "hit"));
    for (const [param, text] of Object.entries(data.lanes ?? {})) lanes.push(this.words(node, param, text, "/seq/lane", [param], "step"));
    root.append(name, make("div", { className: "lanes" }, ...lanes.map((lane) => lane.root)));
    if (missing.length) {
      const adders = missing.map((kind) => this.adder(node, kind, `+ ${kind}`, `/seq/${kind}`, []));
      root.lastChild.append(make("div", { className: "lane" }, make("span"), make("div", { className: "steps" }, ...adders)));
    }
    let last = -1, wasOpen = null;
    const show = ([low, high, flags]) => {
      const step = high * BEAT + low - 1, isOpen = (flags & 2) !== 0;
      if (isOpen !== wasOpen) root.classList.toggle("open", (wasOpen = isOpen));
      if (step === last) return;
      last = step;
      for (const lane of lanes) lane.at(step);
    };
    return { root, show };
  }

  lane(label, count, cells, unit) {
    const row = make("div", { className: "steps", role: "group", ariaLabel: label }, ...cells);
    if (count > cells.length) row.append(make("span", { className: "dim", textContent: `and ${count - cells.length} more` }));
    cells.forEach((cell, i) => (cell.tabIndex = i ? -1 : 0));
    row.addEventListener("keydown", (event) => {
      const at = cells.indexOf(document.activeElement), to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: cells.length - 1 }[event.key];
      if (at < 0 || to === undefined || !cells[to]) return;
      event.preventDefault();
      cells[at].tabIndex = -1;
      cells[to].tabIndex = 0;
      cells[to].focus();
    });
    let lit = null;
    const light = (n) => {
      lit?.classList.remove("now");
      lit = cells[n] ?? null;
      lit?.classList.add("now");
    };
    return { row, light, unit };
  }

  pattern(node, data, aBeat) {
    const text = data.pattern ?? "", signs = signsOf(text), before = signsOf(node.played?.pattern ?? text);
    const set = (to) => this.edit("/seq/pattern", node.id, to);
    const cells = signs.slice(0, MOST_STEPS).map((sign, i) => {
      const cell = make("button", { className: `step ${kindOf(sign)}${i % aBeat === 0 && aBeat > 1 ? " beat" : ""}${sign === before[i] ? "" : " edited"}`, textContent: kindOf(sign) === "strong" ? sign : "", title: HINT, data: { step: `${node.id}.${i}`, cell: `p${i}` } });
      cell.ariaLabel = `step ${i + 1}: ${kindOf(sign) === "strong" ? `strength ${sign}` : kindOf(sign)}`;
      cell.addEventListener("click", () => set(withSign(text, i, nextSign(sign))));
      cell.addEventListener("keydown", (event) => {
        if (!SIGN_KEYS.test(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        event.stopPropagation();
        set(withSign(text, i, event.key));
      });
      return cell;
    });
    const { row, light } = this.lane(`pattern of ${node.id}`, signs.length, cells);
    for (const [by, words, title] of [[-1, "−", "one step less"], [1, "+", "one step more"]]) {
      const button = make("button", { className: "resize", textContent: words, title, ariaLabel: `${title}: ${node.id}`, data: { cell: words } });
      button.addEventListener("click", () => set(resized(text, by)));
      row.append(button);
    }
    return { root: make("div", { className: "lane" }, make("span", { className: "dim", textContent: "pattern" }), row), at: (step) => light(signs.length && step >= 0 ? step % signs.length : -1) };
  }

  /** A lane of words: one for each step, or for each hit. */
  words(node, name, text, address, more, unit) {
    const words = wordsOf(text), signs = signsOf(node.data?.pattern ?? ""), nHits = hitsBefore(signs, signs.length);
    const cells = words.slice(0, MOST_STEPS).map((word, i) => {
      const cell = make("button", { className: `word${word === "." ? " rest" : word === "on" ? " on" : ""}`, textContent: word, ariaLabel: `${name} ${i + 1}: ${word}`, title: "click to change it", data: { cell: `${name}${i}`, word: `${node.id}.${name}.${i}` } });
      cell.addEventListener("click", () => this.ask(cell, word, (to) => this.edit(address, node.id, ...more, withWord(this.textOf(node, name), i, to))));
      return cell;
    });
    const { row, light } = this.lane(`${name} of ${node.id}`, words.length, cells);
    row.append(this.adder(node, name, "+", address, more));
    const at = (step) => {
      if (step < 0 || !words.length) return light(-1);
      if (unit === "step") return light(step % words.length);
      const n = signs.length ? Math.floor(step / signs.length) * nHits + hitsBefore(signs, (step % signs.length) + 1) - 1 : -1;
      light(n < 0 ? -1 : n % words.length);
    };
    return { root: make("div", { className: "lane" }, make("span", { className: "dim", textContent: name, title: `${name}, one for each ${unit}` }), row), at };
  }

  /** What is clicked to type more words behind those of a lane, or its first. */
  adder(node, name, sign, address, more) {
    const button = make("button", { className: "word add", textContent: sign, ariaLabel: `add ${name} to ${node.id}`, title: `click to add to ${name}`, data: { cell: `${name}+`, add: `${node.id}.${name}` } });
    button.addEventListener("click", () => this.ask(button, "", (to) => this.edit(address, node.id, ...more, `${this.textOf(node, name)} ${to}`.trim()), HIT_LANES[name]));
    return button;
  }

  /** What a lane holds by now: it may have changed while somebody typed. */
  textOf(node, name) {
    const data = this.last[0].find((one) => one.handle === node.handle)?.data ?? {};
    return (name in HIT_LANES ? data[name] : data.lanes?.[name]) ?? "";
  }

  /** Let a cell be typed over. hint: what may be typed. */
  ask(cell, word, set, hint = "") {
    const field = make("input", { value: word, placeholder: hint, className: "word", ariaLabel: cell.ariaLabel });
    field.style.width = `${Math.max(5, word.length + 2, hint.length + 2)}ch`;
    let isDone = false;
    const end = (isTaken, isByKey) => {
      if (isDone) return;
      isDone = true;
      const typed = field.value.trim();
      field.replaceWith(cell);
      if (isByKey) cell.focus();
      if (isTaken && typed && typed !== word) set(typed);
      this.setPatch(...this.last);
    };
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault(); // or it would press the cell that gets the focus
        end(event.key === "Enter", true);
      }
    });
    field.addEventListener("blur", () => end(true, false));
    cell.replaceWith(field);
    field.focus();
    field.select();
  }

  // ---- voices ---------------------------------------------------------------------------------------------

  voices(node) {
    const keyboard = new Keyboard(node.id, this.send), held = make("span", { className: "held dim", ariaLive: "off", data: { held: node.id } });
    const off = make("button", { className: "small", textContent: "all off", title: `/note/all_off ${node.id}` });
    off.addEventListener("click", () => this.send("/note/all_off", node.id));
    const root = make("div", { className: "track voices", data: { node: node.id } },
      make("div", { className: "name" }, make("b", { textContent: node.id }), off, make("span", { className: "dim", textContent: `${node.data?.voices ?? ""} voices` })),
      make("div", { className: "lanes" }, keyboard.root, held));
    let last = "";
    const show = (words) => {
      const notes = [];
      words.forEach((word, w) => {
        for (let bit = 0; bit < 32; bit++) if ((word >>> bit) & 1) notes.push(32 * w + bit);
      });
      if (notes.join() === last) return;
      last = notes.join();
      held.textContent = notes.map(noteName).join(" ");
      keyboard.light(new Set(notes));
    };
    return { root, show, keyboard };
  }

  /** rows: [number of the node, four words] of what shows anything. */
  draw(rows) {
    const found = new Map(rows.map(([node, ...words]) => [this.index?.[node], words]));
    for (const [handle, part] of this.parts) {
      const words = found.get(handle);
      if (words) part.show(words);
      else if (part.keyboard) part.show([0, 0, 0, 0]);
    }
  }
}
