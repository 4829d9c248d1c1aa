// What the selected point costs and gives, before and after.
function bar(part, whole, most) {
  const track = html("span", { class: "bar", "aria-hidden": "true" });
  for (const [name, value] of [["whole", whole], ["part", part]]) {
    if (value === null) continue;
    const piece = html("i", { class: name });
    piece.style.width = `${Math.min(100, (100 * value) / (most || 1))}%`;
    track.append(piece);
  }
  return track;
}

function drawTotals(point) {
  find("totals-title").textContent = pointName(point);
  const items = [scoreItem(point)];
  const rows = [["Parameters", "params", short], ["MACs", "macs", short], ["Bytes", "bytes", short]];
  if (data.latency && point.latency !== null) rows.push(["Latency", "latency", latencyText]);
  for (const [name, key, write] of rows) items.push(costItem(name, data.dense[key], point[key], write));
  items.push(item("Predicted loss", lossText(point.loss), lossRemark(point)));
  find("totals-list").replaceChildren(...items);
  for (const place of document.querySelectorAll(".of-point")) place.textContent = pointName(point);
}

// What was done, and how much less a better plan of the same options could lose.
function lossRemark(point) {
  const changed = point.chosen.filter((form) => form !== null).length;
  const gone = data.groups.reduce((total, { size }, at) => total + size - supportOf(point, at).count, 0);
  const parts = [`${changed} layers changed, ${data.layers.length - changed} left dense`];
  if (gone) parts.push(`${grouped.format(gone)} channels removed`);
  if (point.bound !== null && point.loss > 0) {
    const exact = point.loss / point.bound - 1 < 1e-6;
    parts.push(exact ? "no plan of these options has less" : `at least ${lossText(point.bound)} for these options`);
  }
  return parts.join("; ");
}

function scoreItem(point) {
  const way = point.drop < 0 ? "better" : "worse";
  const drop = dropText(Math.abs(point.drop), point.drop_error);
  return item("Score", scoreText(point.score, point.error), `${drop} ${way} than dense`);
}

function costItem(name, before, after, write) {
  const part = ratio(after, before);
  const entry = item(name, write(after, 4), part === null ? "" : `${fraction(part, 3)} of ${write(before, 4)}`);
  entry.title = `${grouped.format(before)} before, ${grouped.format(after)} after`;
  entry.lastChild.append(bar(after, before, Math.max(before, after)));
  return entry;
}

function item(name, after, remark) {
  const facts = html("dd", {}, html("span", { class: "after" }, after), html("span", { class: "remark" }, remark));
  return html("div", { class: "item" }, html("dt", {}, name), facts);
}
