// The layers that stay dense in the selected point, and why: the largest first.
const MOST_STAYED = 20;

function drawStayed() {
  const [point] = chosenPoints();
  const rows = layerRows(point)
    .filter(({ order }) => point.chosen[order] === null)
    .sort((a, b) => (b.paramsBefore ?? -1) - (a.paramsBefore ?? -1));
  const part = rows.reduce((total, { paramsBefore }) => total + (paramsBefore ?? 0), 0);
  find("stayed-section").hidden = rows.length === 0;
  find("stayed-note").textContent = `In ${pointName(point)}: ${rows.length} of ${data.layers.length} layers, with ${fraction(ratio(part, data.dense.params))} of the dense network’s parameters.`
    + (rows.length > MOST_STAYED ? ` The ${MOST_STAYED} largest are listed.` : "");
  find("stayed").replaceChildren(...rows.slice(0, MOST_STAYED).map(({ name, paramsBefore, reason }) => html("div", {},
    html("dt", {}, ...breakable(name)),
    html("dd", {}, `${count(paramsBefore)} parameters: ${reason || "no reason was recorded"}`))));
}
