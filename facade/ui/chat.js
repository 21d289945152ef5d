// A conversation, token by token.

import { ask, readEvents } from "./api.js";
import { labelled } from "./box.js";
import { el } from "./dom.js";
import { duration } from "./metrics.js";
import { aboutAnswer } from "./tasks.js";
import { toCurl, toOpenaiPython } from "./snippets.js";

const PRINTED = {
  chat: 'print(chunk.choices[0].delta.content or "", end="", flush=True)',
  completions: 'print(chunk.choices[0].text, end="", flush=True)',
};

export function makeChat() {
  const text = el("textarea", { rows: 3 });
  text.value = "What is the capital of France?";
  const most = el("input", { type: "number", min: 1, value: 200, inputmode: "numeric" });
  const heat = el("input", {
    type: "number",
    min: 0,
    max: 2,
    step: 0.1,
    placeholder: "the model's",
    inputmode: "decimal",
  });
  const log = el("ol", {
    class: "chat",
    role: "log",
    "aria-label": "Conversation",
    tabindex: 0,
    hidden: true,
  });
  const anew = el("button", { type: "button", hidden: true, onclick: clear }, "New chat");
  let messages = [];

  function clear() {
    messages = [];
    log.replaceChildren();
    log.hidden = anew.hidden = true;
    text.focus();
    text.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** What would be sent now; while nothing is typed, what was sent last. */
  function toSend() {
    if (text.value) return [...messages, { role: "user", content: text.value }];
    const last = messages.findLastIndex((message) => message.role === "user");
    return last < 0 ? [{ role: "user", content: "" }] : messages.slice(0, last + 1);
  }

  function request(model) {
    const sent = toSend();
    const about = {
      model: model.name,
      ...(model.can_chat ? { messages: sent } : { prompt: sent.at(-1).content }),
      ...(most.value && { max_tokens: Number(most.value) }),
      ...(heat.value && { temperature: Number(heat.value) }),
      stream: true,
      stream_options: { include_usage: true },
    };
    return [model.can_chat ? "v1/chat/completions" : "v1/completions", about];
  }

  function add(who, kind, content) {
    const said = el("p", {}, content);
    log.append(el("li", { class: kind }, el("span", { class: "soft" }, who), said));
    log.hidden = anew.hidden = false;
    log.scrollTop = log.scrollHeight;
    return said;
  }

  async function run(model, signal, say) {
    const [path, body] = request(model);
    const asked = { role: "user", content: text.value };
    messages.push(asked);
    const question = add("You", "you", asked.content);
    const answer = add(model.name, "model", "");
    text.value = "";
    const clock = { started: performance.now(), first: 0, pieces: 0 };
    let response;
    let usage;
    try {
      response = await ask(path, { body, signal });
      for await (const chunk of readEvents(response, signal)) {
        usage = chunk.usage ?? usage;
        const piece = chunk.choices?.[0]?.delta?.content ?? chunk.choices?.[0]?.text;
        if (!piece) continue;
        if (!clock.pieces) say("Writing …");
        clock.first ||= performance.now();
        clock.pieces += 1;
        answer.append(piece);
        log.scrollTop = log.scrollHeight;
      }
    } catch (error) {
      if (answer.textContent) keep();
      else takeBack();
      throw error;
    }
    keep();
    say(aboutAnswer(response, clock.started, speed(clock, usage)));

    function keep() {
      messages.push({ role: "assistant", content: answer.textContent });
    }
    /** Nothing was answered: the question goes back to where it was typed. */
    function takeBack() {
      messages.pop();
      question.parentElement.remove();
      answer.parentElement.remove();
      log.hidden = anew.hidden = !messages.length;
      text.value ||= asked.content;
    }
  }

  function lines(model) {
    const [path, body] = request(model);
    const kind = model.can_chat ? "chat" : "completions";
    const method = model.can_chat ? "chat.completions" : "completions";
    const rest = `for chunk in answer:\n    if chunk.choices:\n        ${PRINTED[kind]}\nprint()`;
    return { curl: toCurl(path, body), python: toOpenaiPython(method, body, rest) };
  }

  return {
    verb: "Send",
    hint: "Enter sends, Shift+Enter is a new line, Esc stops",
    sendsOnEnter: true,
    fields: [
      log,
      labelled("Message", text),
      el(
        "div",
        { class: "row wrap" },
        labelled("Most tokens", most, "short"),
        labelled("Temperature", heat, "short"),
        anew,
      ),
    ],
    output: log,
    missing: () => (text.value.trim() ? undefined : "Type a message first."),
    run,
    lines,
  };
}

/** How fast it was: time to the first piece, and tokens a second after it. */
function speed(clock, usage) {
  const first = `the first after ${duration((clock.first - clock.started) / 1000)}`;
  const seconds = (performance.now() - clock.first) / 1000;
  const tokens = usage?.completion_tokens ?? clock.pieces;
  const rate = tokens > 1 && seconds > 0 ? ` · ${Math.round((tokens - 1) / seconds)} tokens/s` : "";
  return clock.first ? `${tokens} tokens · ${first}${rate}` : "no text came";
}
