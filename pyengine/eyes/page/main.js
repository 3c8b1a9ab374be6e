// The connection, and who draws what when. Everything that is shown comes from the engine.
import { Graph } from "./graph.js";
import { Signal } from "./signal.js";
import { Cards } from "./cards.js";
import { Slots, Log, Figures } from "./slots.js";
import { Tracks } from "./tracks.js";
import { Edits } from "./edits.js";

const byId = (id) => document.getElementById(id);
const HEAD_BYTES = 40, SHOWN_WORDS = 5;
const MOST_CHARACTERS = 4000; // of one message: the server ends who sends more
const RETRY_MS = 1000;

const graph = new Graph(byId("stage"), byId("still"), byId("live"), (handle) => cards.choose(handle, true));
const signal = new Signal(byId("scope"), byId("spectrum"), byId("out"), byId("top"));
const edits = new Edits(byId("atonce"), (address, ...args) => say({ address, args }), (words) => log.event(words, Date.now()));
const cards = new Cards(byId("cards"), byId("filter"), send, edits.edit, (handle) => graph.choose(handle));
const slots = new Slots(document.querySelectorAll(".slot"), byId("timeline"));
const log = new Log(byId("lines"));
const tracks = new Tracks(byId("tracks"), byId("trackrows"), cards, edits.edit, (address, ...args) => say({ address, args }));
const figures = new Figures(byId("counters"), byId("trouble"));
byId("figures").open = innerHeight >= 950;

const eyes = (window.eyes = { slots, pictures: 0, drawn: 0, draw_ms: 0, worst_draw_ms: 0, revision: 0, nodes: [], levels: {} });
let socket = null;
let hello = null;
let picture = null;

// ---- to the engine ------------------------------------------------------------------------------------------

const waiting = new Map(); // address -> arguments: of a slider that is dragged only the newest, once a picture

export function send(address, ...args) {
  waiting.set(address, args);
}

function say(message) {
  const n = JSON.stringify(message).length;
  if (n > MOST_CHARACTERS) return log.add(message.address, `${n} characters are more than the ${MOST_CHARACTERS} that this page sends at once; use pyengine send or a patch file`, false, Date.now());
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function flush() {
  for (const [address, args] of waiting) say({ address, args });
  waiting.clear();
}

const press = (id, action) => byId(id).addEventListener("click", action);
press("commit", () => say({ address: "/patch/commit", args: [] }));
press("undo", () => say({ address: "/patch/undo", args: [] }));
press("abort", () => say({ address: "/patch/abort", args: [] }));
press("kill", () => say({ kill: "active" }));
press("fit", () => graph.fit());
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    byId("words").focus();
  } else if (event.key === "Escape") document.activeElement?.blur();
});

const typed = [];
let typedAt = 0;
byId("words").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
  typedAt = Math.min(typed.length, Math.max(0, typedAt + (event.key === "ArrowUp" ? -1 : 1)));
  event.target.value = typed[typedAt] ?? "";
  event.preventDefault();
});
byId("type").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("words").value.trim();
  if (!text) return;
  typed.push(text);
  typedAt = typed.length;
  const [address, ...words] = text.split(/\s+/);
  const args = words.map((word) => (word !== "" && Number.isFinite(Number(word)) ? Number(word) : word));
  say({ address: address.startsWith("/") ? address : `/${address}`, args });
  byId("words").value = "";
});

// ---- from the engine ----------------------------------------------------------------------------------------

const told = {
  hello(line) {
    hello = line;
    cards.setModules(line.modules);
    tracks.setPatch([], []);
    signal.setRate(line.sample_rate);
    byId("output").textContent = `${line.output} · ${line.sample_rate / 1000} kHz · ${line.block_frames} frames · OSC ${line.osc_port}`;
  },
  patch(line) {
    eyes.revision = line.revision;
    eyes.nodes = line.nodes;
    graph.setPatch(line.nodes, line.cables, line.cues);
    cards.setPatch(line.nodes, line.cables);
    tracks.setPatch(line.nodes, line.cues);
    const nodes = line.nodes.length, n = line.n_nodes;
    const words = [`${n} module${n === 1 ? "" : "s"}`, `${line.cables.length} cable${line.cables.length === 1 ? "" : "s"}`];
    if (nodes < n) words.push(`the first ${nodes} are drawn`);
    byId("counts").textContent = words.join(" · ");
    byId("empty").hidden = n > 0;
  },
  values(line) {
    for (const [handle, param, value] of line.values) {
      const words = cards.setValue(handle, param, value);
      if (words && line.is_news) log.set(words);
    }
  },
  status(line) {
    const s = line.status;
    edits.setStatus(s);
    slots.setStatus(s);
    figures.setStatus(s, line.web);
    const chip = (id, text, kind) => Object.assign(byId(id), { textContent: text, className: `chip ${kind}` });
    chip("redundant", s.is_redundant ? "redundant" : s.standby === "cold" ? "standby cold" : "one renderer", s.is_redundant ? "good" : "warn");
    chip("generation", `gen ${s.generation}`, "");
    chip("phase", s.commit === "none" ? (s.has_pending_edits ? "edits pending" : "idle") : s.commit, s.commit !== "none" || s.has_pending_edits ? "warn" : "");
    byId("commit").classList.toggle("due", s.has_pending_edits);
    byId("uptime").textContent = `up ${time(s.uptime_s)}`;
  },
  slot(line) {
    slots.move(line.index, line.state, line.at * 1000);
    log.event(`slot ${line.index} is ${line.state}`, line.at * 1000);
  },
  log(line) {
    log.add(line.address, line.text, line.ok, line.at * 1000);
  },
  reply(line) {
    edits.onReply(line);
  },
  echo() {},
};

function time(seconds) {
  const s = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

function read(buffer) {
  const head = new DataView(buffer);
  const [revision, nNodes, nScope, nBands, nShown] = [0, 4, 8, 12, 16].map((at) => head.getUint32(at, true));
  const floats = new Float32Array(buffer, HEAD_BYTES), words = new Uint32Array(buffer, buffer.byteLength - 4 * SHOWN_WORDS * nShown);
  let at = 0;
  const take = (n) => floats.subarray(at, (at += n));
  return {
    revision,
    fed: head.getFloat64(24, true),
    block: head.getFloat64(32, true),
    channels: take(4),
    nodes: take(2 * nNodes),
    left: take(nScope),
    right: take(nScope),
    bands: take(nBands),
    shown: Array.from({ length: nShown }, (_, i) => words.subarray(SHOWN_WORDS * i, SHOWN_WORDS * (i + 1))),
  };
}

function open() {
  socket = new WebSocket(`ws://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    byId("gone").hidden = true;
    log.clear();
  };
  socket.onclose = () => {
    byId("gone").hidden = false;
    document.body.dataset.state = "gone";
    setTimeout(open, RETRY_MS);
  };
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) {
      picture = read(data);
      eyes.pictures += 1;
      document.body.dataset.state = "live";
      return;
    }
    const line = JSON.parse(data);
    told[line.t]?.(line);
  };
}

// ---- pictures -----------------------------------------------------------------------------------------------

let fps = 0, countedAt = performance.now(), counted = 0;

function draw(now) {
  requestAnimationFrame(draw);
  flush();
  if (picture === null) return;
  const start = performance.now();
  const p = picture;
  picture = null;
  if (p.revision === eyes.revision) {
    graph.drawLive(p.nodes);
    tracks.draw(p.shown);
    eyes.levels = p.nodes;
  }
  signal.draw(p);
  slots.draw();
  const took = performance.now() - start;
  eyes.drawn += 1;
  eyes.draw_ms += 0.05 * (took - eyes.draw_ms);
  eyes.worst_draw_ms = Math.max(eyes.worst_draw_ms, took);
  counted += 1;
  if (now - countedAt >= 1000) {
    fps = (counted * 1000) / (now - countedAt);
    countedAt = now;
    counted = 0;
    byId("rate").textContent = `${fps.toFixed(0)} pictures/s, ${eyes.draw_ms.toFixed(1)} ms each`;
  }
}

open();
requestAnimationFrame(draw);
