// What changes with a selection, and what is set up once.
function show() {
  markPickers();
  markFrontier();
  for (const row of document.querySelectorAll(".points tr[data-point]")) {
    row.setAttribute("aria-current", String(Number(row.dataset.point) === selection.index));
  }
  drawTotals();
  drawWhere();
  drawLayers();
  drawStayed();
  drawHealing();
  markSpectra();
  markGroups();
  drawRecipes();
  if (find("take") !== null) find("take").hidden = selection.index !== data.selected || isComparing();
  find("announcement").textContent = `Selected ${chosenPoints().map(describe).join("; compared with ")}`;
}

function linkRows() {
  for (const row of document.querySelectorAll(".points tr[data-point]")) {
    const index = Number(row.dataset.point);
    const name = row.firstElementChild;
    const button = html("button", { type: "button", "aria-label": `Select ${pointName(data.points[index])}` }, name.textContent);
    button.addEventListener("click", () => choose(index));
    name.replaceChildren(button);
  }
}

function addSwitches() {
  const change = (key) => (value) => {
    view[key] = value;
    drawFrontier();
  };
  const costs = COSTS.map(([key, name]) => [key, name]);
  find("switches").append(segments("cost", costs, view.cost, change("cost")));
  const heights = [["all", "score"], ...(canZoom ? [["near", "near dense"]] : []), ["loss", "predicted loss"]];
  if (data.scored) find("switches").append(segments("height", heights, view.height, change("height")));
}

function addTheme() {
  const button = find("theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  button.hidden = false;
  name();
}

drawLegend();
addSwitches();
addPickers();
addWhere();
addTheme();
addPageCopy();
linkRows();
find("only-differing").addEventListener("change", drawLayers);
foldButton("layers", data.layers.length, drawLayers);
foldButton("spectra", data.sites.length, () => {
  showSpectra();
  markSpectra();
});
foldButton("groups", data.groups.length, () => {
  showGroups();
  markGroups();
});
drawSpectra();
drawGroups();
drawFrontier();
show();
let width = chart.clientWidth;
new ResizeObserver(() => {
  if (chart.clientWidth === width) return;
  width = chart.clientWidth;
  hideTips();
  drawFrontier();
  drawWhere();
  drawHealing();
}).observe(chart);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTips());
