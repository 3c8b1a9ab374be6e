// What was put out: scope, spectrum and the level of both channels.

const LEFT = "#4cc9f0", RIGHT = "#f07ac1", GRID = "#1b2735", WORDS = "#8fa3b6";
const LOW_HZ = 20, TOP_DB = 6, FLOOR_DB = -96;
const FALL_DB = 0.7; // of what is held of a band, a picture
const FONT = "11px Inter, 'Segoe UI', 'DejaVu Sans', sans-serif";

/** A canvas in CSS pixels, however dense the screen is. */
function begin(canvas) {
  const d = devicePixelRatio, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * d) || canvas.height !== Math.round(h * d)) {
    canvas.width = Math.round(w * d);
    canvas.height = Math.round(h * d);
  }
  const g = canvas.getContext("2d");
  g.setTransform(d, 0, 0, d, 0, 0);
  g.clearRect(0, 0, w, h);
  return [g, w, h];
}

const db = (level) => (level > 1e-6 ? 20 * Math.log10(level) : -120);

export class Signal {
  constructor(scope, spectrum, out, top) {
    Object.assign(this, { scope, spectrum, out, top, rate: 48000, held: null, peaks: [0, 0], zoom: 1 });
  }

  setRate(hz) {
    this.rate = hz;
  }

  draw(p) {
    this.drawScope(p.left, p.right);
    this.drawSpectrum(p.bands);
    this.drawOut(p.channels);
  }

  drawScope(left, right) {
    const [g, w, h] = begin(this.scope), middle = h / 2;
    let most = 0.02;
    for (let i = 0; i < left.length; i++) most = Math.max(most, Math.abs(left[i]), Math.abs(right[i]));
    const wanted = Math.min(1, 2 ** Math.ceil(Math.log2(most))) || 1; // full scale in steps of two
    this.zoom = most > this.zoom ? wanted : Math.max(wanted, this.zoom * 0.97);
    const full = most > 1 ? most : 2 ** Math.ceil(Math.log2(this.zoom) - 1e-6);
    g.fillStyle = GRID;
    for (let i = 1; i < 8; i++) g.fillRect(Math.round((w * i) / 8), 0, 1, h);
    for (const y of [0.25, 0.75]) g.fillRect(0, Math.round(h * y), w, 1);
    g.fillStyle = "#2b3d52";
    g.fillRect(0, Math.round(middle), w, 1);
    for (const [x, colour] of [[right, RIGHT], [left, LEFT]]) {
      g.beginPath();
      const n = x.length, step = Math.max(1, Math.floor(n / (2 * w)));
      for (let i = 0; i < n; i += step) g.lineTo((w * i) / (n - 1), middle - (x[i] / full) * (middle - 4));
      g.strokeStyle = colour;
      g.lineWidth = 1.4;
      g.lineJoin = "round";
      g.stroke();
    }
    g.fillStyle = WORDS;
    g.font = FONT;
    g.fillText(`±${full < 1 ? full.toPrecision(2) : full.toFixed(2)}`, 6, 12);
    g.textAlign = "right";
    g.fillText(`${((1000 * left.length) / this.rate).toFixed(1)} ms`, w - 6, h - 6);
    g.textAlign = "left";
  }

  drawSpectrum(bands) {
    const [g, w, h] = begin(this.spectrum), high = h - 14, n = bands.length, top = this.rate / 2;
    if (this.held?.length !== n) this.held = new Float32Array(n).fill(FLOOR_DB);
    const yOf = (level) => high * (1 - (Math.max(FLOOR_DB, level) - FLOOR_DB) / (TOP_DB - FLOOR_DB));
    const xOf = (hz) => (w * Math.log(hz / LOW_HZ)) / Math.log(top / LOW_HZ);
    g.font = FONT;
    for (let level = 0; level > FLOOR_DB; level -= 24) {
      g.fillStyle = GRID;
      g.fillRect(0, Math.round(yOf(level)), w, 1);
      g.fillStyle = WORDS;
      g.fillText(`${level}`, 4, yOf(level) + 10);
    }
    g.textAlign = "center";
    let room = 0; // from where on a word fits
    for (const hz of [50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000]) {
      if (hz > top) break;
      g.fillStyle = GRID;
      g.fillRect(Math.round(xOf(hz)), 0, 1, high);
      g.fillStyle = WORDS;
      if (xOf(hz) < room || xOf(hz) > w - 12) continue;
      g.fillText(hz < 1000 ? `${hz}` : `${hz / 1000}k`, xOf(hz), h - 3);
      room = xOf(hz) + 34;
    }
    g.textAlign = "left";
    let best = 0;
    g.beginPath();
    g.moveTo(0, high);
    for (let i = 0; i < n; i++) {
      if (bands[i] > bands[best]) best = i;
      this.held[i] = Math.max(bands[i], this.held[i] - FALL_DB);
      g.lineTo((w * (i + 0.5)) / n, yOf(bands[i]));
    }
    g.lineTo(w, high);
    const paint = g.createLinearGradient(0, 0, 0, high);
    paint.addColorStop(0, "rgba(61, 219, 180, 0.85)");
    paint.addColorStop(1, "rgba(76, 201, 240, 0.08)");
    g.fillStyle = paint;
    g.fill();
    g.beginPath();
    for (let i = 0; i < n; i++) g.lineTo((w * (i + 0.5)) / n, yOf(this.held[i]));
    g.strokeStyle = "rgba(61, 219, 180, 0.55)";
    g.lineWidth = 1;
    g.stroke();
    const hz = LOW_HZ * (top / LOW_HZ) ** ((best + 0.5) / n);
    const words = bands[best] > -90 ? `loudest at ${hz < 1000 ? hz.toFixed(0) : (hz / 1000).toFixed(2) + "k"} Hz, ${bands[best].toFixed(0)} dB` : "silence";
    if (words !== this.words) this.top.textContent = this.words = words;
  }

  drawOut(channels) {
    const [g, w, h] = begin(this.out), high = h - 16, low = -60, wide = 16, first = w / 2 - wide - 2;
    const yOf = (level) => 4 + (high - 4) * Math.min(1, Math.max(0, (TOP_DB - level) / (TOP_DB - low)));
    g.font = FONT;
    g.textAlign = "right";
    for (const level of [0, -12, -24, -36, -48]) {
      g.fillStyle = WORDS;
      g.fillText(`${level}`, first - 5, yOf(level) + 3);
      g.fillStyle = GRID;
      g.fillRect(first, Math.round(yOf(level)), 2 * wide + 4, 1);
    }
    const paint = g.createLinearGradient(0, yOf(0), 0, high);
    paint.addColorStop(0, "#ff5d5d");
    paint.addColorStop(0.1, "#f5b942");
    paint.addColorStop(0.35, "#3ddbb4");
    paint.addColorStop(1, "#1d6f5f");
    g.textAlign = "center";
    for (let c = 0; c < 2; c++) {
      const x = first + c * (wide + 4), peak = channels[2 * c], rms = channels[2 * c + 1];
      this.peaks[c] = Math.max(peak, this.peaks[c] * 0.97);
      g.fillStyle = "#0c1219";
      g.fillRect(x, 4, wide, high - 4);
      g.fillStyle = paint;
      g.fillRect(x, yOf(db(rms)), wide, high - yOf(db(rms)));
      g.fillStyle = this.peaks[c] > 1 ? "#ff5d5d" : "#eafff8";
      g.fillRect(x, yOf(db(this.peaks[c])), wide, 2);
      g.fillStyle = WORDS;
      g.fillText("LR"[c], x + wide / 2, h - 3);
    }
    g.textAlign = "left";
  }
}
