const axis = {gridcolor: "#e6e9ed", zerolinecolor: "#b9c0c8", linecolor: "#8a929c", showline: true, ticks: "outside",
  ticklen: 4, tickcolor: "#8a929c", automargin: true, title: {standoff: 10, font: {size: 13}}};
const colors = ["#1f6fb8", "#d9602b", "#2b9a6b", "#8c4bb3", "#b58900", "#c43d6b", "#3f7f93", "#6a6f76"];
const template = {layout: {font: {family: "system-ui, -apple-system, Segoe UI, Roboto, Arial, sans-serif", size: 12,
  color: "#1c2026"}, colorway: colors, xaxis: axis, yaxis: axis, paper_bgcolor: "#fff",
  legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"}}};
const finger = matchMedia("(pointer: coarse)").matches;
const settings = {responsive: true, displaylogo: false, displayModeBar: finger ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]};
const look = (line, i) => {
  if (line.type !== "scatter") return [line];
  const color = colors[i % colors.length], dash = i < colors.length ? "solid" : "dot", error = line.error_y;
  const seen = {...line, line: {...line.line, color, dash}, marker: {color}, legendgroup: `line ${i}`};
  const at = error ? line.y.map((_, k) => k).filter(k => ![line.y[k], error.array[k], error.arrayminus[k]].includes(null)) : [];
  if (at.length < 2) return [seen];
  const edge = [...at.map(k => [line.x[k], line.y[k] + error.array[k]]),
    ...at.reverse().map(k => [line.x[k], line.y[k] - error.arrayminus[k]])];
  return [{type: "scatter", mode: "lines", x: edge.map(p => p[0]), y: edge.map(p => p[1]), fill: "toself",
    fillcolor: `${color}26`, line: {width: 0}, hoverinfo: "skip", showlegend: false, legendgroup: seen.legendgroup},
    {...seen, error_y: {...error, thickness: 0, width: 0}}];
};
const plots = [...document.querySelectorAll(".plot")];
for (const box of plots) {
  const drawn = JSON.parse(box.previousElementSibling.textContent);
  const layout = {...drawn.layout, template, autosize: true};
  if (innerWidth < 640 && drawn.data[0].type === "heatmap") {
    drawn.data[0].colorbar = {orientation: "h", y: 1, yanchor: "bottom", thickness: 10};
    layout.yaxis = {...layout.yaxis, tickfont: {size: 9}};
    layout.xaxis = {...layout.xaxis, title: {text: layout.xaxis.title.text.replace(/^(.{10,}?) /, "$1<br>"), font: {size: 11}}};
  }
  if (finger) for (const name of ["xaxis", "yaxis"]) layout[name] = {...layout[name], fixedrange: true};
  box.hidden = false;
  box.parentElement.querySelector(".still").hidden = true;
  const data = box.classList.contains("drawn") ? drawn.data : drawn.data.flatMap(look);
  Plotly.newPlot(box, data, layout, settings);
}
addEventListener("beforeprint", () => plots.forEach(box => Plotly.relayout(box, {width: 660, autosize: false})));
addEventListener("afterprint", () => plots.forEach(box => Plotly.relayout(box, {width: null, autosize: true})));
