// What Prometheus's text says, as the few figures that the page shows. No figure is better than a wrong one: null.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const OWN = /^\/(ui|metrics|health|docs|openapi)\b/;
const REFUSALS = new Set(["401", "403", "413", "429", "503"]);

function* samplesOf(text) {
  for (const line of text.split("\n")) {
    const found = LINE.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries(
      [...(found[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]),
    );
    yield [found[1], labels, Number(found[3])];
  }
}

/** Add one reading up over models and routes, those of this page and of probes left out. */
export function toReading(text, atS) {
  const sums = { atS, edges: new Map() };
  const add = (name, value) => (sums[name] = (sums[name] ?? 0) + value);
  for (const [name, labels, value] of samplesOf(text)) {
    if (labels.endpoint && OWN.test(labels.endpoint)) continue;
    if (name === "api_requests_total") {
      add("requests", value);
      if (REFUSALS.has(labels.status)) add("refused", value);
      else if (labels.status >= "500") add("failed", value);
    } else if (name === "api_request_latency_seconds_bucket") {
      const edge = labels.le === "+Inf" ? Infinity : Number(labels.le);
      sums.edges.set(edge, (sums.edges.get(edge) ?? 0) + value);
    } else if (name === "facade_cache_items_total") {
      if (labels.outcome.startsWith("hit")) add("hits", value);
      if (labels.outcome !== "bypass") add("looked", value);
    } else if (name === "facade_tokens_total") add(labels.direction === "out" ? "written" : "read", value);
    else if (name === "facade_batch_size_sum") add("batchItems", value);
    else if (name === "facade_batch_size_count") add("batches", value);
    else if (name === "facade_queue_wait_seconds_sum") add("waitedS", value);
    else if (name === "facade_queue_depth") add("queue", value);
    else if (name === "facade_generations_running") add("writing", value);
    // The question for the metrics is in flight itself.
    else if (name === "facade_requests_in_flight") sums.inFlight = Math.max(value - 1, 0);
  }
  return sums;
}

/** Whether the façade counts anew: a counter went down. */
export function hasRestarted(before, after) {
  return ["requests", "looked", "batches", "read", "written"].some(
    (name) => (after[name] ?? 0) < (before[name] ?? 0),
  );
}

const share = (part, whole) => (whole > 0 ? part / whole : null);

/** A percentile of what came between two readings, as Prometheus's histogram_quantile has it. */
export function percentile(before, after, part) {
  const edges = [...after.keys()].sort((a, b) => a - b);
  const counts = edges.map((edge) => after.get(edge) - (before.get(edge) ?? 0));
  const total = counts.at(-1) ?? 0;
  if (!(total > 0)) return null;
  const place = counts.findIndex((count) => count >= part * total);
  if (edges[place] === Infinity) return Infinity;
  const [low, below] = place ? [edges[place - 1], counts[place - 1]] : [0, 0];
  return low + ((edges[place] - low) * (part * total - below)) / (counts[place] - below);
}

/** The figures of the time between two readings. */
export function toFigures(before, after) {
  const grown = (name) => (after[name] ?? 0) - (before[name] ?? 0);
  const seconds = after.atS - before.atS;
  const at = (part) => percentile(before.edges, after.edges, part);
  return {
    seconds,
    requestsPerS: share(grown("requests"), seconds),
    requests: grown("requests"),
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    batchSize: share(grown("batchItems"), grown("batches")),
    batches: grown("batches"),
    hitShare: share(grown("hits"), grown("looked")),
    looked: grown("looked"),
    queue: after.queue ?? null,
    waitS: share(grown("waitedS"), grown("batches")),
    inFlight: after.inFlight ?? null,
    writing: after.writing ?? null,
    written: share(grown("written"), seconds),
    read: share(grown("read"), seconds),
    refused: grown("refused"),
    failed: grown("failed"),
    largest: Math.max(...[...after.edges.keys()].filter(Number.isFinite)),
  };
}

export const whole = (value) => Math.round(value).toLocaleString("en");

export const number = (value) =>
  value < 100 ? value.toLocaleString("en", { maximumSignificantDigits: 2 }) : whole(value);

export const duration = (seconds) => (seconds < 1 ? `${number(seconds * 1000)} ms` : `${number(seconds)} s`);
