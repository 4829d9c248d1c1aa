// The table by layer of the selected point.
const sorting = { key: "order", down: false };
const COLUMNS = [
  ["order", "layer", ""],
  [null, "done", ""],
  ["rank", "rank", "number"],
  ...(data.groups.length ? [[null, "channels", ""]] : []),
  ["params", "parameters", ""],
  ["macs", "MACs", ""],
  ...(data.coded ? [["bytes", "bytes", ""]] : []),
  ["loss", "predicted loss", ""],
];

// One row per layer: before, after, and what was done or why nothing was.
function layerRows(point) {
  return data.layers.map((layer, order) => {
    const index = point.chosen[order];
    const [paramsBefore, macsBefore] = layer.costs;
    const bytesBefore = layer.bytes;
    const dense = [null, layer.dense, null, paramsBefore, macsBefore, null, layer.ends, bytesBefore, layer.weights && [layer.weights]];
    const [method, form, rank, params, macs, loss, ends, bytes, parts] = index === null ? dense : layer.forms[index];
    const why = point.why[order] ?? layer.why;
    return {
      name: layer.name, layer, order, ends, method, form, rank, params, macs, paramsBefore, macsBefore, loss, bytes, bytesBefore, parts,
      built: rank !== null || (parts ?? []).some(([, bits]) => layer.weights !== null && bits !== layer.weights[1]),
      reason: why === null ? "" : data.reasons[why],
    };
  });
}

function sorted(rows) {
  const { key, down } = sorting;
  const value = ([row]) => row[key] ?? -1;
  return [...rows].sort((a, b) => (down ? -1 : 1) * (value(a) - value(b)) || a[0].order - b[0].order);
}

// The layers, each with one row per point that is shown.
function shownLayers() {
  const sides = chosenPoints().map(layerRows);
  return data.layers.map((_, order) => sides.map((rows) => rows[order]));
}

function drawLayers() {
  const layers = shownLayers();
  const most = (key, least) => Math.max(least, ...layers.flat().map((row) => row[key] ?? 0));
  const scale = { params: most("paramsBefore", 1), macs: most("macsBefore", 1), loss: most("loss", 0) };
  const differing = layers.filter((rows) => !isSame(rows));
  find("differing").hidden = !isComparing();
  find("differing-text").textContent = `only the ${differing.length} of ${layers.length} layers that differ`;
  const listed = isComparing() && find("only-differing").checked ? differing : layers;
  find("layers").tHead.replaceChildren(drawHead());
  find("layers").tBodies[0].replaceChildren(...unfolded("layers", sorted(listed)).map((rows) => drawRow(rows, scale)));
  find("layers").tFoot.replaceChildren(...drawFoot(chosenPoints(), layers));
}

// Whether both points treat a layer alike: the same form and the same channels left.
function isSame([a, b]) {
  if (b === undefined) return true;
  const groups = [a.layer.reads, a.layer.writes].filter((end) => end !== null).map(([at]) => at);
  const [first, second] = chosenPoints();
  return first.chosen[a.order] === second.chosen[a.order] && groups.every((at) => first.kept[at] === second.kept[at]);
}

// The text of a cell: once where the points agree, otherwise one text per point.
function stacked(rows, draw) {
  if (!isComparing()) return draw(rows[0], 0);
  if (isSame(rows)) return [html("div", { class: "stack" }, tag(0, 1), html("div", {}, ...draw(rows[0], 0)))];
  return each(rows, draw);
}

function drawHead() {
  const head = html("tr", { role: "row" });
  for (const [key, name, kind] of COLUMNS) {
    const order = sorting.key === key ? (sorting.down ? "descending" : "ascending") : null;
    const cell = html("th", { scope: "col", role: "columnheader", class: kind, "aria-sort": order });
    if (key === null) cell.append(name);
    else {
      const arrow = order === null ? "" : sorting.down ? " ↓" : " ↑";
      cell.dataset.key = key;
      const button = html("button", { type: "button" }, name + arrow);
      button.addEventListener("click", () => sortBy(key));
      cell.append(button);
    }
    head.append(cell);
  }
  return head;
}

// The first click sorts largest first, the second reverses; by name means network order.
function sortBy(key) {
  sorting.down = sorting.key === key ? !sorting.down : key !== "order";
  sorting.key = key;
  drawLayers();
  find("layers").querySelector(`[data-key="${key}"] button`).focus();
}

function drawRow(rows, scale) {
  const [row] = rows;
  const cell = (kind, name, draw) => html("td", { role: "cell", class: kind, "data-name": name }, ...stacked(rows, draw));
  const lossOf = ({ method, built, loss }) => (method !== null && !built ? null : loss);
  const isQuiet = (value) => rows.every((each) => value(each) === null);
  const cells = [
    html("th", { scope: "row", role: "rowheader" }, ...breakable(row.name)),
    cell("done", null, doneTo),
    cell("number rank", null, ({ rank }) => [rank === null ? UNKNOWN : String(rank)]),
    ...(data.groups.length ? [cell(rows.every(isWhole) ? "widths none" : "widths", "channels", widths)] : []),
    cell("cost", "parameters", (each, side) => cost(each.params, each.paramsBefore, scale.params, side)),
    cell("cost", "MACs", (each, side) => cost(each.macs, each.macsBefore, scale.macs, side)),
    ...(data.coded ? [cell("cost", "bytes", weightBar)] : []),
    cell(isQuiet(lossOf) ? "loss none" : "loss", "predicted loss", (each, side) => lossParts(lossOf(each), scale.loss, side)),
  ];
  const kind = [row.method === null && rows.length === 1 ? "dense" : "", isComparing() && isSame(rows) ? "same" : ""].join(" ").trim();
  return html("tr", { role: "row", class: kind || null }, ...cells);
}

// The bytes of a layer as an area: as wide as its weights, as high as their bits. Every factor is a block.
function weightBar(row) {
  const [text] = cost(row.bytes, row.bytesBefore, null);
  if (row.layer.weights === null || row.parts === null) return [text];
  const [weights, bits] = row.layer.weights;
  let left = 0;
  const blocks = row.parts.map(([count, high]) => {
    const block = svg("rect", { class: "part", x: left, y: 1 - Math.min(1, high / bits), width: count / weights, height: Math.min(1, high / bits) });
    left += count / weights;
    return block;
  });
  const seams = row.parts.slice(1).map((_, at) => svg("rect", { class: "seam", x: Number(blocks[at + 1].getAttribute("x")) - 0.006, y: 0, width: 0.012, height: 1 }));
  const about = `${row.parts.map(([count, high]) => `${short(count)} weights of ${high} bits`).join(", then ")}; before, ${short(weights)} of ${bits}`;
  const area = svg("svg", { class: "area", viewBox: "0 0 1 1", preserveAspectRatio: "none", role: "img", "aria-label": about },
    svg("title", {}, about), svg("rect", { class: "whole", width: 1, height: 1 }), ...blocks, ...seams);
  const note = [
    row.rank === null ? "" : `rank ${row.rank}`,
    String(row.ends) === String(row.layer.ends) ? "" : `${row.ends.join("→")} channels`,
    row.parts.some(([, high]) => high !== bits) ? `${row.parts.map(([, high]) => high).join("-")} bits` : "",
  ];
  return [text, area, html("span", { class: "side" }, note.filter((part) => part).join(", "))];
}

function doneTo({ method, form, rank, reason }) {
  const why = rank === null && reason ? html("span", { class: "reason" }, `: ${reason}`) : "";
  const chain = form ? html("span", { class: "form" }, form) : "";
  return [html("span", { class: "method" }, method ?? "dense"), why, chain];
}

function cost(after, before, most, side) {
  if (before === null && after === null) return [UNKNOWN];
  const same = after === before;
  const text = same ? short(before) : `${short(before)} → ${short(after)}`;
  const share = same ? "" : fraction(ratio(after, before));
  const exact = same ? count(before) : `${count(before)} before, ${count(after)} after`;
  const pair = html("span", { class: "pair", title: exact }, html("span", {}, text), html("span", { class: "share" }, share));
  return [pair, most === null ? "" : bar(after, before, most, side)];
}

const lossParts = (loss, most, side) => [html("span", {}, lossText(loss)), loss === null ? "" : bar(loss, null, most, side)];

// The loss of the removed channels, the costs outside the listed layers (norms, embedding tables), and the
// measured costs of the whole network.
function drawFoot(points, layers) {
  const wholes = points.map((point) => ({
    params: point.params, paramsBefore: data.dense.params, macs: point.macs, macsBefore: data.dense.macs, loss: point.loss,
    bytes: point.bytes, bytesBefore: data.dense.bytes,
  }));
  const others = wholes.map((whole, side) => {
    const rest = (key) => whole[key] - layers.reduce((total, rows) => total + (rows[side][key] ?? 0), 0);
    return { params: rest("params"), paramsBefore: rest("paramsBefore"), macs: rest("macs"), macsBefore: rest("macsBefore"), bytes: rest("bytes"), bytesBefore: rest("bytesBefore"), loss: null };
  });
  const sensible = others.every(({ loss, ...costs }) => Object.values(costs).every((value) => value >= 0));
  return [
    ...(sensible ? [footRow("everything else", others)] : []),
    ...removedRow(points),
    footRow("whole network", wholes),
  ];
}

// The loss of the removed channels; it belongs to groups, not to single layers.
function removedRow(points) {
  const removed = points.map((point) => {
    const supports = data.groups.map((_, at) => supportOf(point, at)).filter(({ method }) => method !== null);
    const gone = supports.reduce((total, { flags, count }) => total + flags.length - count, 0);
    return { gone, loss: supports.reduce((total, { loss }) => total + (loss ?? 0), 0) };
  });
  if (removed.every(({ gone }) => gone === 0)) return [];
  const name = `${removed.map(({ gone }) => grouped.format(gone)).join(" and ")} channels removed`;
  return [html("tr", { role: "row" },
    html("th", { scope: "row", role: "rowheader", colspan: COLUMNS.length - 1 }, name),
    html("td", { role: "cell", class: "loss", "data-name": "predicted loss" }, ...each(removed, ({ loss }) => [lossText(loss)])))];
}

// The same for every point, one below the other.
const each = (sides, draw) =>
  isComparing() ? sides.map((side, at) => html("div", { class: `stack of-${at}` }, tag(at), html("div", {}, ...draw(side, at)))) : draw(sides[0], 0);

function footRow(name, sides) {
  return html("tr", { role: "row" },
    html("th", { scope: "row", role: "rowheader", colspan: COLUMNS.length - 3 - data.coded }, name),
    html("td", { role: "cell", class: "cost", "data-name": "parameters" }, ...each(sides, (side) => cost(side.params, side.paramsBefore, null))),
    html("td", { role: "cell", class: "cost", "data-name": "MACs" }, ...each(sides, (side) => cost(side.macs, side.macsBefore, null))),
    ...(data.coded ? [html("td", { role: "cell", class: "cost", "data-name": "bytes" }, ...each(sides, (side) => cost(side.bytes, side.bytesBefore, null)))] : []),
    html("td", { role: "cell", class: "loss", "data-name": "predicted loss" }, ...each(sides, ({ loss }) => [lossText(loss)])));
}
