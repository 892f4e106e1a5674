// Marks, kept across reloads where the browser allows it, and their CSV.

const storageKey = `epic_sklearn ${data.fit}`;
const decisions = table.decision.slice();
let canStore = true;
let isSaved = true;

function loadDecisions() {
  try {
    const saved = JSON.parse(localStorage.getItem(storageKey));
    localStorage.setItem(storageKey, JSON.stringify(saved));
    if (saved === null) return;
    const known = new Map(table.row.map((row, i) => [String(row), i]));
    decisions.fill("");
    for (const [row, word] of Object.entries(saved)) {
      const is = word === "keep" || word === "drop";
      if (known.has(row) && is) decisions[known.get(row)] = word;
    }
  } catch {
    canStore = false;
  }
}

function storeDecisions() {
  isSaved = false;
  try {
    const marked = {};
    decisions.forEach((word, i) => { if (word) marked[table.row[i]] = word; });
    localStorage.setItem(storageKey, JSON.stringify(marked));
    canStore = true;
  } catch {
    canStore = false;
  }
}

// Mark flagged examples; an empty word takes the mark away.
function mark(places, word) {
  for (const i of places) decisions[i] = word;
  storeDecisions();
  onMarked(places);
}

// The same word again takes the mark away.
const toggle = (i, word) => mark([i], decisions[i] === word ? "" : word);

function choiceButtons(place) {
  const group = make("span", {
    class: "choice", role: "group", "aria-label": `Decision on ${titleOf(table.row[place])}`,
  });
  for (const [word, text] of [["keep", "Keep"], ["drop", "Drop"]]) {
    group.append(make("button", {
      type: "button", "data-mark": word, "aria-pressed": decisions[place] === word,
    }, text));
  }
  return group;
}

function updateChoice(group, place) {
  for (const button of group.querySelectorAll("[data-mark]")) {
    button.setAttribute("aria-pressed", decisions[place] === button.dataset.mark);
  }
}

// A cell that no spreadsheet takes for a formula.
function cell(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function asCsv() {
  const ours = ["row", "decision", "fit", "label", "prediction", "isolation_score",
    ...table.details.map(({ name }) => name)];
  let named = data.rowKind;
  while (ours.includes(named)) named = `data ${named}`;
  const lines = [ours.concat(data.names === null ? [] : [named])];
  decisions.forEach((word, i) => {
    if (!word) return;
    lines.push([table.row[i], word, data.fit, labelOf(i), predictionOf(i), table.score[i],
      ...table.details.map(({ values }) => values[i] ?? ""),
    ].concat(data.names === null ? [] : [nameOf(table.row[i])]));
  });
  // The mark at the beginning tells spreadsheets that this is UTF-8.
  return `\ufeff${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

function download() {
  const url = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  const link = make("a", { href: url, download: `decisions-${data.fit}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  isSaved = true;
}
