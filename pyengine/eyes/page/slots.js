// The two slots and what they have been in the last minute, the log, the counters.

export const STATES = {
  active: "#3ddbb4", replica: "#4c8df0", priming: "#f5b942", ready: "#ffe08a", probation: "#b08cff", joining: "#4cc9f0", parked: "#7f92a5", dead: "#ff5d5d",
};
const SHOWN_MS = 60000;
const KEPT_LINES = 300;
const SEEN_MS = 700; // a state that lasts a millisecond is to be seen all the same

export class Slots {
  constructor(cards, timeline) {
    this.cards = [...cards];
    this.timeline = timeline;
    this.past = [[], []]; // [time, state], oldest first
    this.status = null;
    for (const card of this.cards) {
      card.innerHTML = `<b><span>slot ${card.dataset.slot}</span><span class="heard">HEARD</span></b><span class="state">–</span><dl>
        <dt>pid</dt><dd data-f="pid">–</dd><dt>generation</dt><dd data-f="generation">–</dd><dt>ahead</dt><dd data-f="ahead">–</dd><dt>worst block</dt><dd data-f="worst">–</dd></dl>`;
    }
  }

  move(index, state, at) {
    const past = this.past[index];
    past.push([at, state]);
    while (past.length > 2000 || (past.length > 1 && past[1][0] < Date.now() - SHOWN_MS - 5000)) past.shift();
  }

  setStatus(status) {
    this.status = status;
    status.slots.forEach((slot, i) => {
      const past = this.past[i];
      if (past.length === 0 || (past[past.length - 1][1] !== slot.state && Date.now() - past[past.length - 1][0] > 1000)) this.move(i, slot.state, Date.now());
      const put = (name, text) => {
        const field = this.cards[i].querySelector(`[data-f=${name}]`);
        if (field.textContent !== text) field.textContent = text;
      };
      put("pid", slot.pid === null ? "–" : String(slot.pid));
      put("generation", String(slot.generation));
      put("ahead", slot.pid === null ? "–" : `${Math.max(0, slot.render_head - status.play_block)} blocks`);
      put("worst", `${(slot.counters.worst_render_ns / 1000).toFixed(0)} µs`);
      this.cards[i].classList.toggle("is-heard", status.active_slot === i);
    });
  }

  /** The state to be shown: the rarest of what it was a moment ago. */
  shown(i) {
    const past = this.past[i], now = Date.now();
    if (past.length === 0) return "";
    const last = past[past.length - 1][1];
    for (let k = past.length - 1; k > 0; k--) {
      const until = k + 1 < past.length ? past[k + 1][0] : now;
      if (now - until > SEEN_MS) break;
      if (k + 1 < past.length && past[k][1] !== "replica" && past[k][1] !== "active") return past[k][1];
    }
    return last;
  }

  draw() {
    this.cards.forEach((card, i) => {
      const state = this.shown(i), field = card.querySelector(".state");
      if (field.textContent === state || !state) return;
      field.textContent = state;
      card.dataset.state = state;
      card.style.setProperty("--state", STATES[state]);
    });
    this.drawTimeline();
  }

  drawTimeline() {
    const canvas = this.timeline, d = devicePixelRatio, w = canvas.clientWidth, h = canvas.clientHeight, now = Date.now();
    if (canvas.width !== Math.round(w * d)) [canvas.width, canvas.height] = [Math.round(w * d), Math.round(h * d)];
    const g = canvas.getContext("2d"), high = 15;
    g.setTransform(d, 0, 0, d, 0, 0);
    g.clearRect(0, 0, w, h);
    const xOf = (at) => w * (1 - (now - at) / SHOWN_MS);
    this.past.forEach((past, i) => {
      const y = i * (high + 3);
      g.fillStyle = "#0c1219";
      g.fillRect(0, y, w, high);
      for (const isRare of [false, true]) // above the others: they may last a millisecond
        past.forEach(([at, state], k) => {
          const from = Math.max(0, xOf(at)), to = k + 1 < past.length ? xOf(past[k + 1][0]) : w;
          if (to < 0 || isRare === (state === "active" || state === "replica")) return;
          g.fillStyle = STATES[state] ?? "#7f92a5";
          const wide = state === "dead" ? 4 : isRare ? 2 : 0;
          g.fillRect(from, y, Math.max(wide, to - from), high);
        });
    });
    g.fillStyle = "#8fa3b6";
    g.font = "11px Inter, 'Segoe UI', 'DejaVu Sans', sans-serif";
    g.fillText("60 s ago", 0, h - 1);
    g.textAlign = "right";
    g.fillText("now", w, h - 1);
    g.textAlign = "left";
  }
}

export class Log {
  constructor(root) {
    this.root = root;
    this.lastSet = null;
  }

  clear() {
    this.root.replaceChildren();
    this.lastSet = null;
  }

  line(kind, words, text, at) {
    const isAtEnd = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < 30;
    const item = document.createElement("li");
    item.className = kind;
    const time = document.createElement("time");
    time.textContent = new Date(at).toTimeString().slice(0, 8);
    const [a, b] = [document.createElement("span"), document.createElement("span")];
    [a.className, b.className] = ["words", "text"];
    [a.textContent, b.textContent] = [words, text];
    item.append(time, a, b);
    this.root.append(item);
    while (this.root.childElementCount > KEPT_LINES) this.root.firstElementChild.remove();
    if (isAtEnd) this.root.scrollTop = this.root.scrollHeight;
    return a;
  }

  add(words, text, ok, at) {
    this.lastSet = null;
    this.line(ok ? "" : "bad", words, ok ? (text ? `→ ${text}` : "") : text, at);
  }

  event(words, at) {
    this.lastSet = null;
    this.line("event", words, "", at);
  }

  /** A setting; one after the other of the same parameter is one line. */
  set(words) {
    const name = words.split(" = ")[0];
    if (this.lastSet?.name === name) this.lastSet.field.textContent = words;
    else this.lastSet = { name, field: this.line("set", words, "", Date.now()) };
  }
}

const FIGURES = [
  ["frames put out", (s) => s.counters.frames_requested],
  ["underrun frames", (s) => s.counters.frames_underrun, "bad"],
  ["no block found", (s) => s.counters.none_reads, "bad"],
  ["swaps", (s) => s.counters.swaps],
  ["late swaps", (s) => s.counters.late_swaps, "warn"],
  ["fail-overs", (s) => s.counters.fallbacks, "warn"],
  ["blocks from standby", (s) => s.counters.hedged_blocks, "warn"],
  ["declicks", (s) => s.counters.declicks],
  ["workers that died", (s) => s.worker_deaths, "warn"],
  ["diverged", (s) => s.counters.diverged_blocks + s.states_diverged, "bad"],
  ["worst callback", (s) => s.counters.worst_callback_ns, "", (v) => `${(v / 1000).toFixed(0)} µs`],
  ["commits", (s) => s.commits],
  ["commits refused", (s) => Object.values(s.commits_refused).reduce((a, b) => a + b, 0), "warn"],
  ["commands", (s) => s.commands_sent],
  ["late commands", (s) => s.commands_late, "warn"],
  ["OSC requests", (s) => s.osc?.requests ?? 0],
  ["OSC refused", (s) => s.osc?.refused ?? 0, "warn"],
  ["latency", (s) => s.latency_ms, "", (v) => (v ? `${v.toFixed(1)} ms` : "asap")],
];

export class Figures {
  constructor(root, trouble) {
    this.trouble = trouble;
    this.fields = FIGURES.map(([name]) => {
      const row = document.createElement("div");
      row.innerHTML = `<dt>${name}</dt><dd>–</dd>`;
      row.dataset.counter = name;
      root.append(row);
      return row;
    });
  }

  setStatus(status) {
    FIGURES.forEach(([, get, kind, text], i) => {
      const value = get(status), row = this.fields[i];
      row.querySelector("dd").textContent = text ? text(value) : value.toLocaleString("en");
      row.className = value && kind ? kind : "";
    });
    const found = FIGURES.map(([name, get, kind]) => [kind, get(status), name]).filter(([kind, value]) => kind && value), isBad = found.some(([kind]) => kind === "bad");
    const words = found.length ? found.slice(0, 3).map(([, value, name]) => `${value.toLocaleString("en")} ${name}`).join(", ") : "nothing lost, nothing late";
    if (this.trouble.textContent !== words) this.trouble.textContent = words;
    this.trouble.className = isBad ? "bad" : found.length ? "warn" : "dim";
  }
}
