// What makes the selected points again: commands with a button that copies them, and the plan as a file.
function drawRecipes() {
  const blocks = chosenPoints().flatMap((point, side) => [
    ...(point.command === null ? [] : [recipe("on the command line", point.command, side)]),
    ...(point.plan === null ? [] : [recipe("in Python", pythonOf(point), side, planButton(point))]),
  ]);
  find("recipes").replaceChildren(...blocks);
}

const planFile = (point) => `plan-${pointName(point).replace(/[^\w.]+/g, "-")}.json`;

// `model` and `batches` are the reader's; everything else is in the file of the plan.
const pythonOf = (point) => [
  "import eckart, pathlib",
  `plan = eckart.Plan.loads(pathlib.Path("${planFile(point)}").read_text())`,
  "smaller = eckart.apply(model, plan, eckart.calibrate(model, batches))",
].join("\n");

function planButton(point) {
  const button = html("button", { type: "button", class: "quiet" }, "Download the plan");
  button.addEventListener("click", async () => {
    const packed = Uint8Array.from(atob(point.plan), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const address = URL.createObjectURL(await new Response(stream).blob());
    html("a", { href: address, download: planFile(point) }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  });
  return button;
}

function recipe(where, text, side, more = null) {
  const name = `${pointName(chosenPoints()[side])}, ${where}`;
  const code = html("code", {}, text);
  return html("div", { class: "recipe" },
    html("div", { class: "heading" }, html("h3", {}, tag(side), name), html("span", { class: "buttons" }, more, copyButton(code, name))),
    html("pre", { class: "command", tabindex: "0", role: "region", "aria-label": name }, code));
}

function copyButton(code, about) {
  const button = html("button", { type: "button", class: "quiet", "aria-label": `Copy: ${about}` }, "Copy");
  const say = (text) => {
    button.textContent = text;
    find("announcement").textContent = text;
    setTimeout(() => (button.textContent = "Copy"), 1500);
  };
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      say("Copied");
    } catch {
      getSelection().selectAllChildren(code);
      say(document.execCommand("copy") ? "Copied" : "Press Ctrl+C");
    }
  });
  return button;
}

function addPageCopy() {
  const code = find("command");
  if (code !== null) code.parentElement.before(copyButton(code, "the command for the whole page"));
}
