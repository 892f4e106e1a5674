// Rows marked to drop, once each, in every place where they stand.
const boxes = [...document.querySelectorAll("input[data-row]")];
const list = document.getElementById("rows");
document.addEventListener("change", (event) => {
  if (event.target.dataset.row === undefined) return;
  for (const box of boxes) {
    if (box.dataset.row === event.target.dataset.row) box.checked = event.target.checked;
  }
  const marked = boxes.filter((box) => box.checked).map((box) => Number(box.dataset.row));
  const rows = [...new Set(marked)].sort((a, b) => a - b);
  list.textContent = `[${rows.join(", ")}]`;
});
