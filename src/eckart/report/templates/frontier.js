// The frontier: score against cost, every point a button.
const costOf = { params: "bytes", ms: "latency" }[data.cost] ?? data.cost;
const view = { cost: COSTS.some(([key]) => key === costOf) ? costOf : "bytes", height: data.scored ? "all" : "loss" };
const chart = find("frontier");
const tip = find("tip");
const worse = (score) => (data.dense.score - score) * (data.higher ? 1 : -1);
const ofLoss = () => view.height === "loss";
const heightOf = (point) => (ofLoss() ? point.loss : point.score);
const barOf = (point) => (ofLoss() ? null : point.error ?? point.drop_error);
const isSpread = (values) => values.length > 0 && Math.min(...values) > 0 && Math.max(...values) > 10 * Math.min(...values);
const scores = [data.dense, ...data.points].map((point) => point.score).filter((score) => score !== null);
const lossesOf = () => data.points.map((point) => point.loss).filter((loss) => loss > 0);
const isLog = () => (ofLoss() ? isSpread(lossesOf()) : !data.higher && isSpread(scores));
// A tenth worse than dense, or half as much again where scores spread over decades.
const isNear = (point) => point.score !== null && worse(point.score) <= Math.abs(data.dense.score) * (!data.higher && isSpread(scores) ? 0.5 : 0.1);
const nearPoints = data.scored ? data.points.filter(isNear) : [];
const canZoom = nearPoints.length > 1 && nearPoints.length < data.points.length;
if (canZoom && nearPoints.includes(data.points[data.selected])) view.height = "near";

const shown = () =>
  data.points
    .map((point, index) => ({ point, index, x: kept(point, view.cost) }))
    .filter(({ point, x }) => x !== null && heightOf(point) !== null && (view.height !== "near" || isNear(point)))
    .sort((a, b) => data.labels.indexOf(b.point.label) - data.labels.indexOf(a.point.label)); // ours on top

function extent() {
  const values = ofLoss() ? [] : [data.dense.score];
  for (const { point } of shown()) {
    const bar = barOf(point) ?? 0;
    if (isLog() && !(heightOf(point) > 0)) continue; // is drawn at the bottom of the axis
    values.push(heightOf(point) - (isLog() ? 0 : bar), heightOf(point) + bar);
  }
  if (ofLoss() && !isLog()) values.push(0);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (isLog()) return [low / (high / low) ** 0.06, high * (high / low) ** 0.06];
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - margin, high + margin];
}

function drawFrontier() {
  const [width, height] = [chart.clientWidth || 640, chart.clientHeight || 400];
  const box = { left: 52, right: width - 14, top: 26, bottom: height - 44 };
  const far = Math.max(1, ...shown().map(({ x }) => x));
  const range = extent();
  const x = linear([0, far * 1.02], [box.left, box.right]);
  const y = (isLog() ? logarithmic : linear)(range, [box.bottom, box.top]);
  chart.replaceChildren(drawGrid(box, x, y, far, range), ofLoss() ? "" : drawDense(box, x, y));
  const clip = svg("svg", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top });
  clip.style.overflow = "hidden";
  chart.append(clip);
  [...data.labels.entries()].reverse().forEach(([kind, label]) => {
    const dots = data.points
      .filter((point) => point.label === label && kept(point, view.cost) !== null && heightOf(point) !== null)
      .map((point) => [kept(point, view.cost), heightOf(point)])
      .sort((a, b) => a[0] - b[0])
      .map(([a, b]) => [x(a) - box.left, Math.min(y(b) - box.top, box.bottom - box.top)]);
    clip.append(svg("g", { class: `family ${colour(kind)}` }, svg("path", { class: "track", d: path(dots) })));
  });
  for (const item of shown()) chart.append(drawPoint(item, x, y, box.bottom));
  for (const side of [1, 0]) chart.append(svg("g", { id: `selected-${side}`, "aria-hidden": "true" }));
  markFrontier();
}

function drawGrid(box, x, y, far, range) {
  const grid = svg("g", { class: "grid", "aria-hidden": "true" });
  const values = isLog() ? logTicks(range, 6) : ticks(range, 6);
  const times = data.percent && !ofLoss() ? 100 : 1;
  const step = values.length > 1 ? values[1] - values[0] : 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step * times) + 1e-9));
  const name = (value) => (isLog() ? tickName(value) : minus((value * times).toFixed(digits)));
  for (const value of values) {
    grid.append(svg("line", { x1: box.left, x2: box.right, y1: y(value), y2: y(value) }));
    grid.append(svg("text", { x: box.left - 10, y: y(value) + 4, "text-anchor": "end" }, name(value)));
  }
  const inUnits = view.cost in UNITS;
  const whole = inUnits ? data.dense[view.cost] / UNITS[view.cost] : 1; // what 1 stands for
  for (const value of ticks([0, far * whole], box.right < 420 ? 5 : 10)) {
    const at = x(value / whole);
    grid.append(svg("text", { x: at, y: box.bottom + 20, "text-anchor": "middle" }, inUnits ? String(Number(value.toPrecision(3))) : value.toFixed(1)));
    grid.append(svg("line", { class: "axis", x1: at, x2: at, y1: box.bottom, y2: box.bottom + 5 }));
  }
  grid.append(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  const what = ofLoss() ? "predicted loss, lower is better" : `score${unit}${data.higher ? "" : ", lower is better"}`;
  grid.append(svg("text", { x: 0, y: 8 }, `${what}${isLog() ? ", log scale" : ""}`));
  const cost = COSTS.find(([key]) => key === view.cost)[2];
  const middle = (box.left + box.right) / 2;
  grid.append(svg("text", { x: middle, y: box.bottom + 40, "text-anchor": "middle" }, inUnits ? `${cost}; dense has ${significant(whole, 3)}` : `fraction of ${cost}`));
  return grid;
}

function drawDense(box, x, y) {
  const at = y(data.dense.score);
  const name = `dense ${scoreText(data.dense.score)}`;
  return svg("g", { "aria-hidden": "true" },
    svg("line", { class: "dense-line", x1: box.left, x2: box.right, y1: at, y2: at }),
    svg("circle", { class: "dense-point", cx: x(1), cy: at, r: 4.5 }),
    svg("text", { class: "dense-name", x: box.left + 6, y: at - 6 }, name));
}

function drawPoint({ point, index, x: fractionKept }, x, y, foot) {
  const kind = data.labels.indexOf(point.label);
  const group = svg("g", {
    class: `point family ${colour(kind)}`, role: "button", tabindex: "0", "data-point": index,
    "aria-label": describe(point),
    transform: `translate(${x(fractionKept).toFixed(1)} ${Math.min(y(heightOf(point)), foot).toFixed(1)})`,
  });
  const bar = barOf(point);
  if (bar) {
    const ends = [-bar, bar].map((part) => y(point.score + part) - y(point.score));
    group.append(svg("path", { class: "error", d: `M0 ${ends[0]}V${ends[1]}M-4 ${ends[0]}H4M-4 ${ends[1]}H4` }));
  }
  group.append(svg("circle", { class: "hit", r: 14 }), svg("circle", { class: "ring", r: 10 }));
  group.append(svg("path", { class: "sign", d: sign(kind, 5.5) }));
  group.addEventListener("click", (event) => (event.shiftKey ? compareWith : choose)(index));
  group.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") focusBeside(index, event.key === "ArrowRight" ? 1 : -1);
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    (event.shiftKey ? compareWith : choose)(index);
  });
  for (const name of ["pointerenter", "focus"]) group.addEventListener(name, () => showTip(point, group));
  for (const name of ["pointerleave", "blur"]) group.addEventListener(name, hideTips);
  return group;
}

// The next point of the same family, to the right or to the left.
function focusBeside(index, way) {
  const { label } = data.points[index];
  const family = shown().filter(({ point }) => point.label === label).sort((a, b) => a.x - b.x);
  const next = family[family.findIndex((item) => item.index === index) + way];
  if (next) chart.querySelector(`[data-point="${next.index}"]`).focus();
}

// Draws the selected points again, above all others.
function markFrontier() {
  for (const side of [0, 1]) find(`selected-${side}`).replaceChildren();
  for (const place of chart.querySelectorAll(".point")) {
    const side = chosen().indexOf(Number(place.dataset.point));
    place.setAttribute("aria-pressed", String(side >= 0));
    if (side < 0) continue;
    const mark = find(`selected-${side}`);
    mark.setAttribute("class", place.getAttribute("class").replace("point ", "chosen-point "));
    mark.setAttribute("transform", place.getAttribute("transform"));
    mark.append(svg("circle", { class: `ring side-${side}`, r: 10 }), place.querySelector(".sign").cloneNode());
    if (isComparing()) mark.append(svg("text", { class: `letter side-${side}`, x: 12, y: -9 }, TAGS[side]));
  }
}

function facts(point) {
  return [
    ...(data.scored ? [["score", scoreText(point.score, point.error)], [changeName, dropText(point.drop, point.drop_error)]] : []),
    ...COSTS.map(([key, , , name]) => [name, fraction(kept(point, key), 3)]),
    ["predicted loss", lossText(point.loss)],
  ];
}
const describe = (point) => `${pointName(point)}: ${facts(point).map((fact) => fact.join(" ")).join(", ")}`;

function showTip(point, group) {
  const frame = chart.getBoundingClientRect();
  const at = group.querySelector(".sign").getBoundingClientRect();
  placeTip(tip, frame, at.left + at.width / 2 - frame.left, at.top - frame.top, at.height, pointName(point), facts(point));
}

function drawLegend() {
  data.labels.forEach((label, kind) => {
    const mark = svg("svg", { viewBox: "0 0 22 14", "aria-hidden": "true" },
      svg("path", { class: "track", d: "M0 7H22" }),
      svg("path", { class: "sign", d: sign(kind, 4.5), transform: "translate(11 7)" }));
    find("legend").append(html("li", { class: `family ${colour(kind)}` }, mark, html("span", {}, label)));
  });
  for (const item of find("legend").querySelectorAll("span")) item.style.color = "var(--ink)";
  const known = (key) => data.points.some((point) => point[key] !== null);
  const bars = !data.scored ? "No scores were measured, so the chart shows predicted losses: lower is better. "
    : known("error") ? "Bars are one standard error. "
    : known("drop_error") ? "Bars are one standard error of the difference from dense. " : "";
  const more = data.points.length > 1 ? " Shift-click, or Shift and Enter, compares a second one." : "";
  find("frontier-caption").textContent = `${bars}Select a point: the whole page follows it.${more}`;
}
