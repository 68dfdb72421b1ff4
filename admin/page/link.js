import { isText } from "./paths.js";

/**
 * A query, as the page has it.
 * @typedef {Object} Query
 * @property {?Object} photo a photo of `photos.js`; or else
 * @property {?string} like path of a picture of the catalogue; or else
 * @property {?string} code 16 hex digits; with none of the three, the catalogue is just looked at
 * @property {?number[]} box left, top, right, bottom of the part of the photo, 0 to 1
 * @property {number} topK
 * @property {string[]} shops none for all
 * @property {boolean} products one picture a product
 * @property {?string} version null for the live one
 */

export const FRESH = { photo: null, like: null, code: null, box: null };
const START = { ...FRESH, topK: 24, shops: [], products: false, version: null };

/** The query of a link. @returns {Query} */
export function read(search) {
  const given = new URLSearchParams(search);
  const topK = Number(given.get("top_k"));
  return {
    ...START,
    like: given.get("like"),
    code: given.get("like") ? null : given.get("code"),
    topK: Number.isInteger(topK) && topK >= 1 && topK <= 1000 ? topK : START.topK,
    shops: given.getAll("shop"),
    products: given.get("group_by") === "product",
    version: given.get("version"),
  };
}

/** The link of a query: of a photo, that of its code, which is answered by distance. @param {Query} query */
export function written(query, code) {
  const link = new URLSearchParams();
  if (query.like && isText(query.like)) link.set("like", query.like);
  else if (code) link.set("code", code);
  link.set("top_k", query.topK);
  for (const shop of query.shops) link.append("shop", shop);
  if (query.products) link.set("group_by", "product");
  if (query.version) link.set("version", query.version);
  return `?${link}`;
}

/** What the service is asked. @param {Query} query */
export async function body(query) {
  const fields = { top_k: query.topK, rank: "fine", debug: true };
  if (query.photo) fields.image = await query.photo.base64();
  else if (query.like) fields.like = query.like;
  else fields.code = query.code;
  if (query.photo && query.box) fields.box = query.box;
  if (query.shops.length) fields.shops = query.shops;
  if (query.products) fields.group_by = "product";
  if (query.version) fields.index_database_version = query.version;
  return fields;
}
