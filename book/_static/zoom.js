/* Images that are shown smaller than they are open large on a click, or by Enter; Escape closes them. Wide tables and
   listings take the focus. */
(() => {
  "use strict";

  /* What scrolls sideways can be scrolled by keyboard as well. */
  function reachable() {
    for (const node of document.querySelectorAll("article table, article pre, article .pst-scrollable-table-container")) {
      if (node.scrollWidth > node.clientWidth) node.tabIndex = 0;
    }
  }
  window.addEventListener("load", reachable);
  window.addEventListener("resize", reachable);

  const WORTH = 1.25; // times larger than shown
  const viewer = document.createElement("dialog"), close = document.createElement("button");
  viewer.className = "zoom";
  close.type = "button";
  close.textContent = "close";
  let opener = null;

  function open(image) {
    opener = image;
    const large = document.createElement("img");
    viewer.replaceChildren(close, large);
    large.src = image.currentSrc || image.src;
    large.alt = image.alt;
    viewer.setAttribute("aria-label", image.alt);
    viewer.showModal();
  }

  function offer(image) {
    const larger = image.clientWidth > 0 && image.naturalWidth > WORTH * image.clientWidth;
    image.classList.toggle("zoomable", larger);
    if (!larger) { image.removeAttribute("tabindex"); image.removeAttribute("role"); return; }
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.title = "Enlarge";
  }

  const images = [...document.querySelectorAll("article.bd-article img")].filter((image) => !image.closest("a, .touch-panel"));
  if (!images.length || !viewer.showModal) return;
  document.body.append(viewer);
  viewer.addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => opener?.focus({ preventScroll: true }));
  for (const image of images) {
    image.addEventListener("load", () => offer(image));
    image.addEventListener("click", () => { if (image.classList.contains("zoomable")) open(image); });
    image.addEventListener("keydown", (event) => {
      if (!image.classList.contains("zoomable") || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      open(image);
    });
    if (image.complete) offer(image);
  }
  window.addEventListener("resize", () => images.forEach(offer));
})();
