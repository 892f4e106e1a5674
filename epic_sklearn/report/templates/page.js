// What all parts share: the data, making elements, thumbnails.

const data = JSON.parse(document.getElementById("data").textContent);
const table = data.table;
const byId = (id) => document.getElementById(id);

// Texts of the data reach the page only here, as text or attribute: never as HTML.
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// A text that may break where its words do, those of names_like_this as well.
function breakable(text) {
  const parts = String(text).split(/(?<=\S[_\-./:,;(=[])(?=\p{L})/u);
  return parts.flatMap((part, k) => (k ? [make("wbr"), part] : [part]));
}

// What a row is called: by its number, its line in the file, or by a name.
const nameOf = (row) => data.names?.[row] ?? String(row);
const titleOf = (row) =>
  data.rowKind === "Index" ? nameOf(row) : `${data.rowKind} ${nameOf(row)}`;
const numbers = new Intl.NumberFormat("en");
const count = (n) => numbers.format(n);
const labelOf = (i) => data.labels[table.label[i]];
const predictionOf = (i) =>
  table.prediction === null ? "" : data.labels[table.prediction[i]];
const scoreOf = (i) => `${data.scoreName} ${table.scoreTexts[i]}`;
// What else the rule says, each as its title and a text, where there is any.
const detailsOf = (i) => table.details.filter(({ values }) => values[i] !== null)
  .map(({ title, values }) => [title, detailText(values[i])]);
const detailText = (value) => (value === null ? "–" : String(value));
const isWrong = (i) =>
  table.prediction !== null && table.prediction[i] !== table.label[i];

// A canvas with the row's picture, of at most `side` CSS pixels if given, or null.
function thumbnail(row, side, description) {
  const png = data.thumbnails?.[row];
  if (png === undefined) return null;
  const canvas = make("canvas", {
    class: "thumb", width: side, height: side, role: "img", "aria-label": description,
  });
  const image = new Image();
  image.addEventListener("load", () => {
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext("2d").drawImage(image, 0, 0);
    const scale = side / Math.max(image.width, image.height);
    canvas.style.width = scale ? `${Math.round(image.width * scale)}px` : "";
    canvas.style.height = scale ? `${Math.round(image.height * scale)}px` : "";
  });
  image.src = `data:image/png;base64,${png}`;
  return canvas;
}

// The features of flagged example i that differ most, as
// [name, value, value of the nearest kept, difference].
function differencesOf(i) {
  const flat = table.differences === null ? [] : table.differences[i];
  const found = [];
  for (let k = 0; k < flat.length; k += 4) {
    found.push([data.features[flat[k]], flat[k + 1], flat[k + 2], flat[k + 3]]);
  }
  return found;
}
