import { Refusal, ask, token } from "./api.js";
import { make, say, the } from "./dom.js";
import { latest, showCatalogue, showModels, startJobs } from "./jobs.js";
import { openReport } from "./report.js";

let searchChanged;
let isOpen = false;

/** Bring the operators' part to life.  changed: called when another version is live. */
export function start({ changed }) {
  searchChanged = changed;
  the("token-form").addEventListener("submit", useToken);
  the("confirm-no").addEventListener("click", () => the("confirm").close());
  startJobs({ failed: tell, ended: jobEnded, report: showReport });
}

/** Show how things are now. */
export async function open() {
  isOpen = true;
  say(the("operate-error"), "");
  await Promise.all([showVersions(), showHealth(), showJobs()]);
}

// -- the token -------------------------------------------------------------------------------------

async function showJobs() {
  try {
    const { token_required: isRequired } = await ask("/api/session");
    if (isRequired && !token.get()) return letIn(false);
    await Promise.all([latest(), showCatalogue(), showModels()]);
    letIn(true);
  } catch (error) {
    if (error.status !== 401) return tell(error);
    if (token.get()) say(the("token-error"), "This token is not the right one");
    token.forget();
    letIn(false);
  }
}

function letIn(is) {
  the("token-form").hidden = is;
  the("reindexing").hidden = !is;
  the("operate-view").classList.toggle("locked", !is);
}

async function useToken(event) {
  event.preventDefault();
  token.set(the("token").value.trim());
  the("token").value = "";
  say(the("token-error"), "");
  await open();
}

/** Show what was refused. */
function tell(error) {
  if (error.status === 401) return open();
  say(the("operate-error"), error.message);
}

// -- versions --------------------------------------------------------------------------------------

async function showVersions() {
  try {
    const { versions } = await ask("/api/versions");
    const rows = versions.reverse().map(row);
    the("versions").replaceChildren(...(rows.length ? rows : [none()]));
  } catch (error) {
    tell(error);
  }
}

function none() {
  return make("tr", { role: "row" },
    make("td", { role: "cell", colSpan: 8 }, "There is no version yet. Start a reindex below."));
}

function row(version) {
  const name = make("th", { role: "rowheader", scope: "row" }, version.version);
  if (version.is_live) name.append(" ", make("span", { className: "mark good" }, "live"));
  if (version.is_rollback_target) name.append(" ", make("span", { className: "mark" }, "before"));
  const item = make("tr", { role: "row", "data-version": version.version }, name);
  if (version.damaged) {
    item.append(make("td", { role: "cell", colSpan: 7, className: "bad" }, version.damaged));
    return item;
  }
  const cell = (label, className, ...content) =>
    item.append(make("td", { role: "cell", className, "data-label": label }, ...content));
  const rejected = version.rejected ? ` ${version.rejected.toLocaleString()} rejected` : "";
  cell("Pictures", "number", version.rows.toLocaleString(), make("small", {}, rejected));
  cell("Built", "", moment(version.created));
  cell("Search", "", version.index_mode === "default" ? "exact" : "approximate");
  cell("Model", "model", model(version.model));
  cell("Size", "number", `${(version.bytes / 1e6).toLocaleString(undefined, { maximumFractionDigits: 1 })} MB`);
  cell("Check", "", verdict(version.verified));
  cell("", "buttons", ...buttons(version));
  return item;
}

function model({ name, sha256 }) {
  return name ? make("span", { title: `sha256 ${sha256}` }, name) : "none: codes were imported";
}

function verdict(verified) {
  if (!verified) return make("span", { className: "faint" }, "not checked");
  const marks = { passed: "good", refused: "bad", forced: "warn" };
  return make("span", { className: `mark ${marks[verified] ?? ""}` }, verified);
}

function buttons(version) {
  const { version: name, is_live, is_rollback_target, verified } = version;
  const made = [];
  const add = (text, act) => {
    const button = make("button", { type: "button", "aria-label": `${text} ${name}` }, text);
    button.addEventListener("click", act);
    made.push(button);
  };
  if (verified) add("Report", () => showReport(name));
  if (is_rollback_target) add("Roll back", () => rollBack(name));
  else if (!is_live) add("Activate", () => activate(name));
  return made;
}

async function showReport(version) {
  try {
    openReport(await ask(`/api/versions/${version}/report`));
  } catch (error) {
    tell(error);
  }
}

// -- the live version ------------------------------------------------------------------------------

function activate(version) {
  confirm(`Make ${version} live?`,
    "Searches are answered from it as soon as every worker has opened it. None has to wait.",
    "Activate",
    (force) => ask(`/api/versions/${version}/activate`, { method: "POST", body: { force } }));
}

function rollBack(version) {
  confirm(`Go back to ${version}?`,
    "It was live before. The version that is live now stays, and can be activated again.",
    "Roll back", () => ask("/api/rollback", { method: "POST" }));
}

/** Ask whether to, then do it; what is judged unfit can be forced by asking again. */
function confirm(title, text, word, act) {
  const dialog = the("confirm");
  const yes = the("confirm-yes");
  let force = false;
  the("confirm-title").textContent = title;
  the("confirm-text").textContent = text;
  say(the("confirm-error"), "");
  yes.textContent = word;
  yes.disabled = false;
  yes.onclick = async () => {
    yes.disabled = true;
    yes.textContent = "Changing over…";
    try {
      switched(await act(force));
      dialog.close();
    } catch (error) {
      if (error.status === 401) dialog.close();
      if (!dialog.open) return tell(error);
      say(the("confirm-error"), error.message);
      force = error instanceof Refusal && error.kind === "unfit";
      yes.textContent = force ? "Activate all the same" : word;
      yes.disabled = false;
    }
  };
  dialog.showModal();
}

function switched({ index_database_version: version, workers }) {
  const who = workers ? `${workers} ${workers === 1 ? "worker answers" : "workers answer"} from it`
    : "no service follows this folder now";
  changedTo(`Version ${version} is live; ${who}`);
}

function jobEnded(job) {
  if (job.state === "done") changedTo(job.message);
  else showVersions();
}

function changedTo(text) {
  say(the("operate-error"), "");
  say(the("operate-said"), text);
  searchChanged();
  if (isOpen) open();
}

// -- health ----------------------------------------------------------------------------------------

async function showHealth() {
  const node = the("health");
  try {
    const response = await fetch("/health/ready");
    const { search, disk } = await response.json();
    const free = `${(disk.free_bytes / 1e9).toFixed(1)} GB free`;
    node.textContent = search.ok
      ? `The search answers from ${search.index_database_version} in ${search.ms.toFixed(0)} ms · ${free}`
      : `The search does not answer · ${free}`;
    node.classList.toggle("bad", !search.ok);
  } catch {
    node.textContent = "";
  }
}

const moment = (iso) =>
  make("time", { dateTime: iso },
    new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
