// A request as lines to copy: curl for a POSIX shell, and Python. The key stays outside, in API_KEY.

import { base } from "./api.js";

/** Linux hands no argument to a program that is longer than 128 KiB, with three bytes a character at the most. */
const LONGEST_ARGUMENT = 30_000;

/** Quote a text for a POSIX shell: nothing is special between single quotes but their end. */
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Write a value with room to read; *write* writes what is neither a list nor an object. */
function spaced(value, write) {
  if (Array.isArray(value)) return `[${value.map((item) => spaced(item, write)).join(", ")}]`;
  if (value === null || typeof value !== "object") return write(value);
  const fields = Object.entries(value).map(
    ([name, item]) => `${JSON.stringify(name)}: ${spaced(item, write)}`,
  );
  return `{${fields.join(", ")}}`;
}

const toJson = (value) => spaced(value, JSON.stringify);

/** JSON's strings and numbers are Python's too. */
const toPython = (value) =>
  spaced(value, (one) => (typeof one === "boolean" ? (one ? "True" : "False") : JSON.stringify(one)));

function head(path, streams) {
  return (
    `curl -s ${streams ? "-N " : ""}${quote(base + path)} \\\n` +
    `  -H "Authorization: Bearer $API_KEY" \\\n  -H "Content-Type: application/json" \\\n`
  );
}

export function toCurl(path, body) {
  const json = toJson(body);
  const start = head(path, body.stream);
  if (json.length > LONGEST_ARGUMENT) return `printf %s ${quote(json)} |\n${start}  -d @-`;
  return `${start}  -d ${quote(json)}`;
}

/** A file's bytes are put in where they are needed: they are too long to be shown. */
export function toCurlWithFile(path, body, fileName) {
  const [before, after] = toJson({ ...body, input: "\n" }).split('"\\n"');
  const file = `base64 < ${quote(fileName)} | tr -d '\\n'`;
  return `{ printf %s ${quote(`${before}"`)}; ${file}; printf %s ${quote(`"${after}`)}; } |\n${head(path)}  -d @-`;
}

/** Python's standard library; *expression* says what is printed of `answer`. */
export function toPlainPython(path, body, expression, fileName) {
  const input = `base64.b64encode(open(${toPython(fileName ?? "")}, "rb").read()).decode()`;
  const written = fileName
    ? toPython({ ...body, input: "\n" }).replace('"\\n"', () => input)
    : toPython(body);
  return `${fileName ? "import base64\n" : ""}import json
import os
import urllib.request

body = ${written}
request = urllib.request.Request(
    ${toPython(base + path)},
    json.dumps(body).encode(),
    {"Authorization": "Bearer " + os.environ["API_KEY"], "Content-Type": "application/json"},
)
answer = json.load(urllib.request.urlopen(request))
${expression}`;
}

/** OpenAI's client. */
export function toOpenaiPython(method, body, rest) {
  const fields = Object.entries(body).map(([name, value]) => `    ${name}=${toPython(value)},\n`);
  return `import os

import openai  # pip install openai

client = openai.OpenAI(base_url=${toPython(`${base}v1`)}, api_key=os.environ["API_KEY"])
answer = client.${method}.create(
${fields.join("")})
${rest}`;
}
