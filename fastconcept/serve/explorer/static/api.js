// What the server is asked. Errors are those of the command line: a type and a message for people.

export class Refusal extends Error {
  constructor(status, error) {
    super(error.message);
    this.name = error.type;
    this.status = status;
  }
}

export async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== null && item !== undefined) query.append(name, item);
    }
  }
  const address = `/api/${path}${query.size ? `?${query}` : ""}`;
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { type: "Offline", message: "The explorer has stopped. Start it again, and this page goes on." });
  }
  if (response.ok) return response.json();
  let problem;
  try {
    problem = (await response.json()).error;
  } catch {
    problem = { type: "InternalError", message: `The server answered with status ${response.status}.` };
  }
  throw new Refusal(response.status, problem);
}

export const send = (file) =>
  ask("photographs", {}, {
    method: "POST",
    headers: { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" },
    body: file,
  });

export const pictureOf = (id, small = false) => `/api/photographs/${id}/picture${small ? "?size=small" : ""}`;

// One question at a time of its kind: a later one ends those before it.
export function latest() {
  let running = null;
  return async (path, parameters) => {
    running?.abort();
    const mine = (running = new AbortController());
    const answer = await ask(path, parameters, { signal: mine.signal });
    if (mine.signal.aborted) throw new DOMException("a later question came", "AbortError");
    return answer;
  };
}
