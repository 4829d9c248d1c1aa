// Where the parameters, the MACs and the predicted loss are: a column per layer, before and after.
const WHERE = { params: ["parameters", short, "paramsBefore"], macs: ["MACs", short, "macsBefore"], ...(data.coded ? { bytes: ["bytes", short, "bytesBefore"] } : {}), loss: ["predicted loss", lossText, null] };
const where = { key: "params" };
const columnsChart = find("where");

// One column per layer, then one for the rest: norms and the like or, for the loss, the removed channels.
function whereColumns() {
  const [, , beforeKey] = WHERE[where.key];
  const sides = chosenPoints().map((point) => layerRows(point));
  const columns = data.layers.map((layer, at) => ({
    name: layer.name,
    before: beforeKey ? sides[0][at][beforeKey] : null,
    after: sides.map((rows) => (!rows[at].built && !beforeKey ? 0 : rows[at][where.key]) ?? 0),
  }));
  const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
  const rest = chosenPoints().map((point, side) => point[where.key] - sum(columns.map(({ after }) => after[side])));
  const before = beforeKey ? data.dense[where.key] - sum(columns.map((column) => column.before)) : null;
  const least = Math.max(...rest, before ?? 0);
  const most = Math.max(...chosenPoints().map((point) => point[where.key] ?? 0));
  if (least > most * 1e-6) columns.push({ name: beforeKey ? "everything else" : "channels removed", before, after: rest.map((value) => Math.max(0, value)) });
  return columns;
}

function drawWhere() {
  const columns = whereColumns();
  const [what, write] = WHERE[where.key];
  const [width, height] = [columnsChart.clientWidth || 640, columnsChart.clientHeight || 260];
  const step = (width - 60) / columns.length;
  const isNamed = step >= 15;
  const longest = Math.min(20, Math.max(...columns.map(({ name }) => name.length)));
  const box = { left: 52, right: width - 8, top: 12, bottom: height - (isNamed ? 14 + longest * 6.4 : 28) };
  const most = Math.max(0, ...columns.flatMap(({ before, after }) => [before ?? 0, ...after]));
  const y = linear([0, most || 1], [box.bottom, box.top]);
  columnsChart.replaceChildren(whereGrid(box, y, most, write));
  columns.forEach((column, at) => columnsChart.append(drawColumn(column, box.left + at * step, step, y, box.bottom)));
  if (isNamed) columns.forEach(({ name }, at) => columnsChart.append(columnName(name, box.left + (at + 0.5) * step, box.bottom + 8)));
  else columnsChart.append(svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 20, "text-anchor": "middle" }, "layers, in the network’s order →"));
  columnsChart.setAttribute("aria-label", `${what} by layer; most in ${largest(columns, write)}`);
  columnsChart.onpointermove = columnsChart.onpointerdown = (event) => {
    const at = Math.floor((event.clientX - columnsChart.getBoundingClientRect().left - box.left) / step);
    if (columns[at]) whereTip(columns[at], box.left + (at + 0.5) * step, box, write);
    else hideTips();
  };
}

function whereGrid(box, y, most, write) {
  const grid = svg("g", { class: "grid", "aria-hidden": "true" });
  for (const value of ticks([0, most || 1], 4).filter((value) => value <= most)) {
    grid.append(svg("line", { x1: box.left, x2: box.right, y1: y(value), y2: y(value) }));
    grid.append(svg("text", { x: box.left - 8, y: y(value) + 4, "text-anchor": "end" }, value === 0 ? "0" : where.key === "loss" ? tickName(value) : short(value).replace(/\.0+(?= )/, "")));
  }
  return grid;
}

// Pale is before; solid is after, one for each point.
function drawColumn({ before, after }, left, step, y, bottom) {
  const gap = step > 6 ? step * 0.16 : 0;
  const column = svg("g", { "aria-hidden": "true" });
  const piece = (name, x, width, value) => value > 0 &&
    column.append(svg("rect", { class: name, x: x.toFixed(2), width: width.toFixed(2), y: y(value).toFixed(2), height: (bottom - y(value)).toFixed(2) }));
  const inner = step - 2 * gap;
  if (before !== null) piece("whole", left + gap, inner, before);
  const width = inner / after.length;
  after.forEach((value, side) => piece(`part side-${side}`, left + gap + side * width, width, value));
  return column;
}

function columnName(name, x, y) {
  const text = name.length > 20 ? `…${name.slice(-19)}` : name;
  return svg("text", { class: "column-name", transform: `translate(${(x + 3.5).toFixed(1)} ${y}) rotate(-90)`, "text-anchor": "end" }, text);
}

const largest = (columns, write) =>
  [...columns].sort((a, b) => (b.before ?? b.after[0]) - (a.before ?? a.after[0])).slice(0, 3)
    .map(({ name, before, after }) => `${name}, ${before === null ? "" : `${write(before)} before and `}${write(after[0])} after`).join("; ");

function whereTip({ name, before, after }, left, box, write) {
  const afters = after.map((value, side) => [isComparing() ? TAGS[side] : "after", write(value) + (before ? ` (${fraction(value / before)})` : "")]);
  const facts = [...(before === null ? [] : [["before", write(before)]]), ...afters];
  placeTip(find("where-tip"), columnsChart.getBoundingClientRect(), left, box.top, 0, name, facts);
}

function addWhere() {
  const values = Object.entries(WHERE).map(([key, [name]]) => [key, name]);
  find("where-switches").append(segments("of", values, where.key, (key) => {
    where.key = key;
    drawWhere();
  }));
  columnsChart.addEventListener("pointerleave", hideTips);
}
