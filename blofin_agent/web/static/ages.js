// Shows how old a moment is, and how long something still takes, by this machine's clock.

export function duration(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min ${s % 60} s`;
  const h = Math.floor(min / 60);
  return h < 48 ? `${h} h ${min % 60} min` : `${Math.floor(h / 24)} days`;
}

function roughly(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s ago`;
  const min = Math.floor(s / 60);
  if (min < 120) return `${min} min ago`;
  const h = Math.floor(min / 60);
  return h < 48 ? `${h} h ago` : `${Math.floor(h / 24)} days ago`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tick(root = document) {
  const now = Date.now();
  for (const each of root.querySelectorAll("time[data-ago]")) {
    write(each, roughly(now - Date.parse(each.dateTime)));
  }
  for (const each of root.querySelectorAll("[data-until]")) {
    const left = Number(each.dataset.until) - now;
    write(each, left > 0 ? `in ${duration(left)}` : "now");
  }
}

tick();
setInterval(tick, 1000);
