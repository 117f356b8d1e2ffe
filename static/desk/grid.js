// A grid of any number of pictures: tiles of one size at places of their own, so that the scrollbar tells the truth.
// Only what is near the window is fetched and kept. Without this script the page shows one part with links to the next.

const PAGE = 120; // pictures of one request; the same borders at every size, so that the browser may keep the answers
const GAP = 12;
const NAME_HEIGHT = 26;
const KEPT_PAGES = 3; // on either side of what is seen
const REFRESH_MS = 5000;
const REMEMBERED = "desk.density";

const grid = document.getElementById("grid");
const form = document.getElementById("selection");

if (grid && form) {
  const density = document.getElementById("density");
  const all = document.getElementById("all");
  const told = document.getElementById("chosen");
  const none = document.getElementById("choose-none");
  const question = document.getElementById("delete-question");
  const chosen = new Set(); // ids
  const ids = []; // place -> id, of every page that was ever here
  const pages = new Map(); // number -> {tiles, request}
  let total = Number(grid.dataset.total);
  let isCounted = !("countsFollow" in grid.dataset); // else there are more than that
  let columns = 1;
  let size = 0;
  let here = 0; // place that the keyboard stands at
  let anchor = null; // place from which a range is chosen
  let isScheduled = false;
  let lastRefresh = 0;
  let isAwaited = false; // the place that the keyboard stands at

  density.value = localStorage.getItem(REMEMBERED) ?? density.value;
  for (const hidden of document.querySelectorAll("[data-with-script]")) hidden.hidden = false;
  document.getElementById("pages").remove();
  grid.classList.add("virtual");
  const first = [...grid.children];
  if (first.length && first[0].dataset.place === "1" && first.length === Math.min(total, PAGE)) {
    pages.set(0, { tiles: first });
    first.forEach(adopt);
  } else {
    grid.replaceChildren();
  }

  // --- Places

  function rowHeight() {
    return size + NAME_HEIGHT + GAP;
  }

  function measure() {
    const width = grid.clientWidth;
    columns = Math.max(1, Math.floor((width + GAP) / (Number(density.value) + GAP)));
    size = Math.floor((width - GAP * (columns - 1)) / columns);
    grid.style.height = `${Math.ceil(total / columns) * rowHeight()}px`;
  }

  function seen() {
    const top = grid.getBoundingClientRect().top;
    const from = Math.max(0, Math.floor(-top / rowHeight()) - 1) * columns;
    const to = (Math.ceil((window.innerHeight - top) / rowHeight()) + 1) * columns;
    return [Math.min(from, Math.max(0, total - 1)), Math.max(0, Math.min(to, total) - 1)];
  }

  function put(tile) {
    const place = Number(tile.dataset.place) - 1;
    tile.style.transform = `translate(${(place % columns) * (size + GAP)}px, ${Math.floor(place / columns) * rowHeight()}px)`;
    tile.style.width = `${size}px`;
  }

  function adopt(tile) {
    const place = Number(tile.dataset.place) - 1;
    ids[place] = Number(tile.dataset.id);
    tile.setAttribute("aria-setsize", total);
    tile.setAttribute("aria-posinset", place + 1);
    tile.querySelector(".tile-link").tabIndex = place === here ? 0 : -1;
    tile.querySelector("input").tabIndex = -1;
  }

  function draw() {
    isScheduled = false;
    if (!total) return;
    const [from, to] = seen();
    const lowest = Math.floor(from / PAGE);
    const highest = Math.floor(to / PAGE);
    for (const [number, page] of pages) {
      const isFar = number < lowest - KEPT_PAGES || number > highest + KEPT_PAGES;
      if (page.request && (number < lowest || number > highest)) page.request.abort();
      else if (isFar && page.tiles && !page.tiles.some((tile) => tile.contains(document.activeElement))) {
        for (const tile of page.tiles) {
          tile.querySelector("img").removeAttribute("src"); // or pictures passed by would hold up those that are looked at
          tile.remove();
        }
        pages.delete(number);
      }
    }
    for (let number = lowest; number <= highest; number += 1) load(number);
    for (const page of pages.values()) page.tiles?.forEach(put);
    mark();
  }

  function schedule() {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(draw);
  }

  // --- Pages

  function fetched(number, signal) {
    const wide = size * Math.min(window.devicePixelRatio, 2) > 260 ? "&width=384" : "";
    const before = ids[number * PAGE - 1]; // from there on it is found at once, however far down
    const after = before === undefined ? "" : `&after=${before}`;
    const address = `${grid.dataset.src}&offset=${number * PAGE}&limit=${PAGE}${after}${wide}`;
    return fetch(address, { signal, headers: { "HX-Request": "true" } }).then((answer) => {
      if (!answer.ok) throw new Error(answer.statusText);
      return answer.text();
    });
  }

  function tilesOf(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return [...holder.content.querySelectorAll("li")];
  }

  async function load(number) {
    if (pages.has(number)) return;
    const request = new AbortController();
    pages.set(number, { request });
    try {
      show(number, tilesOf(await fetched(number, request.signal)));
    } catch (fault) {
      pages.delete(number);
      if (fault.name !== "AbortError") told.textContent = grid.dataset.lost;
    }
  }

  function show(number, tiles) {
    const old = pages.get(number)?.tiles ?? [];
    isAwaited ||= old.some((tile) => tile.contains(document.activeElement)); // came here while these were fetched
    tiles.forEach(adopt);
    tiles.forEach(put);
    // In the order of the pictures, for those who listen to the page.
    const behind = [...pages.keys()].filter((other) => other > number && pages.get(other).tiles).sort((a, b) => a - b)[0];
    const before = behind === undefined ? null : pages.get(behind).tiles[0];
    for (const tile of tiles) grid.insertBefore(tile, before);
    old.forEach((tile) => tile.remove());
    pages.set(number, { tiles });
    mark();
    if (isAwaited) focusHere();
  }

  async function refresh() {
    lastRefresh = Date.now();
    const [from, to] = seen();
    for (let number = Math.floor(from / PAGE); number <= Math.floor(to / PAGE); number += 1) {
      const tiles = pages.get(number)?.tiles;
      if (!tiles || tiles.some((tile) => tile.contains(document.activeElement))) continue;
      try {
        show(number, tilesOf(await fetched(number)));
      } catch {
        return; // what is shown stays; the next change asks again
      }
    }
  }

  // --- What is chosen

  function mark() {
    for (const page of pages.values()) {
      for (const tile of page.tiles ?? []) {
        const isChosen = all.checked || chosen.has(Number(tile.dataset.id));
        tile.querySelector("input").checked = isChosen;
        tile.classList.toggle("is-chosen", isChosen);
      }
    }
    const n = all.checked ? total : chosen.size;
    const shown = n.toLocaleString();
    if (all.checked && !isCounted) {
      told.textContent = told.dataset.every;
      question.textContent = told.dataset.deleteEvery;
    } else {
      told.textContent = n ? told.dataset.some.replace("{n}", shown) : told.dataset.none;
      question.textContent = told.dataset.delete.replace("{n}", shown);
    }
    none.hidden = !n;
    form.classList.toggle("has-choice", n > 0);
    for (const button of form.querySelectorAll("[data-needs-choice]")) {
      button.disabled = !n;
      button.toggleAttribute("inert", !n);
    }
  }

  async function choose(place, isRange) {
    if (all.checked) {
      all.checked = false;
      chosen.clear();
    }
    if (isRange && anchor !== null) {
      const [from, to] = [Math.min(anchor, place), Math.max(anchor, place)];
      for (let number = Math.floor(from / PAGE); number <= Math.floor(to / PAGE); number += 1) {
        const start = Math.max(from, number * PAGE);
        const end = Math.min(to, number * PAGE + PAGE - 1);
        let isKnown = true;
        for (let at = start; at <= end; at += 1) isKnown &&= ids[at] !== undefined;
        if (!isKnown) tilesOf(await fetched(number)).forEach((tile) => (ids[Number(tile.dataset.place) - 1] = Number(tile.dataset.id)));
      }
      for (let at = from; at <= to; at += 1) if (ids[at] !== undefined) chosen.add(ids[at]);
    } else if (!chosen.delete(ids[place])) {
      chosen.add(ids[place]);
    }
    anchor = place;
    mark();
  }

  function chooseNone() {
    all.checked = false;
    chosen.clear();
    anchor = null;
    mark();
  }

  grid.addEventListener("click", (event) => {
    const pick = event.target.closest(".tile-pick");
    if (!pick) return;
    event.preventDefault();
    choose(Number(pick.closest(".tile").dataset.place) - 1, event.shiftKey);
  });
  all.addEventListener("change", mark);
  none.addEventListener("click", chooseNone);
  form.addEventListener("submit", () => {
    form.elements.ids.value = all.checked ? "" : [...chosen].join(",");
  });

  // --- Keys

  function goTo(place) {
    here = Math.max(0, Math.min(total - 1, place));
    const top = grid.getBoundingClientRect().top + window.scrollY + Math.floor(here / columns) * rowHeight();
    const covered = form.offsetHeight + GAP;
    if (top < window.scrollY + 80) window.scrollTo(0, top - 80);
    else if (top + rowHeight() > window.scrollY + window.innerHeight - covered) {
      window.scrollTo(0, top + rowHeight() - window.innerHeight + covered);
    }
    load(Math.floor(here / PAGE));
    focusHere();
  }

  function focusHere() {
    const tile = grid.querySelector(`[data-place="${here + 1}"]`);
    isAwaited = !tile; // its page is on the way
    if (!tile) return;
    for (const link of grid.querySelectorAll(".tile-link")) link.tabIndex = -1;
    const link = tile.querySelector(".tile-link");
    link.tabIndex = 0;
    link.focus({ preventScroll: true });
  }

  function resize(by) {
    density.value = Number(density.value) + by;
    density.dispatchEvent(new Event("input"));
  }

  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input:not([type=checkbox], [type=range]), textarea, select");
    if (isTyping || event.altKey || document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "a") {
      event.preventDefault();
      all.checked = true;
      mark();
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && !document.querySelector("details[open]")) chooseNone();
    else if (event.key === "+") resize(24);
    else if (event.key === "-") resize(-24);
    const isFromSide = event.key === "ArrowLeft" || event.key === "ArrowRight"; // up and down scroll the page
    if (event.target === document.body && isFromSide) {
      goTo(here);
      return;
    }
    if (!grid.contains(event.target)) return;
    const inAWindow = Math.max(1, Math.floor(window.innerHeight / rowHeight()) - 1) * columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -inAWindow, PageDown: inAWindow,
      Home: -total, End: total,
    };
    if (event.key in steps) {
      event.preventDefault();
      goTo(here + steps[event.key]);
    } else if ([" ", "x", "X"].includes(event.key)) {
      event.preventDefault();
      choose(here, event.shiftKey);
    }
  });
  grid.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) here = Number(tile.dataset.place) - 1;
  });

  // --- Size, scrolling, news

  density.addEventListener("input", () => {
    const [from] = seen();
    localStorage.setItem(REMEMBERED, density.value);
    const isScrolled = grid.getBoundingClientRect().top < 0;
    measure();
    if (grid.contains(document.activeElement)) {
      goTo(here); // the picture that the keyboard stands at stays in sight
    } else if (isScrolled) {
      const top = grid.getBoundingClientRect().top + window.scrollY;
      window.scrollTo(0, top + Math.floor(from / columns) * rowHeight());
    }
    schedule();
  });
  new ResizeObserver(() => {
    measure();
    schedule();
  }).observe(grid.parentElement);
  window.addEventListener("scroll", schedule, { passive: true });
  document.body.addEventListener("desk-changed", () => {
    if (Date.now() - lastRefresh > REFRESH_MS) refresh();
  });
  document.body.addEventListener("desk-counted", (event) => {
    total = event.detail.total;
    isCounted = true;
    for (const page of pages.values()) page.tiles?.forEach(adopt);
    measure();
    schedule();
  });
  document.body.addEventListener("desk-uploaded", (event) => {
    if (!grid.dataset.src.endsWith("?")) return; // whether they match the filter is the server's to say
    total += event.detail.added;
    const last = Math.floor((total - 1) / PAGE);
    for (const number of [last - 1, last]) {
      pages.get(number)?.tiles?.forEach((tile) => tile.remove());
      pages.delete(number);
    }
    measure();
    schedule();
  });
  document.querySelector("#keys dl")?.append(document.getElementById("page-keys").content.cloneNode(true));
  measure();
  draw();
}
