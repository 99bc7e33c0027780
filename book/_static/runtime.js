/* What the pages that run a network share: the runtime and other files, fetched once, and the colors of every map. */
window.padimPage = (() => {
  "use strict";

  /* A folder of the book whose files are kept in this browser until the book is built anew: then its `sources` differs.
     Gives a function from a file's name to its bytes. */
  async function folder(base) {
    const address = new URL(`${base}/`, document.baseURI), name = `padim-nb ${address.pathname} `;
    const version = (await (await fetched(`${address}sources`, { cache: "no-cache" })).text()).trim();
    let store = null;
    try { // a browser may have no such store, or refuse it: then every visit fetches
      for (const old of await caches.keys()) if (old.startsWith(name) && old !== name + version) await caches.delete(old);
      store = await caches.open(name + version);
    } catch { store = null; }
    return async (file) => {
      const place = `${address}${file}`;
      const kept = await store?.match(place);
      if (kept) return kept.arrayBuffer();
      const answer = await fetched(place);
      await store?.put(place, answer.clone()).catch(() => {}); // a full disk: the next visit fetches again
      return answer.arrayBuffer();
    };
  }

  async function fetched(address, options) {
    if (location.protocol === "file:") throw new Error("open the book through a web server: python -m http.server");
    const answer = await fetch(address, options);
    if (!answer.ok) throw new Error(`${address.split("/").pop()} is not part of this build of the book`);
    return answer;
  }

  const json = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

  /* Load onnxruntime-web from the book's own files, one thread, beside the page's own work. */
  async function runtime(base, files) {
    const binary = files("ort/ort-wasm-simd-threaded.wasm").catch((error) => error);
    await script(`${base}/ort/ort.wasm.min.js`);
    ort.env.wasm.wasmPaths = new URL(`${base}/ort/`, document.baseURI).href;
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = true;
    ort.env.wasm.wasmBinary = await binary;
    if (ort.env.wasm.wasmBinary instanceof Error) throw new Error("the runtime is not part of this build of the book");
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

  return { folder, json, runtime, inferno };
})();
