// Draws the curves of a training run by plotly, in the style sheet's colours, anew when light and dark change.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// Plotly reads <b> and the like in names.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function draw(place) {
  const curve = JSON.parse(place.dataset.curve);
  const bar = colour("--bar");
  const hovertemplate = "%{y:.4~g}<extra></extra>";
  const thin = { x: curve.x, y: curve.y, name: "step", hovertemplate };
  const traces = curve.mean
    ? [
        { ...thin, mode: "markers", marker: { color: bar, size: 4, opacity: 0.4 } },
        { x: curve.x, y: curve.mean, mode: "lines", line: { color: bar, width: 2 }, hovertemplate: "mean %{y:.4~g}<extra></extra>" },
      ]
    : [{ ...thin, mode: curve.x.length > 1 ? "lines" : "markers", marker: { color: bar }, line: { color: bar, width: 2 } }];
  // From zero on, so that a small change looks small; what lies below zero is shown as well.
  const axis = { rangemode: "tozero", gridcolor: colour("--line"), linecolor: colour("--line"), zeroline: false, automargin: true };
  const layout = {
    title: { text: plain(curve.name), font: { size: 13, color: colour("--ink") }, x: 0.02, xanchor: "left" },
    font: { family: "system-ui, sans-serif", size: 11, color: colour("--dim") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 8, t: 32, b: 8 },
    showlegend: false,
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("--card"), font: { color: colour("--ink") } },
    dragmode: false,
    xaxis: { ...axis, title: { text: "step", standoff: 4 } },
    yaxis: { ...axis, tickformat: "~g" },
  };
  Plotly.react(place, traces, layout, { responsive: true, displayModeBar: false });
}

async function drawAll() {
  for (const place of document.querySelectorAll("[data-curve]")) {
    draw(place);
    await new Promise(requestAnimationFrame); // the page answers in between
  }
}
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
