// A symbol's page: the whole window as a strip, a part of it as a chart, gaps and runs as they are.

import { tick } from "./ages.js";
import { Chart } from "./chart.js";
import { listen, renew } from "./live.js";
import { GapMap } from "./map.js";

const HOUR = 3_600_000;
const MOST = 10_080;
const $ = (id) => document.getElementById(id);
const zoom = $("zoom");
const symbol = zoom.dataset.symbol, step = Number(zoom.dataset.barMs);
const listTime = Number(zoom.dataset.listTime) || null;
const named = encodeURIComponent(symbol);
let shown = { start: Number(zoom.dataset.start), end: Number(zoom.dataset.end) };
let hours = 3;
let end = null; // null follows the newest candle

const chart = new Chart($("chart"), $("chart-told"));
const strip = new GapMap($("strip"), $("chart-told"), (_symbol, from, to) => look((from + to) / 2), { row: 28 });

function range() {
  const length = Math.max(hours * HOUR, 20 * step);
  const to = Math.min(end ?? shown.end, shown.end);
  return { start: Math.max(shown.start, to - length), end: to };
}

// Puts a moment into the middle of the chart.
function look(time) {
  const half = Math.max(hours * HOUR, 20 * step) / 2;
  end = Math.max(shown.start + 2 * half, time + half);
  if (end >= shown.end) end = null;
  draw();
}

async function get(path) {
  const answer = await fetch(`/api/v1/${path}`);
  if (!answer.ok) throw new TypeError(`${path}: ${answer.status}`);
  return answer.json();
}

let drawing = 0;
async function draw() {
  const turn = ++drawing;
  try {
    const [map, gaps] = await Promise.all([
      get(`map?symbol=${named}&columns=400`), get(`gaps?symbol=${named}&limit=${MOST}`),
    ]);
    if (turn !== drawing) return;
    shown = map.window;
    const { start, end: to } = range();
    const { candles } = await get(`candles?symbol=${named}&since=${start}&until=${to}&limit=${MOST}`);
    if (turn !== drawing) return;
    const holes = gaps.gaps.filter((gap) => gap.end > start && gap.start < to)
      .map((gap) => ({ ...gap, kind: gap.unavailable ? "unavailable" : "missing" }));
    if (listTime && listTime > start) {
      holes.push({ start, end: Math.min(listTime, to), kind: "unlisted", why: "not yet listed" });
    }
    strip.show(map);
    strip.frame(start, to);
    chart.show({ start, end: to, step, candles, holes });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // lost: the banner says so
  }
}

// -- what can be pressed --------------------------------------------------------------------------

$("ranges").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.hours) {
    const { start, end: to } = range();
    hours = Number(button.dataset.hours);
    for (const one of $("ranges").querySelectorAll("[data-hours]")) {
      one.setAttribute("aria-pressed", String(one === button));
    }
    if (end !== null) { look((start + to) / 2); return; }
  } else if (button.dataset.step) {
    const { start, end: to } = range();
    look((start + to) / 2 + Number(button.dataset.step) * (to - start) * .8);
    return;
  } else {
    end = null;
  }
  draw();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-show]");
  if (!button) return;
  const start = Number(button.dataset.show), to = Number(button.dataset.showEnd);
  const fit = [...$("ranges").querySelectorAll("[data-hours]")]
    .find((one) => Number(one.dataset.hours) * HOUR >= 1.5 * (to - start));
  if (fit && Number(fit.dataset.hours) > hours) fit.click();
  look((start + to) / 2);
  zoom.scrollIntoView({ block: "start" });
});

// -- the stream -----------------------------------------------------------------------------------

let latest = null, renewing = null;
function soon() {
  renewing ??= setTimeout(async () => {
    renewing = null;
    try {
      for (const id of ["figures", "gaps", "runs"]) {
        if (await renew(location.pathname, id)) tick($(id));
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    draw();
  }, 1_000);
}

listen({
  rows({ rows, gone, all }) {
    if (gone.includes(symbol) || (all && !(symbol in rows))) { location.href = "/"; return; }
    if (rows[symbol] && rows[symbol] !== latest) {
      if (latest !== null) soon();
      latest = rows[symbol];
    }
  },
  state() {},
  overview() {},
  back: soon,
});

const place = /^#(\d+)-(\d+)$/.exec(location.hash);
if (place) look((Number(place[1]) + Number(place[2])) / 2); else draw();
