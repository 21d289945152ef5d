// Live figures: the metrics, read every two seconds while the tab is looked at.

import { ask } from "./api.js";
import { byId, el, svg, tell, whileVisible } from "./dom.js";
import { duration, hasRestarted, number, toFigures, toReading, whole } from "./metrics.js";

const INTERVAL_MS = 2000;
const WINDOW_S = 30;
const KEPT_S = 60;
const NOTHING = "–";

const rate = (value) => `${number(value)} /s`;
const percent = (value) => `${Math.round(value * 100)} %`;
const shown = (value, write) => (value == null || Number.isNaN(value) ? NOTHING : write(value));
const late = (figures) => (value) =>
  value === Infinity ? `> ${duration(figures.largest)}` : duration(value);

/** Each tile: its name, the figure that is drawn, how it is written, and what stands below. */
const TILES = [
  ["Requests", (f) => f.requestsPerS, () => rate, (f) => `${whole(f.requests)} in ${whole(f.seconds)} s`],
  [
    "Latency, median",
    (f) => f.p50,
    late,
    (f) => `p95 ${shown(f.p95, late(f))} · p99 ${shown(f.p99, late(f))}`,
  ],
  ["Batch size", (f) => f.batchSize, () => number, (f) => `in ${whole(f.batches)} merged calls`],
  ["Cache hits", (f) => f.hitShare, () => percent, (f) => `of ${whole(f.looked)} items`],
  [
    "Queue",
    (f) => f.queue,
    () => whole,
    (f) => (f.waitS == null ? "nothing waited" : `waited ${duration(f.waitS)} on average`),
  ],
  ["In flight", (f) => f.inFlight, () => whole, (f) => `${shown(f.writing, whole)} texts being written`],
  ["Tokens written", (f) => f.written, () => rate, (f) => `${shown(f.read, rate)} read`],
  ["Refused", (f) => f.refused, () => whole, (f) => `${whole(f.failed)} failed`],
];

/** A line through values over time, with a text in its place for those who don't see it. */
function drawLine(place, name, values, write) {
  const known = values.filter((value) => Number.isFinite(value));
  const most = Math.max(...known, 1e-9);
  const step = 100 / (KEPT_S / (INTERVAL_MS / 1000) - 1);
  const left = 100 - step * (values.length - 1);
  // A gap where there is no value: the line begins anew behind it.
  const path = values.map((value, index) => {
    if (!Number.isFinite(value)) return "";
    const pen = Number.isFinite(values[index - 1]) ? "L" : "M";
    return `${pen}${(left + index * step).toFixed(1)} ${(23 - (22 * value) / most).toFixed(1)}`;
  });
  const text = known.length
    ? `${name}, last minute: ${write(Math.min(...known))} to ${write(Math.max(...known))}`
    : `${name}: nothing yet`;
  place.setAttribute("aria-label", text);
  place.replaceChildren(svg("path", { d: path.join("") }));
}

function makeTile([name]) {
  const value = el("dd", { class: "figure" }, NOTHING);
  const below = el("dd", { class: "soft" }, NOTHING);
  const drawing = svg("svg", {
    viewBox: "0 0 100 24",
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": name,
  });
  const root = el("div", { class: "tile" }, el("dt", {}, name), value, below, drawing);
  return { value, below, drawing, root };
}

/** Show live figures from now on; returns what ends it. */
export function showLive() {
  const tiles = TILES.map(makeTile);
  const note = byId("live-note");
  byId("tiles").replaceChildren(el("dl", { class: "tiles" }, ...tiles.map((tile) => tile.root)));
  byId("tiles").hidden = false;
  tell(note, "");
  let readings = [];

  function update() {
    const last = readings.at(-1);
    const first = readings.find((reading) => reading.atS >= last.atS - WINDOW_S - 1);
    if (first === last) return;
    const figures = toFigures(first, last);
    const steps = readings.slice(1).map((reading, index) => toFigures(readings[index], reading));
    TILES.forEach(([name, read, writer, tellMore], place) => {
      const tile = tiles[place];
      tile.value.textContent = shown(read(figures), writer(figures));
      tile.below.textContent = tellMore(figures);
      drawLine(tile.drawing, name, steps.map(read), writer(figures));
    });
  }

  return whileVisible(INTERVAL_MS, async () => {
    try {
      const text = await (await ask("metrics")).text();
      const reading = toReading(text, performance.now() / 1000);
      if (readings.length && hasRestarted(readings.at(-1), reading)) readings = [];
      readings = [...readings.filter((one) => one.atS > reading.atS - KEPT_S), reading];
      update();
      tell(note, "");
    } catch (refused) {
      tell(note, refused.message);
      if (refused.status !== 401 && refused.status !== 403) return true;
      // A key that may not read metrics never may: the rest of the page works without.
      byId("tiles").hidden = true;
      return false;
    }
    return true;
  });
}
