// Keep the page up to date: listen on the job's or the queue's socket, and let htmx fetch the pieces that changed.
//
// <body data-live="/api/ws/jobs/<id>" data-live-job="<id>" data-live-after="<number>">: the socket of this page, and the
// last event that its HTML knows of; a piece refreshes on the event "desk-changed". The socket says only that something
// changed; what it looks like now is the server's to say, so that a page which lost its socket misses nothing.
//
// Pieces are morphed: what did not change keeps its focus, its scroll position and its open menus.

const REFRESH_MS = 700; // at most one round of requests in this time, and always one after the last event
const POLL_MS = 5000; // while the socket is away
const PING_MS = 20000;
const SILENT_MS = 35000; // a socket that answers no ping in this time is dead, whatever the browser believes
const LONGEST_WAIT_MS = 15000;
const HELD_MS = 15000; // how long a pressed button or an open menu may keep a page that cannot morph from changing
const QUIET = ["CONNECTED", "SNAPSHOT", "PONG", "ERROR"];

const body = document.body;
const pulse = document.getElementById("pulse");
const [live, reconnecting, offline] = (body.dataset.liveWords ?? "Live|Reconnecting|Offline").split("|");
const words = { connected: live, reconnecting, offline };
const stream = body.dataset.liveJob ?? null;

let lastSequence = body.dataset.liveAfter ? Number(body.dataset.liveAfter) : null; // of this page's stream
let attempts = 0;
let refreshTimer = null;
let reopenTimer = null;
let lastRefresh = 0;
let isFirst = true;

function show(state) {
  pulse.hidden = false;
  pulse.dataset.state = state;
  pulse.textContent = words[state];
}

function isHeld() {
  // A button under the finger would be swapped away before it is let go.
  return document.querySelector("[data-piece] :active, [data-dragging]") !== null;
}

function changed() {
  if (refreshTimer !== null) return;
  refreshTimer = setTimeout(refresh, Math.max(0, lastRefresh + REFRESH_MS - Date.now()));
}

function refresh() {
  refreshTimer = null;
  if (document.hidden) return; // caught up when the page is looked at again
  if (isHeld() && Date.now() - lastRefresh < HELD_MS) {
    refreshTimer = setTimeout(refresh, REFRESH_MS);
    return;
  }
  lastRefresh = Date.now();
  body.dispatchEvent(new CustomEvent("desk-changed"));
}

function open() {
  reopenTimer = null;
  const address = new URL(body.dataset.live, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  // What happened while we were away comes first: the server goes on behind the last number that we have.
  if (lastSequence !== null) address.searchParams.set("after", lastSequence);
  const socket = new WebSocket(address);
  let heardAt = Date.now();
  const ping = setInterval(() => {
    if (Date.now() - heardAt > SILENT_MS) socket.close();
    else if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "PING" }));
  }, PING_MS);

  socket.addEventListener("open", () => {
    // A job's stream replays what the page has not seen; of the queue only the state now can be asked for.
    if (attempts > 0 || (isFirst && stream === null)) changed();
    isFirst = false;
    attempts = 0;
    show("connected");
  });
  socket.addEventListener("message", (message) => {
    heardAt = Date.now();
    const event = JSON.parse(message.data);
    // The queue's socket also carries events of jobs, each with numbers of its own.
    if (typeof event.sequence === "number" && (event.jobId ?? null) === stream && event.type !== "SNAPSHOT") {
      lastSequence = event.sequence;
    }
    if (event.type === "SNAPSHOT" && (event.jobId ?? null) === stream) lastSequence ??= event.sequence;
    if (!QUIET.includes(event.type)) changed();
  });
  socket.addEventListener("close", (close) => {
    clearInterval(ping);
    if ([4401, 4403, 4404].includes(close.code)) {
      show("offline"); // asking again would bring the same refusal
      return;
    }
    attempts += 1;
    show(navigator.onLine ? "reconnecting" : "offline");
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** Math.min(attempts, 6));
    reopenTimer = setTimeout(open, wait * (0.75 + Math.random() / 2));
  });
}

if (body.dataset.live) {
  open();
  setInterval(() => {
    if (pulse.dataset.state !== "connected") changed();
  }, POLL_MS);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) changed();
  });
  window.addEventListener("offline", () => show("offline"));
  window.addEventListener("online", () => {
    if (reopenTimer !== null) {
      clearTimeout(reopenTimer);
      open();
    }
  });
}

// --- Morphing

if (window.Idiomorph) {
  Object.assign(Idiomorph.defaults, { ignoreActiveValue: true });
  Object.assign(Idiomorph.defaults.callbacks, {
    // What the viewer did to the page is not the server's to undo.
    beforeAttributeUpdated: (name, node) =>
      !(name === "open" && node.matches("details")) &&
      !(["checked", "value"].includes(name) && node.matches("input")) &&
      !(name === "hidden" && node.id === "news"),
    beforeNodeMorphed: (node, fresh) => {
      if (!(node instanceof Element)) return true;
      if (node.matches("details.ask[open], [data-held]")) return false; // somebody reads or types in it, or a script does
      if (!node.hasAttribute("data-chart")) return true;
      // A chart is drawn by chart.js; it gets new numbers, not new elements.
      if (node.dataset.chart !== fresh.dataset?.chart) {
        node.dataset.chart = fresh.dataset.chart;
        node.querySelector("figcaption").textContent = fresh.querySelector("figcaption").textContent;
        node.dispatchEvent(new CustomEvent("desk-redraw"));
      }
      return false;
    },
  });
}
