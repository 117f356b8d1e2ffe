// Put jobs in another order: drag the handle, or focus it and press arrow up or down.
//
// Each move is one POST that names the neighbour and the version of the queue that this list shows; if the queue has
// changed meanwhile the server refuses, and the list is read again.

const order = document.getElementById("queue-order");
const status = document.getElementById("order-status");

const rowOf = (handle) => handle.closest("tbody");
const handles = () => [...order.querySelectorAll(".drag-handle")];
const rows = () => handles().map(rowOf);
const handleIn = (row) => row.querySelector(".drag-handle");

async function place(handle, neighbour, side) {
  const row = rowOf(handle);
  const back = row.nextSibling;
  rowOf(neighbour)[side](row);
  handle.focus();
  const answer = await fetch(order.dataset.place, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": order.dataset.csrf, Accept: "application/json" },
    body: JSON.stringify({
      job: handle.dataset.job,
      [side]: neighbour.dataset.job,
      queueVersion: Number(order.dataset.version),
    }),
  });
  const said = await answer.json();
  if (answer.ok && said.updated > 0) {
    order.dataset.version = said.queueVersion;
    const here = handles().indexOf(handle) + 1;
    status.textContent = order.dataset.moved.replace("{n}", here).replace("{all}", handles().length);
    return;
  }
  back === null ? row.parentNode.append(row) : back.before(row);
  status.textContent = `${said.detail ?? order.dataset.started} ${order.dataset.reads}`;
  setTimeout(() => location.reload(), 1500);
}

order.addEventListener("keydown", (event) => {
  const handle = event.target.closest(".drag-handle");
  if (!handle || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
  event.preventDefault();
  const all = handles();
  const neighbour = all[all.indexOf(handle) + (event.key === "ArrowUp" ? -1 : 1)];
  if (neighbour) place(handle, neighbour, event.key === "ArrowUp" ? "before" : "after");
});

let dragged = null;
let target = null;

function clear() {
  for (const row of rows()) row.classList.remove("dragged", "drop-before", "drop-after");
}

order.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest(".drag-handle");
  if (!handle || event.button !== 0) return;
  dragged = handle;
  handle.setPointerCapture(event.pointerId);
  rowOf(handle).classList.add("dragged");
});

order.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  clear();
  rowOf(dragged).classList.add("dragged");
  target = null;
  for (const row of rows()) {
    const box = row.getBoundingClientRect();
    if (row === rowOf(dragged) || event.clientY < box.top || event.clientY > box.bottom) continue;
    const side = event.clientY < box.top + box.height / 2 ? "before" : "after";
    target = { row, side };
    row.classList.add(`drop-${side}`);
  }
});

for (const end of ["pointerup", "pointercancel"]) {
  order.addEventListener(end, (event) => {
    if (!dragged) return;
    const [handle, goal] = [dragged, target];
    dragged = target = null;
    clear();
    if (goal && event.type === "pointerup") place(handle, handleIn(goal.row), goal.side);
  });
}
