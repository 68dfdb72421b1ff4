import { ask } from "./api.js";
import { Box } from "./box.js";
import { make, pause, the } from "./dom.js";
import { fileOf, offerExamples } from "./examples.js";
import { FRESH, body, read, written } from "./link.js";
import { legible, thumbnail } from "./paths.js";
import { photoOf, taken, watchForPhotos } from "./photos.js";
import { Results } from "./results.js";

const TYPING_MS = 250;
const OPENING_MS = 700;
const MANY_SHOPS = 12;
const MOST_CHIPS = 100;

/** @type {import("./link.js").Query} */
let query = read(location.search);
let shops = [];
let liked = null; // shop and product of the picture that was searched by, as the service says
let underWay = new AbortController();
let timer;
let isNew = false; // whether the answer will be a place of its own to come back to
let link = location.search || location.pathname;

const results = new Results((path) => {
  change({ ...FRESH, like: path }, { asNew: true });
  the("results-title").focus({ preventScroll: true });
  the("results").scrollIntoView();
});
const box = new Box((marked) => change({ box: marked }, { asNew: true, after: TYPING_MS }));

/** Bring the search to life. */
export function start() {
  watchForPhotos([the("file"), the("shot")], takePhoto);
  the("query").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["choose", "another"]) {
    the(id).addEventListener("click", () => the("file").click());
  }
  the("camera").addEventListener("click", () => the("shot").click());
  the("mark").addEventListener("click", () => box.mark());
  the("unmark").addEventListener("click", () => {
    change({ box: null }, { asNew: true });
    the("mark").focus();
  });
  the("forget").addEventListener("click", () => {
    change(FRESH, { asNew: true });
    the("choose").focus();
  });
  the("top-k").addEventListener("input", typeCount);
  the("products").addEventListener("change", (event) => change({ products: event.target.checked }));
  the("version").addEventListener("change", (event) => {
    change({ version: event.target.value || null });
  });
  the("shops").addEventListener("change", () => {
    const chosen = [...the("shops").querySelectorAll(":checked")].map((input) => input.value);
    const unseen = query.shops.filter((name) => !shownShops().some((shop) => shop.name === name));
    change({ shops: [...unseen, ...chosen] });
  });
  the("all-shops").addEventListener("click", () => {
    change({ shops: [] });
    the("shops").querySelector("input").focus();
  });
  the("find-shop").addEventListener("input", showShops);
  the("copy-link").addEventListener("click", copyLink);
  addEventListener("popstate", comeBack);
  learnCatalogue();
  showQuery();
  search();
}

/** Another version is live: look at it. */
export function look() {
  learnCatalogue();
  search();
}

async function learnCatalogue() {
  try {
    const [catalogue, { versions }] = await Promise.all([
      ask("/api/catalogue"), ask("/api/versions"),
    ]);
    shops = catalogue.shops;
    the("catalogue").textContent = `${catalogue.rows.toLocaleString()} pictures in ` +
      `${shops.length.toLocaleString()} ${shops.length === 1 ? "shop" : "shops"}`;
    showShops();
    showVersions(catalogue.index_database_version, versions.filter((one) => !one.damaged));
    await offerExamples(takeExample);
  } catch {
    the("catalogue").textContent = ""; // the search itself says what is wrong
  }
}

// -- what is asked ---------------------------------------------------------------------------------

/** Change the query and ask.  after: ms to wait for more changes. */
function change(values, { after = 0, asNew = false } = {}) {
  query = { ...query, ...values };
  isNew ||= asNew;
  showQuery();
  clearTimeout(timer);
  timer = setTimeout(search, after);
}

async function search() {
  clearTimeout(timer);
  underWay.abort(); // an older answer never overtakes a newer one
  underWay = new AbortController();
  const { signal } = underWay;
  const asked = hasQuestion(query) ? query : { ...query, code: anyCode(), products: true };
  results.loading();
  const begun = performance.now();
  try {
    const answer = await answered(await body(asked), signal);
    if (signal.aborted) return;
    results.show(query, answer, title(query), performance.now() - begun);
    liked = answer.like && { path: query.like, ...answer.like };
    the("caption").textContent = caption();
    remember(answer.code);
  } catch (error) {
    if (!signal.aborted) results.fail(error);
  }
}

/** A version that is being opened answers in a moment, and a service of before knows no rank. */
async function answered(fields, signal) {
  for (let asked = 1; ; asked++) {
    try {
      return await ask("/api/search", { method: "POST", body: fields, signal });
    } catch (error) {
      if (error.kind === "unknown_field" && fields.rank) {
        fields = { ...fields, rank: undefined };
        continue;
      }
      if (error.kind !== "version_opening" || asked === 20) throw error;
      await pause(OPENING_MS);
      signal.throwIfAborted();
    }
  }
}

const hasQuestion = ({ photo, like, code }) => Boolean(photo || like || code);

/** Somewhere in the catalogue, for whoever just looks around. */
function anyCode() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function title({ photo, like, code, box: part }) {
  if (photo) return part ? "Most like the marked part" : "Most like your photo";
  if (like) return "More like this";
  return code ? "Nearest to this code" : "From the catalogue";
}

function takePhoto(files) {
  try {
    change({ ...FRESH, photo: taken(files) }, { asNew: true });
    if (location.hash) location.hash = "#search"; // it may have been dropped on the other tab
  } catch (error) {
    results.fail(error);
  }
}

async function takeExample(path, name) {
  try {
    takePhoto([await fileOf(path, name)]);
  } catch (error) {
    results.fail(error);
  }
}

function typeCount() {
  const input = the("top-k");
  the("top-k-hint").hidden = input.validity.valid;
  if (input.validity.valid) change({ topK: input.valueAsNumber }, { after: TYPING_MS });
}

// -- the link --------------------------------------------------------------------------------------

/** Put the query into the address, and its photo where the way back finds it. */
function remember(code) {
  link = hasQuestion(query) ? written(query, code) : location.pathname;
  const state = { photo: query.photo?.id, box: query.box };
  history[isNew ? "pushState" : "replaceState"](state, "", link + location.hash);
  isNew = false;
}

function comeBack() {
  const now = location.search || location.pathname;
  if (now === link) return; // between the tabs
  link = now;
  query = read(location.search);
  const { photo, box: part } = history.state ?? {};
  // The photo itself orders results of equal distance better than its code does.
  if (photoOf(photo)) query = { ...query, ...FRESH, photo: photoOf(photo), box: part };
  isNew = false;
  showQuery();
  search();
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
  } catch { // allowed on secure pages only
    prompt("The link to this search:", location.href);
    return;
  }
  const text = the("copy-link").lastElementChild;
  text.textContent = "Copied";
  the("said").textContent = "The link was copied.";
  await pause(2000);
  text.textContent = "Copy link";
}

// -- what is shown ---------------------------------------------------------------------------------

function showQuery() {
  const { photo, like, code } = query;
  const isAsked = hasQuestion(query);
  the("choose").hidden = isAsked;
  the("asked").hidden = !isAsked;
  the("another").hidden = !isAsked;
  the("forget").hidden = !isAsked;
  the("copy-link").hidden = !isAsked;
  the("mark").hidden = !photo || Boolean(query.box);
  the("unmark").hidden = !photo || !query.box;
  the("numbers").hidden = !photo;
  the("frame").hidden = !photo && !like;
  the("frame").classList.toggle("markable", Boolean(photo));
  showPicture();
  box.show(photo ? query.box : null);
  the("fingerprint").hidden = Boolean(photo || like || !code);
  if (!photo && !like && code) drawCode(code);
  the("caption").textContent = caption();

  if (document.activeElement !== the("top-k")) the("top-k").value = query.topK;
  the("products").checked = query.products;
  the("version").value = query.version ?? "";
  showShops();
}

function showPicture() {
  const { photo, like, version } = query;
  const image = the("photo");
  image.alt = photo ? "The photo you search by" : "The picture of the catalogue you search by";
  const source = photo?.url ?? (like ? thumbnail(like, version) : "");
  if (image.getAttribute("src") === source) return;
  if (source) image.src = source;
  else image.removeAttribute("src");
}

function caption() {
  const { photo, like, code } = query;
  if (photo) return query.box ? "" : "Drag a box to search by a part.";
  if (like) {
    return liked?.path === like ? `Product ${legible(liked.product)} of ${legible(liked.shop)}` : "";
  }
  return code ? `Code ${code}` : "";
}

/** The 64 bits of a code, eight by eight. */
function drawCode(code) {
  const bits = [...code].flatMap((digit) =>
    [8, 4, 2, 1].map((bit) => (parseInt(digit, 16) & bit) > 0));
  the("fingerprint").replaceChildren(
    ...bits.map((isSet) => make("i", { className: isSet ? "set" : "" })));
}

function shownShops() {
  const sought = the("find-shop").value.trim().toLowerCase();
  const unknown = query.shops.filter((name) => !shops.some((shop) => shop.name === name));
  return [...unknown.map((name) => ({ name, pictures: 0 })), ...shops]
    .filter(({ name }) => name.toLowerCase().includes(sought))
    .slice(0, MOST_CHIPS);
}

function showShops() {
  const focused = document.activeElement?.value;
  const hadFocus = the("shops").contains(document.activeElement);
  the("shops").replaceChildren(...shownShops().map(({ name, pictures }) =>
    make("label", { className: "chip" },
      make("input", { type: "checkbox", value: name, checked: query.shops.includes(name) }),
      make("span", {}, name || "no shop"),
      make("small", {}, pictures.toLocaleString()))));
  if (hadFocus) {
    [...the("shops").querySelectorAll("input")].find((input) => input.value === focused)?.focus();
  }
  the("shops-field").hidden = shops.length < 2 && !query.shops.length;
  the("find-shop").hidden = shops.length <= MANY_SHOPS;
  the("all-shops").hidden = !query.shops.length;
}

function showVersions(live, versions) {
  const names = versions.map((one) => one.version);
  if (query.version && !names.includes(query.version)) names.push(query.version);
  the("version").replaceChildren(
    make("option", { value: "" }, `live (${live})`),
    ...names.map((name) => make("option", { value: name }, name)));
  the("version").value = query.version ?? "";
  the("version-field").hidden = names.length < 2 && !query.version;
}
