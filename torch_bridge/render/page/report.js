"use strict";
// The page from top to bottom.

const STYLES = { bitwise: "good", "same function": "good", imprecise: "fair", different: "bad" };

function preflightSection(preflight) {
  if (!preflight) return null;
  const findings = preflight.findings.map((finding) => element("div", { class: "finding" },
    element("p", {}, element("strong", {}, finding.name), ": ", finding.sentence),
    element("p", {}, "Remedy: ", finding.remedy)));
  const draws = preflight.draws.length ? [table("Random draws on both sides, as far as they are known", ["what", "torch", "JAX"],
    preflight.draws.map((draw) => ({ cells: [draw.what, draw.torch || "–", draw.jax || "–"] })))] : [];
  const unread = preflight.unread.map((sentence) => element("p", { class: "dim" }, sentence));
  return section("Preflight", findings.length ? findings : element("p", {}, "No difference of recipe or environment was found."), unread, draws);
}

// Whole lines in place of others, marked as in a diff.
function editBlock(edit) {
  const marked = (mark, text) => text.split("\n").filter((line, i, all) => line || i < all.length - 1).map((line) => `${mark} ${line}\n`).join("");
  return [element("p", {}, `${edit.path}:${edit.line}, proved by a check of the changed file:`),
    element("pre", {}, element("code", {}, marked("-", edit.old) + marked("+", edit.new)))];
}

function causeSection(report) {
  if (!report.causes.length && !report.tried.length && !report.difference) return null;
  const causes = report.causes.map((cause) => element("div", { class: "cause" },
    element("h3", {}, cause.name + (cause.family ? ` (${cause.family})` : "")),
    element("p", {}, cause.sentence),
    cause.fix ? element("pre", {}, element("code", {}, cause.fix)) : null,
    cause.edits.map(editBlock),
    table("Evidence: the distance of both sides", ["", "distance", "quantities that agree"], [
      { cells: ["before the repair", shown(cause.before, 3), ""] },
      { cells: ["after the repair", `${shown(cause.after, 3)} of what rounding explains`, String(cause.values)], here: true }])));
  const constants = Object.entries(report.difference && !causes.length ? report.difference.constants : {}).map(([name, change]) =>
    element("p", {}, `${name} is off by ${shown(change, 3)} relative to torch's: with that change the two sides agree here.`));
  const place = report.place.length ? [element("p", {}, `Confined to ${report.place.slice(0, 8).join(", ")}${report.place.length > 8 ? ", ..." : ""} by ${report.substitutions} substitutions of torch's values.`)] : [];
  const unknown = report.difference && !causes.length && !constants.length ? [element("p", {}, "The cause is not known.")] : [];
  const tried = report.tried.length ? [element("details", {}, element("summary", {}, `${report.tried.length} repairs were tried`),
    element("ul", {}, report.tried.map((each) => element("li", {}, `${each.name}: ${shown(each.distance, 2)} was left`))))] : [];
  return section("Cause", causes, constants, unknown, place, tried);
}

function elementSection(report) {
  const history = report.history;
  if (!history) return null;
  const drives = Object.keys(history.jax), index = history.index.length ? `[${history.index.join(", ")}]` : "";
  const rows = history.steps.map((step, i) => ({ here: step === report.difference.step,
    cells: [String(step), shown(history.torch[i]), ...drives.map((drive) => shown(history.jax[drive][i]))] }));
  const evaluated = element("p", {}, `Where it was found: torch ${shown(report.difference.torch)}, JAX ${shown(report.difference.jax)}, relative distance ${shown(report.difference.distance, 3)}, where rounding explains ${shown(report.difference.limit, 2)}.`);
  return section("The element that differs", evaluated, table(`${words(history.phase)} ${history.name}${index}, by step`,
    ["step", "torch", ...drives.map((drive) => `JAX, ${drive}`)], rows));
}

function precisionSection(report) {
  if (!report.precisions.length) return null;
  return section("Precision", table("Rounding error of each side against its own evaluation in float64", ["quantity", "torch", "JAX", "factor"],
    report.precisions.map((row) => ({ cells: [row.name ? `${words(row.phase)} of ${row.name}` : words(row.phase), shown(row.torch, 2), shown(row.jax, 2), shown(row.factor, 3)] }))),
  report.precisions_left_out ? element("p", { class: "dim" }, `${report.precisions_left_out} more are as precise.`) : null);
}

function listSection(title, sentences) {
  return sentences.length ? section(title, element("ul", {}, sentences.map((text) => element("li", {}, text)))) : null;
}

function genericRows(title, rows) {
  if (!rows.length) return null;
  const heads = Object.keys(rows[0]);
  return section(title, table(title, heads.map(words), rows.map((row) => ({ cells: heads.map((key) => typeof row[key] === "number" ? shown(row[key], 4) : String(row[key] ?? "–")) }))));
}

function provenanceSection(sides) {
  const lists = Object.entries(sides).filter(([, rows]) => rows.length).map(([side, rows]) => [element("h3", {}, side),
    element("dl", {}, rows.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]))]);
  return lists.length ? section("Provenance", lists) : null;
}

function draw(report) {
  const drives = report.drives, difference = report.difference;
  const marked = difference ? difference.step : null;
  document.title = `${report.verdict}: torch-bridge report`;
  const chart = drives.length ? section("Distance by step", switchable("chart", drives, (drive) => [
    element("figure", {}, drawChart(drive, marked), legendOf(drive), element("figcaption", {}, drive.sentence +
      (drive.starts.length < drive.n_steps ? ` Each point is a range of steps, its band from the smallest to the largest distance.` : "")))])) : null;
  const map = drives.length ? section("Phases and parameters", switchable("map", drives, (drive) => mapOfDrive(drive, difference))) : null;
  const functions = report.functions.rows.length ? section("Layers, loss and gradients in float64", mapOfFunctions(report.functions.rows, report.functions.steps, difference),
    report.functions.left_out ? element("p", { class: "dim" }, `${report.functions.left_out} more quantities agree better.`) : null) : null;
  document.getElementById("report").replaceChildren(...[
    element("header", {}, element("span", { class: `badge ${STYLES[report.verdict] || "bad"}` }, report.verdict), element("h1", {}, report.sentence)),
    preflightSection(report.preflight), causeSection(report), chart, map, functions, genericRows("Layers", report.layers), elementSection(report),
    precisionSection(report), listSection("Hazards", report.hazards), listSection("Notes", report.notes), provenanceSection(report.provenance),
  ].filter(Boolean));
}

const REPORT = JSON.parse(document.getElementById("data").textContent);
draw(REPORT);
NARROW.addEventListener("change", () => draw(REPORT));
