// The table of models: what each is for, which version answers whom, and whether it can be asked.

import { bar, byId, el } from "./dom.js";

const CANARY = {
  trial: "on trial",
  "not-ready": "not loaded",
  "dropped-errors": "dropped: it failed more often",
  "dropped-latency": "dropped: it was slower",
};

const LIMITS = {
  dimension: (value) => `${value} dimensions`,
  labels: (value) => `${value} labels`,
  max_input_tokens: (value) => `${value} tokens in`,
  max_model_len: (value) => `${value} tokens in and out`,
  max_batch_size: (value) => `batches of ${value}`,
};

function release(model) {
  if (model.version == null) return ["–"];
  const { canary, version } = model;
  if (!canary) return [`version ${version} answers all`];
  const share = canary.state === "trial" ? canary.percent : 0;
  return [
    `version ${version}: ${100 - share}\u00a0%, canary ${canary.version}: ${share}\u00a0%`,
    bar(share / 100),
    el(
      "span",
      { class: canary.state.startsWith("dropped") ? "soft bad" : "soft" },
      `canary ${CANARY[canary.state]}`,
    ),
  ];
}

function limits(model) {
  const known = Object.entries(model.limits ?? {}).filter(([name, value]) => value && LIMITS[name]);
  return known.map(([name, value]) => LIMITS[name](value)).join(", ") || "–";
}

function health(model) {
  return model.reason
    ? [el("span", { class: "health bad" }, "not ready"), el("span", { class: "soft" }, model.reason)]
    : [el("span", { class: "health good" }, "ready")];
}

function row(model) {
  // The column's name stands in each cell too, for narrow screens, where a row is a block.
  const cell = (name, ...children) =>
    el(
      "td",
      { role: "cell" },
      el("span", { class: "label", "aria-hidden": "true" }, name),
      el("div", {}, ...children),
    );
  return el(
    "tr",
    { role: "row" },
    el(
      "th",
      { scope: "row", role: "rowheader" },
      model.name,
      model.model_id !== model.name && el("span", { class: "soft" }, model.model_id),
    ),
    cell("Task", el("span", { class: "name" }, model.task || "–")),
    cell("Versions", model.versions.join(", ") || "–"),
    cell("Release", ...release(model)),
    cell("Limits", limits(model)),
    cell("Health", ...health(model)),
  );
}

/** Roles are written out: styled as blocks on narrow screens, tables are tables to nobody else. */
export function showModels(models) {
  const head = (name) => el("th", { scope: "col", role: "columnheader" }, name);
  const heads = ["Model", "Task", "Versions", "Release", "Limits", "Health"];
  const table = el(
    "table",
    { role: "table", "aria-labelledby": "models-title" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads.map(head))),
    el("tbody", { role: "rowgroup" }, ...models.map(row)),
  );
  const nothing = el("p", { class: "card soft" }, "No model is served that this key may use.");
  byId("models-table").replaceChildren(models.length ? table : nothing);
}
