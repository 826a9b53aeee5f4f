"use strict";
(async () => {
  if (!("DecompressionStream" in window)) return; // the pictures stay
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shades = () => {
    const own = getComputedStyle(document.documentElement);
    const line = own.getPropertyValue("--line");
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
    return { axis, text: own.getPropertyValue("--text") };
  };
  const colours = () => dark.matches
    ? ["#7db3f5", "#f2a65a", "#6fce9a", "#d39be8", "#b8b8b8", "#e2cc66"]
    : ["#1b4f8a", "#c2571a", "#2b8a57", "#8d3fa0", "#6b6b6b", "#a8891a"];
  const draw = (figure) => {
    const box = figure.querySelector(".moving");
    const { data, layout } = JSON.parse(figure.querySelector(".figure").textContent);
    const { axis, text } = shades();
    Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text }, colorway: colours() });
    Object.assign(layout.xaxis, axis);
    Object.assign(layout.yaxis, axis);
    box.hidden = false;
    return Plotly.react(box, data, layout, { responsive: true, displayModeBar: false });
  };
  const figures = [...document.querySelectorAll("figure")];
  document.body.classList.add("live");
  for (const figure of figures) await draw(figure);
  dark.addEventListener("change", () => figures.forEach(draw));
  document.body.dataset.drawn = figures.length;
})();
