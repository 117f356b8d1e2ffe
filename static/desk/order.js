// The order of the queue: drag a handle with mouse or finger, press an arrow key on it, or Alt and an arrow key anywhere
// in a row. Each move is one POST that names the neighbour and the version of the queue that this page shows.
//
// And the list stays still under the pointer: rows change in place, but come, go and move only when nobody is at them.

import { noAnswer, token } from "./requests.js";

const status = document.getElementById("order-status");
const piece = () => document.getElementById("queue");
const list = () => document.getElementById("jobs");
const rows = () => [...(list()?.querySelectorAll("[data-row]") ?? [])];
const movable = () => rows().filter((row) => row.hasAttribute("data-movable"));

// --- Moving

async function place(row, neighbour, side) {
  const back = row.nextElementSibling;
  const focused = document.activeElement;
  neighbour[side](row);
  if (row.contains(focused) || row === focused) focused.focus();
  const answer = await fetch("/api/perspectives/batch/reorder", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token(), Accept: "application/json" },
    body: JSON.stringify({
      jobId: row.dataset.job,
      [side]: neighbour.dataset.job,
      queueVersion: Number(piece().dataset.version),
    }),
  }).catch(() => null);
  const said = answer ? await answer.json() : { detail: noAnswer };
  if (answer?.ok && said.updatedJobs > 0) {
    piece().dataset.version = said.queueVersion;
    status.textContent = `${status.dataset.moved} ${movable().indexOf(row) + 1}.`;
    return;
  }
  back === null ? list().append(row) : back.before(row);
  status.textContent = said.detail ?? status.dataset.started;
  document.body.dispatchEvent(new CustomEvent("desk-changed"));
}

function step(row, by) {
  const all = movable();
  const neighbour = all[all.indexOf(row) + by];
  if (row.hasAttribute("data-movable") && neighbour) place(row, neighbour, by < 0 ? "before" : "after");
}

document.addEventListener("keydown", (event) => {
  const row = event.target.closest?.("#jobs [data-row]");
  const isArrow = event.key === "ArrowUp" || event.key === "ArrowDown";
  if (row && isArrow && (event.altKey || event.target.matches(".grip"))) {
    event.preventDefault();
    step(row, event.key === "ArrowUp" ? -1 : 1);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  if (event.key === "j" || event.key === "k") {
    const all = [...document.querySelectorAll("[data-row]")];
    const at = all.indexOf(event.target.closest("[data-row]")) + (event.key === "j" ? 1 : -1);
    (all[Math.max(0, Math.min(at, all.length - 1))] ?? null)?.focus();
  } else if (row && event.key === "x") {
    row.querySelector("[name=job]")?.click();
  } else if (event.key === "Enter" && event.target.matches("[data-row]")) {
    event.target.querySelector(".job-name").click();
  }
});

// --- Dragging

let dragged = null;
let target = null;

function clear() {
  for (const row of rows()) row.classList.remove("dragged", "drop-before", "drop-after");
}

document.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest?.(".grip");
  if (!handle || event.button !== 0) return;
  dragged = handle.closest("[data-row]");
  handle.setPointerCapture(event.pointerId);
  list().dataset.dragging = "";
  dragged.classList.add("dragged");
});

document.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  clear();
  dragged.classList.add("dragged");
  target = null;
  for (const row of movable()) {
    const box = row.getBoundingClientRect();
    if (row === dragged || event.clientY < box.top || event.clientY > box.bottom) continue;
    const side = event.clientY < box.top + box.height / 2 ? "before" : "after";
    target = { row, side };
    row.classList.add(`drop-${side}`);
  }
});

for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, (event) => {
    if (!dragged) return;
    const [row, goal] = [dragged, target];
    dragged = target = null;
    clear();
    delete list()?.dataset.dragging;
    if (goal && event.type === "pointerup") place(row, goal.row, goal.side);
  });
}

// --- Choosing

function count() {
  const n = document.querySelectorAll("#jobs [name=job]:checked").length;
  const menu = document.getElementById("bulk-menu");
  menu.querySelector("[data-none]").hidden = n > 0;
  menu.querySelector("[data-some]").hidden = n === 0;
  menu.querySelector("[data-n]").textContent = n;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("#jobs [name=job]")) count();
});
document.addEventListener("htmx:afterSettle", count);
count();

// --- Standing still under the pointer

const LEAVE_MS = 600; // after the pointer has left: who is on the way to the pill finds it

const hasPointer = matchMedia("(hover: hover)"); // after a touch, what was touched counts as hovered for ever
let hasNews = false;
let isWanted = false; // somebody pressed the pill
let leaving = null;

function isBusy() {
  if (list() === null || isWanted) return false;
  return (hasPointer.matches && list().matches(":hover")) || list().contains(document.activeElement);
}

document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== "queue" || !event.detail.shouldSwap || !isBusy()) {
    if (event.detail.target.id === "queue") tellNews(null);
    return;
  }
  const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").getElementById("queue");
  const freshRows = [...fresh.querySelectorAll("#jobs [data-row]")];
  const before = rows().map((row) => row.id);
  const after = freshRows.map((row) => row.id);
  if (before.join() === after.join()) {
    tellNews(null);
    return; // nothing moves: the whole piece may change in place
  }
  event.detail.shouldSwap = false;
  for (const row of freshRows) {
    const shown = document.getElementById(row.id);
    if (shown) {
      Idiomorph.morph(shown, row, { morphStyle: "outerHTML" });
      htmx.process(document.getElementById(row.id));
    }
  }
  const actions = fresh.querySelector("#bulk-actions");
  Idiomorph.morph(document.getElementById("bulk-actions"), actions, { morphStyle: "outerHTML" });
  htmx.process(document.getElementById("bulk-actions"));
  tellNews(after.filter((id) => !before.includes(id)).length);
});

function tellNews(n) {
  const pill = document.getElementById("news");
  if (!pill) return;
  pill.hidden = n === null;
  if (n !== null) pill.textContent = n > 0 ? `${n} ${status.dataset.new}` : status.dataset.changed;
  hasNews = n !== null;
}

async function showNews() {
  tellNews(null);
  isWanted = true;
  await htmx.ajax("GET", piece().getAttribute("hx-get"), { target: "#queue", swap: "morph:outerHTML" });
  isWanted = false;
}

document.addEventListener("click", (event) => {
  if (event.target.id === "news") showNews();
});
document.addEventListener("pointermove", () => {
  if (!hasNews || leaving !== null || isBusy()) return;
  leaving = setTimeout(() => {
    leaving = null;
    if (hasNews && !isBusy()) showNews();
  }, LEAVE_MS);
});
