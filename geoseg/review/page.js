"use strict";
// Reading values off the curves: all charts of the page show the same epoch.
const curves = [...document.querySelectorAll("[data-curve]")].map((figure) => {
  const data = JSON.parse(figure.dataset.curve);
  const title = figure.querySelector("figcaption b").textContent;
  const values = [...figure.querySelectorAll(".value")];
  const names = [...figure.querySelectorAll(".key bdi")].map((name) => name.textContent);
  const plot = figure.querySelector(".plot");
  const svg = plot.querySelector("svg");
  return { figure, data, title, values, names, plot, svg, at: data.start };
});

function show(curve, at, cursor) {
  const { data, figure, plot } = curve;
  curve.at = at;
  figure.querySelector(".at b").textContent = data.epoch[at];
  curve.values.forEach((value, line) => { value.textContent = data.shown[line][at]; });
  const line = figure.querySelector(".cursor");
  line.setAttribute("x1", data.x[at]);
  line.setAttribute("x2", data.x[at]);
  figure.classList.toggle("pointed", cursor);
  plot.setAttribute("aria-valuenow", data.epoch[at]);
  const told = curve.names.map((name, i) => `${name} ${data.shown[i][at]}`).join(", ");
  plot.setAttribute("aria-valuetext", `epoch ${data.epoch[at]}: ${told}`);
}

function nearest(numbers, wanted) {
  let best = 0;
  numbers.forEach((number, at) => { if (Math.abs(number - wanted) < Math.abs(numbers[best] - wanted)) best = at; });
  return best;
}

function showAll(epoch) {
  for (const curve of curves) show(curve, nearest(curve.data.epoch, epoch), true);
}

function rest() {
  for (const curve of curves) show(curve, curve.data.start, false);
}

for (const curve of curves) {
  const { data, plot, svg, title } = curve;
  const last = data.epoch.length - 1;
  plot.tabIndex = 0;
  plot.setAttribute("role", "slider");
  plot.setAttribute("aria-label", `${title}, by epoch`);
  plot.setAttribute("aria-valuemin", data.epoch[0]);
  plot.setAttribute("aria-valuemax", data.epoch[last]);
  svg.setAttribute("aria-hidden", "true");
  show(curve, data.start, false);
  const follow = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    showAll(data.epoch[nearest(data.x, x)]);
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", () => { if (document.activeElement !== plot) rest(); });
  plot.addEventListener("focus", () => showAll(data.epoch[curve.at]));
  plot.addEventListener("blur", rest);
  plot.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.round(last / 10));
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: page, PageDown: -page, Home: -last, End: last };
    if (!(event.key in steps)) return;
    event.preventDefault();
    showAll(data.epoch[Math.min(last, Math.max(0, curve.at + steps[event.key]))]);
  });
}

// Pictures: the same spot is marked in all pictures of a place, and what lies there is told.
const meanings = {};
for (const legend of document.querySelectorAll(".legend")) {
  const colors = (meanings[legend.dataset.legend] = {});
  for (const entry of legend.querySelectorAll("[data-color]")) {
    const color = entry.dataset.color;
    colors[color] = color in colors ? `${colors[color]} or ${entry.textContent}` : entry.textContent;
  }
}

const pixels = new WeakMap();
function colorAt(image, x, y) {
  if (!pixels.has(image)) {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const drawing = canvas.getContext("2d", { willReadFrequently: true });
    drawing.drawImage(image, 0, 0);
    pixels.set(image, drawing);
  }
  const column = Math.min(image.naturalWidth - 1, Math.floor(x * image.naturalWidth));
  const row = Math.min(image.naturalHeight - 1, Math.floor(y * image.naturalHeight));
  const [r, g, b, alpha] = pixels.get(image).getImageData(column, row, 1, 1).data;
  return alpha ? "#" + [r, g, b].map((part) => part.toString(16).padStart(2, "0")).join("") : null;
}

function meaning(image, x, y) {
  const color = colorAt(image, x, y);
  return color === null ? "nothing known" : meanings[image.dataset.legend][color] ?? "?";
}

for (const place of document.querySelectorAll(".place")) {
  const images = [...place.querySelectorAll("img")];
  const readout = place.querySelector(".readout");
  const spots = [];
  const leave = () => {
    spots.splice(0).forEach((spot) => spot.remove());
    readout.textContent = "";
  };
  for (const image of images) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.addEventListener("pointermove", (event) => {
      const box = image.getBoundingClientRect();
      const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      const y = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
      images.forEach((other, at) => {
        if (!spots[at]) {
          spots[at] = document.createElement("span");
          spots[at].className = "spot";
          other.parentElement.append(spots[at]);
        }
        spots[at].style.left = `${100 * x}%`;
        spots[at].style.top = `${100 * y}%`;
      });
      const told = images.filter((other) => other.dataset.legend);
      readout.textContent = told.map((other) => `${other.dataset.title}: ${meaning(other, x, y)}`).join("  ·  ");
    });
    image.addEventListener("pointerleave", leave);
    image.addEventListener("click", () => enlarge(image));
    image.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge(image);
    });
  }
}

// One picture large; the arrow keys go on to the others, which lie exactly over it.
const large = document.createElement("dialog");
const shown = document.createElement("img");
const words = document.createElement("p");
const frame = document.createElement("div");
frame.className = "frame";
frame.append(shown);
large.append(frame, words);
large.setAttribute("aria-label", "Enlarged picture");
document.body.append(large);
let current = null;

function enlarge(image) {
  current = image;
  shown.src = image.src;
  shown.alt = image.alt;
  const place = image.closest(".place").querySelector("h3").textContent;
  words.textContent = `${place}. ${image.alt}. A click or ← → shows its other pictures, ↑ ↓ other chips; Esc, or a click beside it, closes.`;
  if (!large.open) large.showModal();
}

large.addEventListener("click", (event) => {
  if (event.target === shown) sideways(1);
  else large.close();
});
large.addEventListener("close", () => current?.focus());
large.addEventListener("keydown", (event) => {
  const moves = { ArrowRight: () => sideways(1), ArrowLeft: () => sideways(-1), ArrowDown: () => along(1), ArrowUp: () => along(-1) };
  if (!(event.key in moves)) return;
  event.preventDefault();
  moves[event.key]();
});

function sideways(step) {
  const images = [...current.closest(".place").querySelectorAll("img")];
  enlarge(images[(images.indexOf(current) + step + images.length) % images.length]);
}

function along(step) {
  const places = [...document.querySelectorAll(".place")];
  const place = current.closest(".place");
  const at = [...place.querySelectorAll("img")].indexOf(current);
  const next = places[(places.indexOf(place) + step + places.length) % places.length];
  enlarge(next.querySelectorAll("img")[at] ?? next.querySelector("img"));
}

// Paper cannot be clicked.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
