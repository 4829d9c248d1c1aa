// The commands that make the selected points again, each with a button that copies it.
function drawRecipes() {
  const blocks = chosenPoints().flatMap((point, side) => [
    ...(point.command === null ? [] : [recipe("on the command line", point.command, side)]),
    recipe("in Python", `smaller = eckart.apply(model, frontier.points[${chosen()[side]}].plan, moments)`, side),
  ]);
  find("recipes").replaceChildren(...blocks);
}

function recipe(where, text, side) {
  const name = `${pointName(chosenPoints()[side])}, ${where}`;
  const code = html("code", {}, text);
  return html("div", { class: "recipe" },
    html("div", { class: "heading" }, html("h3", {}, tag(side), name), copyButton(code, name)),
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
