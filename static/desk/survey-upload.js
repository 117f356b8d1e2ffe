// Send the files of a survey by tus, each with its own progress. What was begun goes on after a reload: the page names
// the addresses, the server says how much it has, and the file is chosen once more.

import { token } from "./requests.js";

const KINDS = { shp: "shp", shx: "shx", geojson: "shp", json: "shp", las: "cloud", laz: "cloud" };
const RETRY_MS = [0, 1000, 3000, 5000, 10000, 20000];
const CHUNK_BYTES = 64 * 1024 * 1024;

const form = document.getElementById("survey-form"); // only where the survey is not made yet
const box = document.getElementById("survey-files");
const lines = new Map([...box.querySelectorAll("[data-label]")].map((line) => [line.dataset.label, line]));
const chosen = new Map(); // file by label
const running = new Map(); // upload by label
let page = form ? null : location.pathname;

function inputOf(label) {
  return lines.get(label).querySelector("input");
}

function say(label, words, share) {
  const line = lines.get(label);
  line.querySelector("[data-said]").textContent = words;
  const bar = line.querySelector("progress");
  if (share !== undefined) bar.value = share * bar.max;
}

function size(bytes) {
  // As the server writes sizes.
  if (bytes < 1024) return `${bytes} bytes`;
  const step = Math.min(3, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** step).toFixed(1)}\u00a0${["KB", "MB", "GB"][step - 1]}`;
}

function isDone(label) {
  return "done" in lines.get(label).dataset;
}

// --- choosing

function take(label, file) {
  chosen.set(label, file);
  lines.get(label).dataset.held = "";
  say(label, `${file.name} · ${size(file.size)}`, 0);
  if (page) send(label);
}

const NAMED = { pre: /(^|[^a-z])(pre|before|old)/i, post: /(^|[^a-z])(post|after|new)/i };

function kindOf(file) {
  return KINDS[file.name.split(".").pop().toLowerCase()];
}

function labelOf(file, free) {
  const kind = kindOf(file);
  if (kind !== "cloud") return kind;
  // "post.laz" sorts before "pre.laz": what a name says comes first, its place in the alphabet (dates) last.
  const named = ["pre", "post"].find((label) => NAMED[label].test(file.name));
  const label = free.includes(named) ? named : free[0];
  free.splice(free.indexOf(label), 1);
  return label;
}

function sortOut(files, asked) {
  // Several files at once find their places by their kinds and names.
  const list = [...files].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  if (list.length === 1 && asked) return take(asked, list[0]);
  // Clouds that come one after the other take the places that are left; as many as both replace what was chosen.
  const open = ["pre", "post"].filter((label) => !isDone(label) && !running.has(label));
  const left = open.filter((label) => !chosen.has(label));
  const free = list.filter((file) => kindOf(file) === "cloud").length > left.length ? open : left;
  for (const file of list) {
    const label = labelOf(file, free);
    if (label && !isDone(label)) take(label, file);
  }
}

for (const [label] of lines) {
  const input = inputOf(label);
  input.multiple = true;
  input.addEventListener("change", () => sortOut(input.files, label));
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) sortOut(event.dataTransfer.files, event.target.closest?.("[data-label]")?.dataset.label);
});

// --- creating

async function create() {
  const fields = new FormData(form);
  const body = { name: fields.get("name").trim() };
  if (fields.get("crs").trim()) body.crs = fields.get("crs").trim();
  const answer = await fetch("/create_task", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token() },
    body: JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  for (const [label, line] of lines) line.dataset.address = said.upload_urls[label];
  page = `/surveys/${said.task_id}`;
  history.replaceState(null, "", page); // a reload from here on goes on with this survey
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const error = document.getElementById("survey-error");
  const button = form.querySelector("button.primary");
  error.hidden = true;
  button.disabled = true;
  try {
    if (!page) await create();
  } catch (problem) {
    error.textContent = problem.message;
    error.hidden = false;
    button.disabled = false;
    return;
  }
  if (chosen.size === 0) location.assign(page);
  for (const label of chosen.keys()) send(label);
});

// --- sending

function wayTo(line) {
  // A file that has its length goes on where it is; a new one is told its length first, by asking to create it at its
  // own address, which a foreign tusd does not know. There, and where somebody began without saying a length, the last
  // bytes bring it.
  const { address, length, offset } = line.dataset;
  if (length) return { uploadUrl: address };
  const isToldLast = Number(offset) > 0 || box.dataset.tusServer === "tusd";
  return isToldLast ? { uploadUrl: address, uploadLengthDeferred: true } : { endpoint: address };
}

function isOther(line, file) {
  const { length, offset } = line.dataset;
  return length ? Number(length) !== file.size : Number(offset) > file.size;
}

function send(label) {
  if (running.has(label) || isDone(label)) return;
  const file = chosen.get(label);
  const line = lines.get(label);
  if (isOther(line, file)) {
    say(label, box.dataset.wrong);
    return;
  }
  inputOf(label).disabled = true;
  const upload = new tus.Upload(file, {
    ...wayTo(line),
    onUploadUrlAvailable() {
      line.dataset.length = file.size;
    },
    chunkSize: CHUNK_BYTES,
    retryDelays: RETRY_MS,
    metadata: { filename: file.name },
    storeFingerprintForResuming: false, // the server knows how much it has; the browser need not remember
    onProgress(sent, total) {
      say(label, `${size(sent)} / ${size(total || file.size)}`, sent / (total || file.size));
    },
    onSuccess() {
      running.delete(label);
      line.dataset.done = "";
      say(label, `${box.dataset.done} · ${size(file.size)}`, 1);
      if ([...lines.keys()].every(isDone)) location.assign(page);
    },
    onError(problem) {
      running.delete(label);
      const status = problem.originalResponse?.getStatus?.();
      let words = problem.message;
      try {
        words = JSON.parse(problem.originalResponse.getBody()).detail ?? words;
      } catch {
        if (!status) words = String(problem.originalRequest ? problem.message.split(",")[0] : problem.message);
      }
      say(label, `${box.dataset.failed} ${words} ${box.dataset.again}`);
      inputOf(label).disabled = false;
    },
  });
  running.set(label, upload);
  upload.start();
}

window.addEventListener("beforeunload", (event) => {
  if (running.size) event.preventDefault();
});
