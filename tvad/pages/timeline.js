// A click on a flagged span, or on the plot of scores, shows that moment; a line follows what is played.
for (const place of document.querySelectorAll("[data-timeline]")) {
  const video = place.querySelector("video");
  const plot = place.querySelector("[data-plot]");
  const now = place.querySelector("[data-now]");
  const seconds = Number(place.dataset.seconds);
  const wide = plot.viewBox.baseVal.width;
  if (!video) continue;
  const jump = (moment) => {
    video.currentTime = moment;
    video.scrollIntoView({ block: "nearest" });
    video.play().catch(() => {});
  };
  for (const button of place.querySelectorAll("button[data-start]"))
    button.addEventListener("click", () => jump(Number(button.dataset.start)));
  plot.addEventListener("click", (event) => {
    const flagged = event.target.dataset.start;
    const box = plot.getBoundingClientRect();
    jump(flagged === undefined ? ((event.clientX - box.left) / box.width) * seconds : Number(flagged));
  });
  const follow = () => {
    const x = (video.currentTime / seconds) * wide;
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
  };
  for (const name of ["timeupdate", "seeked"]) video.addEventListener(name, follow);
}
