"use strict";
// The text of a compressed script element. Browsers have had DecompressionStream since 2023.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (one) => one.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
// While this frame is open the page counts as loading, so that no program prints it before its charts are drawn.
const frame = document.head.appendChild(document.createElement("iframe"));
frame.contentDocument?.open(); // there is no contentDocument where the page is in a frame of another page
const [code, texts] = await Promise.all(["plotly", "charts"].map(unpacked));
document.head.append(Object.assign(document.createElement("script"), { textContent: code }));
const charts = JSON.parse(texts);
const options = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
  toImageButtonOptions: { format: "svg" },
};

// Draw a chart, unless it is in a closed block: then it is drawn when the block is opened.
function draw(place) {
  if (place.dataset.drawn || place.closest("details:not([open])")) return;
  place.dataset.drawn = "yes";
  const { data, layout } = charts[place.dataset.chart];
  place.style.height = `${layout.height}px`; // else plotly changes the height with the window's size
  Plotly.newPlot(place, data, layout, options);
}
const places = [...document.querySelectorAll("[data-chart]")];
places.forEach(draw);
frame.remove();
for (const one of document.querySelectorAll("details")) {
  one.addEventListener("toggle", () => one.querySelectorAll("[data-chart]").forEach(draw));
}

// For printing, charts get the width of the paper.
addEventListener("beforeprint", () => {
  for (const place of places) if (place.dataset.drawn) Plotly.relayout(place, { width: place.closest(".wide") ? 680 : 660 });
});
addEventListener("afterprint", () => {
  for (const place of places) if (place.dataset.drawn) Plotly.relayout(place, { width: null, autosize: true });
});

// The table of trials: a click on a head sorts it, with missing values last; the pressed words filter it.
const table = document.getElementById("trials");
table.tHead.addEventListener("click", (event) => {
  const head = event.target.closest("th");
  if (!head) return;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.cells[head.cellIndex].dataset.sort;
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return up ? order : -order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => compare(key(a), key(b))));
});
const filters = [...document.querySelectorAll(".filters button")];
for (const button of filters) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    const wanted = {};
    for (const { dataset, ariaPressed } of filters) {
      if (ariaPressed === "true") (wanted[dataset.kind] ??= []).push(dataset.value);
    }
    for (const row of table.tBodies[0].rows) {
      row.hidden = Object.entries(wanted).some(([kind, values]) => !values.includes(row.dataset[kind]));
    }
  });
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {  // a page that was opened from disk may not use the clipboard, but may copy a selection
    const text = Object.assign(document.createElement("textarea"), { value: button.dataset.copy });
    document.body.append(text);
    text.select();
    document.execCommand("copy");
    text.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
});

// A halted film is replaced by a canvas with its current frame. With reduced motion in the system, films start halted.
for (const film of document.querySelectorAll(".film")) {
  const [halt, picture, still] = ["input", "img", "canvas"].map((name) => film.querySelector(name));
  const show = () => {
    if (halt.checked) {
      [still.width, still.height] = [picture.naturalWidth, picture.naturalHeight];
      still.getContext("2d").drawImage(picture, 0, 0);
    }
    film.classList.toggle("halted", halt.checked);
  };
  halt.checked = matchMedia("(prefers-reduced-motion: reduce)").matches;
  halt.addEventListener("change", show);
  picture.decode().then(show);
}
