// Small multiples: the predicted loss of all options of every site.
const FRAME = { width: 232, height: 150, left: 34, right: 226, top: 6, bottom: 128 };
const DECADES = 6;
const methods = [];
for (const site of data.sites) for (const { method } of site.methods) if (!methods.includes(method)) methods.push(method);
for (const layer of data.layers) for (const [method, , rank] of layer.forms) if (rank !== null && !methods.includes(method)) methods.push(method);
for (const { method } of data.groups) if (method !== null && !methods.includes(method)) methods.push(method);
for (const { supports } of data.groups) for (const [method] of supports) if (!methods.includes(method)) methods.push(method);

// One range for all sites and groups. It covers all but the few lowest options, which run off the bottom.
function lossRange() {
  const losses = data.sites.flatMap((site) => site.methods.flatMap(({ line, rest }) => [...line, ...rest]));
  const ofGroups = data.groups.flatMap((group) => group.line);
  const positive = [...losses, ...ofGroups].map(([, loss]) => loss).filter((loss) => loss > 0).sort((a, b) => a - b);
  if (!positive.length) return [1e-3, 1];
  const [low, high] = [positive[Math.floor(positive.length / 25)], positive.at(-1)];
  return [Math.max(low, high / 10 ** DECADES) / 2, high * 1.4];
}
const range = lossRange();
const across = linear([0, 1], [FRAME.left, FRAME.right]);
const down = logarithmic(range, [FRAME.bottom, FRAME.top]);
const place = ([x, y]) => [across(x), down(y)];
const marks = new Map(); // layer index → where its mark goes

function drawSpectra() {
  find("spectra-section").hidden = data.sites.length === 0;
  showSpectra();
  methods.forEach((method, kind) => {
    const line = svg("svg", { viewBox: "0 0 22 14", "aria-hidden": "true" }, svg("path", { class: "track", d: "M0 7H22" }));
    find("methods").append(html("li", {}, html("span", { class: `mark ${colour(kind)}` }, line), html("span", {}, method)));
  });
}

// Figures are drawn once, when they are first shown.
function showSpectra() {
  const place = find("spectra");
  for (const site of unfolded("spectra", data.sites).slice(place.children.length)) place.append(drawSite(site));
}

function drawSite(site) {
  const options = site.methods.reduce((total, { line, rest }) => total + line.length + rest.length, 0);
  const about = `${site.name}: predicted loss of ${options} options, by ${site.methods.map(({ method }) => method).join(", ")}`;
  const plot = svg("svg", { viewBox: `0 0 ${FRAME.width} ${FRAME.height}`, role: "img", "aria-label": about });
  const clip = svg("svg", { width: FRAME.width, height: FRAME.bottom });
  clip.style.overflow = "hidden";
  for (const { method, line, rest } of site.methods) {
    const group = svg("g", { class: `mark ${colour(methods.indexOf(method))}` });
    for (const [x, y] of rest.map(place)) group.append(svg("circle", { class: "dot", cx: x.toFixed(1), cy: y.toFixed(1), r: 1.4 }));
    if (line.length === 1) group.append(svg("circle", { class: "chosen", cx: place(line[0])[0], cy: place(line[0])[1], r: 2 }));
    group.append(svg("path", { class: "track", d: path(line.map(place)) }));
    clip.append(group);
  }
  const mark = svg("g");
  const note = html("p", { class: "cut-note" });
  for (const name of site.layers) marks.set(name, { mark, plot, about, note });
  plot.append(spectrumGrid(), clip, mark);
  return html("figure", { "data-site": site.name }, html("figcaption", {}, ...breakable(site.name)), plot, note);
}

function spectrumGrid() {
  const grid = svg("g", { class: "grid", "aria-hidden": "true" });
  for (const value of logTicks(range, 4)) {
    grid.append(svg("line", { x1: FRAME.left, x2: FRAME.right, y1: down(value), y2: down(value) }));
    grid.append(svg("text", { x: FRAME.left - 5, y: down(value) + 3.5, "text-anchor": "end" }, tickName(value)));
  }
  for (const value of [0, 0.5, 1]) {
    const anchor = value === 1 ? "end" : value === 0 ? "start" : "middle";
    grid.append(svg("text", { x: across(value), y: FRAME.bottom + 14, "text-anchor": anchor }, String(value)));
  }
  grid.append(svg("line", { class: "axis", x1: FRAME.left, x2: FRAME.right, y1: FRAME.bottom, y2: FRAME.bottom }));
  return grid;
}

// Draws the cut of the selected points at every site.
function markSpectra() {
  for (const rows of shownLayers()) {
    const where = marks.get(rows[0].name);
    if (where === undefined) continue;
    where.mark.replaceChildren(...rows.flatMap(cutMark).reverse());
    const notes = rows.map(cutText);
    where.note.replaceChildren(...notes.map((note, side) => html("span", {}, tag(side), note)));
    where.plot.setAttribute("aria-label", [where.about, ...notes].join("; "));
  }
}

// The fraction of a layer that is kept: of its bytes where some weights are in codes, else of its parameters.
const keptOf = (row) => (data.coded ? ratio(row.bytes, row.bytesBefore) : ratio(row.params, row.paramsBefore));

function cutText(row) {
  const { method, rank, ends, layer } = row;
  if (method === null) return "stays dense";
  const part = `${fraction(keptOf(row))} kept`;
  if (!row.built) return `fewer channels, ${part}`;
  const isNarrower = ends !== null && String(ends) !== String(layer.ends);
  return `${method}, ${rank === null ? "" : `rank ${rank}, `}${part}${isNarrower ? ", fewer channels" : ""}`;
}

function cutMark(row, side) {
  if (!row.built) return [];
  return ringAt(row.method, row.loss, keptOf(row), `${cutText(row)}, ${row.form}, loss ${lossText(row.loss)}`, side);
}

// What is left of the line stays; what is right of it is cut off.
function ringAt(method, loss, fractionKept, text, side) {
  if (loss === null || fractionKept === null) return [];
  const [x, y] = [across(Math.min(1, fractionKept)), Math.min(FRAME.bottom, down(loss))];
  const gone = isComparing() ? [] : [svg("rect", { class: "gone", x, width: Math.max(0, FRAME.right - x), y: FRAME.top, height: FRAME.bottom - FRAME.top })];
  return [
    svg("g", { class: `mark ${colour(methods.indexOf(method))}` },
      svg("circle", { class: "chosen", cx: x, cy: y, r: 3.4 }),
      svg("circle", { class: `halo side-${side}`, cx: x, cy: y, r: 6 }, svg("title", {}, text))),
    svg("line", { class: `cut side-${side}`, x1: x, x2: x, y1: FRAME.top, y2: FRAME.bottom }),
    ...gone,
  ];
}
