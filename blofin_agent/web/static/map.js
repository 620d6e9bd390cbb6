// The gap map: symbols by time. One row a symbol; a column is red as soon as one bar is missing.

const LABELS = 11; // pixels a row needs for its name
const NAMES_WIDTH = 110;
const AXIS = 18;
const HELD = 2, MISSING = 3, UNAVAILABLE = 4, UNLISTED = 5; // places in a cell

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(
    ["held", "missing", "unavailable", "unlisted", "text", "quiet", "line", "mark", "raised", "good", "critical"]
      .map((name) => [name, get(name)]));
}

export function utc(ms) {
  return new Date(ms).toISOString().slice(0, 16).replace("T", " ");
}

function kind(cell) {
  if (cell[MISSING]) return "missing";
  if (cell[UNAVAILABLE]) return "unavailable";
  return cell[HELD] ? "held" : "unlisted";
}

// `choose(symbol, start, end)` is called when a cell is clicked or entered; `told` shows its words.
export class GapMap {
  constructor(box, told, choose, { row = null } = {}) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.told = told;
    this.choose = choose;
    this.fixedRow = row;
    this.data = null;
    this.at = null; // {row, column}
    this.mark = null; // a stretch of time to be framed
    this.canvas.addEventListener("mousemove", (event) => this.point(event));
    this.canvas.addEventListener("mouseleave", () => this.move(null));
    this.canvas.addEventListener("click", (event) => { this.point(event); this.enter(); });
    box.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(data) {
    this.data = data;
    if (this.at && (this.at.row >= data.strips.length || this.at.column >= data.columns.length)) this.at = null;
    this.draw();
    if (this.at) this.tell();
  }

  frame(start, end) {
    this.mark = { start, end };
    this.draw();
  }

  get rowHeight() {
    if (this.fixedRow) return this.fixedRow;
    return Math.max(4, Math.min(18, Math.floor(460 / Math.max(1, this.data.strips.length))));
  }

  get left() {
    return this.rowHeight >= LABELS && this.data.strips.length > 1 ? NAMES_WIDTH : 0;
  }

  x(time) {
    const { start, end } = this.data.window;
    const x = this.left + (time - start) / Math.max(1, end - start) * (this.width - this.left);
    // On whole pixels of the screen, or there would be seams between columns.
    const ratio = window.devicePixelRatio || 1;
    return Math.round(x * ratio) / ratio;
  }

  edge(column) {
    const { columns, window } = this.data;
    return column === 0 ? window.start : column < columns.length ? columns[column] : window.end;
  }

  draw() {
    if (!this.data) return;
    const ratio = window.devicePixelRatio || 1;
    this.width = this.box.clientWidth;
    this.height = this.data.strips.length * this.rowHeight + AXIS;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.canvas.style.height = `${this.height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const c = this.c = colours();
    const gap = this.rowHeight >= 8 ? 2 : this.rowHeight >= 6 ? 1 : 0;
    this.data.strips.forEach((strip, row) => {
      const top = AXIS + row * this.rowHeight;
      for (const cell of strip.cells) {
        const from = this.x(this.edge(cell[0]));
        const to = this.x(this.edge(cell[0] + cell[1]));
        const name = kind(cell);
        pen.fillStyle = c[name];
        // Whatever is not held is at least one pixel wide: no hole is too small to be seen.
        pen.fillRect(from, top, name === "held" ? to - from : Math.max(1, to - from), this.rowHeight - gap);
      }
      if (this.left) {
        pen.fillStyle = c.text;
        pen.font = `${Math.min(12, this.rowHeight - 3)}px system-ui, sans-serif`;
        pen.textBaseline = "middle";
        pen.fillText(strip.symbol, 4, top + this.rowHeight / 2 - 1, this.left - 8);
      }
    });
    this.axis(pen, c);
    if (this.mark) {
      pen.strokeStyle = c.mark;
      pen.lineWidth = 2;
      const from = this.x(Math.max(this.mark.start, this.data.window.start));
      const to = this.x(Math.min(this.mark.end, this.data.window.end));
      pen.strokeRect(from, AXIS - 1, Math.max(3, to - from), this.height - AXIS);
    }
    if (this.at) {
      pen.strokeStyle = c.text;
      pen.lineWidth = 1.5;
      const from = this.x(this.edge(this.at.column));
      const to = this.x(this.edge(this.at.column + 1));
      pen.strokeRect(from - 1, AXIS + this.at.row * this.rowHeight - 1, Math.max(4, to - from + 2), this.rowHeight + 1);
    }
  }

  axis(pen, c) {
    const { start, end } = this.data.window;
    const hour = 3_600_000;
    const room = Math.max(1, (this.width - this.left) / 92);
    const step = [1, 3, 6, 12, 24, 48, 168, 720, 8760].map((h) => h * hour).find((ms) => (end - start) / ms <= room) ?? 87600 * hour;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "top";
    for (let time = Math.ceil(start / step) * step; time < end; time += step) {
      const x = this.x(time);
      pen.fillStyle = c.quiet;
      pen.fillRect(x, AXIS - 5, 1, 5);
      const text = utc(time);
      const label = step >= 24 * hour ? text.slice(5, 10) : text.slice(5, 16);
      if (x + 70 < this.width) pen.fillText(label, x + 3, 2);
    }
  }

  point(event) {
    if (!this.data) return;
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const row = Math.floor((y - AXIS) / this.rowHeight);
    const { start, end } = this.data.window;
    const time = start + (x - this.left) / Math.max(1, this.width - this.left) * (end - start);
    if (row < 0 || row >= this.data.strips.length || x < this.left) { this.move(null); return; }
    let column = this.data.columns.findIndex((_, n) => this.edge(n + 1) > time);
    if (column < 0) column = this.data.columns.length - 1;
    this.move({ row, column });
  }

  move(at) {
    if (at?.row === this.at?.row && at?.column === this.at?.column) return;
    this.at = at;
    this.draw();
    if (at) this.tell();
  }

  cell(at) {
    const strip = this.data.strips[at.row];
    return strip.cells.find((cell) => at.column < cell[0] + cell[1]);
  }

  tell() {
    const cell = this.cell(this.at);
    if (!cell) return;
    const counts = [[HELD, "held"], [MISSING, "missing"], [UNAVAILABLE, "unavailable"], [UNLISTED, "not yet listed"]]
      .filter(([place]) => cell[place]).map(([place, word]) => `${cell[place]} ${word}`);
    const from = utc(this.edge(this.at.column)), to = utc(this.edge(this.at.column + 1));
    const unit = this.data.bar === "1m" ? "minutes" : `${this.data.bar} bars`;
    const symbol = this.data.strips[this.at.row].symbol;
    this.told.textContent = `${symbol}, ${from} to ${to.slice(0, 10) === from.slice(0, 10) ? to.slice(11) : to}, ${unit}: ${counts.join(", ")}`;
  }

  enter() {
    if (!this.at) return;
    this.choose(this.data.strips[this.at.row].symbol, this.edge(this.at.column), this.edge(this.at.column + 1));
  }

  key(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e9], End: [0, 1e9] };
    if (!this.data?.strips.length) return;
    if (event.key === "Enter") { this.enter(); event.preventDefault(); return; }
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const before = this.at ?? { row: 0, column: this.data.columns.length - 1 };
    const within = (n, most) => Math.max(0, Math.min(most - 1, n));
    const at = this.at ? {
      row: within(before.row + step[0], this.data.strips.length),
      column: within(before.column + step[1], this.data.columns.length),
    } : before;
    this.move(at);
    this.box.scrollTop = Math.max(0, AXIS + at.row * this.rowHeight - this.box.clientHeight / 2);
  }
}
