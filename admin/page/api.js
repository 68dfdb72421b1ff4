/** What the service refused, or that it does not answer. */
export class Refusal extends Error {
  /** @param {number} status of HTTP, 0 without an answer; @param {string} kind a fixed word */
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

const TOKEN = "efiss-admin-token";

/** The operator's token: of this tab, gone when it is closed. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/**
 * The answer of the service, not yet read.  Throws Refusal, or AbortError when `signal` aborts.
 * @param {string} path
 * @param {{method?: string, body?: Object, signal?: AbortSignal}} options
 */
export async function request(path, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "unreachable", "The service does not answer. Is it running?");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const message = told.message || `The service answered ${response.status} ${response.statusText}`;
  throw new Refusal(response.status, told.type, message);
}

/** As `request`, and its JSON. */
export async function ask(path, options) {
  return (await request(path, options)).json();
}
