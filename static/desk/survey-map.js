// The map of what changed: regions to point at, and a section between any two clicks. What is drawn lies in the
// data-preview of #survey-views: {picture, bounds, width, height, grid, outlines, fullColour, heightsFrom, files}.

const box = document.getElementById("survey-views");
const preview = JSON.parse(box.dataset.preview);
const words = box.dataset;
const map = box.querySelector(".survey-map");
const section = box.querySelector(".survey-section");
const said = document.getElementById("survey-section-said");
const SVG = "http://www.w3.org/2000/svg";
const N_SAMPLES = 240;

const [west, south, east, north] = preview.bounds;
const scaleX = preview.width / (east - west);
const scaleY = preview.height / (north - south);

function draw(parent, name, attributes, text) {
  const shape = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
  if (text !== undefined) shape.textContent = text;
  parent.append(shape);
  return shape;
}

const toMap = ([x, y]) => [(x - west) * scaleX, (north - y) * scaleY];

// --- regions

function polygons(geometry) {
  return geometry.type === "MultiPolygon" ? geometry.coordinates : [geometry.coordinates];
}

function outline(region) {
  const rings = polygons(region.polygon).flat();
  const path = rings.map((ring) => `M${ring.map((corner) => toMap(corner).map((v) => v.toFixed(1)).join(" ")).join("L")}Z`);
  const shape = draw(map, "path", { d: path.join(""), class: "survey-outline", "data-region": region.id });
  draw(shape, "title", {}, region.title);
  for (const mark of document.querySelectorAll(`[data-row="${CSS.escape(region.id)}"]`)) {
    mark.addEventListener("pointerenter", () => shape.classList.add("is-pointed"));
    mark.addEventListener("pointerleave", () => shape.classList.remove("is-pointed"));
  }
}

function extentOf(region) {
  const corners = polygons(region.polygon).flat(2);
  const xs = corners.map((corner) => corner[0]);
  const ys = corners.map((corner) => corner[1]);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

// --- heights

let surfaces = null;

async function load() {
  if (surfaces) return surfaces;
  const [before, after] = await Promise.all(
    [preview.files.before, preview.files.after].map(async (address) => {
      const answer = await fetch(address);
      if (!answer.ok) throw new Error(`${answer.status}`);
      return new Float32Array(await answer.arrayBuffer());
    }),
  );
  surfaces = { before, after };
  return surfaces;
}

function heightAt(heights, x, y) {
  // Between the centres of four cells; unknown where one of them is.
  const { rows, columns, cell, low } = preview.grid;
  const c = Math.min(Math.max((x - low[0]) / cell - 0.5, 0), columns - 1.001);
  const r = Math.min(Math.max((y - low[1]) / cell - 0.5, 0), rows - 1.001);
  const i = Math.floor(r);
  const j = Math.floor(c);
  const [u, v] = [c - j, r - i];
  const at = (row, column) => heights[row * columns + column];
  return (1 - v) * ((1 - u) * at(i, j) + u * at(i, j + 1)) + v * ((1 - u) * at(i + 1, j) + u * at(i + 1, j + 1));
}

function profile(from, to) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  return Array.from({ length: N_SAMPLES + 1 }, (_, n) => {
    const t = n / N_SAMPLES;
    const [x, y] = [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1])];
    return {
      along: t * length,
      before: heightAt(surfaces.before, x, y) + preview.heightsFrom,
      after: heightAt(surfaces.after, x, y) + preview.heightsFrom,
    };
  });
}

// --- the section

const line = draw(map, "g", { class: "survey-line" });
let first = null;

function mark(from, to) {
  line.replaceChildren();
  const a = toMap(from);
  if (to) {
    const b = toMap(to);
    for (const kind of ["halo", "ink"]) draw(line, "line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], class: kind });
    draw(line, "circle", { cx: b[0], cy: b[1], r: preview.width / 160 });
  }
  draw(line, "circle", { cx: a[0], cy: a[1], r: preview.width / 160 });
}

function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const marks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) marks.push(value);
  return { marks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

async function show(from, to) {
  mark(from, to);
  try {
    await load();
  } catch (problem) {
    said.textContent = `${words.failed} ${problem.message}`;
    return;
  }
  const samples = profile(from, to);
  const known = samples.flatMap((s) => [s.before, s.after]).filter(Number.isFinite);
  section.replaceChildren();
  if (known.length === 0) {
    said.textContent = words.unknown;
    return;
  }
  const [width, height] = [section.clientWidth, section.clientHeight];
  section.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const pad = { left: 52, right: 12, top: 10, bottom: 26 };
  const length = samples[N_SAMPLES].along;
  let [low, high] = [Math.min(...known), Math.max(...known)];
  const spare = Math.max((high - low) * 0.08, 0.2);
  [low, high] = [low - spare, high + spare];
  const px = (along) => pad.left + (along / length) * (width - pad.left - pad.right);
  const py = (z) => pad.top + ((high - z) / (high - low)) * (height - pad.top - pad.bottom);

  const heights = ticks(low, high, 5);
  for (const z of heights.marks) {
    draw(section, "line", { x1: pad.left, x2: width - pad.right, y1: py(z), y2: py(z), class: "grid" });
    draw(section, "text", { x: pad.left - 6, y: py(z) + 4, "text-anchor": "end" }, z.toFixed(heights.digits));
  }
  const along = ticks(0, length, Math.max(3, width / 160));
  for (const d of along.marks) {
    draw(section, "text", { x: px(d), y: height - 8, "text-anchor": "middle" }, `${d.toFixed(along.digits)} m`);
  }
  // Between the two surfaces: red where ground is gone, blue where it was added.
  for (let n = 0; n < N_SAMPLES; n += 1) {
    const [s, t] = [samples[n], samples[n + 1]];
    if (![s.before, s.after, t.before, t.after].every(Number.isFinite)) continue;
    const points = [[s.along, s.before], [t.along, t.before], [t.along, t.after], [s.along, s.after]];
    const kind = s.after + t.after < s.before + t.before ? "cut" : "fill";
    draw(section, "polygon", { points: points.map(([d, z]) => `${px(d)},${py(z)}`).join(" "), class: kind });
  }
  for (const epoch of ["before", "after"]) {
    let path = "";
    let isDown = false;
    for (const s of samples) {
      if (Number.isFinite(s[epoch])) path += `${isDown ? "L" : "M"}${px(s.along).toFixed(1)} ${py(s[epoch]).toFixed(1)}`;
      isDown = Number.isFinite(s[epoch]);
    }
    draw(section, "path", { d: path, class: epoch });
  }
  const changes = samples.map((s) => s.after - s.before).filter(Number.isFinite);
  const deepest = Math.min(...changes, 0);
  const highest = Math.max(...changes, 0);
  said.textContent = words.summary
    .replace("{length}", length.toFixed(1))
    .replace("{deepest}", Math.abs(deepest).toFixed(2))
    .replace("{highest}", highest.toFixed(2));
}

function siteOf(event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
  return [west + place.x / scaleX, north - place.y / scaleY];
}

map.addEventListener("click", (event) => {
  const place = siteOf(event);
  if (first === null) {
    first = place;
    mark(first, null);
    said.textContent = words.second;
  } else {
    show(first, place);
    first = null;
  }
});

preview.outlines.forEach(outline);
map.append(line);

// A section to begin with: across the first region, or across the site; the button draws it again by keyboard.
function across(extent) {
  const [x0, y0, x1, y1] = extent;
  const middle = (y0 + y1) / 2;
  const spare = (x1 - x0) * 0.35;
  show([Math.max(west, x0 - spare), middle], [Math.min(east, x1 + spare), middle]);
}

across(preview.outlines.length ? extentOf(preview.outlines[0]) : preview.bounds);
for (const button of document.querySelectorAll("[data-section-of]")) {
  button.addEventListener("click", () => {
    const region = preview.outlines.find((one) => one.id === button.dataset.sectionOf);
    if (region) across(extentOf(region));
    map.scrollIntoView({ block: "nearest" });
  });
}

// --- the view in space comes with a library of its own weight, so only when somebody asks for it

const opener = document.getElementById("survey-space-open");
opener?.addEventListener("click", async () => {
  opener.disabled = true;
  const space = box.querySelector(".survey-space");
  space.hidden = false;
  try {
    const { show: showSpace } = await import("./survey-space.js");
    await showSpace(space, preview);
    opener.hidden = true;
  } catch (problem) {
    space.hidden = true;
    opener.disabled = false;
    document.getElementById("survey-space-said").textContent = `${words.failed} ${problem.message}`;
  }
});
