/** A third more as base64, which a request of 32 MB holds. */
const MOST_BYTES = 23 * 2 ** 20;

const known = new Map();

/** A photo that somebody searches by; kept for the way back, until the page is left. */
class Photo {
  constructor(file) {
    this.id = crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.name = file.name;
    this.url = URL.createObjectURL(file);
    this.file = file;
    known.set(this.id, this);
  }

  /** The file's bytes, unchanged, as base64. */
  base64() {
    this.read ??= new Promise((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
      reader.onerror = () => failed(new Error("The photo cannot be read. Choose it again."));
      reader.readAsDataURL(this.file);
    });
    return this.read;
  }
}

/** A photo of this visit. */
export const photoOf = (id) => known.get(id);

/** Take the photo among the files that were chosen, dropped or pasted.  Throws Error. */
export function taken(files) {
  const all = [...files];
  const file = all.find((one) => one.type.startsWith("image/")) ?? all[0];
  if (!file) throw new Error("That is no picture file. Save the picture and choose the file.");
  if (file.size > MOST_BYTES) {
    const size = (file.size / 2 ** 20).toFixed(1);
    throw new Error(`The photo has ${size} MB, and 23 MB is the most. Choose a smaller one.`);
  }
  return new Photo(file);
}

/** Tell of every photo that is chosen, dropped or pasted anywhere on the page. */
export function watchForPhotos(inputs, found) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      if (input.files.length) found(input.files);
      input.value = ""; // the same file may be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) {
      event.preventDefault();
      found(event.clipboardData.files);
    }
  });
  const over = (is) => document.body.classList.toggle("dropping", is);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(event.dataTransfer.types.includes("Files"));
  });
  document.addEventListener("dragleave", (event) => over(event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    found(event.dataTransfer.files);
  });
}
