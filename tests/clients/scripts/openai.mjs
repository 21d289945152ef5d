// Node's openai package: chat, streams, embeddings, errors.
import assert from "node:assert";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// Installed elsewhere than beside this file.
const require = createRequire(process.env.NODE_HOME + "/");
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")).href);

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const chat = {
  model: "tiny-chat",
  messages: [{ role: "user", content: "What is the capital of France?" }],
  temperature: 0,
  max_tokens: 60,
};

const embeddings = await client.embeddings.create({ model: "minilm", input: ["one text", "another text"] });
assert.deepStrictEqual(embeddings.data.map((one) => one.embedding.length), [384, 384]);

const whole = await client.chat.completions.create(chat);
assert.match(whole.choices[0].message.content, /Paris/);
let streamed = "";
for await (const piece of await client.chat.completions.create({ ...chat, stream: true })) {
  streamed += piece.choices[0]?.delta?.content ?? "";
}
assert.strictEqual(streamed, whole.choices[0].message.content);

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.ok(models.includes("minilm"));

await assert.rejects(
  new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "wrong", maxRetries: 0 }).models.list(),
  OpenAI.AuthenticationError,
);
