"use strict";
// Elements, numbers in words, and what follows the pointer or the focus: the tip and the live region.
// Text from a report enters the page as text alone: by textContent and setAttribute, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, ...children) {
  const svg = name.startsWith("svg:");
  const made = svg ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== "") made.append(child);
  }
  return made;
}

function section(title, ...children) {
  const id = "about-" + title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), children);
}

// JSON has no infinities and no NaN: a report holds them as text.
function number(value) {
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  return typeof value === "number" ? value : NaN;
}

function shown(value, digits = 9) {
  if (value === null || value === undefined) return "–";
  const read = number(value);
  return Number.isFinite(read) ? String(Number(read.toPrecision(digits))) : String(value);
}

function distanceInWords(value) {
  if (number(value) === 0) return "identical";
  return Number.isNaN(number(value)) ? "different, by an unknown distance" : "distance " + number(value).toPrecision(2);
}

function words(name) {
  return name.replaceAll("_", " ");
}

function table(caption, heads, rows, attributes) {
  const head = element("tr", {}, heads.map((text, i) => element("th", { scope: "col", class: i ? "number" : null }, text)));
  const body = rows.map((row) => element("tr", row.here ? { class: "here", "aria-current": "true" } : {},
    row.cells.map((text, i) => i ? element("td", { class: "number" }, text) : element("th", { scope: "row" }, text))));
  const made = element("table", attributes, caption ? element("caption", {}, caption) : null,
    element("thead", {}, head), element("tbody", {}, body));
  return element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption }, made);
}

function say(text) {
  document.getElementById("live").textContent = text;
}

function showTip(text, box) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(box.left + window.scrollX, window.scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = Math.max(window.scrollX + 8, left) + "px";
  tip.style.top = window.scrollY + (above < 0 ? box.bottom + 6 : above) + "px";
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}

document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
