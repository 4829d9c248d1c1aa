// The point that is shown, A, and the one it is compared with, B.
const selection = { index: data.selected, other: null };
const TAGS = ["A", "B"];
const chosen = () => [selection.index, selection.other].filter((index) => index !== null);
const chosenPoints = () => chosen().map((index) => data.points[index]);
const isComparing = () => selection.other !== null;

// The letter that marks which of two points something belongs to; none if there is only one.
function tag(...sides) {
  if (!isComparing()) return null;
  const letters = sides.map((side) => html("b", { class: `tag side-${side}` }, TAGS[side]));
  return html("span", { class: "tags" }, ...letters);
}

function choose(index) {
  selection.index = index;
  if (selection.other === index) selection.other = null;
  show();
}

function compareWith(index) {
  selection.other = index === selection.index ? null : index;
  show();
}

function swap() {
  [selection.index, selection.other] = [selection.other, selection.index];
  show();
}

// Two native lists, which work by thumb and by keyboard.
function addPickers() {
  const first = find("pick-a");
  const second = find("pick-b");
  first.append(...pointOptions());
  second.append(html("option", { value: "" }, "nothing"), ...pointOptions());
  first.addEventListener("change", () => choose(Number(first.value)));
  second.addEventListener("change", () => compareWith(second.value === "" ? selection.index : Number(second.value)));
  find("swap").addEventListener("click", swap);
  if (data.points.length < 2) find("compare").hidden = true;
}

function pointOptions() {
  return data.labels.map((label) => {
    const points = [...data.points.entries()].filter(([, point]) => point.label === label);
    return html("optgroup", { label }, ...points.map(([index, point]) => html("option", { value: index }, pointName(point))));
  });
}

function markPickers() {
  find("pick-a").value = String(selection.index);
  find("pick-b").value = selection.other === null ? "" : String(selection.other);
  find("swap").hidden = !isComparing();
  for (const place of document.querySelectorAll("#picker .tag")) place.hidden = !isComparing();
}
