// The patch as a graph: laid out in layers from sources to what they feed, one connected part beside the other. What
// changes with the patch is drawn on one canvas, what changes with the sound on another above it.

import { wordsOf } from "./cables.js";

const WIDE = 138, HIGH = 46, GAP_X = 46, GAP_Y = 13, PART_GAP = 34;
const METER = { left: 9, right: 9, top: 35, high: 4 };
const TRIES = 40;
const FLOOR_DB = -60;
const GLOWS = 4;
const FONT = "Inter, 'Segoe UI', 'DejaVu Sans', sans-serif";
const COLOURS = ["#3ddbb4", "#4cc9f0", "#b08cff", "#f5b942", "#f07ac1", "#8ad35f", "#ff8f5d", "#6ea8fe"];

export const colourOf = (type) => {
  let hash = 7;
  for (const c of type) hash = (hash * 31 + c.charCodeAt(0)) >>> 0;
  return COLOURS[hash % COLOURS.length];
};

export const dbOf = (level) => (level > 1e-6 ? 20 * Math.log10(level) : -120);
const SMALL = 0.72; // a scale
const LINES = { sound: "#3f6485", mod: "#7a62b8", cue: "#a88d4e" };
const share = (level) => Math.min(1, Math.max(0, 1 - dbOf(level) / FLOOR_DB));

// ---- layout ---------------------------------------------------------------------------------------------------

/** Return the connected parts of a graph, each as a list of node indices in their order. */
function partsOf(n, edges) {
  const root = Array.from({ length: n }, (_, i) => i);
  const find = (i) => {
    while (root[i] !== i) i = root[i] = root[root[i]];
    return i;
  };
  for (const [a, b] of edges) root[find(a)] = find(b);
  const parts = new Map();
  for (let i = 0; i < n; i++) {
    const r = find(i);
    if (!parts.has(r)) parts.set(r, []);
    parts.get(r).push(i);
  }
  return [...parts.values()];
}

/** Return the layer of each node: one behind the last of its sources. Cables that close a loop are left out. */
function layersOf(n, after) {
  const layer = new Int32Array(n), mark = new Uint8Array(n), order = [];
  for (let first = 0; first < n; first++) {
    if (mark[first]) continue;
    const stack = [[first, 0]];
    mark[first] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1];
      const next = after[top[0]][top[1]++];
      if (next === undefined) {
        mark[top[0]] = 2;
        order.push(top[0]);
        stack.pop();
      } else if (!mark[next]) {
        mark[next] = 1;
        stack.push([next, 0]);
      }
    }
  }
  order.reverse();
  const rank = new Int32Array(n);
  order.forEach((i, k) => (rank[i] = k));
  for (const i of order) for (const j of after[i]) if (rank[j] > rank[i]) layer[j] = Math.max(layer[j], layer[i] + 1);
  for (const i of [...order].reverse()) {
    const later = after[i].filter((j) => rank[j] > rank[i]).map((j) => layer[j] - 1);
    if (later.length) layer[i] = Math.max(layer[i], Math.min(...later)); // a source stands near what it feeds
  }
  return layer;
}

/** Place one part; returns its size. Columns are ordered by the middle of their neighbours, to and fro. */
function placePart(part, nodes, after, before, layer) {
  const columns = [];
  for (const i of part) (columns[layer[i]] ??= []).push(i);
  const used = columns.filter(Boolean);
  const at = new Map();
  const number = () => used.forEach((column) => column.forEach((i, k) => at.set(i, k - (column.length - 1) / 2)));
  number();
  for (let sweep = 0; sweep < 8; sweep++) {
    const [columnsNow, near] = sweep % 2 ? [[...used].reverse(), after] : [used, before];
    for (const column of columnsNow) {
      const middle = new Map(column.map((i) => {
        const of = near[i].map((j) => at.get(j)).filter((y) => y !== undefined);
        return [i, of.length ? of.reduce((a, b) => a + b, 0) / of.length : at.get(i)];
      }));
      column.sort((a, b) => middle.get(a) - middle.get(b));
      column.forEach((i, k) => at.set(i, k - (column.length - 1) / 2));
    }
  }
  const most = Math.max(...used.map((column) => column.length));
  used.forEach((column, x) => column.forEach((i) => {
    nodes[i].x = x * (WIDE + GAP_X);
    nodes[i].y = (at.get(i) + (most - 1) / 2) * (HIGH + GAP_Y);
  }));
  return [used.length * (WIDE + GAP_X) - GAP_X, most * (HIGH + GAP_Y) - GAP_Y];
}

/** Give every node x and y. aspect: width by height of where it is shown. */
export function layOut(nodes, edges, aspect) {
  const after = nodes.map(() => []), before = nodes.map(() => []);
  for (const [a, b] of edges) {
    after[a].push(b);
    before[b].push(a);
  }
  const layer = layersOf(nodes.length, after);
  const parts = partsOf(nodes.length, edges).map((part) => {
    const base = Math.min(...part.map((i) => layer[i]));
    part.forEach((i) => (layer[i] -= base));
    return { part, size: placePart(part, nodes, after, before, layer) };
  });
  parts.sort((a, b) => b.size[1] - a.size[1] || b.size[0] - a.size[0] || a.part[0] - b.part[0]);
  const widest = Math.max(0, ...parts.map(({ size }) => size[0])), most = parts.reduce((sum, { size }) => sum + size[0] + PART_GAP, 0);
  let best = { size: Infinity };
  for (let step = 0; step <= TRIES; step++) { // of rows of many widths the one that can be shown largest
    const packed = pack(parts, widest * (most / Math.max(1, widest)) ** (step / TRIES));
    packed.size = Math.max(packed.wide / aspect, packed.high);
    if (packed.size < best.size) best = packed;
  }
  parts.forEach(({ part }, k) => part.forEach((i) => ((nodes[i].x += best.at[k][0]), (nodes[i].y += best.at[k][1]))));
}

/** Return where each part lies, in rows of at most `most`, and how wide and high they are together. */
function pack(parts, most) {
  const packed = { at: [], wide: 0, high: 0 };
  let x = 0, y = 0, high = 0;
  for (const { size } of parts) {
    if (x > 0 && x + size[0] > most) [x, y, high] = [0, y + high + PART_GAP, 0];
    packed.at.push([x, y]);
    packed.wide = Math.max(packed.wide, x + size[0]);
    x += size[0] + PART_GAP;
    high = Math.max(high, size[1]);
    packed.high = y + high;
  }
  return packed;
}

// ---- drawing --------------------------------------------------------------------------------------------------

export class Graph {
  constructor(stage, still, live, onChoose) {
    Object.assign(this, { stage, still, live, onChoose, nodes: [], cables: [], cues: [], chosen: 0, k: 1, tx: 0, ty: 0, isMoved: false });
    this.hold = new Float32Array(0);
    new ResizeObserver(() => this.resize()).observe(stage);
    live.addEventListener("pointerdown", (event) => this.grab(event));
    live.addEventListener("wheel", (event) => this.zoom(event), { passive: false });
    live.addEventListener("dblclick", () => this.fit());
    live.addEventListener("keydown", (event) => this.key(event));
  }

  setPatch(nodes, cables, cues) {
    const old = new Map(this.nodes.map((node) => [node.handle, node]));
    const shape = nodes.map((n) => n.handle).join() + [...cables, ...cues].map((c) => `${c.from}>${c.to}`).join();
    this.nodes = nodes.map((node) => ({ ...node, x: old.get(node.handle)?.x ?? 0, y: old.get(node.handle)?.y ?? 0, colour: colourOf(node.type) }));
    const index = new Map(this.nodes.map((node, i) => [node.handle, i]));
    const placed = (line) => ({ ...line, a: index.get(line.from), b: index.get(line.to) });
    this.cables = cables.map((cable) => ({ ...placed(cable), words: wordsOf(cable) }));
    this.cues = cues.map((cue) => ({ ...placed(cue), is_cue: true }));
    const feeds = new Set(this.cables.map((cable) => cable.a));
    const sounds = new Set(this.cables.filter((cable) => !cable.is_mod).map((cable) => cable.a));
    this.nodes.forEach((node, i) => Object.assign(node, { isControl: feeds.has(i) && !sounds.has(i) }));
    if (shape !== this.shape) {
      const edges = [...this.cables.filter((cable) => !cable.is_feedback), ...this.cues].map((line) => [line.a, line.b]);
      layOut(this.nodes, edges, this.stage.clientWidth / Math.max(1, this.stage.clientHeight));
      this.shape = shape;
      if (!this.isMoved) return this.fit();
    }
    this.drawStill();
  }

  choose(handle) {
    this.chosen = handle;
    this.drawStill();
  }

  fit() {
    this.isMoved = false;
    const w = this.stage.clientWidth, h = this.stage.clientHeight;
    if (this.nodes.length && w && h) {
      const right = Math.max(...this.nodes.map((n) => n.x)) + WIDE, low = Math.max(...this.nodes.map((n) => n.y)) + HIGH + 28; // room for lines below
      this.k = Math.min(1.35, (w - 28) / right, (h - 14) / low);
      this.tx = (w - right * this.k) / 2;
      this.ty = (h - low * this.k) / 2;
    }
    this.drawStill();
  }

  resize() {
    for (const canvas of [this.still, this.live]) {
      canvas.width = Math.round(this.stage.clientWidth * devicePixelRatio);
      canvas.height = Math.round(this.stage.clientHeight * devicePixelRatio);
    }
    if (this.isMoved) this.drawStill();
    else this.fit();
  }

  grab(event) {
    const start = [event.clientX, event.clientY, this.tx, this.ty];
    let isDrag = false;
    const move = (e) => {
      isDrag ||= Math.hypot(e.clientX - start[0], e.clientY - start[1]) > 4;
      if (!isDrag) return;
      this.isMoved = true;
      this.live.classList.add("pan");
      this.tx = start[2] + e.clientX - start[0];
      this.ty = start[3] + e.clientY - start[1];
      this.drawStill();
    };
    const end = (e) => {
      this.live.removeEventListener("pointermove", move);
      this.live.classList.remove("pan");
      if (!isDrag) this.click(e);
    };
    this.live.setPointerCapture(event.pointerId);
    this.live.addEventListener("pointermove", move);
    this.live.addEventListener("pointerup", end, { once: true });
  }

  /** Arrows go to the nearest module in their direction, + - 0 zoom, Enter opens its card. */
  key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const zoom = { "+": 1.2, "=": 1.2, "-": 1 / 1.2 }[event.key];
    if (!way && !zoom && event.key !== "0" && event.key !== "Enter") return;
    event.preventDefault();
    if (event.key === "0") return this.fit();
    if (zoom) return this.zoomBy(zoom, this.stage.clientWidth / 2, this.stage.clientHeight / 2);
    const here = this.nodes.find((node) => node.handle === this.chosen);
    if (event.key === "Enter") return here && this.onChoose(here.handle);
    let best = here ?? this.nodes[0], least = Infinity;
    for (const node of here ? this.nodes : []) {
      const [dx, dy] = [node.x - here.x, node.y - here.y], along = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (along > 1 && along + 3 * aside < least) [best, least] = [node, along + 3 * aside];
    }
    if (!best) return;
    this.choose(best.handle);
    this.onChoose(best.handle);
  }

  click(event) {
    const box = this.live.getBoundingClientRect();
    const x = (event.clientX - box.left - this.tx) / this.k, y = (event.clientY - box.top - this.ty) / this.k;
    const hit = this.nodes.find((n) => x >= n.x && x <= n.x + WIDE && y >= n.y && y <= n.y + HIGH);
    this.choose(hit ? hit.handle : 0);
    if (hit) this.onChoose(hit.handle);
  }

  zoom(event) {
    event.preventDefault();
    const box = this.live.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    this.zoomBy(Math.exp(-event.deltaY / 500), x, y);
  }

  zoomBy(by, x, y) {
    const k = Math.min(4, Math.max(0.05, this.k * by));
    this.tx = x - ((x - this.tx) * k) / this.k;
    this.ty = y - ((y - this.ty) * k) / this.k;
    this.k = k;
    this.isMoved = true;
    this.drawStill();
  }

  begin(canvas) {
    const g = canvas.getContext("2d"), d = devicePixelRatio;
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, canvas.width, canvas.height);
    g.setTransform(d * this.k, 0, 0, d * this.k, d * this.tx, d * this.ty);
    return g;
  }

  curve(g, cable) {
    const a = this.nodes[cable.a], b = this.nodes[cable.b];
    const x1 = a.x + WIDE, y1 = a.y + HIGH / 2;
    if (x1 > b.x + 30 && !cable.is_mod) return this.back(g, x1, y1, b.x, b.y + HIGH / 2, Math.max(a.y, b.y) + HIGH);
    const [x2, y2] = cable.is_mod ? [b.x + 22, b.y + HIGH] : [b.x, b.y + HIGH / 2];
    const bend = Math.max(24, Math.abs(x2 - x1) / 2);
    g.moveTo(x1, y1);
    if (cable.is_mod) g.bezierCurveTo(x1 + Math.min(bend, 60), y1, x2, y2 + Math.min(bend, 34), x2, y2);
    else if (x2 - x1 > WIDE && Math.abs(y2 - y1) < HIGH) { // over what stands between them
      const top = Math.min(a.y, b.y) - 20;
      g.bezierCurveTo(x1 + 30, y1, x1 + 20, top, x1 + GAP_X + 20, top);
      g.lineTo(x2 - GAP_X - 20, top);
      g.bezierCurveTo(x2 - 20, top, x2 - 30, y2, x2, y2);
    } else g.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2);
  }

  /** A line that leads back goes below both. */
  back(g, x1, y1, x2, y2, low) {
    g.moveTo(x1, y1);
    g.bezierCurveTo(x1 + 46, y1, x1 + 30, low + 22, (x1 + x2) / 2, low + 22);
    g.bezierCurveTo(x2 - 30, low + 22, x2 - 46, y2, x2, y2);
  }

  drawStill() {
    const g = this.begin(this.still);
    const kinds = [["cue", (line) => line.is_cue, [2, 4]], ["sound", (line) => !line.is_cue && !line.is_mod, []], ["mod", (line) => line.is_mod, []]];
    for (const [kind, isOne, dash] of kinds)
      for (const state of ["on", "new", "gone"]) {
        g.beginPath();
        for (const line of [...this.cues, ...this.cables]) if (isOne(line) && line.state === state && !line.is_feedback) this.curve(g, line);
        g.strokeStyle = state === "new" ? "#f5b942" : state === "gone" ? "#7a3b44" : LINES[kind];
        g.setLineDash(state === "on" ? dash : [5, 4]);
        g.lineWidth = kind === "cue" ? 1.3 : 1.6;
        g.stroke();
      }
    g.beginPath();
    for (const line of this.cables) if (line.is_feedback) this.curve(g, line);
    g.strokeStyle = "#f07ac1";
    g.setLineDash([9, 3]);
    g.stroke();
    g.setLineDash([]);
    for (const node of this.nodes) this.drawNode(g, node);
    if (this.k > 0.45) for (const cable of this.cables) if (cable.words) this.drawWords(g, cable);
  }

  /** Depth and offset of a cable, near where it ends. */
  drawWords(g, cable) {
    const a = this.nodes[cable.a], b = this.nodes[cable.b], isBack = a.x + WIDE > b.x + 30 && !cable.is_mod;
    const size = Math.min(15, Math.max(11, 10 / this.k));
    g.font = `${size}px ${FONT}`;
    const wide = g.measureText(cable.words).width + 8;
    const x = isBack ? (a.x + WIDE + b.x) / 2 - wide / 2 : cable.is_mod ? b.x + 26 : Math.max(a.x + WIDE + 2, b.x - wide - 4);
    const y = isBack ? Math.max(a.y, b.y) + HIGH + 25 : cable.is_mod ? b.y + HIGH + 2 : b.y + HIGH / 2 - (a.y > b.y + 8 ? -3 : 17);
    g.fillStyle = "#0d131aee";
    g.beginPath();
    g.roundRect(x, y, wide, size + 3, 4);
    g.fill();
    g.fillStyle = cable.is_changed || cable.state === "new" ? "#f5b942" : cable.is_feedback ? "#f79bd1" : cable.is_mod ? "#c3aaff" : "#9cc7ea";
    g.fillText(cable.words, x + 4, y + size - 0.5);
  }

  drawNode(g, node) {
    const isChosen = node.handle === this.chosen;
    g.globalAlpha = node.state === "gone" ? 0.4 : 1;
    g.beginPath();
    g.roundRect(node.x, node.y, WIDE, HIGH, 7);
    g.fillStyle = "#172230";
    g.fill();
    g.setLineDash(node.state === "on" ? [] : [5, 4]);
    g.lineWidth = isChosen ? 2 : 1.2;
    g.strokeStyle = isChosen ? "#3ddbb4" : node.state === "new" ? "#f5b942" : "#2b3d52";
    g.stroke();
    g.setLineDash([]);
    g.fillStyle = node.colour;
    g.beginPath();
    g.roundRect(node.x, node.y, 4, HIGH, [7, 0, 0, 7]);
    g.fill();
    const isSmall = this.k < SMALL; // then the id alone, as large as the box lets it be
    if (this.k > 0.22) {
      g.fillStyle = "#e3ecf4";
      g.font = `600 ${isSmall ? Math.min(21, 10.5 / this.k) : 13}px ${FONT}`;
      g.fillText(node.id, node.x + METER.left + 2, node.y + (isSmall ? 25 : 17), WIDE - 24);
    }
    if (!isSmall) {
      g.fillStyle = "#93a6b8";
      g.font = `11px ${FONT}`;
      g.fillText(node.type, node.x + METER.left + 2, node.y + 30, WIDE - 24);
    }
    if (node.is_heard) { // goes to the output
      g.fillStyle = "#3ddbb4";
      g.beginPath();
      g.moveTo(node.x + WIDE - 13, node.y + 8);
      g.lineTo(node.x + WIDE - 6, node.y + 12);
      g.lineTo(node.x + WIDE - 13, node.y + 16);
      g.fill();
    }
    g.fillStyle = "#0c1219";
    g.fillRect(node.x + METER.left, node.y + METER.top, WIDE - METER.left - METER.right, METER.high);
    g.globalAlpha = 1;
  }

  /** levels: peak and rms of each node, one after the other. */
  drawLive(levels) {
    const g = this.begin(this.live), n = Math.min(this.nodes.length, levels.length / 2), wide = WIDE - METER.left - METER.right;
    this.glow(g, levels);
    const bars = { "#3ddbb4": [], "#f5b942": [], "#ff5d5d": [], "#b08cff": [] };
    for (let i = 0; i < n; i++) {
      const rms = share(levels[2 * i + 1]), peak = levels[2 * i];
      if (peak <= 0.001) continue;
      const node = this.nodes[i]; // what only drives parameters has no full scale
      const colour = node.isControl ? "#b08cff" : peak > 1 ? "#ff5d5d" : peak > 0.5 ? "#f5b942" : "#3ddbb4";
      const x = node.x + METER.left, y = node.y + METER.top;
      bars[colour].push([x, y, wide * rms, METER.high], [x + Math.max(0, wide * share(peak) - 2), y - 1, 2, METER.high + 2]);
    }
    for (const [colour, list] of Object.entries(bars)) {
      g.fillStyle = colour;
      for (const bar of list) g.fillRect(...bar);
    }
  }

  /** A cable is as bright as what goes through it is loud. */
  glow(g, levels) {
    for (let step = 0; step < GLOWS; step++) {
      let isAny = false;
      g.beginPath();
      for (const cable of this.cables) {
        const s = share(levels[2 * cable.a + 1] ?? 0);
        if (s <= 0 || cable.is_feedback || cable.state === "new" || Math.min(GLOWS - 1, Math.floor(s * GLOWS)) !== step) continue;
        this.curve(g, cable);
        isAny = true;
      }
      if (!isAny) continue;
      g.strokeStyle = `rgba(61, 219, 180, ${0.18 + (0.62 * step) / (GLOWS - 1)})`;
      g.lineWidth = 1.8;
      g.stroke();
    }
  }
}
