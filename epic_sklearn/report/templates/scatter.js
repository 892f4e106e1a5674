// The gradient space of one class, on a canvas.

const canvas = byId("space");
const chooser = byId("space-class");
const tooltip = byId("tooltip");
let points = [];
let hovered = null;

const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Each kind of point has a shape of its own, not only a colour; r is its size.
const colours = { kept: "dots", flagged: "drop", keep: "keep", drop: "drop" };
function drawMark(kind, c, x, y, r = 6) {
  const s = kind === "flagged" ? r : r - 1;
  c.beginPath();
  if (kind === "kept") c.arc(x, y, 3, 0, 7);
  else if (kind === "keep") c.rect(x - s, y - s, 2 * s, 2 * s);
  else if (kind === "flagged") {
    c.moveTo(x, y - s); c.lineTo(x + s, y); c.lineTo(x, y + s); c.lineTo(x - s, y);
    c.closePath();
  } else {
    c.moveTo(x - s, y - s); c.lineTo(x + s, y + s);
    c.moveTo(x + s, y - s); c.lineTo(x - s, y + s);
  }
  c.globalAlpha = kind === "kept" ? 0.7 : 1;
  c.fillStyle = colour(colours[kind]);
  c.strokeStyle = colour(kind === "drop" ? "drop" : "panel");
  c.lineWidth = kind === "drop" && r > 4 ? 2.5 : 1;
  if (kind !== "drop") c.fill();
  if (kind === "drop" || (kind !== "kept" && r > 4)) c.stroke();
  c.globalAlpha = 1;
}
const kindOf = (point) =>
  point.place === null ? "kept" : decisions[point.place] || "flagged";

function sized(node, width, height) {
  const ratio = devicePixelRatio || 1;
  node.width = Math.round(width * ratio);
  node.height = Math.round(height * ratio);
  const context = node.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

// Coordinates with a long tail drawn in: linear near the middle of the class, then
// logarithmic, so that most of it does not vanish beside a few distant points.
function spreadOut(space) {
  const median = (values) => values.slice().sort((a, b) => a - b)[values.length >> 1];
  const [x0, y0] = [median(space.x), median(space.y)];
  const xs = space.x.map((x) => x - x0), ys = space.y.map((y) => y - y0);
  const radii = xs.map((x, i) => Math.hypot(x, ys[i]));
  const middle = median(radii) || 1;
  const factors = radii.map((r) => (r ? Math.asinh(r / middle) / r : 0));
  return [xs.map((x, i) => x * factors[i]), ys.map((y, i) => y * factors[i])];
}

// One scale for both axes, so that distances in the picture compare.
function placePoints(width, height) {
  const space = data.spaces[chooser.value];
  const [xs, ys] = byId("space-spread").checked ? spreadOut(space) : [space.x, space.y];
  const low = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
  const [left, right, bottom, top] = [low(xs), high(xs), low(ys), high(ys)];
  const scale = Math.min(
    (width - 40) / (right - left || 1), (height - 40) / (top - bottom || 1));
  const nKept = space.kept.length;
  points = xs.map((x, i) => ({
    x: width / 2 + (x - (left + right) / 2) * scale,
    y: height / 2 - (ys[i] - (top + bottom) / 2) * scale,
    place: i < nKept ? null : space.flagged[i - nKept],
    row: i < nKept ? space.kept[i] : table.row[space.flagged[i - nKept]],
  }));
}

function drawSpace() {
  const { clientWidth: width, clientHeight: height } = canvas;
  const context = sized(canvas, width, height);
  placePoints(width, height);
  // Many marks are small and lie under what is kept, or they would hide it.
  const flagged = points.filter((point) => point.place !== null);
  const kept = points.filter((point) => point.place === null);
  const r = Math.max(2, Math.min(6, 6 * Math.sqrt(300 / flagged.length)));
  const inOrder = flagged.length > kept.length ? [flagged, kept] : [kept, flagged];
  for (const point of inOrder.flat()) drawMark(kindOf(point), context, point.x, point.y, r);
  for (const point of points) {
    const isCurrent = point.place !== null && point.place === current;
    if (!isCurrent && point.row !== hovered?.row) continue;
    context.strokeStyle = colour("text");
    context.lineWidth = 2;
    context.beginPath(); context.arc(point.x, point.y, 10, 0, 7); context.stroke();
  }
}

let isDrawing = false;
function redrawSpace() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => { isDrawing = false; drawSpace(); });
}

function describeSpace() {
  const space = data.spaces[chooser.value];
  const nShown = space.kept.length;
  const sample = nShown < space.nKept
    ? `${count(nShown)} of ${count(space.nKept)} kept examples are drawn, at random.`
    : `All ${count(space.nKept)} kept examples are drawn.`;
  byId("space-caption").textContent =
    `First two principal components of the class's gradients: ${
      Math.round(100 * space.explained)}% of their variance. ${sample} ${
      space.flagged.length ? "Point at one to see it, click a flagged one to open it." : ""}`;
  canvas.setAttribute("aria-label", `Gradients of class ${data.labels[chooser.value]}: ${
    count(space.nKept)} kept, ${count(space.flagged.length)} flagged`);
}

// The space of a class: that of the selected row, or of the reader's choice.
function showSpace(code) {
  if (chooser.value !== String(code)) hover(null);
  chooser.value = code;
  describeSpace();
  redrawSpace();
}

function nearestPoint(x, y) {
  let best = null, distance = 14 * 14;
  for (const point of points) {
    // A flagged point wins over a kept one that it covers.
    const d = (point.x - x) ** 2 + (point.y - y) ** 2 - (point.place === null ? 0 : 30);
    if (d < distance) [best, distance] = [point, d];
  }
  return best;
}

function tooltipContent(point) {
  const label = data.labels[chooser.value];
  const lines = [];
  const image = thumbnail(point.row, 96, titleOf(point.row));
  if (image !== null) lines.push(make("div", { class: "two" }, image));
  lines.push(make("b", {}, titleOf(point.row)), ` · label ${label}`);
  const i = point.place;
  if (i === null) return lines.concat(" · kept");
  if (table.prediction !== null) lines.push(`, predicted ${predictionOf(i)}`);
  lines.push(make("br"), scoreOf(i));
  detailsOf(i).forEach(([title, text]) => lines.push(`, ${title.toLowerCase()} ${text}`));
  for (const [name, ours, theirs] of differencesOf(i).slice(0, 3)) {
    lines.push(make("br"), `${name}: ${ours}, nearest kept ${theirs}`);
  }
  if (decisions[i]) lines.push(make("br"), `Marked: ${decisions[i]}`);
  return lines;
}

function hover(point) {
  if (hovered === point) return;
  hovered = point;
  redrawSpace();
  tooltip.hidden = point === null;
  if (point === null) return;
  tooltip.replaceChildren(...tooltipContent(point));
  const box = canvas.getBoundingClientRect();
  const x = box.left + point.x, y = box.top + point.y;
  const beside = x + 16 + tooltip.offsetWidth < innerWidth
    ? x + 16 : x - 16 - tooltip.offsetWidth;
  tooltip.style.left = `${Math.max(4, beside)}px`;
  tooltip.style.top =
    `${Math.max(4, Math.min(y - 20, innerHeight - tooltip.offsetHeight - 4))}px`;
}

// With keys: from one flagged point of the class to the next.
function stepThrough(step) {
  const flagged = points.filter((point) => point.place !== null);
  if (!flagged.length) return;
  const at = flagged.indexOf(hovered);
  hover(flagged[(at + step + flagged.length) % flagged.length] ?? flagged[0]);
}

function startScatter() {
  data.spaces.forEach((space, code) => {
    const text = `${data.labels[code]} (${count(space.flagged.length)} flagged)`;
    chooser.append(make("option", { value: code }, text));
  });
  const names = { kept: "kept", flagged: "flagged", keep: "marked keep", drop: "marked drop" };
  for (const [kind, text] of Object.entries(names)) {
    byId("legend").append(make("li", { "data-kind": kind }, make("canvas"), text));
  }
  const change = () => { hover(null); showSpace(chooser.value); };
  chooser.addEventListener("change", change);
  byId("space-spread").addEventListener("change", change);
  canvas.addEventListener("pointermove", (event) =>
    hover(nearestPoint(event.offsetX, event.offsetY)));
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("blur", () => hover(null));
  canvas.addEventListener("click", (event) => {
    const point = nearestPoint(event.offsetX, event.offsetY);
    if (point !== null && point.place !== null) openExample(point.place);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step !== undefined) { event.preventDefault(); stepThrough(step); }
    if (event.key === "Enter" && hovered?.place != null) openExample(hovered.place);
    if (event.key === "Escape") hover(null);
  });
  new ResizeObserver(redrawSpace).observe(canvas);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => { drawLegend(); redrawSpace(); });
  drawLegend();
  showSpace(0);
}

function drawLegend() {
  for (const item of byId("legend").children) {
    drawMark(item.dataset.kind, sized(item.firstChild, 16, 16), 8, 8);
  }
}
