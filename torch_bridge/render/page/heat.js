"use strict";
// A map: names down, phases or steps across, a colour and a number in each cell; the arrow keys walk over it.

// The power of ten of a distance, from 1e-17 to 1, as a share of the colour.
function heatOf(value) {
  const read = number(value);
  if (read === 0) return 0;
  return Number.isFinite(read) ? Math.min(100, Math.max(8, 100 + 100 * Math.log10(Math.max(read, 1e-17)) / 17)) : 100;
}

function heatMap(caption, columns, rows) {
  const cells = [];
  const body = rows.map((row, r) => element("tr", {}, element("th", { scope: "row" }, row.name),
    row.cells.map((cell, c) => {
      if (!cell) return element("td", { class: "none" }, element("span", { class: "unseen" }, "not compared"));
      const heat = heatOf(cell.heat), power = Math.floor(Math.log10(number(cell.heat)));
      const text = number(cell.heat) === 0 ? "=" : Number.isFinite(power) ? `1e${power}` : "≠";
      const made = element("td", { tabindex: "-1", "aria-label": `${row.name}, ${columns[c]}: ${cell.words}` }, text);
      made.style.background = `color-mix(in srgb, var(--heat) ${heat.toFixed(0)}%, var(--panel))`;
      made.style.color = heat > 50 ? "var(--on-heat)" : "var(--ink)";
      if (cell.marked) made.style.outline = "3px solid var(--focus)";
      made.dataset.row = r;
      made.dataset.column = c;
      made.dataset.tip = `${row.name}\n${columns[c]}: ${cell.words}`;
      cells.push(made);
      return made;
    })));
  const head = element("tr", {}, element("td", {}), columns.map((name) => element("th", { scope: "col" }, name)));
  const grid = element("table", { class: "grid", "aria-label": caption }, element("thead", {}, head), element("tbody", {}, body));
  if (cells.length) (cells.find((cell) => cell.style.outline) || cells[0]).tabIndex = 0;
  const cellAt = (event) => event.target.closest?.("td[data-tip]");

  grid.addEventListener("pointerover", (event) => {
    const cell = cellAt(event);
    if (cell) showTip(cell.dataset.tip, cell.getBoundingClientRect());
    else hideTip();
  });
  grid.addEventListener("pointerleave", hideTip);
  grid.addEventListener("focusout", hideTip);
  grid.addEventListener("focusin", (event) => {
    const cell = cellAt(event);
    if (!cell) return;
    cells.forEach((other) => { other.tabIndex = other === cell ? 0 : -1; });
    showTip(cell.dataset.tip, cell.getBoundingClientRect());
    say(cell.getAttribute("aria-label"));
  });
  grid.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const cell = cellAt(event), move = moves[event.key];
    if (!cell || !move) return;
    event.preventDefault();
    const ahead = (other) => { // the next cell in that direction; empty ones are passed over
      const down = other.dataset.row - cell.dataset.row, right = other.dataset.column - cell.dataset.column;
      return move[0] ? (right === 0 && down * move[0] > 0 ? Math.abs(down) : 0) : (down === 0 && right * move[1] > 0 ? Math.abs(right) : 0);
    };
    const next = cells.filter(ahead).sort((a, b) => ahead(a) - ahead(b))[0];
    if (next) next.focus();
  });
  return element("div", { class: "wide" }, grid);
}

// Phases across, parameters down: of each the largest distance in the run.
function mapOfDrive(drive, difference) {
  const phases = drive.curves.map((curve) => curve.phase);
  const names = [...new Set(drive.cells.map((cell) => cell.name))];
  const found = new Map(drive.cells.map((cell) => [JSON.stringify([cell.phase, cell.name]), cell]));
  const isGroup = (name) => drive.cells.every((cell) => cell.name !== name || drive.numbers.includes(cell.phase));
  const rows = names.map((name) => ({ name: name === "" ? "(the step)" : isGroup(name) ? `group ${name}` : name, cells: phases.map((phase) => {
    const cell = found.get(JSON.stringify([phase, name]));
    if (!cell) return null;
    const since = cell.first === null ? "" : `, first at step ${cell.first}, at ${cell.steps} steps`;
    const marked = difference !== null && difference.phase === phase && difference.name === name;
    return { heat: cell.distance, words: distanceInWords(cell.distance) + since, marked };
  }) }));
  const more = drive.left_out ? [element("p", { class: "dim" }, `${drive.left_out} more parameters are closer to torch's.`)] : [];
  return [heatMap(`Largest relative distance, drive ${drive.name}`, phases.map(words), rows), ...more];
}

// Evaluated steps across, layers and parameters down, each evaluated in float64 from torch's state.
function mapOfFunctions(rows, steps, difference) {
  return heatMap("Relative distance in float64 at the steps that were evaluated", steps.map((step) => `step ${step}`),
    rows.map((row) => ({ name: row.name ? `${words(row.phase)} of ${row.name}` : words(row.phase), cells: steps.map((step) => {
      const cell = row.cells.find((each) => each.step === step);
      if (!cell) return null;
      const verdict = cell.same ? "the same function" : "another function";
      const marked = difference !== null && difference.phase === row.phase && difference.name === row.name && difference.step === step;
      return { heat: cell.distance, words: `${verdict}, ${distanceInWords(cell.distance)}, rounding explains ${shown(cell.limit, 2)}`, marked };
    }) })));
}
