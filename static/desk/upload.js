// Upload pictures one by one: chosen, dropped anywhere on the page (folders too) or pasted. Each has its own line with
// its progress, and what is refused says why. Without this script the form sends all of them at once.

import { token } from "./requests.js";

const AT_ONCE = 3;
const MOST_LINES = 200; // refusals stay, the rest makes room

const form = document.getElementById("upload");

if (form) {
  const words = form.dataset;
  const list = document.getElementById("upload-list");
  const summary = document.getElementById("upload-summary");
  const waiting = [];
  const counts = { added: 0, present: 0, refused: 0 };
  let nRunning = 0;
  let nNews = 0;
  let drags = 0;

  for (const hidden of form.querySelectorAll("[data-with-script]")) hidden.hidden = false;

  function lineOf(file) {
    const line = document.createElement("li");
    const name = document.createElement("span");
    const bar = document.createElement("progress");
    const said = document.createElement("span");
    name.className = "upload-name";
    name.textContent = file.name;
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", file.name);
    said.className = "upload-said";
    said.textContent = words.waits;
    line.append(name, bar, said);
    list.prepend(line);
    while (list.children.length > MOST_LINES) {
      const old = [...list.children].reverse().find((one) => one.dataset.end && one.dataset.end !== "refused");
      if (!old) break;
      old.remove();
    }
    return { line, bar, said };
  }

  function tell() {
    const left = waiting.length + nRunning;
    summary.hidden = false;
    summary.textContent = words.summary
      .replace("{added}", counts.added)
      .replace("{present}", counts.present)
      .replace("{refused}", counts.refused)
      .replace("{left}", left);
    form.dataset.left = left;
    if (left || !nNews) return;
    const added = nNews;
    nNews = 0;
    if (document.getElementById("grid")) document.body.dispatchEvent(new CustomEvent("desk-uploaded", { detail: { added } }));
    else if (!counts.refused) location.reload();
    else {
      const link = document.createElement("a");
      link.href = location.href;
      link.textContent = words.done;
      summary.append(" ", link);
    }
  }

  function end(shown, kind, sentence) {
    shown.line.dataset.end = kind;
    shown.said.textContent = sentence;
    shown.bar.value = 1;
    nRunning -= 1;
    if (kind === "lost") {
      const again = document.createElement("button");
      again.type = "button";
      again.className = "button";
      again.textContent = words.again;
      again.addEventListener("click", () => {
        shown.line.remove();
        add([shown.file]);
      });
      shown.line.append(again);
    } else {
      counts[kind] += 1;
      if (kind === "added") nNews += 1;
    }
    next();
  }

  function send(shown) {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("image", shown.file, shown.file.name);
    request.open("POST", words.to);
    request.setRequestHeader("X-CSRFToken", token());
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) {
        shown.bar.value = event.loaded / event.total;
        shown.said.textContent = `${Math.round((100 * event.loaded) / event.total)} %`;
      }
    });
    request.addEventListener("load", () => {
      const answer = request.response;
      if (answer?.outcome) end(shown, answer.outcome, answer.reason ?? words[answer.outcome]);
      else if (request.status === 413 || request.status === 422 || request.status === 400) {
        end(shown, "refused", answer?.detail ?? request.statusText);
      } else end(shown, "lost", answer?.detail ?? words.lost);
    });
    request.addEventListener("error", () => end(shown, "lost", words.lost));
    request.send(body);
  }

  function next() {
    while (nRunning < AT_ONCE && waiting.length) {
      nRunning += 1;
      send(waiting.shift());
    }
    tell();
  }

  function add(files) {
    for (const file of files) waiting.push({ file, ...lineOf(file) });
    next();
  }

  // --- Where files come from

  function within(entry) {
    if (entry.isFile) return new Promise((found) => entry.file((file) => found([file]), () => found([])));
    const reader = entry.createReader();
    return new Promise((found) => {
      const all = [];
      const read = () =>
        reader.readEntries(async (entries) => {
          if (!entries.length) return found(all);
          for (const inner of entries) all.push(...(await within(inner)));
          return read();
        }, () => found(all));
      read();
    });
  }

  async function dropped(transfer) {
    // The entries must be taken before the first wait: the browser forgets them.
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return [...transfer.files];
    const found = [];
    for (const entry of entries) found.push(...(await within(entry)));
    return found;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const input = document.getElementById("images");
    add(input.files);
    input.value = "";
  });
  const carriesFiles = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    drags += 1;
    document.body.classList.add("is-dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    drags -= 1;
    if (drags <= 0) document.body.classList.remove("is-dropping");
  });
  document.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    drags = 0;
    document.body.classList.remove("is-dropping");
    add(await dropped(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || event.target.matches("input, textarea")) return;
    const when = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    add(files.map((file, n) => new File([file], `pasted ${when}${n ? ` ${n + 1}` : ""}.${file.type.split("/")[1] ?? "png"}`, { type: file.type })));
  });
  window.addEventListener("beforeunload", (event) => {
    if (nRunning) event.preventDefault();
  });
}
