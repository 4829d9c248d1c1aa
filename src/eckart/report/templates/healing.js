// Healing: the held-out score of every network that was tried, against the seconds it took.
const healedPoints = [...data.points.entries()].filter(([, point]) => point.healing !== null);

function drawHealing() {
  const place = find("healing");
  if (place === null) return;
  const shown = chosenPoints().map((point, side) => [point, side]).filter(([point]) => point.healing !== null);
  if (shown.length) place.replaceChildren(...shown.map(([point, side]) => healingFigure(point, side)));
  else place.replaceChildren(...notHealed());
  shown.forEach(([point, side]) => drawCurve(find(`healing-${side}`), point.healing));
}

function notHealed() {
  const buttons = healedPoints.map(([index, point]) => {
    const button = html("button", { type: "button", class: "quiet" }, pointName(point));
    button.addEventListener("click", () => choose(index));
    return button;
  });
  return [html("p", { class: "note" }, "The selected network was not healed. These networks were:"), html("p", { class: "choices" }, ...buttons)];
}

const healedScore = (healing, value) => scoreNumber(value, healing.percent) + (healing.percent ? " %" : "");

function healingFigure(point, side) {
  const { healing } = point;
  const judged = healing.steps.filter(([, , score]) => score !== null);
  const best = judged.filter(([, , , , , accepted]) => accepted).at(-1) ?? judged[0];
  const examples = healing.n === null ? "" : `, ${grouped.format(healing.n)} examples`;
  const change = best === judged[0] ? `stays at ${healedScore(healing, best[2])}: nothing helped` : `${healedScore(healing, judged[0][2])} → ${healedScore(healing, best[2])}`;
  const text = `Held-out score ${change} (${healing.higher ? "higher" : "lower"} is better${examples})`;
  const plot = svg("svg", { id: `healing-${side}`, role: "img", "aria-label": `${pointName(point)}: ${text}` });
  return html("figure", { class: "healed" },
    html("h3", {}, tag(side), pointName(point)), html("p", { class: "note" }, text), plot, healingTable(healing));
}

function healingTable(healing) {
  const names = treatments(healing);
  const head = html("tr", {}, ...["treatment", "what was tried", "score", "seconds", "kept"].map((name, at) =>
    html("th", { scope: "col", class: at === 2 || at === 3 ? "number" : null }, name)));
  const rows = healing.steps.map(([treatment, note, score, error, seconds, accepted]) => html("tr", { class: accepted ? "accepted" : null },
    html("th", { scope: "row" }, stepSign(names.indexOf(treatment), accepted), treatment),
    html("td", {}, note),
    html("td", { class: "number" }, score === null ? UNKNOWN : scoreNumber(score, healing.percent) + spread(error, healing.percent)),
    html("td", { class: "number" }, seconds.toFixed(1)),
    html("td", {}, accepted ? "yes" : "no")));
  return html("div", { class: "scroll" }, html("table", { class: "steps" }, html("thead", {}, head), html("tbody", {}, ...rows)));
}

const treatments = (healing) => [...new Set(healing.steps.map(([treatment]) => treatment))];
const stepSign = (kind, accepted) => svg("svg", { class: `step ${colour(kind)} ${accepted ? "accepted" : "tried"}`, viewBox: "-7 -7 14 14", "aria-hidden": "true" },
  svg("path", { d: sign(kind, 4.5) }));

// The line is the best so far; a filled mark was kept, an open one was not.
function drawCurve(plot, healing) {
  const steps = healing.steps.filter(([, , score]) => score !== null);
  const [width, height] = [plot.clientWidth || 600, plot.clientHeight || 240];
  const box = { left: 56, right: width - 14, top: 24, bottom: height - 40 };
  const scores = steps.flatMap(([, , score, error]) => [score - (error ?? 0), score + (error ?? 0)]);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const margin = (high - low || Math.abs(high) || 1) * 0.08;
  const range = [low - margin, high + margin];
  const last = healing.steps.at(-1)[4] || 1;
  const x = linear([0, last * 1.03], [box.left, box.right]);
  const y = linear(range, [box.bottom, box.top]);
  plot.replaceChildren(curveGrid(box, x, y, range, last, healing));
  let best = steps[0];
  let line = `M${x(best[4]).toFixed(1)} ${y(best[2]).toFixed(1)}`;
  for (const step of steps.slice(1)) {
    line += `H${x(step[4]).toFixed(1)}`;
    if (step[5]) line += `V${y((best = step)[2]).toFixed(1)}`;
  }
  plot.append(svg("path", { class: "best", d: `${line}H${box.right}` }));
  const names = treatments(healing);
  for (const [treatment, note, score, error, seconds, accepted] of steps) {
    const kind = names.indexOf(treatment);
    const mark = svg("g", { class: `step ${colour(kind)} ${accepted ? "accepted" : "tried"}`, transform: `translate(${x(seconds).toFixed(1)} ${y(score).toFixed(1)})` },
      svg("title", {}, `${treatment}, ${note}: ${healedScore(healing, score)} after ${seconds.toFixed(1)} s, ${accepted ? "kept" : "not kept"}`));
    if (error) mark.append(svg("path", { class: "error", d: `M0 ${y(score - error) - y(score)}V${y(score + error) - y(score)}` }));
    mark.append(svg("path", { d: sign(kind, 5) }));
    plot.append(mark);
  }
}

function curveGrid(box, x, y, range, last, healing) {
  const grid = svg("g", { class: "grid", "aria-hidden": "true" });
  for (const value of ticks(range, 5)) {
    grid.append(svg("line", { x1: box.left, x2: box.right, y1: y(value), y2: y(value) }));
    grid.append(svg("text", { x: box.left - 8, y: y(value) + 4, "text-anchor": "end" }, String(Number((value * (healing.percent ? 100 : 1)).toPrecision(3)))));
  }
  for (const value of ticks([0, last], 6)) {
    grid.append(svg("text", { x: x(value), y: box.bottom + 18, "text-anchor": "middle" }, String(Number(value.toPrecision(3)))));
  }
  grid.append(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  grid.append(svg("text", { x: 0, y: 10 }, `held-out score${healing.percent ? " %" : ""}, ${healing.higher ? "higher" : "lower"} is better`));
  grid.append(svg("text", { x: box.right, y: box.bottom + 36, "text-anchor": "end" }, "seconds since healing began"));
  return grid;
}
