import { ask, request } from "./api.js";
import { make, the } from "./dom.js";

/**
 * Offer photos to search by, if the service has any: it has beside the demo's catalogue.
 * @param {(path: string, name: string) => void} chosen called with where the photo is
 */
export async function offerExamples(chosen) {
  const { examples } = await ask("/api/examples");
  the("examples-field").hidden = !examples.length;
  the("examples").replaceChildren(...examples.map(({ id, shows }) => {
    const path = `/api/examples/${id}`;
    const image = make("img", { alt: shows, loading: "lazy", width: 72, height: 72, src: path });
    const button = make("button", { type: "button", title: shows }, image);
    button.addEventListener("click", () => chosen(path, `${shows}.jpg`));
    return make("li", {}, button);
  }));
}

/** The file of an example.  Throws Refusal. */
export async function fileOf(path, name) {
  const photo = await (await request(path)).blob();
  return new File([photo], name, { type: photo.type });
}
