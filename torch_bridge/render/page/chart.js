"use strict";
// The distance by step: a curve for each phase, on a logarithmic scale, with a cursor for pointer and keys.

const HEIGHT = 360, MARGIN = { left: 56, right: 12, top: 12, bottom: 40 };
const DASHES = ["", "8 4", "2 3", "10 3 2 3", "5 2", "1 4", "12 5", "4 4 1 4", "6 6"];
const LEAST = 1e-17, MOST = 1e3; // of the scale; 0 stands on its lower edge, what is infinite or unknown on its upper one

function colour(index) {
  return `var(--c${index % 8})`;
}

function vertical(value, range) {
  const read = number(value);
  const inner = HEIGHT - MARGIN.top - MARGIN.bottom;
  if (read === 0) return HEIGHT - MARGIN.bottom;
  const logarithm = Number.isFinite(read) ? Math.log10(Math.min(Math.max(read, LEAST), MOST)) : range.most;
  return HEIGHT - MARGIN.bottom - inner * (logarithm - range.least) / (range.most - range.least);
}

function rangeOf(drive) {
  const values = drive.curves.flatMap((curve) => curve.high.concat(curve.low)).map(number).filter((v) => v > 0 && v < MOST);
  const logarithms = values.map((v) => Math.log10(Math.max(v, LEAST)));
  if (!logarithms.length) return { least: -17, most: 0 };
  const least = logarithms.reduce((a, b) => Math.min(a, b)), most = logarithms.reduce((a, b) => Math.max(a, b));
  return { least: Math.floor(least) - 1, most: Math.max(Math.ceil(most), Math.floor(least) + 2) };
}

function stepsOf(drive, bin) {
  const first = drive.starts[bin], last = (drive.starts[bin + 1] ?? drive.n_steps) - 1;
  return first === last ? `step ${first}` : `steps ${first} to ${last}`;
}

// Narrow screens get a narrow drawing, whose letters stay as large as elsewhere.
const NARROW = window.matchMedia("(max-width: 36rem)");

function drawChart(drive, markedStep) {
  const WIDTH = NARROW.matches ? 400 : 900;
  const range = rangeOf(drive), count = drive.starts.length, inner = WIDTH - MARGIN.left - MARGIN.right;
  const across = (bin) => MARGIN.left + (count > 1 ? inner * bin / (count - 1) : inner / 2);
  const svg = element("svg:svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: "0", role: "application",
    "aria-roledescription": "chart",
    "aria-label": `Relative distance by step, drive ${drive.name}, logarithmic. Left and right arrow: step. Up and down arrow: phase.` });
  const every = Math.max(1, Math.ceil((range.most - range.least) / 8));
  for (let power = range.least + 1; power <= range.most; power += every) {
    const y = vertical(10 ** power, range);
    svg.append(element("svg:line", { class: "rule", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: y, y2: y }),
      element("svg:text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, `1e${power}`));
  }
  svg.append(element("svg:line", { class: "rule", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: HEIGHT - MARGIN.bottom, y2: HEIGHT - MARGIN.bottom }),
    element("svg:text", { x: MARGIN.left - 6, y: HEIGHT - MARGIN.bottom + 4, "text-anchor": "end" }, "equal"));
  for (let tick = 0; tick <= 4; tick++) {
    const bin = Math.round((count - 1) * tick / 4);
    svg.append(element("svg:text", { x: across(bin), y: HEIGHT - MARGIN.bottom + 18, "text-anchor": tick === 4 ? "end" : tick ? "middle" : "start" }, String(drive.starts[bin] ?? "")));
  }
  svg.append(element("svg:text", { x: WIDTH / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "step"));
  const curves = drive.curves.map((curve, i) => {
    const line = (values) => values.map((value, bin) => `${across(bin).toFixed(1)},${vertical(value, range).toFixed(1)}`);
    const group = element("svg:g", {},
      element("svg:polygon", { class: "band", fill: colour(i), points: line(curve.high).concat(line(curve.low).reverse()).join(" ") }),
      element("svg:polyline", { class: "curve", stroke: colour(i), "stroke-dasharray": DASHES[i % DASHES.length], points: line(curve.high).join(" ") }));
    svg.append(group);
    return group;
  });
  const binOf = (step) => Math.max(0, drive.starts.findLastIndex((start) => start <= step));
  if (markedStep !== null) {
    const x = across(binOf(markedStep));
    svg.append(element("svg:line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
      element("svg:text", { x: x > WIDTH / 2 ? x - 4 : x + 4, y: MARGIN.top + 12, "text-anchor": x > WIDTH / 2 ? "end" : "start" }, `first difference, step ${markedStep}`));
  }
  const cursor = element("svg:line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" });
  svg.append(cursor);
  let bin = markedStep === null ? 0 : binOf(markedStep), phase = 0;

  function point(aloud) {
    cursor.setAttribute("x1", across(bin));
    cursor.setAttribute("x2", across(bin));
    cursor.setAttribute("visibility", "visible");
    curves.forEach((group, i) => group.classList.toggle("faded", aloud && i !== phase));
    const rows = drive.curves.map((curve) => `${words(curve.phase)}: ${distanceInWords(curve.high[bin])}`);
    const box = svg.getBoundingClientRect(), x = box.left + box.width * across(bin) / WIDTH;
    showTip([stepsOf(drive, bin), ...rows].join("\n"), { left: x + 8, top: box.top + 40, bottom: box.top });
    if (aloud) say(`${stepsOf(drive, bin)}, ${rows[phase] ?? "no curve"}`);
  }

  function leave() {
    cursor.setAttribute("visibility", "hidden");
    curves.forEach((group) => group.classList.remove("faded"));
    hideTip();
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * WIDTH - MARGIN.left) / inner;
    bin = Math.min(count - 1, Math.max(0, Math.round(share * (count - 1))));
    point(false);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("focus", () => point(true));
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -count, End: count };
    if (event.key in moves) bin = Math.min(count - 1, Math.max(0, bin + moves[event.key]));
    else if (event.key === "ArrowUp") phase = Math.max(0, phase - 1);
    else if (event.key === "ArrowDown") phase = Math.min(drive.curves.length - 1, phase + 1);
    else return;
    event.preventDefault();
    point(true);
  });
  return svg;
}

function legendOf(drive) {
  return element("p", { class: "dim" }, drive.curves.map((curve, i) => [
    element("svg:svg", { class: "key", viewBox: "0 0 28 12", "aria-hidden": "true" },
      element("svg:line", { x1: 0, x2: 28, y1: 6, y2: 6, stroke: colour(i), "stroke-width": 3, "stroke-dasharray": DASHES[i % DASHES.length] })),
    ` ${words(curve.phase)}   `]));
}

// Radio buttons that choose among drives, and what is drawn for the chosen one.
function switchable(name, drives, draw) {
  const place = element("div", {});
  const choose = (drive) => place.replaceChildren(...draw(drive));
  choose(drives[0]);
  if (drives.length < 2) return [place];
  const buttons = drives.map((drive, i) => {
    const input = element("input", { type: "radio", name, value: drive.name, checked: i === 0 });
    input.addEventListener("change", () => { hideTip(); choose(drive); say(`drive ${drive.name}: ${drive.sentence}`); });
    return element("label", {}, input, drive.name);
  });
  return [element("fieldset", { class: "controls" }, element("legend", {}, "drive"), buttons), place];
}
