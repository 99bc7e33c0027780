/* What the pages that run a network share: the runtime, loaded once, and the colors of every map in this book. */
window.padimPage = (() => {
  "use strict";

  /* Load onnxruntime-web from the book's own files, one thread, beside the page's own work. */
  async function runtime(folder) {
    if (location.protocol === "file:") throw new Error("open the book through a web server: python -m http.server");
    await script(`${folder}/ort.wasm.min.js`);
    ort.env.wasm.wasmPaths = new URL(`${folder}/`, document.baseURI).href;
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = true;
  }

  function script(address) {
    return new Promise((done, failed) => {
      // require.js, where a page has it, would swallow the library: it announces itself as a module loader.
      const loader = window.define;
      window.define = undefined;
      const tag = document.createElement("script");
      tag.src = address;
      tag.onload = () => { window.define = loader; done(); };
      tag.onerror = () => failed(new Error("the runtime is not part of this build of the book"));
      document.head.append(tag);
    });
  }

  /* Inferno at nine places, blended between. */
  const STOPS = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10],
    [249, 201, 50], [252, 255, 164]];
  function inferno(share) {
    const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
    return STOPS[low].map((value, i) => value + (STOPS[low + 1][i] - value) * (place - low));
  }

  return { runtime, inferno };
})();
