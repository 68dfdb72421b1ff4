import { make, say, the } from "./dom.js";
import { described, legible, thumbnail } from "./paths.js";

const SKELETONS = 12;

/** The results: a grid of cards, and how they were found. */
export class Results {
  /** @param {(path: string) => void} chosen called with the path of a card that is clicked */
  constructor(chosen) {
    this.chosen = chosen;
    this.cards = new Map();
    this.version = null;
  }

  loading() {
    the("results").setAttribute("aria-busy", "true");
    if (!this.cards.size) {
      the("grid").replaceChildren(
        ...Array.from({ length: SKELETONS }, () => make("li", { className: "skeleton" })));
    }
  }

  /** Show an answer.  query: what was asked; title: of the results; ms: until it was here. */
  show(query, answer, title, ms) {
    this.clear();
    if (query.version !== this.version) this.cards.clear(); // their thumbnails may be others
    this.version = query.version;
    const before = this.cards;
    const isRanked = Boolean(query.photo || query.like || query.code);
    this.cards = new Map(answer.relevant.map((path, place) => {
      const card = before.get(path) ?? this.card(path);
      const { shop, product } = described(path);
      label(card, path, isRanked ? answer.distances[place] : null, {
        shop: legible(answer.shops?.[place] ?? shop),
        product: legible(answer.products?.[place] ?? product),
      });
      return [path, card];
    }));
    the("grid").replaceChildren(...this.cards.values());
    if (isRanked) this.line(answer.match ?? []);
    the("results-title").textContent = title;
    say(the("lead"), isRanked ? "" : "Choose a photo, or a picture here to see more like it");
    const count = answer.relevant.length;
    const found = `${count} ${query.products ? "product" : "picture"}${count === 1 ? "" : "s"}`;
    if (!count) say(the("empty"), nothing(query));
    the("meta").replaceChildren(...figures(answer, found, ms));
    const first = isRanked && count ? `, the first at ${bits(answer.distances[0])}` : "";
    the("said").textContent =
      `${title}: ${found}${first}, from version ${answer.index_database_version}.`;
  }

  /** Show why there is no answer. */
  fail(error) {
    this.clear();
    this.cards.clear();
    the("grid").replaceChildren();
    the("meta").replaceChildren();
    the("results-title").textContent = "No results";
    say(the("error"), error.message);
  }

  clear() {
    the("results").setAttribute("aria-busy", "false");
    say(the("error"), "");
    say(the("empty"), "");
    say(the("lead"), "");
  }

  /** Draw a line before the first result that is far. */
  line(matches) {
    const far = matches.indexOf("far");
    if (far < 0) return;
    const text = far ? "Less similar from here" : "Nothing near; less similar from here";
    the("grid").children[far].before(make("li", { className: "line" }, text));
  }

  card(path) {
    const item = the("card").content.firstElementChild.cloneNode(true);
    const image = item.querySelector("img");
    image.addEventListener("error", () => image.closest(".picture").classList.add("missing"));
    image.src = thumbnail(path, this.version);
    item.querySelector("button").addEventListener("click", () => this.chosen(path));
    return item;
  }
}

const bits = (distance) => `${distance} ${distance === 1 ? "bit" : "bits"}`;

/** distance: null where it says nothing. */
function label(item, path, distance, { shop, product }) {
  item.querySelector(".product").textContent = `Product ${product}`;
  item.querySelector(".shop").textContent = shop;
  const badge = item.querySelector(".distance");
  const away = distance === null ? "" : `, ${bits(distance)} away`;
  badge.hidden = distance === null;
  badge.textContent = distance === null ? "" : bits(distance);
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Product ${product} of ${shop}${away}. More like this`);
  button.title = distance === null ? path : `${path}: ${distance} of 64 bits differ`;
}

function nothing(query) {
  if (query.shops.length) return "Nothing in these shops. Choose others, or all shops.";
  return "The catalogue has nothing to show here.";
}

/** What stands above the results: terms and values. */
function figures(answer, found, ms) {
  const values = [
    ["version", answer.index_database_version],
    ["results", found],
    ...Object.entries(answer.ms).map(([step, took]) => [
      step === "version" ? "open" : step, `${took.toFixed(1)} ms`,
    ]),
    ["in all", `${ms.toFixed(0)} ms`],
  ];
  return values.map(([term, value]) =>
    make("div", {}, make("dt", {}, term), make("dd", {}, value)));
}
