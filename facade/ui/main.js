// The page as a whole: which key, what it may see, and what is shown of it.

import { ask, storedKey, useKey } from "./api.js";
import { byId, tell, whileVisible } from "./dom.js";
import { showLive } from "./live.js";
import { showModels } from "./models.js";
import { showBoxes } from "./try.js";

const MODELS_MS = 10_000;
const READY_MS = 5000;

let ends = [];
let shownState = "";

/** Show what is new: what is typed, opened or marked stays as long as nothing changed. */
function showState(state) {
  const text = JSON.stringify(state);
  if (text === shownState) return;
  shownState = text;
  showModels(state.models);
  showBoxes(state);
  byId("version").textContent = state.version ? `triton-facade ${state.version}` : "";
}

function refuse(why) {
  ends.forEach((end) => end());
  ends = [];
  useKey("", false);
  byId("shown").hidden = byId("key-forget").hidden = true;
  byId("key").hidden = false;
  tell(byId("key-notice"), why, "bad");
  byId("key-input").focus();
}

/** The key was let in, with or without a right to see models: from here on it is used. */
function welcome() {
  if (!byId("shown").hidden) return;
  const isTyped = byId("key").contains(document.activeElement);
  tell(byId("key-notice"), "");
  byId("key-input").value = "";
  byId("key").hidden = true;
  byId("shown").hidden = byId("key-forget").hidden = false;
  if (isTyped) byId("try").focus();
  ends.push(showLive());
}

function start(secret, isRemembered) {
  ends.forEach((end) => end());
  useKey(secret, isRemembered);
  const mine = (ends = []);
  const look = async () => {
    let state = { models: [] };
    let said = "";
    let status = 200;
    try {
      state = await (await ask("ui/state")).json();
    } catch (refused) {
      [said, status] = [refused.message, refused.status];
    }
    if (mine !== ends) return false; // another key by now
    // A key without the scope for models may still read metrics; a façade without models has some later.
    const isIn = status === 200 || status === 403 || status === 503;
    if (status === 401 || (byId("shown").hidden && !isIn)) {
      refuse(said);
      return false;
    }
    welcome();
    if (isIn) showState(state);
    tell(byId("models-note"), said);
    return status !== 403;
  };
  ends.push(whileVisible(MODELS_MS, look));
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  start(byId("key-input").value.trim(), byId("key-remember").checked);
});
byId("key-forget").addEventListener("click", () => {
  useKey("", false);
  location.reload(); // with everything that was asked and answered
});

whileVisible(READY_MS, async () => {
  const place = byId("ready");
  let reason = "The façade can't be reached.";
  try {
    const answer = await fetch("health/ready", { cache: "no-store" });
    // Not public here: asking on would count as guessing keys.
    if (answer.status === 401 || answer.status === 403) return false;
    ({ reason } = await answer.json());
  } catch {
    // It stays at that.
  }
  place.className = `health ${reason === "ready" ? "good" : "bad"}`;
  if (place.textContent !== reason) place.textContent = reason;
  return true;
});

if (storedKey()) start(storedKey(), true);
