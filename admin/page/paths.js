/*
 * Paths of the catalogue.  Bytes of a file's name that are not UTF-8 are single surrogates in them
 * (U+DC80 to U+DCFF, as Python writes them), which stand in no URL as they are.
 */

/** Whether the path can stand in a link. */
export const isText = (path) => !/\p{Surrogate}/u.test(path);

/** A path for a URL: its bytes, percent-encoded. */
function encoded(path) {
  return path.replace(/[\udc80-\udcff]|[^\udc80-\udcff]+/gu, (part) =>
    isText(part)
      ? encodeURIComponent(part)
      : `%${(part.charCodeAt(0) & 0xff).toString(16).toUpperCase()}`);
}

/** Where the thumbnail of a path is; `version` when it is not the live one. */
export function thumbnail(path, version) {
  const pinned = version ? `&version=${encodeURIComponent(version)}` : "";
  return `/api/thumbnail?path=${encoded(path)}${pinned}`;
}

/** Shop and product as a path tells them, for answers of a service that says neither. */
export function described(path) {
  const folders = path.split("/");
  const name = folders.pop();
  return { shop: folders.findLast(Boolean) ?? "", product: name.split("_")[0] || name };
}

/** A name for people. */
export const legible = (name) => name.replace(/\p{Surrogate}/gu, "\ufffd");
