import { make, say, the } from "./dom.js";

/** Show the report of a version: what was measured, and what was refused. */
export function openReport(report) {
  the("report-title").textContent = `Check of ${report.version}`;
  say(the("report-verdict"), verdict(report));
  say(the("report-model"), report.model_change);
  the("report-refusals").replaceChildren(...report.refusals.map((text) => make("li", {}, text)));
  the("report-against").textContent = report.against ?? "Before";
  the("measures").replaceChildren(...report.measures.map((measure) => row(measure, report.against)));
  the("report").showModal();
}

the("report-close").addEventListener("click", () => the("report").close());

function verdict({ verdict: word, forced }) {
  if (word === "passed") return "Passed: it may go live";
  if (word === "forced") return `Refused, and taken all the same on ${new Date(forced).toLocaleString()}`;
  if (word === "unjudged") return "Not checked as it is now";
  return "Refused: it stays off";
}

function row(measure, other) {
  const { name, value, against, limit, refused, unit } = measure;
  const judged = refused ? "refused" : limit ? "passed" : "";
  return make("tr", { className: refused ? "bad" : "" },
    make("th", { scope: "row" }, name),
    make("td", { className: "number" }, shown(value, unit)),
    make("td", { className: "number", "data-label": other ?? "before" }, shown(against, unit)),
    make("td", {}, limit ?? "–"),
    make("td", {}, judged && make("span", { className: `mark ${refused ? "bad" : "good"}` }, judged)));
}

function shown(value, unit) {
  if (value === null) return "–";
  const digits = unit === "ms" ? 2 : value === Math.round(value) ? 0 : 2;
  const number = value.toLocaleString(undefined, {
    minimumFractionDigits: digits, maximumFractionDigits: digits,
  });
  return `${number} ${unit}`.trim();
}
