// Boxes to try the tasks that there are models for, as tabs.

import { makeBox } from "./box.js";
import { makeChat } from "./chat.js";
import { byId, el } from "./dom.js";
import { makeClassifier, makeEmbedding, makeImageClassifier, makeReranker } from "./tasks.js";

/** By task, as model cards have it: the tab's name, and what makes its box. */
const TASKS = {
  "text-generation": ["Chat", makeChat],
  embedding: ["Similarity", makeEmbedding],
  reranking: ["Ranking", makeReranker],
  "text-classification": ["Classify text", makeClassifier],
  "image-classification": ["Classify image", makeImageClassifier],
};

const made = new Map();
const tabs = el("div", { class: "tabs", role: "tablist", "aria-labelledby": "try-title", onkeydown: move });
const panels = el("div");
const nothing = el("p", { class: "card soft" }, "There is no model to try that this key may use.");

function make(task, limits) {
  const [name, makeTask] = TASKS[task];
  const box = makeBox(makeTask(limits));
  const tab = el(
    "button",
    {
      type: "button",
      role: "tab",
      id: `tab-${task}`,
      "aria-controls": `box-${task}`,
      onclick: () => choose(task),
    },
    name,
  );
  const panel = el(
    "div",
    { role: "tabpanel", id: `box-${task}`, "aria-labelledby": `tab-${task}` },
    box.root,
  );
  made.set(task, { tab, panel, setModels: box.setModels });
}

function choose(task) {
  for (const [name, { tab, panel }] of made) {
    tab.setAttribute("aria-selected", name === task);
    tab.tabIndex = name === task ? 0 : -1;
    panel.hidden = name !== task;
  }
}

/** Arrows go from tab to tab, as the ARIA Authoring Practices have it. */
function move(event) {
  const shown = [...tabs.children].filter((tab) => !tab.hidden);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = shown.at((shown.indexOf(event.target) + step) % shown.length);
  next.focus();
  next.click();
}

/** Offer what can be tried; what is typed into a box stays while models come and go. */
export function showBoxes(state) {
  for (const task of Object.keys(TASKS)) {
    const models = state.models.filter((model) => model.task === task);
    if (models.length && !made.has(task)) make(task, state);
    const box = made.get(task);
    if (!box) continue;
    box.tab.hidden = !models.length;
    box.setModels(models);
  }
  const there = Object.keys(TASKS).filter((task) => made.has(task));
  const tabsNow = there.map((task) => made.get(task).tab);
  const panelsNow = there.map((task) => made.get(task).panel);
  if (tabs.children.length !== tabsNow.length) tabs.replaceChildren(...tabsNow);
  if (panels.children.length !== panelsNow.length) panels.replaceChildren(...panelsNow);
  const open = there.filter((task) => !made.get(task).tab.hidden);
  const chosen = open.find((task) => made.get(task).tab.getAttribute("aria-selected") === "true");
  choose(chosen ?? open[0]);
  byId("boxes").replaceChildren(...(open.length ? [tabs, panels] : [nothing]));
}
