// Candles as a chart, with what is missing marked over its whole height.

import { colours, utc } from "./map.js";

const RIGHT = 72, BOTTOM = 20, TOP = 8;

export class Chart {
  // `told` shows the candle or the hole under the pointer.
  constructor(box, told) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.told = told;
    this.data = null;
    this.canvas.addEventListener("mousemove", (event) => this.point(event));
    this.canvas.addEventListener("mouseleave", () => { this.told.textContent = this.summary(); });
    new ResizeObserver(() => this.draw()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // `data`: {start, end, step, candles, holes: [{start, end, kind, why}]}, times in ms.
  show(data) {
    this.data = data;
    this.draw();
    this.told.textContent = this.summary();
  }

  summary() {
    if (!this.data) return "";
    const { start, end, candles, holes } = this.data;
    const held = `${candles.length} candles from ${utc(start)} to ${utc(end)}`;
    const stretches = holes.length === 1 ? "1 stretch" : `${holes.length} stretches`;
    return holes.length ? `${held}; ${stretches} without` : held;
  }

  x(time) {
    return (time - this.data.start) / (this.data.end - this.data.start) * (this.width - RIGHT);
  }

  draw() {
    if (!this.data) return;
    const ratio = window.devicePixelRatio || 1;
    this.width = this.box.clientWidth;
    this.height = this.box.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const c = colours();
    const { step, candles, holes } = this.data;
    const bottom = this.height - BOTTOM;
    for (const hole of holes) {
      const from = this.x(Math.max(hole.start, this.data.start)), to = this.x(Math.min(hole.end, this.data.end));
      pen.fillStyle = c[hole.kind];
      pen.globalAlpha = .3;
      pen.fillRect(from, TOP, Math.max(1, to - from), bottom - TOP);
      pen.globalAlpha = 1;
      // A bar of full colour at the foot, so that the narrowest hole is seen.
      pen.fillRect(from, bottom - 5, Math.max(1, to - from), 5);
    }
    this.times(pen, c, bottom);
    if (!candles.length) {
      pen.fillStyle = c.quiet;
      pen.font = "14px system-ui, sans-serif";
      pen.fillText("No candle is held here.", 12, TOP + 24);
      return;
    }
    let low = Infinity, high = -Infinity;
    for (const one of candles) { low = Math.min(low, one.low); high = Math.max(high, one.high); }
    if (low === high) { low *= .999; high *= 1.001; }
    this.y = (price) => TOP + (high - price) / (high - low) * (bottom - TOP - 10) + 2;
    this.prices(pen, c, low, high);
    const width = step / (this.data.end - this.data.start) * (this.width - RIGHT);
    const columns = width >= 2 ? candles : this.joined(width);
    const thick = Math.max(1, Math.min(12, Math.max(width, 1) * .7));
    for (const one of columns) {
      const middle = this.x(one.open_time) + Math.max(width, 1) / 2;
      pen.fillStyle = one.close >= one.open ? c.good : c.critical;
      pen.fillRect(middle - .5, this.y(one.high), 1, Math.max(1, this.y(one.low) - this.y(one.high)));
      if (width >= 2) {
        const top = this.y(Math.max(one.open, one.close)), foot = this.y(Math.min(one.open, one.close));
        pen.fillRect(middle - thick / 2, top, thick, Math.max(1, foot - top));
      }
    }
  }

  // Where candles are narrower than a pixel, those of one pixel are drawn as one.
  joined(width) {
    const found = [];
    let last = null, pixel = -1;
    for (const one of this.data.candles) {
      const at = Math.floor(this.x(one.open_time));
      if (at === pixel) {
        last.high = Math.max(last.high, one.high);
        last.low = Math.min(last.low, one.low);
        last.close = one.close;
      } else {
        last = { ...one };
        found.push(last);
        pixel = at;
      }
    }
    return found;
  }

  times(pen, c, bottom) {
    const { start, end } = this.data;
    const minute = 60_000;
    const room = Math.max(1, (this.width - RIGHT) / 96);
    const step = [5, 15, 30, 60, 180, 360, 720, 1440, 2880, 10080].map((m) => m * minute).find((ms) => (end - start) / ms <= room) ?? 43200 * minute;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "alphabetic";
    for (let time = Math.ceil(start / step) * step; time < end; time += step) {
      const x = this.x(time);
      pen.fillStyle = c.line;
      pen.fillRect(x, TOP, 1, bottom - TOP);
      pen.fillStyle = c.quiet;
      if (x + 66 < this.width) pen.fillText(utc(time).slice(5, 16), x + 2, this.height - 6);
    }
  }

  prices(pen, c, low, high) {
    const rough = (high - low) / 5;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
    const digits = Math.max(0, Math.min(12, -Math.floor(Math.log10(step))));
    for (let price = Math.ceil(low / step) * step; price <= high; price += step) {
      const y = this.y(price);
      pen.fillStyle = c.line;
      pen.fillRect(0, y, this.width - RIGHT, 1);
      pen.fillStyle = c.quiet;
      pen.fillText(price.toFixed(digits), this.width - RIGHT + 6, y + 4, RIGHT - 8);
    }
  }

  point(event) {
    if (!this.data) return;
    const box = this.canvas.getBoundingClientRect();
    const { start, end, step, candles, holes } = this.data;
    const time = start + (event.clientX - box.left) / (this.width - RIGHT) * (end - start);
    const hole = holes.find((one) => one.start <= time && time < one.end);
    const candle = candles.find((one) => one.open_time <= time && time < one.open_time + step);
    if (candle) {
      this.told.textContent = `${utc(candle.open_time)}: open ${candle.open}, high ${candle.high}, low ${candle.low}, close ${candle.close}, volume ${candle.volume}, ${candle.source}`;
    } else if (hole) {
      this.told.textContent = `${utc(hole.start)} to ${utc(hole.end - step)}: ${hole.why}`;
    } else {
      this.told.textContent = this.summary();
    }
  }
}
