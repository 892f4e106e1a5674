// The table of flagged examples: only the rows in sight exist.
// Where it is too narrow, columns that the selected example shows as well give way,
// those of the highest `spare` first.

const box = byId("table-box");
const isNumbered = ["Row", "Line"].includes(data.rowKind);
const columns = [
  isNumbered ? { name: data.rowKind, width: 4.5, key: (i) => table.row[i], number: true,
    content: (i) => nameOf(table.row[i]) }
    : { name: data.rowKind, width: 6, key: (i) => nameOf(table.row[i]) },
  data.thumbnails === null ? null
    : { name: "Example, nearest kept", width: 8, content: pairOf },
  { name: "Label", width: 6.5, key: labelOf },
  table.prediction === null ? null
    : { name: "Prediction", width: 7.5, key: predictionOf,
      content: (i) => make("span", { class: isWrong(i) ? "differs" : null }, predictionOf(i)) },
  { name: data.scoreName, width: 6, key: (i) => table.score[i], number: true,
    content: (i) => table.scoreTexts[i] },
  ...table.details.map(({ title, isNumber, values }, k) => (
    { name: title, width: 5.5, spare: 5 + k, number: isNumber,
      key: (i) => values[i] ?? (isNumber ? -Infinity : ""),
      content: (i) => detailText(values[i]) })),
  new Set(table.round).size > 1
    ? { name: data.clock === "epoch" ? "Epoch" : "Round", width: 5.5, spare: 2, key: (i) => table.round[i], number: true,
      content: (i) => (table.round[i] < 0 ? "–" : table.round[i]) } : null,
  { name: "Nearest kept", width: 5.5, spare: 4, key: (i) => table.near[i], number: true,
    content: (i) => (table.near[i] < 0 ? "none" : nameOf(table.near[i])) },
  table.differences === null ? null
    : { name: "Largest differences (nearest kept)", width: null, content: differenceText },
  table.differences !== null || data.asides.length === 0 ? null
    : { name: data.asides[0].name, width: null,
      content: (i) => clamped(data.asides[0].values[table.row[i]]) },
  { name: "Decision", width: 8.75, key: (i) => decisions[i],
    content: choiceButtons },
].filter((column) => column !== null);

const rowHeight = data.thumbnails === null ? 42 : 58;
const rendered = new Map();
let view = [];
let current = null;
let sorting = { column: columns.find((c) => c.name === data.scoreName), sign: -1 };

function pairOf(i) {
  const near = table.near[i];
  return make("span", { class: "pair" },
    thumbnail(table.row[i], 48, titleOf(table.row[i])),
    near < 0 ? null : thumbnail(near, 48, `Nearest kept: ${titleOf(near)}`));
}

function differenceText(i) {
  const found = differencesOf(i).slice(0, 3)
    .map(([name, ours, theirs]) => `${name} ${ours} (${theirs})`);
  if (!found.length && data.hasTexts) {
    const { name, values } = data.asides[0];
    found.push(`${name} ${values[table.row[i]]}`);
  }
  return clamped(found.join(", "));
}

function clamped(text) {
  return make("span", { class: "clamped", title: text.slice(0, 500) }, text);
}

const collator = new Intl.Collator("en", { numeric: true });
const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));

function matches() {
  const text = byId("filter-text").value.trim().toLowerCase();
  const label = byId("filter-label").value;
  const decision = byId("filter-decision").value;
  const onlyWrong = byId("filter-wrong").checked;
  return (i) =>
    (label === "" || table.label[i] === Number(label)) &&
    (decision === "" || (decisions[i] || "undecided") === decision) &&
    (!onlyWrong || isWrong(i)) &&
    (text === "" || String(table.row[i]) === text ||
      [labelOf(i), predictionOf(i), nameOf(table.row[i]),
        ...data.asides.map(({ values }) => values[table.row[i]])]
        .some((shown) => shown.toLowerCase().includes(text)));
}

// Filter and sort anew. Marking does not: a row stays where the reader looks.
function updateView() {
  const isShown = matches();
  const { column, sign } = sorting;
  const keys = table.row.map((_, i) => column.key(i));
  view = [...table.row.keys()].filter(isShown)
    .sort((a, b) => sign * compare(keys[a], keys[b]) || table.row[a] - table.row[b]);
  rendered.forEach((line) => line.remove());
  rendered.clear();
  for (const { head } of columns) head.removeAttribute("aria-sort");
  column.head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  byId("table").setAttribute("aria-rowcount", view.length + 1);
  byId("nothing").hidden = view.length > 0;
  byId("shown").textContent = view.length === table.row.length
    ? `All ${count(view.length)}:` : `${count(view.length)} shown:`;
  if (!view.includes(current)) current = view.length ? view[0] : null;
  box.scrollTop = 0;
  renderRows();
  showDetail();
}

function makeRow(position) {
  const i = view[position];
  const line = make("tr", {
    "data-place": i, "data-decision": decisions[i], "aria-rowindex": position + 2,
  });
  line.style.height = `${rowHeight}px`;
  for (const column of columns) {
    const content = column.content === undefined ? column.key(i) : column.content(i);
    const td = make("td", { class: column.number ? "number" : null }, content);
    if (column.key && td.textContent.length > 7) td.title = td.textContent;
    td.hidden = column.head.hidden;
    line.append(td);
  }
  showCurrent(line, i === current);
  return line;
}

function spacer(body, which) {
  let line = body.querySelector(`.${which}`);
  if (line === null) {
    line = make("tr", { class: `spacer ${which}`, "aria-hidden": "true" }, make("td"));
    if (which === "above") body.prepend(line);
    else body.append(line);
  }
  // One more than there are would take its share of the width.
  line.firstChild.colSpan = columns.filter((column) => !column.head.hidden).length;
  return line;
}

function renderRows(first, last) {
  const body = byId("table").tBodies[0];
  if (first === undefined) {
    first = Math.max(0, Math.floor(box.scrollTop / rowHeight) - 6);
    // The box is as low as what is in it, until the rows are there.
    const height = Math.max(box.clientHeight, innerHeight);
    last = Math.min(view.length, first + Math.ceil(height / rowHeight) + 12);
  }
  const above = spacer(body, "above"), below = spacer(body, "below");
  above.firstChild.style.height = `${first * rowHeight}px`;
  below.firstChild.style.height = `${Math.max(0, view.length - last) * rowHeight}px`;
  above.hidden = first === 0;
  below.hidden = last >= view.length;
  const wanted = new Set(view.slice(first, last));
  for (const [i, line] of rendered) {
    if (!wanted.has(i)) { line.remove(); rendered.delete(i); }
  }
  let previous = above;
  for (let position = first; position < last; position += 1) {
    const i = view[position];
    if (!rendered.has(i)) rendered.set(i, makeRow(position));
    const line = rendered.get(i);
    if (previous.nextSibling !== line) previous.after(line);
    previous = line;
  }
}

function showCurrent(line, isCurrent) {
  line.classList.toggle("current", isCurrent);
  if (isCurrent) line.setAttribute("aria-current", "true");
  else line.removeAttribute("aria-current");
  // One row is in the tab order; arrows reach the others.
  for (const node of [line, ...line.querySelectorAll("button")]) {
    node.tabIndex = isCurrent ? 0 : -1;
  }
}

function select(i, takeFocus = false) {
  if (rendered.has(current)) showCurrent(rendered.get(current), false);
  current = i;
  scrollToCurrent();
  showCurrent(rendered.get(i), true);
  if (takeFocus) rendered.get(i).focus({ preventScroll: true });
  showDetail();
}

function scrollToCurrent() {
  const top = view.indexOf(current) * rowHeight;
  const head = byId("table").tHead.offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  const bottom = top + rowHeight + head - box.clientHeight;
  if (bottom > box.scrollTop) box.scrollTop = bottom + 1;
  renderRows();
}

function move(step, takeFocus = true) {
  const at = view.indexOf(current);
  const next = Math.max(0, Math.min(view.length - 1, at + step));
  if (view.length) select(view[next], takeFocus);
}

// From the gradient space: the filters give way where they hide the example.
function openExample(i) {
  if (!view.includes(i)) {
    byId("filters").reset();
    updateView();
  }
  select(i, true);
  rendered.get(i)?.scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || current === null) return;
  if (event.target.tagName === "BUTTON" && [" ", "Enter"].includes(event.key)) return;
  if (event.target.closest("thead")) return;
  const page = Math.max(1, Math.floor(box.clientHeight / rowHeight) - 2);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page,
    Home: -view.length, End: view.length };
  const word = { k: "keep", d: "drop", u: "" }[event.key.toLowerCase()];
  if (event.key in steps) move(steps[event.key]);
  else if (word !== undefined) {
    mark([current], word);
    if (word) move(1);
  } else return;
  event.preventDefault();
}

function onClick(event) {
  const line = event.target.closest("tr[data-place]");
  if (line === null) return;
  const i = Number(line.dataset.place);
  const button = event.target.closest("[data-mark]");
  if (button !== null) toggle(i, button.dataset.mark);
  select(i, button === null);
}

function makeHead() {
  const head = make("tr");
  const widths = byId("table").querySelector("colgroup");
  for (const column of columns) {
    column.col = make("col");
    if (column.width !== null) column.col.style.width = `${column.width}rem`;
    widths.append(column.col);
    column.head = make("th", { scope: "col", class: column.number ? "number" : null });
    if (column.key === undefined) column.head.append(make("span", {}, column.name));
    else {
      const button = make("button", { type: "button" }, column.name);
      button.addEventListener("click", () => sortBy(column));
      column.head.append(button);
    }
    head.append(column.head);
  }
  byId("table").tHead.append(head);
  fitColumns();
}

const widthOf = (shown) => shown.reduce((sum, column) => sum + (column.width ?? 11), 0);

function fitColumns() {
  const room = box.clientWidth / parseFloat(getComputedStyle(document.documentElement).fontSize);
  const spare = columns.filter((column) => column.spare).sort((a, b) => b.spare - a.spare);
  let shown = columns;
  while (spare.length && widthOf(shown) > room) {
    const least = spare.shift();
    shown = shown.filter((column) => column !== least);
  }
  columns.forEach((column, k) => {
    const hidden = !shown.includes(column);
    if (column.head.hidden === hidden) return;
    column.head.hidden = column.col.hidden = hidden;
    for (const line of rendered.values()) line.cells[k].hidden = hidden;
  });
  byId("table").style.minWidth = `${widthOf(shown)}rem`;
}

// First click: what a reader looks for first, large numbers or A to Z.
function sortBy(column) {
  const first = column.number && column !== columns[0] ? -1 : 1;
  sorting = { column, sign: sorting.column === column ? -sorting.sign : first };
  updateView();
}
