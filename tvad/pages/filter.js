// Shows the answers of a task, of a class, with some words.
for (const place of document.querySelectorAll("[data-filter]")) {
  const cards = [...place.querySelectorAll("[data-task]")];
  const words = place.querySelector("[data-words]");
  const choices = [...place.querySelectorAll("[data-by]")];
  const show = () => {
    const wanted = words.value.toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const article = card.querySelector("article");
      const text = `${article.getAttribute("aria-label")} ${card.querySelector(".said").textContent}`;
      const fits = choices.every((choice) => !choice.value || card.dataset[choice.dataset.by] === choice.value);
      card.hidden = !(fits && text.toLowerCase().includes(wanted));
      shown += !card.hidden;
    }
    place.querySelector("[data-count]").textContent = `${shown} of ${cards.length} shown`;
  };
  for (const field of [words, ...choices]) field.addEventListener("input", show);
  show();
}
