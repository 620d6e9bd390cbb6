// The stream of what changed; says when the agent is lost, and when it is back.

const PATIENCE_MS = 12_000;
const AGAIN_MS = 3_000;
const lost = document.getElementById("lost");

export function listen(handlers) {
  let source = null;
  let heardAt = Date.now();
  let away = false;

  function heard() {
    heardAt = Date.now();
    if (!away) return;
    away = false;
    lost.hidden = true;
    lost.textContent = "";
    document.documentElement.classList.remove("lost");
    handlers.back?.();
  }

  function gone() {
    if (away) return;
    away = true;
    const since = new Date(heardAt).toISOString().slice(11, 19);
    lost.textContent = `Lost the agent at ${since} UTC. What is below is from then; trying again.`;
    lost.hidden = false;
    document.documentElement.classList.add("lost");
  }

  function open() {
    source?.close();
    source = new EventSource("/events");
    source.addEventListener("alive", heard);
    for (const [name, handle] of Object.entries(handlers)) {
      if (name === "back") continue;
      source.addEventListener(name, (event) => {
        heard();
        handle(JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      gone();
      // After an answer that is no stream the browser does not try again by itself.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || open(), AGAIN_MS);
    });
  }

  // A browser keeps six connections to one host: pages that nobody sees leave them to others.
  document.addEventListener("visibilitychange", () => {
    heardAt = Date.now();
    if (document.hidden) source?.close(); else open();
  });

  setInterval(() => {
    if (document.hidden || Date.now() - heardAt < PATIENCE_MS) return;
    gone();
    heardAt = Date.now();
    open();
  }, 1000);
  open();
}

// Fetches one of our own pages and puts its element of that id in the place of this page's.
export async function renew(path, id) {
  const answer = await fetch(path, { headers: { Accept: "text/html" } });
  if (!answer.ok) return false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(id);
  const old = document.getElementById(id);
  if (!fresh || !old || fresh.innerHTML === old.innerHTML) return false;
  const focused = old.contains(document.activeElement) ? path_to(document.activeElement, old) : null;
  old.replaceChildren(...fresh.childNodes);
  if (focused) follow(focused, old)?.focus();
  return true;
}

function path_to(element, root) {
  const steps = [];
  for (let at = element; at !== root; at = at.parentNode) {
    steps.unshift([...at.parentNode.childNodes].indexOf(at));
  }
  return steps;
}

function follow(steps, root) {
  return steps.reduce((at, step) => at?.childNodes[step], root);
}
