/* The live page: draw on a part, see the anomaly map of a PaDiM detector. Everything runs in this browser. */
(() => {
  "use strict";
  const SIDE = 256;
  const root = document.getElementById("live");
  if (!root) return;
  const base = root.dataset.base, { folder, json, runtime, inferno } = window.padimPage;
  const at = (id) => document.getElementById(`live-${id}`);
  const photo = at("photo").getContext("2d", { willReadFrequently: true });
  const heat = at("heat").getContext("2d");
  let files = null; // a file's bytes by its name
  const state = { parts: [], part: null, image: null, undo: [], features: null, distances: {}, busy: false, stale: false };
  window.padimLive = { ready: false, runs: 0, map: null, score: null, milliseconds: null };

  const LOOKUP = Array.from({ length: 256 }, (_, i) => inferno(i / 255));

  async function start() {
    files = await folder(base);
    const network = files("features.onnx"), started = runtime(base, files);
    state.parts = json(await files("parts.json"));
    for (const part of state.parts) at("parts").append(button(part.name, () => choosePart(part)));
    const first = state.parts[0]; // fetched at once with the rest, so that it is there when the runtime is
    const [bytes] = await Promise.all([network, started, files(`${first.name}.onnx`), files(first.images[0].file)]);
    state.features = await session(bytes);
    listen();
    root.classList.add("live-on");
    await choosePart(state.parts[0]);
  }

  const session = (bytes) => ort.InferenceSession.create(new Uint8Array(bytes));

  function button(name, action) {
    const element = document.createElement("button");
    element.type = "button";
    element.textContent = name;
    element.addEventListener("click", () => action().catch(complain));
    return element;
  }

  async function choosePart(part) {
    press("parts", part.name);
    state.wanted = part; // one that loads slowly does not replace one that was chosen later
    if (!state.distances[part.name]) {
      forget(); // the map and verdict of another part do not stand beside this one's name
      say(`loading the ${part.name} detector …`);
      state.distances[part.name] = await session(await files(`${part.name}.onnx`));
      if (state.wanted !== part) return;
    }
    state.part = part;
    const seen = {};
    const names = part.images.map(({ defect }) => `${defect} ${(seen[defect] = (seen[defect] ?? 0) + 1)}`);
    at("images").replaceChildren(...part.images.map((image, i) => {
      const once = seen[image.defect] === 1;
      return button(once ? image.defect : names[i], () => chooseImage(i));
    }));
    await chooseImage(0);
  }

  async function chooseImage(number) {
    [...at("images").children].forEach((choice, i) => choice.setAttribute("aria-pressed", i === number));
    const part = state.part;
    const image = await createImageBitmap(new Blob([await files(part.images[number].file)], { type: "image/png" }));
    if (state.part !== part || state.wanted !== part) return;
    state.image = image;
    state.undo = [];
    photo.drawImage(image, 0, 0);
    await score();
  }

  function press(group, name) {
    for (const choice of at(group).children) choice.setAttribute("aria-pressed", choice.textContent === name);
  }

  /* One run at a time; what was drawn meanwhile is scored afterwards. */
  async function score() {
    if (state.busy) { state.stale = true; return; }
    state.busy = true;
    do {
      state.stale = false;
      const part = state.part;
      const pixels = photo.getImageData(0, 0, SIDE, SIDE).data;
      const rgb = new Uint8Array(SIDE * SIDE * 3);
      for (let i = 0, j = 0; i < pixels.length; i += 4) {
        rgb[j++] = pixels[i]; rgb[j++] = pixels[i + 1]; rgb[j++] = pixels[i + 2];
      }
      const began = performance.now();
      const levels = await state.features.run({ images: new ort.Tensor("uint8", rgb, [1, SIDE, SIDE, 3]) });
      const output = await state.distances[part.name].run(levels);
      const milliseconds = performance.now() - began;
      if (state.wanted === part) show(part, output.map.data, output.score.data[0], milliseconds);
    } while (state.stale);
    state.busy = false;
  }

  function show(part, map, score, milliseconds) {
    const pixels = heat.createImageData(SIDE, SIDE);
    const scale = 255 / part.high;
    for (let i = 0; i < map.length; i++) {
      const [r, g, b] = LOOKUP[Math.min(255, Math.max(0, Math.round(map[i] * scale)))];
      pixels.data.set([r, g, b, 255], 4 * i);
    }
    heat.putImageData(pixels, 0, 0);
    const limit = part.threshold;
    const stopped = score > limit;
    at("verdict").textContent = stopped ? "stopped: something here is not as it should be" : "passes";
    at("verdict").dataset.stopped = stopped;
    at("bar").style.width = `${Math.min(100, 100 * score / part.high)}%`;
    at("bar").dataset.stopped = stopped;
    at("limit").style.left = `${100 * limit / part.high}%`;
    say(`score ${score.toFixed(1)}, threshold ${limit.toFixed(1)}; this map took ${Math.round(milliseconds)} ms`);
    Object.assign(window.padimLive, { ready: true, runs: window.padimLive.runs + 1, map, score, milliseconds });
  }

  /* Nothing of an earlier image stays on the screen. */
  function forget() {
    photo.clearRect(0, 0, SIDE, SIDE);
    heat.clearRect(0, 0, SIDE, SIDE);
    at("verdict").textContent = "";
    at("bar").style.width = 0;
  }

  function listen() {
    const canvas = at("photo");
    let last = null;
    listenToKeys(canvas);
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * SIDE / box.width, (event.clientY - box.top) * SIDE / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      remember();
      last = place(event);
      stroke(last, last);
      score().catch(complain);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const next = place(event);
      stroke(last, next);
      last = next;
      score().catch(complain);
    });
    const lift = () => { if (last) { last = null; score().catch(complain); } };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    at("undo").addEventListener("click", undo);
    at("clear").addEventListener("click", () => {
      remember();
      photo.drawImage(state.image, 0, 0);
      score().catch(complain);
    });
    document.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "z" && root.contains(document.activeElement)) undo();
    });
  }

  /* Arrows move the brush, with Shift further; Space or Enter puts it down and lifts it. */
  function listenToKeys(canvas) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const brush = { x: SIDE / 2, y: SIDE / 2, down: false }, mark = at("brush");
    const show = () => {
      mark.style.left = `${100 * brush.x / SIDE}%`;
      mark.style.top = `${100 * brush.y / SIDE}%`;
      mark.dataset.down = brush.down;
      at("keys").textContent = `brush ${brush.down ? "down" : "up"} at ${brush.x}, ${brush.y}`;
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === " " || event.key === "Enter") {
        brush.down = !brush.down;
        if (brush.down) { remember(); stroke([brush.x, brush.y], [brush.x, brush.y]); }
      } else if (event.key === "Escape") brush.down = false;
      else if (moves[event.key]) {
        const [dx, dy] = moves[event.key], step = event.shiftKey ? 24 : 4, before = [brush.x, brush.y];
        brush.x = Math.min(SIDE, Math.max(0, brush.x + step * dx));
        brush.y = Math.min(SIDE, Math.max(0, brush.y + step * dy));
        if (brush.down) stroke(before, [brush.x, brush.y]);
      } else return;
      event.preventDefault();
      show();
      if (brush.down) score().catch(complain);
    });
    canvas.addEventListener("blur", () => { brush.down = false; show(); at("keys").textContent = ""; });
    canvas.addEventListener("focus", show);
  }

  function remember() {
    state.undo.push(photo.getImageData(0, 0, SIDE, SIDE));
    if (state.undo.length > 30) state.undo.shift();
  }

  function undo() {
    const before = state.undo.pop();
    if (!before) return;
    photo.putImageData(before, 0, 0);
    score().catch(complain);
  }

  function stroke([x0, y0], [x1, y1]) {
    const width = Number(at("size").value);
    const tool = root.querySelector("input[name=live-tool]:checked").value;
    if (tool === "smear") { smear(x0, y0, x1, y1, width); return; }
    photo.strokeStyle = tool === "stain" ? at("color").value : tool === "scratch" ? "#e8e8e4" : "#101010";
    photo.globalAlpha = tool === "stain" ? 0.35 : 0.9;
    photo.lineWidth = tool === "scratch" ? Math.max(1, width / 4) : width;
    photo.lineCap = "round";
    photo.beginPath();
    photo.moveTo(x0, y0);
    photo.lineTo(x1 + 0.01, y1);
    photo.stroke();
    photo.globalAlpha = 1;
  }

  /* Carries what is under the brush along with it, as a finger does on wet paint. */
  function smear(x0, y0, x1, y1, width) {
    const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / 2));
    const r = width;
    for (let k = 1; k <= steps; k++) {
      const x = x0 + (x1 - x0) * (k - 1) / steps, y = y0 + (y1 - y0) * (k - 1) / steps;
      const dx = (x1 - x0) / steps, dy = (y1 - y0) / steps;
      photo.save();
      photo.globalAlpha = 0.8;
      photo.beginPath();
      photo.arc(x + dx, y + dy, r, 0, 2 * Math.PI);
      photo.clip();
      photo.drawImage(at("photo"), x - r, y - r, 2 * r, 2 * r, x - r + dx, y - r + dy, 2 * r, 2 * r);
      photo.restore();
    }
  }

  function say(text) { at("status").textContent = text; }

  function complain(error) {
    root.classList.remove("live-on");
    at("why").textContent = `The live detector does not run here (${error.message}). The image below shows what it does.`;
    window.padimLive.error = String(error.message);
  }

  start().catch(complain);
})();
