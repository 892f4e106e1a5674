// The selected example, large, beside the nearest kept one of its class.

function figure(row, caption) {
  const image = thumbnail(row, 152, caption);
  if (image !== null) image.style.height = image.style.width = "";
  return make("figure", {}, image, make("figcaption", {}, caption));
}

function facts(i) {
  const list = make("dl", { class: "facts" });
  const add = (name, value) => list.append(make("dt", {}, name),
    make("dd", {}, ...(typeof value === "string" ? breakable(value) : [value])));
  if (table.index !== null) add("Index", table.index[i]);
  add("Label", labelOf(i));
  if (table.prediction !== null) {
    const kind = isWrong(i) ? "differs" : null;
    add("Prediction", make("span", { class: kind }, ...breakable(predictionOf(i))));
  }
  add(data.scoreName, table.scoreTexts[i]);
  detailsOf(i).forEach(([title, text]) => add(title, text));
  if (table.round[i] > 0) add("Dropped in round", table.round[i]);
  add("Nearest kept", table.near[i] < 0 ? "none in its class" : `row ${table.near[i]}`);
  return list;
}

function differenceTable(i) {
  const found = differencesOf(i);
  if (!found.length) return make("p", { class: "muted" }, "No feature differs.");
  const body = make("tbody");
  for (const [name, ours, theirs, gap] of found) {
    body.append(make("tr", {},
      make("th", { scope: "row", class: "text" }, ...breakable(name)),
      make("td", {}, ...breakable(ours)), make("td", {}, ...breakable(theirs)),
      make("td", {}, gap.toFixed(1))));
  }
  const head = make("tr");
  for (const name of ["Feature", "This", "Nearest kept", "Gap (sd)"]) {
    head.append(make("th", { scope: "col" }, name));
  }
  return make("table", { class: "plain" }, make("thead", {}, head), body);
}

function stepButton(text, step) {
  const button = make("button", { type: "button", "data-step": step }, text);
  const at = view.indexOf(current) + step;
  button.disabled = at < 0 || at >= view.length;
  return button;
}

function showDetail() {
  const panel = byId("detail");
  const hadFocus = panel.contains(document.activeElement)
    ? document.activeElement.dataset : null;
  panel.hidden = current === null;
  if (current === null) return;
  const near = table.near[current];
  const parts = [make("h3", {}, `Row ${table.row[current]}`)];
  if (data.thumbnails !== null) {
    parts.push(make("div", { class: "two" },
      figure(table.row[current], "This example"),
      near < 0 ? null : figure(near, `Nearest kept, row ${near}`)));
  }
  parts.push(facts(current), choiceButtons(current, true),
    make("div", { class: "steps" }, stepButton("← Previous", -1), stepButton("Next →", 1)));
  if (table.differences !== null && near >= 0) {
    parts.push(make("h4", {}, "Features that differ most"), differenceTable(current));
  }
  panel.replaceChildren(...parts);
  if (hadFocus === null) return;
  const again = hadFocus.mark ? `[data-mark="${hadFocus.mark}"]` : `[data-step="${hadFocus.step}"]`;
  panel.querySelector(again)?.focus({ preventScroll: true });
}

function onDetailClick(event) {
  const { mark: word, step } = event.target.dataset;
  if (word !== undefined) toggle(current, word);
  if (step !== undefined) {
    const at = view.indexOf(current) + Number(step);
    if (at >= 0 && at < view.length) select(view[at]);
  }
}
