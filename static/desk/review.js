// Review by keyboard: the verdict shows at once and is saved behind, the next pictures are here before they are needed.
//
// Nothing is lost on the way: verdicts are sent one after the other, a verdict that the desk did not take is shown and
// can be sent again, and a caption that somebody else changed meanwhile is put beside what was done here.

import { loginLink, token } from "./requests.js";

const PREFETCHED = 3;
const KEPT_BEHIND = 12;
const ATTEMPTS = 4;
const LONGEST_ANSWER_MS = 20000;
const FARTHEST_ZOOM = 12;

const root = document.getElementById("review");

if (root) {
  const end = document.getElementById("review-end");
  const saving = document.getElementById("review-saving");
  const progress = document.getElementById("review-progress");
  const conflict = document.getElementById("conflict");
  const history = document.getElementById("history");
  const done = []; // what Z takes back: {card, key}
  const versions = new Map(); // key of a card -> id of its newest version
  let items = [...root.querySelectorAll(".review-item")];
  let at = 0;
  let active = null;
  let isFetching = false;
  let isAtEnd = false;
  let sending = Promise.resolve();
  let nPending = 0;
  let showsBoxes = true;
  const lost = [];
  let isLoggedOut = false;

  // --- Where we are

  const cardsOf = (item) => [...item.querySelectorAll(".review-card")];
  const openOf = (item) => cardsOf(item).filter((card) => "open" in card.dataset);

  function show(index, wanted) {
    at = index;
    items.forEach((item, n) => (item.hidden = n !== at));
    const item = items[at];
    end.hidden = Boolean(item);
    if (!item) {
      active = null;
      return;
    }
    fit(item);
    for (const hidden of item.querySelectorAll("[data-with-script]")) hidden.hidden = false;
    activate(wanted ?? openOf(item)[0] ?? cardsOf(item)[0] ?? null);
    item.classList.toggle("hides-boxes", !showsBoxes);
    prefetch();
  }

  function activate(card) {
    active?.classList.remove("is-active");
    active = card;
    for (const group of items[at].querySelectorAll("[data-boxes]")) {
      group.classList.toggle("is-active", group.dataset.boxes === card?.dataset.boxesOf || group.dataset.boxes === card?.dataset.caption);
    }
    if (!card) return;
    card.classList.add("is-active");
    if (!card.contains(document.activeElement)) card.focus({ preventScroll: true }); // somebody may type in it
    card.scrollIntoView({ block: "nearest" });
  }

  function next() {
    const cards = cardsOf(items[at] ?? root);
    const later = cards.slice(cards.indexOf(active) + 1).find((card) => "open" in card.dataset);
    if (later) activate(later);
    else if (items[at]) goOn();
  }

  async function goOn() {
    if (at + 1 >= items.length && !isAtEnd) await prefetch(true);
    show(at + 1);
  }

  function back() {
    const cards = cardsOf(items[at] ?? root);
    const earlier = cards.slice(0, Math.max(0, cards.indexOf(active))).reverse()[0];
    if (earlier && items[at]) activate(earlier);
    else if (at > 0) {
      const before = cardsOf(items[at - 1]);
      show(at - 1, before[before.length - 1]);
    } else if (items[at]) document.querySelector("[data-go=back]")?.click();
  }

  async function prefetch(isNeeded = false) {
    if (isAtEnd || (items.length - at > PREFETCHED && !isNeeded)) return;
    if (isFetching) {
      await isFetching;
      if (!isNeeded || at + 1 < items.length) return;
    }
    const last = items[items.length - 1];
    if (!last) {
      isAtEnd = true;
      return;
    }
    isFetching = (async () => {
      const answer = await fetch(`/review/ahead?${root.dataset.query}&after=${last.dataset.image}&n=${PREFETCHED}`, {
        headers: { "X-Requested-With": "fetch" },
      });
      if (!answer.ok) return;
      const holder = document.createElement("template");
      holder.innerHTML = await answer.text();
      const found = [...holder.content.querySelectorAll(".review-item")];
      isAtEnd = found.length === 0;
      for (const item of found) {
        item.hidden = true; // its picture is fetched all the same
        root.append(item);
        items.push(item);
      }
      while (at > KEPT_BEHIND) {
        items.shift().remove();
        at -= 1;
      }
    })().catch(() => {}); // asked again with the next step
    await isFetching;
    isFetching = false;
  }

  // --- Saving

  function tell() {
    saving.hidden = !nPending && !lost.length;
    const words = lost.length ? saving.dataset[isLoggedOut ? "loggedOut" : "lost"] : saving.dataset.saving;
    saving.replaceChildren(words.replace("{n}", lost.length || nPending));
    if (!lost.length) return;
    if (isLoggedOut) saving.append(" ", loginLink());
    const again = document.createElement("button");
    again.type = "button";
    again.className = "button";
    again.textContent = saving.dataset.again;
    again.addEventListener("click", () => {
      for (const one of lost.splice(0)) enqueue(one);
      tell();
    });
    saving.append(" ", again);
  }

  async function post(address, body) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await fetch(address, {
          method: "POST",
          body,
          signal: AbortSignal.timeout(LONGEST_ANSWER_MS), // or all verdicts after it would wait for ever
          headers: { "X-CSRFToken": token(), "X-Requested-With": "fetch" },
        });
        if (answer.status < 500 && answer.headers.get("Content-Type")?.includes("json")) return [answer.status, await answer.json()];
        if (answer.status < 500) return [answer.status, { detail: answer.statusText }];
      } catch {
        // the network; the same as a desk that is being restarted
      }
      if (attempt === ATTEMPTS) return [0, {}];
      await new Promise((go) => setTimeout(go, 400 * 2 ** attempt));
    }
  }

  function keyOf(card) {
    card.dataset.key ??= card.dataset.caption;
    return card.dataset.key;
  }

  function enqueue(one) {
    nPending += 1;
    tell();
    // One after the other: an undo must find the version that the verdict before it made.
    sending = sending.then(() => save(one)).finally(() => {
      nPending -= 1;
      tell();
    });
    return sending;
  }

  async function save(one) {
    const id = versions.get(one.key) ?? one.key;
    const body = new URLSearchParams(one.fields);
    body.set("since", root.dataset.since);
    for (const [name, value] of new URLSearchParams(root.dataset.query)) if (name !== "image") body.set(name, value);
    const [status, said] = await post(`/review/captions/${id}/${one.verb}`, body);
    if (status === 200) {
      versions.set(one.key, said.caption);
      progress.innerHTML = said.progress;
      replace(one.key, said.card);
      return;
    }
    const undone = done.findIndex((other) => other.key === one.key);
    isLoggedOut = status === 401;
    const isLost = status === 0 || isLoggedOut;
    if (undone >= 0 && !isLost) done.splice(undone, 1);
    if (isLost) lost.push(one);
    else if (said.conflict) ask(one, said.conflict);
    else complain(one, said.detail);
  }

  function cardWith(key) {
    return root.querySelector(`[data-key="${key}"]`);
  }

  function replace(key, html) {
    const old = cardWith(key);
    if (!old) return;
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const card = holder.content.firstElementChild;
    card.dataset.key = key;
    card.dataset.boxesOf = old.dataset.boxesOf ?? old.dataset.caption;
    const isActive = old === active;
    old.replaceWith(card);
    if (isActive) {
      active = card;
      card.classList.add("is-active");
      if (document.activeElement === document.body) card.focus({ preventScroll: true });
    }
  }

  function complain(one, sentence) {
    const card = cardWith(one.key);
    if (!card) return;
    const shown = document.createElement("p");
    shown.className = "message error";
    shown.setAttribute("role", "alert");
    shown.textContent = sentence;
    card.querySelector(".card-words").after(shown);
    card.dataset.open = "";
    card.classList.remove("is-settled");
  }

  function ask(one, html) {
    conflict.innerHTML = html;
    conflict.dataset.key = one.key;
    conflict.showModal();
  }

  // --- Verdicts

  function settle(card, verb, fields = {}) {
    if (!card) return;
    const key = keyOf(card);
    delete card.dataset.open;
    card.classList.add("is-settled");
    card.dataset.verdict = verb;
    if (verb !== "undo") done.push({ key, item: items[at] });
    enqueue({ key, verb, fields: Object.entries(fields) });
  }

  function accept() {
    const card = active;
    if (!card || card.dataset.review === "accepted") return next();
    settle(card, "accept");
    next();
  }

  function acceptAll() {
    for (const card of openOf(items[at])) settle(card, "accept");
    goOn();
  }

  function undo() {
    const last = done.pop();
    if (!last) {
      document.querySelector("#undo button")?.click();
      return;
    }
    const index = items.indexOf(last.item);
    if (index >= 0) show(index, cardWith(last.key));
    const card = cardWith(last.key);
    if (card) {
      settle(card, "undo");
      card.dataset.open = "";
    } else enqueue({ key: last.key, verb: "undo", fields: [] });
  }

  function reject() {
    const details = active?.querySelector("details.reject");
    if (!details) return;
    details.open = true;
    details.querySelector("input[name=reason]").focus();
  }

  async function edit() {
    const card = active;
    if (!card) return;
    const place = card.querySelector(".card-edit");
    if (!place.hidden) return;
    await sending; // the form shows the newest version
    const newest = cardWith(keyOf(card)) ?? card;
    const id = versions.get(keyOf(newest)) ?? newest.dataset.caption;
    const answer = await fetch(`/review/captions/${id}/form`, { headers: { "X-Requested-With": "fetch" } });
    if (!answer.ok) return;
    const holder = newest.querySelector(".card-edit");
    holder.innerHTML = await answer.text();
    holder.hidden = false;
    newest.querySelector(".card-words").hidden = true;
    newest.querySelector(".review-actions").hidden = true;
    holder.querySelector("textarea, input:not([type=hidden])")?.focus();
  }

  function leaveEdit(card) {
    card.querySelector(".card-edit").hidden = true;
    card.querySelector(".card-edit").replaceChildren();
    card.querySelector(".card-words").hidden = false;
    card.querySelector(".review-actions").hidden = false;
    card.focus();
  }

  async function saveEdit(form) {
    const card = form.closest(".review-card");
    const key = keyOf(card);
    const fields = [...new FormData(form)].filter(([name]) => name.startsWith("field-"));
    const errors = form.querySelector(".errors");
    errors.hidden = true;
    form.querySelector("button").disabled = true;
    nPending += 1;
    tell();
    // What was typed stays on the page until the desk has it.
    const body = new URLSearchParams(fields);
    body.set("since", root.dataset.since);
    for (const [name, value] of new URLSearchParams(root.dataset.query)) if (name !== "image") body.set(name, value);
    const [status, said] = await post(form.getAttribute("action"), body);
    nPending -= 1;
    tell();
    form.querySelector("button").disabled = false;
    if (status === 200) {
      versions.set(key, said.caption);
      done.push({ key, item: items[at] });
      progress.innerHTML = said.progress;
      replace(key, said.card);
      next();
    } else if (said.conflict) {
      ask({ key }, said.conflict);
    } else {
      errors.hidden = false;
      errors.textContent = said.detail ?? saving.dataset.lost.replace("{n}", 1);
      errors.scrollIntoView({ block: "nearest" });
    }
  }

  async function differences() {
    if (!active) return;
    if (history.open) return history.close();
    await sending;
    const id = versions.get(keyOf(active)) ?? active.dataset.caption;
    const answer = await fetch(`/review/captions/${id}/history`, { headers: { "X-Requested-With": "fetch" } });
    if (!answer.ok) return;
    history.innerHTML = await answer.text();
    history.dataset.key = keyOf(active);
    history.showModal();
  }

  // --- The picture

  const views = new WeakMap(); // stage -> {zoom, x, y}

  function viewOf(stage) {
    if (!views.has(stage)) views.set(stage, { zoom: 1, x: 0, y: 0 });
    return views.get(stage);
  }

  function fit(item) {
    const stage = item.querySelector(".stage");
    views.delete(stage);
    move(stage);
  }

  function move(stage) {
    const view = viewOf(stage);
    const slackX = (stage.clientWidth * (view.zoom - 1)) / 2;
    const slackY = (stage.clientHeight * (view.zoom - 1)) / 2;
    view.x = Math.max(-slackX, Math.min(slackX, view.x));
    view.y = Math.max(-slackY, Math.min(slackY, view.y));
    stage.firstElementChild.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
    stage.classList.toggle("is-zoomed", view.zoom > 1);
    const picture = stage.querySelector("img");
    if (view.zoom > 1.2 && picture.getAttribute("src") !== stage.dataset.full) picture.src = stage.dataset.full;
  }

  function zoom(stage, factor, atX = 0, atY = 0) {
    const view = viewOf(stage);
    const to = Math.max(1, Math.min(FARTHEST_ZOOM, view.zoom * factor));
    // What lies under the pointer stays there.
    view.x = atX - ((atX - view.x) * to) / view.zoom;
    view.y = atY - ((atY - view.y) * to) / view.zoom;
    view.zoom = to;
    move(stage);
  }

  const stageHere = () => items[at]?.querySelector(".stage");

  function toggleBoxes() {
    showsBoxes = !showsBoxes;
    items[at]?.classList.toggle("hides-boxes", !showsBoxes);
    items[at]?.querySelector("[data-zoom=boxes]").setAttribute("aria-pressed", showsBoxes);
  }

  const tools = {
    in: () => zoom(stageHere(), 1.5),
    out: () => zoom(stageHere(), 1 / 1.5),
    fit: () => fit(items[at]),
    boxes: toggleBoxes,
  };

  root.addEventListener(
    "wheel",
    (event) => {
      const stage = event.target.closest(".stage");
      if (!stage) return;
      const box = stage.getBoundingClientRect();
      if (viewOf(stage).zoom === 1 && event.deltaY > 0) return; // the page scrolls on
      event.preventDefault();
      zoom(stage, event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
    },
    { passive: false },
  );
  root.addEventListener("pointerdown", (event) => {
    const stage = event.target.closest(".stage");
    if (!stage || viewOf(stage).zoom === 1) return;
    stage.setPointerCapture(event.pointerId);
    const follow = (moved) => {
      viewOf(stage).x += moved.movementX;
      viewOf(stage).y += moved.movementY;
      move(stage);
    };
    stage.addEventListener("pointermove", follow);
    for (const kind of ["pointerup", "pointercancel"]) {
      stage.addEventListener(kind, () => stage.removeEventListener("pointermove", follow), { once: true });
    }
  });
  root.addEventListener("dblclick", (event) => {
    const stage = event.target.closest(".stage");
    if (!stage) return;
    if (viewOf(stage).zoom > 1) fit(items[at]);
    else zoom(stage, 2.5);
  });
  for (const [kind, isOn] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
    root.addEventListener(kind, (event) => {
      const chip = event.target.closest("[data-box]");
      if (!chip) return;
      const card = chip.closest(".review-card");
      const [, index] = chip.dataset.box.split("-");
      const mark = `${card.dataset.boxesOf ?? card.dataset.caption}-${index}`;
      items[at].querySelector(`[data-mark="${mark}"]`)?.classList.toggle("is-pointed", isOn);
    });
  }

  // --- Buttons and forms do what the keys do

  document.addEventListener("click", (event) => {
    const card = event.target.closest(".review-card");
    if (card && card !== active && root.contains(card)) activate(card);
    const tool = event.target.closest("[data-zoom]");
    if (tool) tools[tool.dataset.zoom]();
    const link = event.target.closest("a[data-verb], a[data-go]");
    if (!link || event.ctrlKey || event.metaKey) return;
    const verb = link.dataset.verb ?? link.dataset.go;
    if (verb === "back" && at === 0 && active === cardsOf(items[0] ?? root)[0]) return; // the server knows what was before
    event.preventDefault();
    if (verb === "edit") edit();
    else if (verb === "history") differences();
    else if (verb === "next") next();
    else if (verb === "back") back();
    else if (verb === "leave" && conflict.open) leaveConflict();
    else if (verb === "leave") leaveEdit(card);
  });

  async function leaveConflict() {
    const { key } = conflict.dataset;
    conflict.close();
    await fresh(key);
  }

  async function fresh(key) {
    // Show the picture anew, with what others made of it.
    const card = cardWith(key);
    const item = card?.closest(".review-item");
    if (!item) return;
    const answer = await fetch(`/review/ahead?image=${item.dataset.image}&${stateOnly()}&after=0&n=1`, { headers: { "X-Requested-With": "fetch" } });
    const holder = document.createElement("template");
    holder.innerHTML = answer.ok ? await answer.text() : "";
    const found = holder.content.querySelector(".review-item");
    if (!found) {
      location.reload();
      return;
    }
    const index = items.indexOf(item);
    item.replaceWith(found);
    items[index] = found;
    if (index === at) show(at);
  }

  function stateOnly() {
    return new URLSearchParams({ state: root.dataset.state }).toString();
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.id === "undo" && done.length) {
      event.preventDefault();
      undo();
      return;
    }
    const verb = form.dataset.verb;
    if (!verb) return;
    event.preventDefault();
    if (conflict.contains(form)) {
      const { key } = conflict.dataset;
      const fields = [...new FormData(form)].filter(([name]) => name !== "back" && name !== "csrfmiddlewaretoken");
      versions.set(key, form.getAttribute("action").split("/")[3]);
      conflict.close();
      done.push({ key, item: items[at] });
      enqueue({ key, verb, fields });
      return;
    }
    if (history.contains(form)) {
      const { key } = history.dataset;
      history.close();
      done.push({ key, item: items[at] });
      enqueue({ key, verb, fields: [["version", form.elements.version.value]] });
      return;
    }
    const card = form.closest(".review-card");
    activate(card);
    if (verb === "edit") saveEdit(form);
    else if (verb === "accept") accept();
    else if (verb === "reject") {
      const reason = form.elements.reason.value.trim() || form.elements.usual.value;
      form.closest("details").open = false;
      settle(card, "reject", { reason });
      next();
    } else settle(card, verb);
  });

  const showQuestion = (event) => {
    if (event.target.matches("details.reject[open]")) event.target.querySelector(".ask-panel").scrollIntoView({ block: "nearest" });
  };
  root.addEventListener("toggle", showQuestion, true); // it does not bubble

  // --- Keys

  const keys = { a: accept, A: acceptAll, e: edit, r: reject, j: next, k: back, z: undo, d: differences, b: toggleBoxes, "+": tools.in, "-": tools.out, 0: tools.fit };
  let isGoing = false; // "g" and a letter goes to another page

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    const form = target.closest?.(".edit-form");
    if (form) {
      if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      } else if (key === "Escape") leaveEdit(form.closest(".review-card"));
      return;
    }
    const asking = target.closest?.("details.reject[open]");
    if (asking) {
      const usual = asking.querySelectorAll("input[name=usual]");
      if (/^[1-9]$/.test(key) && usual[key - 1] && !asking.querySelector("input[name=reason]").value) {
        event.preventDefault();
        usual[key - 1].checked = true;
        asking.querySelector("form").requestSubmit();
      } else if (key === "Escape") {
        asking.open = false;
        asking.closest(".review-card").focus();
        event.stopPropagation();
      }
      return;
    }
    if (target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey || conflict.open) return;
    if (history.open && key !== "d") return;
    if (key in keys && !isGoing) {
      event.preventDefault();
      keys[key]();
    }
    isGoing = key === "g";
  });
  window.addEventListener("beforeunload", (event) => {
    if (nPending || lost.length || root.querySelector(".edit-form textarea:focus")) event.preventDefault();
  });

  // A card keeps one key for all its versions.
  new MutationObserver(() => root.querySelectorAll(".review-card:not([data-key])").forEach(keyOf)).observe(root, {
    childList: true,
    subtree: true,
  });
  root.querySelectorAll(".review-card").forEach(keyOf);
  document.querySelector("#keys dl")?.append(document.getElementById("page-keys").content.cloneNode(true));
  show(0);
}
