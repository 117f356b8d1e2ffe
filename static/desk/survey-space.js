// The aligned second cloud in space, each point coloured by how far the ground moved there. Layout of the file:
// volcal/engine/preview.py.

import * as three from "../vendor/three-0.180.0/three.module.min.js";
import { OrbitControls } from "../vendor/three-0.180.0/OrbitControls.js";

const UNKNOWN = -32768;
const GROUND = [0.9, 0.89, 0.86];
const CUT = [178 / 255, 34 / 255, 52 / 255];
const FILL = [33 / 255, 88 / 255, 172 / 255];

function read(buffer) {
  const view = new DataView(buffer);
  const magic = String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (magic !== "VCP1") throw new Error(`unknown format ${magic}`);
  const n = view.getUint32(4, true);
  const low = [0, 1, 2].map((axis) => view.getFloat64(8 + 8 * axis, true));
  const steps = [0, 1, 2].map((axis) => view.getFloat32(32 + 4 * axis, true));
  const distanceStep = view.getFloat32(44, true);
  const values = (offset, Kind) => new Kind(buffer.slice(offset, offset + 2 * n)); // little-endian, as every browser is
  const [x, y, z] = [0, 1, 2].map((axis) => values(48 + 2 * n * axis, Uint16Array));
  return { n, low, steps, distanceStep, x, y, z, distances: values(48 + 6 * n, Int16Array) };
}

// How bright the ground is under a sun in the north-west; without it a cloud of one colour has no shape.
function lightOver(heights, grid) {
  const { rows, columns, cell } = grid;
  const sun = [-0.5, 0.5, Math.SQRT1_2];
  const at = (row, column) => heights[Math.min(Math.max(row, 0), rows - 1) * columns + Math.min(Math.max(column, 0), columns - 1)];
  return (x, y) => {
    const column = Math.floor((x - grid.low[0]) / cell);
    const row = Math.floor((y - grid.low[1]) / cell);
    const east = (at(row, column + 1) - at(row, column - 1)) / (2 * cell);
    const north = (at(row + 1, column) - at(row - 1, column)) / (2 * cell);
    const light = (-east * sun[0] - north * sun[1] + sun[2]) / Math.hypot(east, north, 1);
    return Number.isFinite(light) ? 0.35 + 0.65 * Math.max(light, 0) : 0.8;
  };
}

function geometryOf(cloud, fullColour, light) {
  const positions = new Float32Array(3 * cloud.n);
  const colours = new Float32Array(3 * cloud.n);
  // The middle of the site is the middle of the view: float32 never sees large coordinates.
  const middle = cloud.steps.map((step) => (step * 65535) / 2);
  for (let i = 0; i < cloud.n; i += 1) {
    positions[3 * i] = cloud.x[i] * cloud.steps[0] - middle[0];
    positions[3 * i + 1] = cloud.y[i] * cloud.steps[1] - middle[1];
    positions[3 * i + 2] = cloud.z[i] * cloud.steps[2] - middle[2];
    const moved = cloud.distances[i] === UNKNOWN ? 0 : cloud.distances[i] * cloud.distanceStep;
    const share = Math.min(Math.abs(moved) / fullColour, 1) ** 0.7;
    const end = moved < 0 ? CUT : FILL;
    const shade = light(cloud.low[0] + cloud.x[i] * cloud.steps[0], cloud.low[1] + cloud.y[i] * cloud.steps[1]);
    for (let c = 0; c < 3; c += 1) colours[3 * i + c] = (GROUND[c] + (end[c] - GROUND[c]) * share) * shade;
  }
  const geometry = new three.BufferGeometry();
  geometry.setAttribute("position", new three.BufferAttribute(positions, 3));
  geometry.setAttribute("color", new three.BufferAttribute(colours, 3));
  return geometry;
}

export async function show(canvas, preview) {
  const [bytes, heights] = await Promise.all(
    [preview.files.cloud, preview.files.after].map(async (address) => {
      const answer = await fetch(address);
      if (!answer.ok) throw new Error(`${answer.status}`);
      return answer.arrayBuffer();
    }),
  );
  const cloud = read(bytes);
  const light = lightOver(new Float32Array(heights), preview.grid);
  const size = cloud.steps.map((step) => step * 65535);
  const reach = Math.hypot(size[0], size[1]);

  three.ColorManagement.enabled = false;
  const renderer = new three.WebGLRenderer({ canvas, antialias: true, alpha: true });
  renderer.outputColorSpace = three.LinearSRGBColorSpace; // colours above are what the screen shall show
  const scene = new three.Scene();
  const points = new three.Points(
    geometryOf(cloud, preview.fullColour, light),
    new three.PointsMaterial({ vertexColors: true, size: 2, sizeAttenuation: false }),
  );
  scene.add(points);
  const camera = new three.PerspectiveCamera(45, 1, reach / 1000, reach * 10);
  camera.up.set(0, 0, 1);
  camera.position.set(-0.35 * reach, -0.75 * reach, 0.55 * reach);
  const controls = new OrbitControls(camera, canvas);
  controls.maxPolarAngle = Math.PI * 0.495;
  controls.listenToKeyEvents(canvas);

  // Drawn when something changes, not sixty times a second.
  const render = () => renderer.render(scene, camera);
  function fit() {
    const { clientWidth: width, clientHeight: height } = canvas;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    render();
  }
  controls.addEventListener("change", render);
  new ResizeObserver(fit).observe(canvas);
  controls.update();
  fit();
  canvas.dataset.points = cloud.n;
}
