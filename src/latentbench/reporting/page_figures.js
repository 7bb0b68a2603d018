const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

const NEAR = 16;  // pixels between the pointer and a point
const plotted = [...document.querySelectorAll(".figures figure")].map((figure) => ({
  figure,
  marks: new Map([...figure.querySelectorAll(".marks li")].map((mark) => [mark.dataset.row, mark])),
  parts: [...figure.querySelectorAll("svg [data-row]")],
}));

let singled = "";
function singleOut(family) {
  singled = family === singled ? "" : family;
  for (const { marks, parts } of plotted)
    for (const part of parts)
      part.classList.toggle("faded", singled !== "" && marks.get(part.dataset.row).dataset.family !== singled);
  for (const button of document.querySelectorAll(".families button"))
    button.setAttribute("aria-pressed", button.dataset.family === singled);
}
for (const button of document.querySelectorAll(".families button"))
  button.addEventListener("click", () => singleOut(button.dataset.family));

function show(mark, x, y) {
  const image = document.getElementById(`row-${mark.dataset.row}`).closest(".row").querySelector(".pictures img");
  tip.replaceChildren(...mark.cloneNode(true).childNodes);
  if (image) {
    const copy = image.cloneNode();
    copy.loading = "eager";
    tip.append(copy);
  }
  tip.hidden = false;
  const left = x + 14 + tip.offsetWidth > innerWidth ? x - 14 - tip.offsetWidth : x + 14;
  const top = Math.min(y + 14, innerHeight - 8 - tip.offsetHeight);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, top)}px`;
}

for (const { figure, marks, parts } of plotted) {
  const points = parts.filter((part) => part.classList.contains("point"));
  const nearest = (event) => {
    let found = null, least = NEAR;
    for (const point of points) {
      if (point.classList.contains("faded")) continue;
      const box = point.getBoundingClientRect();
      const far = Math.hypot(event.clientX - (box.left + box.right) / 2, event.clientY - (box.top + box.bottom) / 2);
      if (far < least) [found, least] = [marks.get(point.dataset.row), far];
    }
    return found;
  };
  const box = figure.querySelector(".box");
  box.addEventListener("pointermove", (event) => {
    const mark = nearest(event);
    if (mark) show(mark, event.clientX, event.clientY);
    else tip.hidden = true;
  });
  box.addEventListener("pointerleave", () => { tip.hidden = true; });
  box.addEventListener("click", (event) => {
    const mark = nearest(event);
    if (mark) singleOut(mark.dataset.family);
    else if (singled) singleOut(singled);
  });
}
