"use strict";
// What the page holds compressed. Browsers since 2023 have what unpacks it.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (one) => one.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
// A frame that is still being written: until it is gone the page has not loaded, and no program prints it half drawn.
const frame = document.head.appendChild(document.createElement("iframe"));
frame.contentDocument?.open(); // which a page in another one's frame may not have
const [code, texts] = await Promise.all(["plotly", "charts"].map(unpacked));
document.head.append(Object.assign(document.createElement("script"), { textContent: code }));
const charts = JSON.parse(texts);
const options = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
  toImageButtonOptions: { format: "svg" },
};

// A chart is drawn when it can be seen: those of a closed block when it is opened.
function draw(place) {
  if (place.dataset.drawn || place.closest("details:not([open])")) return;
  place.dataset.drawn = "yes";
  const { data, layout } = charts[place.dataset.chart];
  place.style.height = `${layout.height}px`; // which plotly forgets when the window changes its size
  Plotly.newPlot(place, data, layout, options);
}
const places = [...document.querySelectorAll("[data-chart]")];
places.forEach(draw);
frame.remove();
for (const one of document.querySelectorAll("details")) {
  one.addEventListener("toggle", () => one.querySelectorAll("[data-chart]").forEach(draw));
}

// Paper is narrower than most windows.
addEventListener("beforeprint", () => {
  for (const place of places) if (place.dataset.drawn) Plotly.relayout(place, { width: place.closest(".wide") ? 680 : 660 });
});
addEventListener("afterprint", () => {
  for (const place of places) if (place.dataset.drawn) Plotly.relayout(place, { width: null, autosize: true });
});

// The trials' table: sorted by a head, what has no value last; shown by the words that are pressed.
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
  } catch {  // a page from disk may not: the older way
    const text = Object.assign(document.createElement("textarea"), { value: button.dataset.copy });
    document.body.append(text);
    text.select();
    document.execCommand("copy");
    text.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
});

// A film that is halted is a canvas with its frame; where the system asks for little motion it begins halted.
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
