// What all boxes to try a task in have: the model, sending and stopping, what went wrong, lines to copy.

import { el, tell } from "./dom.js";

const COPIED_MS = 2000;

/** A label with its field below. */
export function labelled(name, field, kind = "") {
  return el("label", { class: `field ${kind}` }, el("span", {}, name), field);
}

/** Copy by the clipboard; where there is none (pages without TLS), as people do by hand. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "unseen", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}

function makeCode() {
  const makePane = (name) => el("pre", { tabindex: 0, "aria-label": name });
  const panes = { curl: makePane("curl"), Python: makePane("Python") };
  const said = el("span", { class: "soft", role: "status" });
  const choices = Object.keys(panes).map((name) =>
    el("button", { type: "button", onclick: () => choose(name) }, name),
  );
  let chosen = "";

  function choose(name) {
    chosen = name;
    for (const choice of choices) choice.setAttribute("aria-pressed", choice.textContent === name);
    for (const [language, pane] of Object.entries(panes)) pane.hidden = language !== name;
  }
  async function copyChosen() {
    const isCopied = await copy(panes[chosen].textContent);
    said.textContent = isCopied ? "Copied" : "Not copied: mark the lines and copy them";
    setTimeout(() => (said.textContent = ""), COPIED_MS);
    button.focus();
  }
  const button = el("button", { type: "button", onclick: copyChosen }, "Copy");
  choose("curl");
  const root = el(
    "div",
    { class: "code" },
    el(
      "div",
      { class: "row" },
      el("div", { class: "choice", role: "group", "aria-label": "Language" }, ...choices),
      said,
      button,
    ),
    ...Object.values(panes),
    el("p", { class: "soft" }, "Put your key into the variable API_KEY; it isn't part of these lines."),
  );
  return {
    root,
    show: ({ curl, python }) => ((panes.curl.textContent = curl), (panes.Python.textContent = python)),
  };
}

/**
 * Make the box of a task.
 *
 * A task has `verb` and `hint`, its `fields`, and its `output`: one of the fields, or the `result` below them.
 * `lines(model)` gives what is typed as lines to copy; `run(model, signal, say)` asks the model and shows the answer;
 * `missing()` says what has to be chosen first.
 */
export function makeBox(task) {
  const select = el("select");
  const send = el("button", { class: "main" }, task.verb);
  const stop = el("button", { type: "button", hidden: true, onclick: () => running?.abort() }, "Stop");
  const status = el("p", { class: "soft", role: "status" });
  const notice = el("p", { role: "alert", hidden: true });
  const code = makeCode();
  let models = [];
  let running = null;

  const model = () => models.find((one) => one.name === select.value);
  const update = () => model() && code.show(task.lines(model()));

  async function run() {
    if (running || !model()) return;
    const missing = task.missing?.();
    tell(notice, missing ?? "", "bad");
    if (missing) return;
    const controller = (running = new AbortController());
    stop.hidden = false;
    send.setAttribute("aria-disabled", "true"); // and not disabled: that takes the focus, and with it Escape
    task.output.setAttribute("aria-busy", "true");
    status.textContent = "Waiting for the answer …";
    try {
      await task.run(model(), controller.signal, (text) => (status.textContent = text));
    } catch (error) {
      status.textContent = controller.signal.aborted ? "Stopped." : "";
      if (!controller.signal.aborted) tell(notice, error.message, "bad");
      task.result?.replaceChildren();
    } finally {
      running = null;
      if (document.activeElement === stop) send.focus();
      stop.hidden = true;
      send.setAttribute("aria-disabled", "false");
      task.output.setAttribute("aria-busy", "false");
      update();
    }
  }

  function press(event) {
    if (event.isComposing) return;
    const isArea = event.target.tagName === "TEXTAREA";
    const sends = event.ctrlKey || event.metaKey || (task.sendsOnEnter && !event.shiftKey);
    if (event.key === "Enter" && isArea && sends) {
      event.preventDefault();
      form.requestSubmit();
    } else if (event.key === "Escape") running?.abort();
  }
  function submit(event) {
    event.preventDefault();
    run();
  }

  const form = el(
    "form",
    { class: "ask", onsubmit: submit, oninput: update, onchange: update },
    labelled("Model", select),
    ...task.fields,
    el("div", { class: "row" }, send, stop, el("p", { class: "soft grow" }, task.hint)),
  );
  const root = el(
    "div",
    { class: "box card", onkeydown: press },
    el("div", {}, form, notice, status, task.result),
    code.root,
  );

  function setModels(found) {
    const wanted = select.value;
    models = found;
    select.replaceChildren(...found.map((one) => el("option", { value: one.name }, one.name)));
    if (found.some((one) => one.name === wanted)) select.value = wanted;
    update();
  }
  return { root, setModels };
}
