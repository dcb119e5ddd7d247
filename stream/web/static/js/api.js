// What the page asks of the server; /docs describes every endpoint.

/** A request that was refused; its message is a sentence for people. */
class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let whenLoggedOut = () => {};

/** Calls `callback` whenever the server wants a login. */
export function onLoggedOut(callback) {
  whenLoggedOut = callback;
}

/** Asks, and gives the answer's JSON (null for an empty one). */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = { "X-Requested-With": "rcnn-live" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer.");
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return answer;
  if (response.status === 401 && path !== "/api/login") whenLoggedOut();
  throw new ApiError(response.status, sentence(answer, response.status));
}

/** The path of a camera's endpoint. */
export function cameraPath(name, rest = "") {
  return `/api/cameras/${encodeURIComponent(name)}${rest}`;
}

/** `path?a=1&b=2`, without what is null or empty. */
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Saves a file the way a link would. */
export function saveAs(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function sentence(answer, status) {
  const detail = answer?.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail) && detail[0]?.msg) return detail[0].msg;
  return `The server refused (${status}).`;
}
