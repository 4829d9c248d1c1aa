// The costs and scores of the selected point, before and after.
function bar(part, whole, most, side = 0) {
  const track = html("span", { class: "bar", "aria-hidden": "true" });
  for (const [name, value] of [["whole", whole], [`part side-${side}`, part]]) {
    if (value === null) continue;
    const piece = html("i", { class: name });
    piece.style.width = `${Math.min(100, (100 * value) / (most || 1))}%`;
    track.append(piece);
  }
  return track;
}

function drawTotals() {
  const points = chosenPoints();
  find("totals-title").replaceChildren(...points.map((point, side) => html("span", { class: "title" }, tag(side), pointName(point))));
  const items = data.scored ? [item("Score", points.map(scoreFacts))] : [];
  const rows = [["Parameters", "params", short], ["MACs", "macs", short], ["Bytes", "bytes", short]];
  if (data.latency) rows.push(["Latency", "latency", latencyText]);
  for (const [name, key, write] of rows) items.push(costItem(name, key, points, write));
  items.push(item("Predicted loss", points.map((point) => [lossText(point.loss), lossRemark(point)])));
  find("totals-list").replaceChildren(...items);
}

// What was done, and by how much the best plan with the same options could lose less.
function lossRemark(point) {
  const changed = point.chosen.filter((form) => form !== null).length;
  const gone = data.groups.reduce((total, { size }, at) => total + size - supportOf(point, at).count, 0);
  const parts = [`${changed} layer${changed === 1 ? "" : "s"} changed, ${data.layers.length - changed} left dense`];
  if (gone) parts.push(`${grouped.format(gone)} channels removed`);
  if (point.bound !== null && point.loss > 0) {
    const exact = point.loss / point.bound - 1 < 1e-6;
    parts.push(exact ? "no plan of these options has less" : `at least ${lossText(point.bound)} for these options`);
  }
  return parts.join("; ");
}

function scoreFacts(point) {
  if (point.drop === null) return [scoreText(point.score, point.error), "not measured"];
  const way = point.drop < 0 ? "better" : "worse";
  return [scoreText(point.score, point.error), `${dropText(Math.abs(point.drop), point.drop_error)} ${way} than dense`];
}

function costItem(name, key, points, write) {
  const before = data.dense[key];
  const most = Math.max(before, ...points.map((point) => point[key] ?? 0));
  const facts = points.map((point, side) => {
    const part = ratio(point[key], before);
    const remark = part === null ? "" : `${fraction(part, 3)} of ${write(before, 4)}`;
    return [write(point[key], 4), remark, bar(point[key], before, most, side)];
  });
  return item(name, facts);
}

// One line of facts per point: the number, a remark, and sometimes a bar.
function item(name, facts) {
  const lines = facts.map(([after, remark, bar = null], side) => html("dd", {},
    tag(side), html("span", { class: "after" }, after), html("span", { class: "remark" }, remark), bar));
  return html("div", { class: "item" }, html("dt", {}, name), ...lines);
}
