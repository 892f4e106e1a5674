// Rows marked to drop, once each, in every place where they stand.
const boxes = [...document.querySelectorAll("input[data-row]")];
const list = document.getElementById("rows");
const names = document.getElementById("names");  // where rows have more than numbers
const key = `trace of ${document.title}: ${
  boxes.map((box) => `${box.dataset.row} ${box.dataset.name}`).join()}`;
function show() {
  const marked = new Map(boxes.filter((box) => box.checked)
    .map((box) => [Number(box.dataset.row), box.dataset.name]));
  const rows = [...marked.keys()].sort((a, b) => a - b);
  list.textContent = `[${rows.join(", ")}]`;
  if (names) {  // quoted as in a line of CSV
    const quoted = rows.map((row) => marked.get(row)).map((name) =>
      /^\s|[",[\]\r\n]|\s$/.test(name) ? `"${name.replaceAll('"', '""')}"` : name);
    names.textContent = quoted.join(",") || "none";
  }
  return rows;
}
document.addEventListener("change", (event) => {
  if (event.target.dataset.row === undefined) return;
  for (const box of boxes) {
    if (box.dataset.row === event.target.dataset.row) box.checked = event.target.checked;
  }
  const rows = show();
  try { localStorage.setItem(key, JSON.stringify(rows)); } catch { /* no storage here */ }
});
try {  // marks outlive a reload
  const rows = JSON.parse(localStorage.getItem(key)) ?? [];
  for (const box of boxes) box.checked = rows.includes(Number(box.dataset.row));
} catch { /* no storage here */ }
show();
