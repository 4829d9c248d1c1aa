// The box that follows the pointer or the focus.
function placeTip(tip, frame, left, top, size, name, facts) {
  const list = html("dl");
  for (const [what, value] of facts) list.append(html("dt", {}, what), html("dd", {}, value));
  tip.replaceChildren(html("strong", {}, name), list);
  tip.hidden = false;
  const under = top + size + 14;
  const over = top - tip.offsetHeight - 14;
  tip.style.left = `${Math.max(0, Math.min(left - tip.offsetWidth / 2, frame.width - tip.offsetWidth))}px`;
  tip.style.top = `${under + tip.offsetHeight < frame.height || over < -40 ? under : over}px`;
}

function hideTips() {
  for (const tip of document.querySelectorAll(".tip")) tip.hidden = true;
}
