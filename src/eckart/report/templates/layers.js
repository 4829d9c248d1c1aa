// The table by layer of the selected point.
const sorting = { key: "order", down: false };
const COLUMNS = [
  ["order", "layer", ""],
  [null, "done", ""],
  ["rank", "rank", "number"],
  ...(data.groups.length ? [[null, "channels", ""]] : []),
  ["params", "parameters", ""],
  ["macs", "MACs", ""],
  ["loss", "predicted loss", ""],
];

// One row per layer: before, after, and what was done or why nothing was.
function layerRows(point) {
  return data.layers.map((layer, order) => {
    const index = point.chosen[order];
    const [paramsBefore, macsBefore] = layer.costs;
    const dense = [null, layer.dense, null, paramsBefore, macsBefore, null, layer.ends];
    const [method, form, rank, params, macs, loss, ends] = index === null ? dense : layer.forms[index];
    const why = point.why[order] ?? layer.why;
    return {
      name: layer.name, layer, order, ends, method, form, rank, params, macs, paramsBefore, macsBefore, loss,
      reason: why === null ? "" : data.reasons[why],
    };
  });
}

function sorted(rows) {
  const { key, down } = sorting;
  const value = (row) => row[key] ?? -1;
  return [...rows].sort((a, b) => (down ? -1 : 1) * (value(a) - value(b)) || a.order - b.order);
}

function drawLayers(point) {
  const rows = layerRows(point);
  const most = (key) => Math.max(1, ...rows.map((row) => row[key] ?? 0));
  const scale = { params: most("paramsBefore"), macs: most("macsBefore"), loss: most("loss") };
  scale.loss = Math.max(0, ...rows.map((row) => row.loss ?? 0));
  find("layers").tHead.replaceChildren(drawHead(point));
  find("layers").tBodies[0].replaceChildren(...unfolded("layers", sorted(rows)).map((row) => drawRow(row, scale, point)));
  find("layers").tFoot.replaceChildren(...drawFoot(rows, point));
}

function drawHead(point) {
  const head = html("tr", { role: "row" });
  for (const [key, name, kind] of COLUMNS) {
    const order = sorting.key === key ? (sorting.down ? "descending" : "ascending") : null;
    const cell = html("th", { scope: "col", role: "columnheader", class: kind, "aria-sort": order });
    if (key === null) cell.append(name);
    else {
      const arrow = order === null ? "" : sorting.down ? " ↓" : " ↑";
      cell.dataset.key = key;
      const button = html("button", { type: "button" }, name + arrow);
      button.addEventListener("click", () => sortBy(key, point));
      cell.append(button);
    }
    head.append(cell);
  }
  return head;
}

// First click: largest first; second: the other way; layers by name go in network order.
function sortBy(key, point) {
  sorting.down = sorting.key === key ? !sorting.down : key !== "order";
  sorting.key = key;
  drawLayers(point);
  find("layers").querySelector(`[data-key="${key}"] button`).focus();
}

function drawRow(row, scale, point) {
  const cells = [
    html("th", { scope: "row", role: "rowheader" }, ...breakable(row.name)),
    html("td", { role: "cell", class: "done" }, ...doneTo(row)),
    html("td", { role: "cell", class: "number rank" }, row.rank === null ? UNKNOWN : String(row.rank)),
    ...(data.groups.length ? [widthCell(row, point)] : []),
    costCell("parameters", row.params, row.paramsBefore, scale.params),
    costCell("MACs", row.macs, row.macsBefore, scale.macs),
    lossCell(row.method !== null && row.rank === null ? null : row.loss, scale.loss),
  ];
  return html("tr", { role: "row", class: row.method === null ? "dense" : null }, ...cells);
}

function doneTo({ method, form, rank, reason }) {
  const why = rank === null && reason ? html("span", { class: "reason" }, `: ${reason}`) : "";
  const chain = form ? html("span", { class: "form" }, form) : "";
  return [html("span", { class: "method" }, method ?? "dense"), why, chain];
}

function costCell(name, after, before, most) {
  const cell = html("td", { role: "cell", class: "cost", "data-name": name });
  if (before === null && after === null) cell.append(UNKNOWN);
  else {
    const same = after === before;
    const text = same ? short(before) : `${short(before)} → ${short(after)}`;
    const share = same ? "" : fraction(ratio(after, before));
    const exact = same ? count(before) : `${count(before)} before, ${count(after)} after`;
    cell.append(html("span", { class: "pair", title: exact }, html("span", {}, text), html("span", { class: "share" }, share)));
    if (most !== null) cell.append(bar(after, before, most));
  }
  return cell;
}

function lossCell(loss, most) {
  const kind = loss === null ? "loss none" : "loss";
  const cell = html("td", { role: "cell", class: kind, "data-name": "predicted loss" }, lossText(loss));
  if (loss !== null) cell.append(bar(loss, null, most));
  return cell;
}

// What the channels that went cost, what is in no listed layer (norms, tables of embeddings), and the
// whole network as measured.
function drawFoot(rows, point) {
  const sum = (key) => rows.reduce((total, row) => total + (row[key] ?? 0), 0);
  const rest = (whole, key) => whole - sum(key);
  const others = {
    paramsBefore: rest(data.dense.params, "paramsBefore"), params: rest(point.params, "params"),
    macsBefore: rest(data.dense.macs, "macsBefore"), macs: rest(point.macs, "macs"),
  };
  const sensible = Object.values(others).every((value) => value >= 0);
  const whole = { params: point.params, paramsBefore: data.dense.params, macs: point.macs, macsBefore: data.dense.macs };
  return [
    ...(sensible ? [footRow("everything else", others, null)] : []),
    ...removedRow(point),
    footRow("whole network", whole, point.loss),
  ];
}

// What the removed channels lose; it is of the groups, not of single layers.
function removedRow(point) {
  const supports = data.groups.map((_, at) => supportOf(point, at)).filter(({ method }) => method !== null);
  if (!supports.length) return [];
  const gone = supports.reduce((total, { flags, count }) => total + flags.length - count, 0);
  const loss = supports.reduce((total, { loss }) => total + (loss ?? 0), 0);
  const name = `${grouped.format(gone)} channels removed`;
  return [html("tr", { role: "row" },
    html("th", { scope: "row", role: "rowheader", colspan: COLUMNS.length - 1 }, name),
    html("td", { role: "cell", class: "loss", "data-name": "predicted loss" }, lossText(loss)))];
}

function footRow(name, row, loss) {
  return html("tr", { role: "row" },
    html("th", { scope: "row", role: "rowheader", colspan: COLUMNS.length - 3 }, name),
    costCell("parameters", row.params, row.paramsBefore, null),
    costCell("MACs", row.macs, row.macsBefore, null),
    html("td", { role: "cell", class: "loss", "data-name": "predicted loss" }, lossText(loss)));
}
