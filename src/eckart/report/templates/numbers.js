// How numbers are written; the same rules as formats.py.
const data = JSON.parse(find("data").textContent);
const UNKNOWN = "–";
const grouped = new Intl.NumberFormat("en");
const unit = data.percent ? " %" : "";

const count = (value) => (value === null ? UNKNOWN : grouped.format(value));
function short(value, digits = 3) {
  if (value === null) return UNKNOWN;
  const signed = value < 0 ? "−" : "";
  const size = Math.abs(value);
  const power = size < 1000 ? 0 : Math.min(5, Math.floor(Math.log10(size) / 3));
  const text = power ? significant(size / 1000 ** power, digits) : String(size);
  return signed + text + ["", " k", " M", " G", " T", " P"][power];
}
function significant(value, digits) {
  if (value === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(value)));
  if (size < -3 || size > 5) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return `${mantissa}e${Number(power)}`;
  }
  return value.toFixed(Math.max(0, digits - 1 - size));
}
const minus = (text) => text.replace(/^-/, "−");
const scoreNumber = (value, percent = data.percent) => minus(percent ? (100 * value).toFixed(2) : significant(value, 4));
const errorNumber = (value, percent) => (percent ? (100 * value).toFixed(2) : significant(value, 2));
const spread = (error, percent = data.percent) => (error === null ? "" : ` ± ${errorNumber(error, percent)}`);
const scoreText = (value, error = null) => (value === null ? UNKNOWN : scoreNumber(value) + spread(error) + unit);
const changeName = data.higher ? "drop" : "rise";
const dropText = (value, error) => (value === null ? UNKNOWN : scoreNumber(value) + spread(error) + (data.percent ? " points" : ""));
const lossText = (value) => (value === null ? UNKNOWN : significant(value, 3));
const latencyText = (value) => (value === null ? UNKNOWN : `${significant(value, 3)} ms`);
const ratio = (part, whole) => (part === null || !whole ? null : part / whole);
const fraction = (value, digits = 2) => (value === null ? UNKNOWN : value.toFixed(digits));
const pointName = (point) => `${point.label}, keep ${Number(point.keep.toPrecision(4))}`;
const power = (value) => {
  const raised = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const exponent = Math.round(Math.log10(value));
  return "10" + [...String(exponent)].map((digit) => raised[digit]).join("");
};
// Powers of ten far from one are written as powers, other values in plain digits.
const tickName = (value) => {
  const size = Math.log10(value);
  const isPower = Math.abs(size - Math.round(size)) < 1e-6;
  return isPower && Math.abs(size) > 3.5 ? power(value) : String(Number(value.toPrecision(2)));
};

// Key, name, what the axis is a fraction of, name in lists.
const COSTS = [
  ["params", "parameters", "parameters kept", "parameters kept"],
  ["macs", "MACs", "MACs kept", "MACs kept"],
  ["bytes", "MB", "megabytes", "bytes kept"],
  ...(data.latency ? [["latency", "ms", "milliseconds", "latency / dense"]] : []),
];
// Costs that an axis shows in a unit of their own: what one unit is.
const UNITS = { bytes: 1e6, latency: 1 };
const kept = (point, cost) => ratio(point[cost], data.dense[cost]);
