// Elements, scales and ticks. Text goes in as text nodes only, never as markup.
const find = (id) => document.getElementById(id);
const SVG = find("frontier").namespaceURI;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const html = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

const linear = ([a, b], [from, to]) => (value) => from + ((value - a) / (b - a || 1)) * (to - from);
const logarithmic = ([a, b], range) => {
  const scale = linear([Math.log10(a), Math.log10(b)], range);
  return (value) => scale(Math.log10(Math.max(value, a / 1000)));
};

// Round numbers that cover [a, b], about `count` of them.
function ticks([a, b], count) {
  const raw = (b - a) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(a / step - 1e-9); k * step <= b + step * 1e-9; k++) found.push(k * step);
  return found;
}
// Powers of ten in [a, b], thinned to about `count`; 1-2-5 where the range is short.
function logTicks([a, b], count) {
  const low = Math.ceil(Math.log10(a) - 1e-9);
  const high = Math.floor(Math.log10(b) + 1e-9);
  const found = [];
  if (high - low < 2) {
    for (let k = low - 1; k <= high; k++) for (const f of [1, 2, 5]) found.push(f * 10 ** k);
    return found.filter((value) => value >= a * 0.999 && value <= b * 1.001);
  }
  const step = Math.ceil((high - low + 1) / count);
  for (let k = low; k <= high; k += step) found.push(10 ** k);
  return found;
}
const path = (dots) => dots.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// A dotted name that may break after its dots.
const breakable = (name) =>
  name.split(/(?<=[.])/).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));

// Long lists start folded, with a button that shows the rest.
const FOLD = 60;
const open = new Set();
const unfolded = (name, items) => (open.has(name) || items.length <= FOLD ? items : items.slice(0, FOLD));
function foldButton(name, total, show) {
  if (total <= FOLD) return;
  const button = html("button", { type: "button", class: "quiet more" }, `Show all ${total}`);
  button.addEventListener("click", () => {
    open.add(name);
    button.remove();
    show();
  });
  find(name).after(button);
}

// One mark per family, so that they differ by more than colour.
const SIGNS = [
  (r) => `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`,
  (r) => `M${-r * 0.9} ${-r * 0.9}H${r * 0.9}V${r * 0.9}H${-r * 0.9}Z`,
  (r) => `M0 ${-r * 1.2}L${r * 1.15} ${r * 0.85}H${-r * 1.15}Z`,
  (r) => `M0 ${-r * 1.25}L${r * 1.25} 0L0 ${r * 1.25}L${-r * 1.25} 0Z`,
];
const sign = (index, radius) => SIGNS[index % SIGNS.length](radius);
const colour = (index) => `k${index % 6}`;

// A choice among a few values, as native radio buttons, which bring arrow keys with them.
function segments(name, values, chosen, onChange) {
  const group = html("span", { class: "group" });
  for (const [value, text] of values) {
    const input = html("input", { type: "radio", name, value });
    input.checked = value === chosen;
    input.addEventListener("change", () => onChange(value));
    group.append(html("label", {}, input, text));
  }
  const field = html("div", { class: "segments", role: "radiogroup", "aria-label": name });
  field.append(html("span", { class: "name" }, name), group);
  return field;
}
