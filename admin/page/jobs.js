import { ask, request } from "./api.js";
import { make, pause, say, the } from "./dom.js";

const STEPS = {
  extract: "List", index: "Index", publish: "Publish", check: "Check", activate: "Activate",
  prune: "Tidy up",
};
const STATE_WORDS = {
  running: "runs", done: "done", nothing_new: "nothing new", refused: "refused",
  failed: "failed", cancelled: "cancelled", interrupted: "interrupted",
};
const SILENT_MS = 10_000;
const POLL_MS = 1000;
const SHOWN = 8;

let on;
let watched = null; // id of the job that is followed

const hasEnded = (job) => job.state !== "running";

/** Bring the jobs to life.  told: {failed(error), ended(job), report(version)}. */
export function startJobs(told) {
  on = told;
  the("reindex").addEventListener("submit", startOne);
  the("cancel").addEventListener("click", async () => {
    the("cancel").disabled = true;
    await tried(() => ask(`/api/jobs/${the("job").dataset.id}/cancel`, { method: "POST" }));
  });
}

/** Show which models a reindex may have.  The live version's stays unless another is chosen.
 * Throws Refusal. */
export async function showModels() {
  const told = await ask("/api/models");
  const { has_live_version: hasLive, live, shipped, models, hint } = told;
  const stays = hasLive ? live && `as now: ${named(live)}` : shipped && `shipped: ${named(shipped)}`;
  const choice = stays ? [make("option", { value: "" }, stays)] : [];
  const others = models.filter(({ sha256 }) => sha256 !== (hasLive ? live : shipped)?.sha256);
  const chosen = the("model").value;
  the("model").replaceChildren(...choice, ...others.map((model) =>
    make("option", { value: model.model_path, title: model.model_path }, named(model))));
  if (others.some((model) => model.model_path === chosen)) the("model").value = chosen;
  say(the("model-hint"), hint);
}

/** Show what a reindex works on.  Throws Refusal. */
export async function showCatalogue() {
  const { datalake, database } = await ask("/api/reindex");
  const from = datalake ? `Lists the pictures in ${datalake}` : `Takes the list ${database} as it is`;
  say(the("reindex-of"), `${from}, hashes what is new, checks the version and makes it live.`);
}

const named = ({ name, sha256 }) => `${name} (${sha256.slice(0, 8)})`;

/** Show the newest jobs, and follow the one that runs.  Throws Refusal. */
export async function latest() {
  const { jobs } = await ask("/api/jobs");
  the("jobs").replaceChildren(...(jobs.length ? jobs.slice(0, SHOWN).map(line) : [
    make("li", { className: "faint" }, "None yet."),
  ]));
  const running = jobs.find((job) => !hasEnded(job));
  if (running) watch(running);
}

async function startOne(event) {
  event.preventDefault();
  const version = the("new-version").value.trim();
  const body = { wait: false, mode: the("mode").value, force: the("force").checked };
  if (the("model").value) body.model_path = the("model").value;
  if (version) body.new_index_database_version = version;
  the("start").disabled = true;
  const started = await tried(() => ask("/api/reindex", { method: "POST", body }));
  the("start").disabled = false;
  if (!started) return;
  the("new-version").value = "";
  watch(started.job);
  the("job-title").focus();
}

async function tried(act) {
  try {
    return await act();
  } catch (error) {
    on.failed(error);
    return null;
  }
}

// -- watching --------------------------------------------------------------------------------------

/** Show a job until it has ended. */
async function watch(job) {
  if (watched === job.id) return;
  watched = job.id;
  show(job);
  while (watched === job.id && !hasEnded(job)) {
    job = (await followed(job.id)) ?? job;
    if (!hasEnded(job)) await pause(POLL_MS);
  }
  if (watched !== job.id) return;
  watched = null;
  await tried(latest);
  on.ended(job);
}

/** The job as it was told last: event by event, and by asking where the events break off. */
async function followed(id) {
  let last = null;
  try {
    for await (const job of events(id)) show((last = job));
  } catch {
    last = null; // a stream may be cut off or held back on the way; the job runs on
  }
  if (last && hasEnded(last)) return last;
  try {
    last = await ask(`/api/jobs/${id}`);
    show(last);
    return last;
  } catch (error) {
    if (error.status === 401) watched = null;
    on.failed(error);
    return null;
  }
}

/** The events of a job.  EventSource cannot send the token. */
async function* events(id) {
  const silence = new AbortController();
  const response = await request(`/api/jobs/${id}/events`, { signal: silence.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const timer = setTimeout(() => silence.abort(), SILENT_MS);
    const { value, done } = await reader.read();
    clearTimeout(timer);
    if (done) return;
    text += value.replaceAll("\r\n", "\n");
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((one) => one.startsWith("data:"));
      if (data.length) yield JSON.parse(data.map((one) => one.slice(5)).join("\n"));
    }
  }
}

// -- what is shown ---------------------------------------------------------------------------------

function show(job) {
  const isOver = hasEnded(job);
  the("job").hidden = false;
  the("job").dataset.id = job.id;
  the("job").dataset.state = job.state;
  the("job-title").textContent = `Job ${job.id} ${STATE_WORDS[job.state] ?? job.state}`;
  the("cancel").hidden = isOver;
  if (isOver) the("cancel").disabled = false;
  // A publishing step there is where the search runs in Milvus.
  const steps = Object.keys(STEPS).filter((step) => step !== "publish" || step === job.step);
  the("steps").replaceChildren(...steps.map((step) => stepItem(step, steps, job)));
  const bar = the("progress");
  bar.hidden = isOver;
  if (job.total) {
    bar.max = job.total;
    bar.value = job.done;
  } else {
    bar.removeAttribute("value");
  }
  say(the("pace"), isOver ? "" : pace(job));
  say(the("job-message"), isOver ? job.message : "");
  const version = job.index_database_version;
  the("job-report").hidden = !job.report;
  the("job-report").onclick = () => on.report(version);
}

function stepItem(step, steps, job) {
  const at = steps.indexOf(job.step);
  const place = steps.indexOf(step);
  const isGood = job.state === "done" || job.state === "nothing_new";
  // After a refusal it is tidied up as well: only how a job ended says that a version went live.
  const isPassed = place < at && (step !== "activate" || isGood);
  const isDone = isPassed || (place === at && isGood);
  const isNow = place === at && !isDone;
  const item = make("li", { className: isDone ? "done" : isNow ? "now" : "" }, STEPS[step]);
  if (isDone) item.append(make("span", { className: "visually-hidden" }, " done"));
  if (isNow) item.setAttribute("aria-current", "step");
  return item;
}

function pace({ done, total, rate, seconds_left: left }) {
  if (!total) return "Working";
  const parts = [`${done.toLocaleString()} of ${total.toLocaleString()} pictures`];
  if (rate) parts.push(`${Math.round(rate).toLocaleString()} a second`);
  if (left !== null && done < total) parts.push(`${duration(left)} left`);
  return parts.join(" · ");
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

function line(job) {
  const marks = { done: "good", nothing_new: "good", failed: "bad", refused: "bad" };
  const when = new Date(job.ended ?? job.created);
  return make("li", {},
    make("span", { className: "faint" }, `#${job.id}`),
    make("span", { className: `mark ${marks[job.state] ?? ""}` }, STATE_WORDS[job.state] ?? job.state),
    make("span", { className: "words" }, job.message ?? ""),
    make("time", { dateTime: when.toISOString(), className: "faint" },
      when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })));
}
