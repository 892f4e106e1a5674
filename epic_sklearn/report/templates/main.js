// Put the parts together.

// A browser prints what exists: more rows than in sight, but not ten thousand.
const MOST_PRINTED = 500;

function showProgress() {
  const nMarked = decisions.filter((word) => word !== "").length;
  const nKeep = decisions.filter((word) => word === "keep").length;
  byId("progress").textContent = `${count(nMarked)} of ${count(decisions.length)} marked: ${
    count(nKeep)} keep, ${count(nMarked - nKeep)} drop`;
  byId("download").disabled = nMarked === 0;
  byId("download").title = nMarked ? "" : "Mark examples first";
  byId("storage").textContent = canStore
    ? "Marks stay in this browser when you close the page."
    : "This browser does not store marks here: download them before you close the page.";
}

function onMarked(places) {
  for (const i of places) {
    const line = rendered.get(i);
    if (line === undefined) continue;
    line.dataset.decision = decisions[i];
    updateChoice(line, i);
  }
  if (current !== null) updateChoice(byId("detail"), current);
  showProgress();
  redrawSpace();
}

// Marks set one by one are not lost to one click.
function markAll(word) {
  const nOther = view.filter((i) => decisions[i] && decisions[i] !== word).length;
  if (nOther && !confirm(`This changes ${count(nOther)} marks that you have set.`)) return;
  mark(view.slice(), word);
}

function startFilters() {
  byId("filter-label").append(make("option", { value: "" }, "all"));
  data.labels.forEach((label, code) => {
    byId("filter-label").append(make("option", { value: code }, label));
  });
  byId("filter-wrong-box").hidden = table.prediction === null;
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", updateView);
  form.addEventListener("reset", () => setTimeout(updateView));
}

function startPrinting() {
  addEventListener("beforeprint", () => {
    const n = Math.min(view.length, MOST_PRINTED);
    renderRows(0, n);
    if (n < view.length) {
      byId("nothing").textContent =
        `The first ${count(n)} of ${count(view.length)} flagged examples are printed.`;
      byId("nothing").hidden = false;
    }
  });
  addEventListener("afterprint", () => {
    byId("nothing").textContent = "No flagged example matches the filters.";
    updateView();
  });
}

function startTable() {
  loadDecisions();
  makeHead();
  startFilters();
  startPrinting();
  box.addEventListener("scroll", () => requestAnimationFrame(() => renderRows()),
    { passive: true });
  box.addEventListener("keydown", onKey);
  box.addEventListener("click", onClick);
  byId("detail").addEventListener("click", onDetailClick);
  byId("download").addEventListener("click", download);
  for (const button of document.querySelectorAll("[data-bulk]")) {
    button.addEventListener("click", () => markAll(button.dataset.bulk));
  }
  addEventListener("beforeunload", (event) => {
    if (!canStore && !isSaved) event.preventDefault();
  });
  new ResizeObserver(() => { fitColumns(); renderRows(); }).observe(box);
  updateView();
  showProgress();
}

startScatter();
if (table.row.length) startTable();
