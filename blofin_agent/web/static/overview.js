// The page at /: what changed is put in its place; the table sorts and filters; the map is drawn.

import { tick } from "./ages.js";
import { listen, renew } from "./live.js";
import { GapMap } from "./map.js";

const MAP_EVERY_MS = 2_000;
const RUNS_EVERY_MS = 4_000;
const $ = (id) => document.getElementById(id);
const table = $("symbols"), body = table.tBodies[0];
const filter = $("filter"), short = $("short");

// -- the table ------------------------------------------------------------------------------------

let sorted = { column: 1, down: false };

function order() {
  const value = (row) => row.cells[sorted.column].dataset.sort;
  const named = sorted.column === 0;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    const way = named ? x.localeCompare(y) : Number(x) - Number(y);
    return (sorted.down ? -way : way) || a.dataset.symbol.localeCompare(b.dataset.symbol);
  });
  if (rows.some((row, n) => body.rows[n] !== row)) {
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    body.append(...rows);
    focused?.focus();
  }
}

function choose() {
  const words = filter.value.trim().toUpperCase().split(/[\s,]+/).filter(Boolean);
  let shown = 0;
  for (const row of body.rows) {
    const named = !words.length || words.some((word) => row.dataset.symbol.includes(word));
    row.hidden = !named || (short.checked && Number(row.cells[2].dataset.sort) === 0);
    shown += !row.hidden;
  }
  const text = shown === body.rows.length ? "" : `${shown} of ${body.rows.length} shown`;
  if ($("shown").textContent !== text) $("shown").textContent = text;
}

for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
  head.querySelector("button").addEventListener("click", () => {
    sorted = { column, down: sorted.column === column && !sorted.down };
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    order();
  });
}
filter.addEventListener("input", choose);
short.addEventListener("change", choose);

function change({ rows, gone, all }) {
  const present = new Map([...body.rows].map((row) => [row.dataset.symbol, row]));
  for (const symbol of gone) present.get(symbol)?.remove();
  if (all) for (const [symbol, row] of present) if (!(symbol in rows)) row.remove();
  const maker = document.createElement("template");
  maker.innerHTML = Object.values(rows).join("");
  for (const fresh of [...maker.content.children]) {
    const old = present.get(fresh.dataset.symbol);
    if (!old) { body.append(fresh); continue; }
    for (const [n, cell] of [...fresh.cells].entries()) {
      const before = old.cells[n];
      // The link stays the same element, so that it keeps the focus.
      if (n && before.outerHTML !== cell.outerHTML) before.replaceWith(cell);
    }
  }
  order();
  choose();
  tick(body);
  draw();
}

// -- the map --------------------------------------------------------------------------------------

const map = new GapMap($("map"), $("map-told"), (symbol, start, end) => {
  location.href = `/symbols/${encodeURIComponent(symbol)}#${start}-${end}`;
});

function seldom(every, work) {
  let last = 0, waiting = null;
  return () => {
    if (waiting !== null) return;
    waiting = setTimeout(async () => {
      waiting = null;
      last = Date.now();
      try { await work(); } catch (error) { if (!(error instanceof TypeError)) throw error; }
    }, Math.max(0, last + every - Date.now()));
  };
}

const draw = seldom(MAP_EVERY_MS, async () => {
  const columns = Math.max(60, Math.min(400, Math.floor($("map").clientWidth / 3)));
  const answer = await fetch(`/api/v1/map?columns=${columns}`);
  if (answer.ok) map.show(await answer.json());
});

const runs = seldom(RUNS_EVERY_MS, async () => {
  if (await renew("/runs?recent", "runs")) tick($("runs"));
});

// -- the stream -----------------------------------------------------------------------------------

let state = null, returned = false;
listen({
  rows: change,
  overview(html) {
    const place = $("overview");
    const open = place.querySelector("details")?.open;
    const focused = place.contains(document.activeElement) && document.activeElement.tagName === "SUMMARY";
    place.innerHTML = html;
    const details = place.querySelector("details");
    if (details && open !== undefined) details.open = open;
    if (details && focused) details.querySelector("summary").focus();
    tick(place);
  },
  state(now) {
    if (state && state.version !== now.version) { location.reload(); return; }
    document.title = `${now.health.toUpperCase()} - blofin-agent`;
    $("overview").dataset.health = now.health;
    if (returned || (state && state.health !== now.health)) {
      $("spoken").textContent = `${returned ? "The agent is back. " : ""}${now.health}: ${now.reason}`;
      returned = false;
    }
    if (state && state.latest_run !== now.latest_run) runs();
    state = now;
  },
  back() { returned = true; runs(); draw(); },
});
draw();
