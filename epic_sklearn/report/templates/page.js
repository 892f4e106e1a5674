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

// Thumbnails lie on sheets, which are decoded when first needed.
const sheets = new Map();
const placeOfRow = new Map(
  data.thumbnails === null ? [] : data.thumbnails.rows.map((row, place) => [row, place]));

function withSheet(number, use) {
  let entry = sheets.get(number);
  if (entry === undefined) {
    entry = { image: new Image(), ready: false, waiting: [] };
    sheets.set(number, entry);
    entry.image.addEventListener("load", () => {
      entry.ready = true;
      entry.waiting.splice(0).forEach((then) => then(entry.image));
    });
    entry.image.src = `data:image/png;base64,${data.thumbnails.sheets[number]}`;
  }
  if (entry.ready) use(entry.image);
  else entry.waiting.push(use);
}

// A canvas of at most `side` CSS pixels with the row's picture, or null.
function thumbnail(row, side, description) {
  const place = placeOfRow.get(row);
  if (place === undefined) return null;
  const { width, height, columns, perSheet } = data.thumbnails;
  const canvas = make("canvas", {
    class: "thumb", width, height, role: "img", "aria-label": description,
  });
  const scale = side / Math.max(width, height);
  canvas.style.width = `${Math.round(width * scale)}px`;
  canvas.style.height = `${Math.round(height * scale)}px`;
  const tile = place % perSheet;
  withSheet(Math.floor(place / perSheet), (sheet) => {
    canvas.getContext("2d").drawImage(
      sheet,
      (tile % columns) * width, Math.floor(tile / columns) * height, width, height,
      0, 0, width, height);
  });
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
