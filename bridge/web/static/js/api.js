// The one way to the REST API. Errors carry the server's message and what it says to do next.

export class ApiError extends Error {
  constructor(status, { code, message, hint }) {
    super(message);
    Object.assign(this, { status, code, hint });
  }
}

const UNREACHABLE = { code: "unreachable", message: "The server cannot be reached.", hint: "Check that it runs; nothing was lost." };

function headers(extra = {}) {
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  return token ? { ...extra, "X-CSRF-Token": token } : extra;
}

async function errorOf(response) {
  try {
    return new ApiError(response.status, (await response.json()).error);
  } catch {
    return new ApiError(response.status, { code: "unknown", message: `The server answered ${response.status}.`, hint: "Its log says more." });
  }
}

// JSON in, JSON out; undefined of an answer without content.
export async function call(method, path, body, { signal } = {}) {
  const json = body === undefined ? {} : { body: JSON.stringify(body), headers: headers({ "Content-Type": "application/json" }) };
  let response;
  try {
    response = await fetch(path, { method, signal, headers: headers(), ...json });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, UNREACHABLE);
  }
  if (!response.ok) throw await errorOf(response);
  if (response.status === 204) return undefined;
  return response.json();
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
export const patch = (path, body) => call("PATCH", path, body);
export const remove = (path) => call("DELETE", path);

// Sends a body as it is (a file, a form). XMLHttpRequest, because fetch does not tell how much has been sent.
export function send(path, body, { type, onProgress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers(type ? { "Content-Type": type } : {}))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0, UNREACHABLE));
    request.onabort = () => reject(new DOMException("Aborted", "AbortError"));
    request.onload = () => {
      let answer;
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        answer = { error: { code: "unknown", message: `The server answered ${request.status}.`, hint: "" } };
      }
      if (request.status < 400) resolve(answer);
      else reject(new ApiError(request.status, answer.error));
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
