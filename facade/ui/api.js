// How the façade is asked: the key, errors in its own words, streams.

/** Where the façade is; the page may stand behind a proxy's prefix. */
export const base = new URL(".", new URL(location.pathname, location.origin)).href;

const STORED = "triton-facade-key";
let key = "";

export function storedKey() {
  return sessionStorage.getItem(STORED) ?? "";
}

export function useKey(secret, isRemembered) {
  key = secret;
  if (isRemembered) sessionStorage.setItem(STORED, secret);
  else sessionStorage.removeItem(STORED);
}

/** An answer that isn't one, with the façade's own sentence. */
export class Refused extends Error {
  constructor(message, status = 0, waitS = 0) {
    super(waitS ? `${message} Try again in ${Math.ceil(waitS)} s, at ${clock(waitS)}.` : message);
    this.status = status;
  }
}

const clock = (waitS) => new Date(Date.now() + waitS * 1000).toLocaleTimeString();

/** The sentence in an error's body: OpenAI's shape, the V2 protocol's, or a problem's (RFC 9457). */
function sentenceOf(body) {
  const error = body?.error;
  return error?.message ?? (typeof error === "string" ? error : body?.detail);
}

async function refusal(response) {
  const waitS =
    Number(response.headers.get("retry-after-ms")) / 1000 || Number(response.headers.get("retry-after")) || 0;
  const body = await response.json().catch(() => null);
  const said = sentenceOf(body) ?? `The answer is ${response.status} ${response.statusText}.`;
  return new Refused(said, response.status, waitS);
}

/** Ask for a path, or post a body to it; whatever isn't an answer is thrown as `Refused`. */
export async function ask(path, { body, signal } = {}) {
  const headers = { ...(key && { Authorization: `Bearer ${key}` }) };
  // Not for what is posted: browsers say so to the façade too, which would answer past its own cache.
  let options = { headers, signal, cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options = { headers, signal, method: "POST", body: JSON.stringify(body) };
  }
  let response;
  try {
    response = await fetch(base + path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused("The façade can't be reached.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** Read a stream's events as they come; an event that is an error is thrown, and so is an end before the end. */
export async function* readEvents(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (signal.aborted) throw error;
      return { done: true };
    });
    if (done) throw new Refused("The connection was lost before the end of the answer.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(sentenceOf(event));
      yield event;
    }
  }
}
