import { the } from "./dom.js";
import * as operate from "./operate.js";
import * as search from "./search.js";

const TITLES = { search: "Search by photo", operate: "Operate · Search by photo" };

/** Show the part of the page that the address names. */
function showTab() {
  const shown = location.hash === "#operate" ? "operate" : "search";
  for (const name of Object.keys(TITLES)) {
    the(`${name}-view`).hidden = name !== shown;
    if (name === shown) the(`${name}-tab`).setAttribute("aria-current", "page");
    else the(`${name}-tab`).removeAttribute("aria-current");
  }
  document.title = TITLES[shown];
  if (shown === "operate") operate.open();
}

the("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the tab
  document.querySelector(".view:not([hidden])").focus();
});
search.start();
operate.start({ changed: search.look });
addEventListener("hashchange", showTab);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && location.hash === "#operate") operate.open(); // others may have worked
});
showTab();
