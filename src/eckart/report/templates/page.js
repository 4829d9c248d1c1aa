// What is selected, and what follows it.
const selection = { index: data.selected };

function select(index) {
  selection.index = index;
  const point = data.points[index];
  markFrontier();
  for (const row of document.querySelectorAll(".points tr[data-point]")) {
    row.setAttribute("aria-current", String(Number(row.dataset.point) === index));
  }
  drawTotals(point);
  drawLayers(point);
  markSpectra(point);
  markGroups(point);
  find("announcement").textContent = `Selected ${describe(point)}`;
}

function linkRows() {
  for (const row of document.querySelectorAll(".points tr[data-point]")) {
    const index = Number(row.dataset.point);
    const name = row.firstElementChild;
    const button = html("button", { type: "button", "aria-label": `Select ${pointName(data.points[index])}` }, name.textContent);
    button.addEventListener("click", () => select(index));
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
  if (!canZoom) return;
  const ranges = [["all", "all"], ["near", "near dense"]];
  find("switches").append(segments("scores", ranges, "all", (value) => change("near")(value === "near")));
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

function addCopy() {
  const button = find("copy");
  if (button === null) return;
  const say = (text) => {
    button.textContent = text;
    setTimeout(() => (button.textContent = "Copy"), 1500);
  };
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(find("command").textContent);
      say("Copied");
    } catch {
      getSelection().selectAllChildren(find("command"));
      say(document.execCommand("copy") ? "Copied" : "Press Ctrl+C");
    }
  });
  button.hidden = false;
}

drawLegend();
addSwitches();
addTheme();
addCopy();
linkRows();
foldButton("layers", data.layers.length, () => drawLayers(data.points[selection.index]));
foldButton("spectra", data.sites.length, () => {
  showSpectra();
  markSpectra(data.points[selection.index]);
});
foldButton("groups", data.groups.length, () => {
  showGroups();
  markGroups(data.points[selection.index]);
});
drawSpectra();
drawGroups();
drawFrontier();
select(selection.index);
let width = chart.clientWidth;
new ResizeObserver(() => {
  if (chart.clientWidth === width) return;
  width = chart.clientWidth;
  hideTip();
  drawFrontier();
}).observe(chart);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
