// Channels: strips of units, and for every group the predicted loss by the number of units kept.
const stripes = (mask) => [...mask].flatMap((digit) => [8, 4, 2, 1].map((bit) => (parseInt(digit, 16) & bit) > 0));
const groupFigures = [];

// What a point keeps of a group: one flag per unit, their number, method and loss.
function supportOf(point, at) {
  const group = data.groups[at];
  const index = point.kept[at];
  const whole = { flags: Array(group.size).fill(true), count: group.size, method: null, loss: 0 };
  if (index === null) return whole;
  const [method, mask, count, loss] = group.supports[index];
  return { flags: stripes(mask).slice(0, group.size), count, method, loss };
}

// Units side by side: kept ones are solid, removed ones are pale.
function strip(flags, about) {
  let solid = "";
  for (let from = 0; from < flags.length; from++) {
    let to = from;
    while (flags[to]) to++;
    if (to > from) solid += `M${from} 0H${to}V1H${from}Z`;
    from = to;
  }
  return svg("svg", { class: "strip", viewBox: `0 0 ${flags.length} 1`, preserveAspectRatio: "none", role: "img", "aria-label": about },
    svg("title", {}, about),
    svg("rect", { class: "whole", width: flags.length, height: 1 }),
    svg("path", { class: "part", d: solid }));
}

// The channels that a layer reads and writes; only the ends that lost some are shown.
function widthsOf(row, point) {
  const sides = [["in", row.layer.reads, 0], ["out", row.layer.writes, 1]];
  return sides.flatMap(([side, place, end]) => {
    const [before, after] = [row.layer.ends?.[end], row.ends?.[end]];
    if (place === null || after === undefined || before === after) return [];
    const [at, units] = place;
    const { flags } = supportOf(point, at);
    return [{ side, before, after, name: data.groups[at].name, flags: units === null ? flags : units.map((unit) => flags[unit]) }];
  });
}

const isWhole = (row, side) => widthsOf(row, chosenPoints()[side]).length === 0;

function widths(row, side) {
  const ends = widthsOf(row, chosenPoints()[side]);
  if (!ends.length) return [html("span", { class: "side" }, row.layer.ends === null ? UNKNOWN : row.layer.ends.join(" → "))];
  return ends.map(({ side: end, before, after, name, flags }) => {
    const about = `${after} of ${before} channels ${end === "in" ? "read" : "written"} are kept, of group ${name}`;
    return html("span", { class: "end" }, html("span", { class: "side" }, end), strip(flags, about), html("span", { class: "of" }, `${after}/${before}`));
  });
}

function drawGroups() {
  find("groups-section").hidden = data.groups.length === 0 && find("whole") === null;
  showGroups();
}

// Figures are drawn once, when they are first shown.
function showGroups() {
  const place = find("groups");
  for (const group of unfolded("groups", data.groups).slice(place.children.length)) place.append(drawGroup(group));
}

function drawGroup(group) {
  const kind = colour(methods.indexOf(group.method));
  const about = `${group.name}: predicted loss by channels kept of ${group.size}, ${group.method ?? "not ranked"}`;
  const plot = svg("svg", { viewBox: `0 0 ${FRAME.width} ${FRAME.height}`, role: "img", "aria-label": about });
  const clip = svg("svg", { width: FRAME.width, height: FRAME.bottom });
  clip.style.overflow = "hidden";
  const dots = group.line.filter(([, loss]) => loss > 0).map(([size, loss]) => place([size / group.size, loss]));
  clip.append(svg("g", { class: `mark ${kind}` },
    svg("path", { class: "track", d: path(dots) }),
    ...dots.map(([x, y]) => svg("circle", { class: "offered", cx: x.toFixed(1), cy: y.toFixed(1), r: 1.8 }))));
  const mark = svg("g");
  const units = html("div", { class: "units" });
  plot.append(spectrumGrid(), clip, mark);
  groupFigures.push({ mark, plot, about, units });
  return html("figure", { "data-group": group.name },
    html("figcaption", {}, ...breakable(group.name)), plot, units, members(group));
}

function members(group) {
  const list = html("dl", { class: "members" });
  for (const [name, layers] of [["written by", group.writers], ["carried by", group.followers], ["read by", group.readers]]) {
    if (!layers.length) continue;
    const shown = layers.length > 4 ? `${layers.slice(0, 3).join(", ")} and ${layers.length - 3} more` : layers.join(", ");
    list.append(html("dt", {}, name), html("dd", { title: layers.join(", ") }, shown));
  }
  return list;
}

// Marks what the selected points keep of every group.
function markGroups() {
  groupFigures.forEach(({ mark, plot, about, units }, at) => {
    const { size } = data.groups[at];
    const found = chosenPoints().map((point) => {
      const { flags, count, method, loss } = supportOf(point, at);
      const done = method === null ? `all ${size} stay` : `${count} of ${size} stay, loss ${lossText(loss)}`;
      return { flags, count, method, loss, done };
    });
    mark.replaceChildren(...found.flatMap(({ method, loss, count, done }, side) =>
      method === null ? [] : ringAt(method, loss, count / size, `${method}: ${done}`, side)).reverse());
    plot.setAttribute("aria-label", [about, ...found.map(({ done }) => done)].join("; "));
    units.replaceChildren(...found.flatMap(({ flags, done }, side) => [strip(flags, done), html("span", { class: "of" }, tag(side), done)]));
  });
}
