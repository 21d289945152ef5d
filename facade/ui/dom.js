// Elements of the page. Texts become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

/** Make an element; an attribute `onclick` is a listener, a child that is a string is text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Show a sentence at a place, or hide the place if there is none. */
export function tell(place, text, kind = "") {
  place.textContent = text;
  place.className = text ? `notice ${kind}` : "";
  place.hidden = !text;
}

/** A bar as long as a share of 1. */
export function bar(share) {
  const inside = el("span");
  inside.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, inside);
}

/** Call a function now and every so often, while the tab is looked at and until it returns false. */
export function whileVisible(intervalMs, look) {
  let timer = 0;
  let isLooking = false;
  let isOver = false;
  async function turn() {
    clearTimeout(timer);
    if (isOver || isLooking || document.hidden) return;
    isLooking = true;
    if ((await look()) === false) stop();
    isLooking = false;
    if (!isOver) timer = setTimeout(turn, intervalMs);
  }
  function stop() {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", turn);
  }
  document.addEventListener("visibilitychange", turn);
  turn();
  return stop;
}
