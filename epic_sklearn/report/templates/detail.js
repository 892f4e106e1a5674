// The selected example, large, beside the nearest kept one of its class.

function figure(row, caption) {
  return make("figure", {}, thumbnail(row, null, caption), make("figcaption", {}, caption));
}

function facts(i) {
  const list = make("dl", { class: "facts" });
  const add = (name, value) => list.append(make("dt", {}, name),
    make("dd", {}, ...(typeof value === "string" ? breakable(value) : [value])));
  if (data.names !== null) add("Row, from 0", table.row[i]);
  add("Label", labelOf(i));
  if (table.prediction !== null) {
    const kind = isWrong(i) ? "differs" : null;
    add("Prediction", make("span", { class: kind }, ...breakable(predictionOf(i))));
  }
  add(data.scoreName, table.scoreTexts[i]);
  detailsOf(i).forEach(([title, text]) => add(title, text));
  if (table.round[i] >= 0) {
    add(data.clock === "epoch" ? "Dropped after epoch" : "Dropped in round", table.round[i]);
  }
  add("Nearest kept", table.near[i] < 0 ? "none in its class" : titleOf(table.near[i]));
  return list;
}

// Lines of a name and texts.
function plainTable(names, lines) {
  const body = make("tbody");
  for (const [name, ...texts] of lines) {
    body.append(make("tr", {},
      make("th", { scope: "row", class: "text" }, ...breakable(name)),
      ...texts.map((text) => make("td", {}, ...breakable(text)))));
  }
  const heads = names.map((name) => make("th", { scope: "col" }, name));
  return make("table", { class: "plain" }, make("thead", {}, make("tr", {}, ...heads)), body);
}

function differenceTable(i) {
  const found = differencesOf(i);
  if (!found.length) {
    const text = data.hasTexts ? "Only in their texts, above." : "No feature differs.";
    return make("p", { class: "muted" }, text);
  }
  return plainTable(["Feature", "This", "Nearest kept", "Gap (sd)"],
    found.map(([name, ours, theirs, gap]) => [name, ours, theirs, gap.toFixed(1)]));
}

// Columns beside the model's: a table of short ones, long texts below each other.
const LONG = 40;
function asideParts(i) {
  const near = table.near[i];
  const short = [], parts = [];
  for (const { name, values, isSeen } of data.asides) {
    const [ours, theirs] = [values[table.row[i]], near < 0 ? "" : values[near]];
    const isShort = Math.max(ours.length, theirs.length) <= LONG;
    if (isShort && !isSeen) short.push([name, ours, theirs]);
    else {
      parts.push(make("h4", {}, ...breakable(name)), make("p", { class: "prose" }, ours));
      if (theirs) {
        parts.push(make("p", { class: "prose muted" }, make("b", {}, "Nearest kept: "), theirs));
      }
    }
  }
  if (short.length) {
    parts.push(make("h4", {}, "Not seen by the model"),
      plainTable(["Column", "This", "Nearest kept"], short));
  }
  return parts;
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
  showSpace(table.label[current]);
  const near = table.near[current];
  const parts = [make("h3", {}, titleOf(table.row[current]))];
  if (data.thumbnails !== null) {
    parts.push(make("div", { class: "two" },
      figure(table.row[current], "This example"),
      near < 0 ? null : figure(near, `Nearest kept: ${titleOf(near)}`)));
  }
  parts.push(facts(current), choiceButtons(current),
    make("div", { class: "steps" }, stepButton("← Previous", -1), stepButton("Next →", 1)));
  parts.push(...asideParts(current));
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
  if (step !== undefined) move(Number(step), false);
}
