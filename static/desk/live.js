// Keep the page up to date: listen on the job's or the queue's socket, and let htmx fetch the pieces that changed.
//
// <body data-live="/api/ws/jobs/<id>" data-live-job="<id>">: the socket of this page; a piece refreshes on the event
// "desk-changed". The socket says only that something changed; what it looks like now is the server's to say.

const REFRESH_MS = 700; // at most one round of requests in this time, and always one after the last event
const POLL_MS = 5000; // while the socket is away
const PING_MS = 20000;
const LONGEST_WAIT_MS = 15000;

const body = document.body;
const pulse = document.getElementById("pulse");
const words = { connected: "Live", reconnecting: "Reconnecting", offline: "Offline" };

const stream = body.dataset.liveJob ?? null;

let lastSequence = null; // of the last event of this page's stream
let attempts = 0;
let refreshTimer = null;
let lastRefresh = 0;

function show(state) {
  pulse.hidden = false;
  pulse.dataset.state = state;
  pulse.textContent = words[state];
}

function isHeld() {
  // Somebody presses a button or reads a question: replacing it now would take it from under the pointer.
  return document.querySelector("[data-piece] :active, [data-piece] details[open], [data-piece] input:focus") !== null;
}

function changed() {
  if (refreshTimer !== null) return;
  refreshTimer = setTimeout(refresh, Math.max(0, lastRefresh + REFRESH_MS - Date.now()));
}

function refresh() {
  refreshTimer = null;
  lastRefresh = Date.now();
  if (document.hidden) return; // caught up when the page is looked at again
  if (isHeld()) changed();
  else body.dispatchEvent(new CustomEvent("desk-changed"));
}

function open() {
  const address = new URL(body.dataset.live, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  // What happened while we were away comes first: the server goes on behind the last number that we have.
  if (lastSequence !== null) address.searchParams.set("after", lastSequence);
  const socket = new WebSocket(address);
  let ping = null;

  socket.addEventListener("open", () => {
    ping = setInterval(() => socket.send(JSON.stringify({ type: "PING" })), PING_MS);
    if (attempts > 0) changed();
    attempts = 0;
    show("connected");
  });
  socket.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    // The queue's socket also carries events of jobs, each with numbers of its own.
    if (typeof event.sequence === "number" && (event.jobId ?? null) === stream) lastSequence = event.sequence;
    if (!["CONNECTED", "SNAPSHOT", "PONG", "ERROR"].includes(event.type)) changed();
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
    setTimeout(open, wait * (0.75 + Math.random() / 2));
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
}
