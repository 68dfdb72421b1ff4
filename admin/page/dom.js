/** The element with this id. */
export const the = (id) => document.getElementById(id);

/**
 * A new element.
 * @param {string} tag
 * @param {Object} values properties, or attributes where there is no such property
 * @param {...(Node|string)} children
 */
export function make(tag, values = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Show a text in an element, or hide it when there is none. */
export function say(node, text) {
  node.textContent = text ? asSentence(text) : "";
  node.hidden = !text;
}

/** What the service says begins in lower case and ends without a full stop. */
function asSentence(text) {
  const sentence = text[0].toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(sentence) ? sentence : `${sentence}.`;
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
