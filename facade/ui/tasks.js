// The boxes that answer at once: two texts, a class, an order, a picture.

import { ask } from "./api.js";
import { labelled } from "./box.js";
import { bar, el } from "./dom.js";
import { duration, number } from "./metrics.js";
import { toCurl, toCurlWithFile, toOpenaiPython, toPlainPython } from "./snippets.js";

const TOP = 5;
const SAMPLES = [
  "Passwords are changed under Settings, Account.",
  "Our office is closed on Sundays.",
  "A login that is lost can be reset by mail.",
];
const NO_FILE = "JPEG, PNG or WebP; drop a file here, or choose one";
const PRINT_LABELS = `for found in answer["data"][0]["scores"]:
    print(round(found["score"], 3), found["label"])`;
const PRINT_ORDER = `for found in answer["results"]:
    print(round(found["relevance_score"], 3), body["documents"][found["index"]])`;
const PRINT_SIMILARITY = `a, b = (item.embedding for item in answer.data)
dot = sum(x * y for x, y in zip(a, b))
print(round(dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5, 4))`;

/** How an answer came about: time, version, cache. */
export function aboutAnswer(response, startedMs, ...more) {
  const version = response.headers.get("x-model-version");
  const cache = response.headers.get("x-cache");
  const took = duration((performance.now() - startedMs) / 1000);
  return [...more, took, version && `version ${version}`, cache && cache !== "bypass" && `cache: ${cache}`]
    .filter(Boolean)
    .join(" · ");
}

async function answerTo([path, body], signal, say) {
  const started = performance.now();
  const response = await ask(path, { body, signal });
  const answer = await response.json();
  say(aboutAnswer(response, started, answer.usage?.prompt_tokens && `${answer.usage.prompt_tokens} tokens`));
  return answer;
}

function area(text, rows = 2) {
  const made = el("textarea", { rows });
  made.value = text;
  return made;
}

function makeOutput() {
  return el("div", { class: "output", "aria-live": "polite" });
}

function scored(found) {
  return el(
    "li",
    {},
    el("span", { class: "grow" }, found.text),
    bar(found.share),
    el("span", { class: "score" }, found.score),
  );
}

function labelsOf(answer) {
  return answer.data[0].scores.map(({ label, score }) => ({
    text: label,
    share: score,
    score: score.toFixed(3),
  }));
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, place) => sum + value * y[place], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

export function makeEmbedding() {
  const [one, other] = [area("How do I reset my password?"), area("I forgot my login")];
  const output = makeOutput();
  const request = (model) => ["v1/embeddings", { model: model.name, input: [one.value, other.value] }];
  return {
    verb: "Compare",
    hint: "Ctrl+Enter sends",
    fields: [labelled("One text", one), labelled("Another text", other)],
    output,
    result: output,
    async run(model, signal, say) {
      const { data } = await answerTo(request(model), signal, say);
      const [a, b] = data.map((item) => item.embedding);
      const found = cosine(a, b);
      output.replaceChildren(
        el("p", { class: "figure" }, found.toFixed(4)),
        bar(found),
        el(
          "p",
          { class: "soft" },
          `cosine similarity of two vectors of ${a.length} numbers: 1 is the same, 0 unrelated`,
        ),
      );
    },
    lines(model) {
      const [path, body] = request(model);
      return { curl: toCurl(path, body), python: toOpenaiPython("embeddings", body, PRINT_SIMILARITY) };
    },
  };
}

export function makeClassifier() {
  const text = area("The delivery was late, but the shoes are wonderful.", 3);
  const output = makeOutput();
  const request = (model) => ["v1/classify", { model: model.name, input: text.value, top_k: TOP }];
  return {
    verb: "Classify",
    hint: "Ctrl+Enter sends",
    fields: [labelled("Text", text)],
    output,
    result: output,
    async run(model, signal, say) {
      const labels = labelsOf(await answerTo(request(model), signal, say));
      output.replaceChildren(el("ol", { class: "scores" }, ...labels.map(scored)));
    },
    lines(model) {
      const [path, body] = request(model);
      return { curl: toCurl(path, body), python: toPlainPython(path, body, PRINT_LABELS) };
    },
  };
}

export function makeReranker() {
  const query = el("input", { type: "text", autocomplete: "off" });
  query.value = "How do I change my password?";
  const lines = area(SAMPLES.join("\n"), 5);
  const output = makeOutput();
  const documents = () => lines.value.split("\n").filter((line) => line.trim());
  const request = (model) => ["v1/rerank", { model: model.name, query: query.value, documents: documents() }];
  return {
    verb: "Rank",
    hint: "Ctrl+Enter sends",
    fields: [labelled("Question", query), labelled("Texts, one a line", lines)],
    output,
    result: output,
    missing: () => (documents().length ? undefined : "Type a text first, or several, one a line."),
    async run(model, signal, say) {
      const sent = documents();
      const { results } = await answerTo(request(model), signal, say);
      const scores = results.map((found) => found.relevance_score);
      const [least, most] = [Math.min(...scores), Math.max(...scores)];
      // Scores have no common scale: bars go from the list's worst to its best.
      const share = (score) => (most > least ? (score - least) / (most - least) : 1);
      const found = results.map(({ index, relevance_score: score }) => ({
        text: sent[index],
        share: share(score),
        score: score.toFixed(3),
      }));
      output.replaceChildren(el("ol", { class: "scores ranked" }, ...found.map(scored)));
    },
    lines(model) {
      const [path, body] = request(model);
      return { curl: toCurl(path, body), python: toPlainPython(path, body, PRINT_ORDER) };
    },
  };
}

function toBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] ?? "");
    reader.onerror = () => reject(new Error("The file can't be read."));
    reader.readAsDataURL(file);
  });
}

const sizeOf = (bytes) => `${number(bytes / 1024)} KiB`;

export function makeImageClassifier(limits) {
  const input = el("input", { type: "file", accept: "image/jpeg,image/png,image/webp" });
  const preview = el("img", { alt: "", hidden: true });
  const about = el("span", { class: "soft" }, NO_FILE);
  const output = makeOutput();
  const drop = el(
    "label",
    { class: "drop" },
    preview,
    el("span", {}, el("span", { class: "unseen" }, "Picture"), about, input),
  );
  const file = () => input.files[0];
  const body = (model) => ({ model: model.name, top_k: TOP });

  function pick() {
    URL.revokeObjectURL(preview.src);
    preview.hidden = !file();
    about.textContent = file() ? sizeOf(file().size) : NO_FILE;
    if (file()) preview.src = URL.createObjectURL(file());
  }
  function take(event) {
    event.preventDefault();
    drop.classList.toggle("over", event.type === "dragover");
    if (event.type !== "drop" || !event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }
  input.addEventListener("change", pick);
  for (const kind of ["dragover", "dragleave", "drop"]) drop.addEventListener(kind, take);

  return {
    verb: "Classify",
    hint: "",
    fields: [drop],
    output,
    result: output,
    missing() {
      if (!file()) return "Choose a picture first.";
      const most = limits.max_image_bytes;
      if (file().size > most) return `The picture has ${sizeOf(file().size)}; ${sizeOf(most)} are the most.`;
    },
    async run(model, signal, say) {
      const request = ["v1/classify", { ...body(model), input: await toBase64(file()) }];
      const labels = labelsOf(await answerTo(request, signal, say));
      output.replaceChildren(el("ol", { class: "scores" }, ...labels.map(scored)));
    },
    lines(model) {
      const fileName = file()?.name ?? "picture.png";
      const path = "v1/classify";
      return {
        curl: toCurlWithFile(path, body(model), fileName),
        python: toPlainPython(path, body(model), PRINT_LABELS, fileName),
      };
    },
  };
}
