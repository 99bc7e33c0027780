/* Teach it your part: PaDiM fitted to photographs in this browser. Nothing leaves the machine. */
(() => {
  "use strict";

  /* ---- The method, as the package's recipe padim-lite0 computes it. No part of it touches the page. ---- */

  /* A photograph's pixels in the frame: Pillow's bilinear filter, which averages over all pixels it covers. Whole
     numbers, as Pillow has them: weights of 22 bits, rounded once along rows and once along columns. (Pillow 13 takes the
     columns of tall images first: then some values differ by one.) */
  function weights(from, to) {
    const scale = from / to, reach = Math.max(scale, 1);
    return Array.from({ length: to }, (_, i) => {
      const center = (i + 0.5) * scale;
      const first = Math.max(0, Math.trunc(center - reach + 0.5));
      const last = Math.min(from, Math.trunc(center + reach + 0.5));
      const w = Array.from({ length: last - first }, (_, k) =>
        Math.max(0, 1 - Math.abs((first + k - center + 0.5) / reach)));
      const sum = w.reduce((a, b) => a + b, 0);
      return { first, w: Int32Array.from(w, (v) => Math.trunc(0.5 + (v / sum) * 4194304)) };
    });
  }

  /* Rows of RGBA pixels, `width` wide, made `side` wide: RGB into `out` from row `at` on. */
  function shrinkRows(pixels, width, rows, filter, out, at) {
    const side = filter.length;
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < side; x++) {
        const { first, w } = filter[x];
        let r = 2097152, g = 2097152, b = 2097152;
        for (let k = 0, i = 4 * (y * width + first); k < w.length; k++, i += 4) {
          r += pixels[i] * w[k]; g += pixels[i + 1] * w[k]; b += pixels[i + 2] * w[k];
        }
        const o = 3 * ((at + y) * side + x);
        out[o] = r >> 22; out[o + 1] = g >> 22; out[o + 2] = b >> 22;
      }
    }
  }

  function shrinkColumns(rows, side, filter) {
    const out = new Uint8ClampedArray(3 * side * filter.length);
    for (let y = 0; y < filter.length; y++) {
      const { first, w } = filter[y];
      for (let x = 0; x < 3 * side; x++) {
        let sum = 2097152;
        for (let k = 0; k < w.length; k++) sum += rows[(first + k) * 3 * side + x] * w[k];
        out[3 * side * y + x] = sum >> 22;
      }
    }
    return out;
  }

  /* The Gaussians of n images, without any d x d matrix: Z (n x d) are the centered vectors of a place, and
     L L' = Z Z' + eps (n - 1) I is n x n. Layers are coarse to fine; a coarse cell's part of Z Z' is summed up once. */
  function fit(images, shapes, shrinkage) {
    const n = images.length, places = area(shapes[shapes.length - 1]);
    const layers = shapes.map((shape, k) => center(images.map((image) => image[k]), shape));
    const lower = new Float64Array((places * n * (n + 1)) / 2);
    for (const layer of layers) {
      const p = area(layer.shape), own = cells(layer.shape, shapes);
      for (let i = 0, pair = 0; i < n; i++) {
        for (let j = 0; j <= i; j++, pair++) {
          const sum = dot(layer.z[i], layer.z[j], p);
          for (let q = 0; q < places; q++) lower[pair * places + q] += sum[own[q]];
        }
      }
    }
    const eps = oas(lower, places, n, shapes.reduce((sum, shape) => sum + shape[0], 0), shrinkage);
    for (let q = 0; q < places; q++) cholesky(lower, q, places, n, eps * (n - 1));
    return { n, shapes, eps, layers, lower, places };
  }

  /* What is added to the variances: the median over places of oracle approximating shrinkage, from Z Z' alone. */
  function oas(products, places, n, d, { smallest, largest_share }) {
    const all = new Float64Array(places);
    for (let q = 0; q < places; q++) {
      let trace = 0, square = 0;
      for (let i = 0, pair = 0; i < n; i++) {
        for (let j = 0; j <= i; j++, pair++) {
          const value = products[pair * places + q] / (n - 1);
          square += (i === j ? 1 : 2) * value * value;
          if (i === j) trace += value;
        }
      }
      const m = trace / d, a = square / (d * d);
      const share = Math.min((a + m * m) / Math.max((n + 1) * (a - (m * m) / d), 1e-30), largest_share);
      all[q] = (share * m) / (1 - share);
    }
    return Math.max(all.sort()[(places - 1) >> 1], smallest);
  }

  /* Mahalanobis distance of every patch, d^2 = (|delta|^2 - |L^-1 Z delta|^2) / eps, in float64. */
  function distances(model, image) {
    const { n, shapes, eps, layers, lower, places } = model;
    const squares = new Float64Array(places), projected = Array.from({ length: n }, () => new Float64Array(places));
    layers.forEach((layer, k) => {
      const p = area(layer.shape), own = cells(layer.shape, shapes);
      const delta = minus(image[k], layer.mean);
      const norm = dot(delta, delta, p), onto = layer.z.map((z) => dot(z, delta, p));
      for (let q = 0; q < places; q++) {
        squares[q] += norm[own[q]];
        for (let i = 0; i < n; i++) projected[i][q] += onto[i][own[q]];
      }
    });
    const w = new Float64Array(n);
    for (let q = 0; q < places; q++) {
      for (let i = 0, pair = 0; i < n; i++) {
        let value = projected[i][q];
        for (let j = 0; j < i; j++, pair++) value -= lower[pair * places + q] * w[j];
        w[i] = value / lower[pair++ * places + q];
        squares[q] -= w[i] * w[i];
      }
      squares[q] = Math.sqrt(Math.max(squares[q], 0) / eps);
    }
    return squares;
  }

  /* Distances of each training image to the Gaussians of the others, in closed form: with g the diagonal of
     (Z Z' + rho I)^-1, rho = (n - 1) eps, b = rho g - 1 / n and d^2 = (n - 2) (1 / b - 1 - 1 / (n - 1)). */
  function heldOut({ n, eps, lower, places }) {
    const all = Array.from({ length: n }, () => new Float64Array(places)), inverse = new Float64Array(n * n);
    for (let q = 0; q < places; q++) {
      for (let j = 0; j < n; j++) {
        let g = 0;
        for (let i = j; i < n; i++) {
          let sum = i === j ? 1 : 0;
          const row = (i * (i + 1)) / 2;
          for (let k = j; k < i; k++) sum -= lower[(row + k) * places + q] * inverse[k * n + j];
          const value = sum / lower[(row + i) * places + q];
          inverse[i * n + j] = value;
          g += value * value;
        }
        const left = (n - 1) * eps * g - 1 / n;
        all[j][q] = Math.sqrt(Math.max((n - 2) * (1 / left - 1 - 1 / (n - 1)), 0));
      }
    }
    return all;
  }

  function center(images, shape) {
    const n = images.length, mean = new Float64Array(images[0].length);
    for (const image of images) for (let i = 0; i < mean.length; i++) mean[i] += image[i] / n;
    return { shape, mean, z: images.map((image) => minus(image, mean)) };
  }

  function minus(a, b) {
    const difference = new Float64Array(a.length);
    for (let i = 0; i < a.length; i++) difference[i] = a[i] - b[i];
    return difference;
  }

  /* Sums over channels of a * b, at each of p places. */
  function dot(a, b, p) {
    const sum = new Float64Array(p);
    for (let start = 0; start < a.length; start += p) {
      for (let q = 0; q < p; q++) sum[q] += a[start + q] * b[start + q];
    }
    return sum;
  }

  function cholesky(a, q, places, n, ridge) {
    const at = (i, j) => ((i * (i + 1)) / 2 + j) * places + q;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = a[at(i, j)] + (i === j ? ridge : 0);
        for (let k = 0; k < j; k++) sum -= a[at(i, k)] * a[at(j, k)];
        a[at(i, j)] = i === j ? Math.sqrt(sum) : sum / a[at(j, j)];
      }
    }
  }

  /* The place of a layer's grid that each place of the finest grid lies in. */
  function cells([, height, width], shapes) {
    const [, fineHeight, fineWidth] = shapes[shapes.length - 1];
    const ratio = fineHeight / height;
    return Int32Array.from({ length: fineHeight * fineWidth }, (_, q) =>
      Math.floor(Math.floor(q / fineWidth) / ratio) * width + Math.floor((q % fineWidth) / ratio));
  }

  const area = ([, height, width]) => height * width;

  /* One matrix that up-samples a line (bilinear) and blurs it (Gaussian, cut at 4 sigma, edges reflected). */
  function smoother(small, large, sigma) {
    const grown = Array.from({ length: large }, (_, i) => {
      const at = Math.max(0, ((i + 0.5) * small) / large - 0.5), low = Math.min(Math.floor(at), small - 1);
      const row = new Float64Array(small);
      row[low] += 1 - (at - low);
      row[Math.min(low + 1, small - 1)] += at - low;
      return row;
    });
    const radius = Math.trunc(4 * sigma + 0.5);
    const bell = Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp(-0.5 * ((k - radius) / sigma) ** 2));
    const sum = bell.reduce((a, b) => a + b, 0);
    const reflected = (i) => { const m = ((i % (2 * large)) + 2 * large) % (2 * large); return m < large ? m : 2 * large - 1 - m; };
    return grown.map((_, i) => {
      const row = new Float64Array(small);
      bell.forEach((weight, k) => grown[reflected(i + k - radius)].forEach((v, s) => { row[s] += (weight / sum) * v; }));
      return row;
    });
  }

  function smooth(values, [, height, width], rows, columns) {
    const tall = new Float64Array(rows.length * width), map = new Float32Array(rows.length * columns.length);
    rows.forEach((row, y) => {
      for (let s = 0; s < height; s++) for (let x = 0; x < width; x++) tall[y * width + x] += row[s] * values[s * width + x];
    });
    for (let y = 0; y < rows.length; y++) {
      columns.forEach((column, x) => {
        let sum = 0;
        for (let s = 0; s < width; s++) sum += column[s] * tall[y * width + s];
        map[y * columns.length + x] = sum;
      });
    }
    return map;
  }

  /* The image score: the maximum of a map ("max"), or the mean of a share of its largest values. */
  function imageScore(map, score) {
    if (score === "max") return map.reduce((a, b) => Math.max(a, b), -Infinity);
    const count = Math.max(1, Math.round(score * map.length)), sorted = Float32Array.from(map).sort();
    let sum = 0;
    for (let i = map.length - count; i < map.length; i++) sum += sorted[i];
    return sum / count;
  }

  /* Of the new among these images those that are unlike all others. The one with the highest held-out score is scored by
     a model without it: is that above `ratio` times the others' largest held-out score? Then it is set aside, and
     the rest is looked at again. `scoresOf(images)` gives held-out scores, `scoreOf(images, image)` one score. */
  function unlike(images, isNew, ratio, scoresOf, scoreOf) {
    const odd = [];
    for (let rest = [...images]; rest.length > FEWEST_ALIKE;) {
      const scores = scoresOf(rest), at = scores.indexOf(Math.max(...scores)), image = rest[at];
      const others = rest.filter((_, i) => i !== at);
      const times = scoreOf(others, image) / Math.max(...scoresOf(others));
      if (!isNew(image) || times < ratio) break;
      odd.push({ image, times });
      rest = others;
    }
    return odd;
  }

  /* As evaluation/thresholds.py: the k-th smallest held-out score, k = ceil((n + 1) (1 - alpha)), or the largest where
     there are too few images for that. */
  function conformal(scores, alpha) {
    const sorted = [...scores].sort((a, b) => a - b), n = sorted.length;
    const rank = Math.ceil((n + 1) * (1 - alpha));
    return { value: sorted[Math.min(rank, n) - 1], few: rank > n, scores };
  }

  /* ---- A fitted model as a file: the good images' features, in the safetensors format. ---- */

  function pack(images, facts, threshold) {
    const header = { __metadata__: {
      format: FORMAT, recipe: facts.recipe, weights: facts.weights, false_alarm: String(facts.false_alarm),
      threshold: String(threshold.value), size: facts.size.join("x"),
    } };
    let end = 0;
    facts.shapes.forEach((shape, k) => {
      const start = end;
      end += 4 * images.length * shape.reduce((a, b) => a * b, 1);
      header[`layer${k}`] = { dtype: "F32", shape: [images.length, ...shape], data_offsets: [start, end] };
    });
    let text = JSON.stringify(header);
    text += " ".repeat((8 - (new TextEncoder().encode(text).length % 8)) % 8);
    const named = new TextEncoder().encode(text), length = new DataView(new ArrayBuffer(8));
    length.setUint32(0, named.length, true);
    return new Blob([length.buffer, named, ...facts.shapes.flatMap((_, k) => images.map((image) => image[k]))],
      { type: "application/octet-stream" });
  }

  async function unpack(file, facts) {
    const bytes = await file.arrayBuffer();
    const wrong = (why) => new Trouble(`${file.name} ${why}`);
    let header, start;
    try {
      start = 8 + Number(new DataView(bytes).getBigUint64(0, true));
      header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, start - 8)));
    } catch { throw wrong("is not a model that this page saved: choose a .safetensors file of its own"); }
    const meta = header.__metadata__ ?? {};
    if (meta.format !== FORMAT) throw wrong("is not a model that this page saved: choose a .safetensors file of its own");
    if (meta.weights !== facts.weights || meta.recipe !== facts.recipe) {
      throw wrong("was learned with another network than this page has: learn the images anew");
    }
    const count = header.layer0?.shape?.[0];
    const fits = Number.isInteger(count) && count >= FEWEST && count <= facts.most && facts.shapes.every((shape, k) => {
      const { dtype, shape: own, data_offsets: [from, to] = [] } = header[`layer${k}`] ?? {};
      const size = 4 * shape.reduce((a, b) => a * b, count);
      return dtype === "F32" && String(own) === String([count, ...shape]) && to - from === size && start + to <= bytes.byteLength;
    });
    if (!fits) throw wrong(`holds features of another size than this page's, ${facts.size.join(" x ")} pixels: learn the images anew`);
    const layers = facts.shapes.map((_, k) => {
      const [from, to] = header[`layer${k}`].data_offsets;
      return new Float32Array(bytes.slice(start + from, start + to));
    });
    if (layers.some((layer) => !layer.every(Number.isFinite))) throw wrong("is damaged: it holds values that are not finite");
    return Array.from({ length: count }, (_, i) => layers.map((layer) => {
      const size = layer.length / count;
      return layer.slice(i * size, (i + 1) * size);
    }));
  }

  class Trouble extends Error {}
  const FORMAT = "padim-nb page 1", FEWEST = 3, FEWEST_ALIKE = 5, UNLIKE = 1.2, LARGEST_SIDE = 16384, STRIP = 256;
  window.padimLearn = { weights, shrinkRows, shrinkColumns, fit, distances, smoother, smooth, imageScore, unlike, conformal, state: null };

  /* ---- The page. ---- */

  const root = document.getElementById("learn");
  if (!root) return;
  const at = (id) => document.getElementById(`learn-${id}`);
  const base = root.dataset.base, { folder, json, runtime, inferno } = window.padimPage;
  const state = { ready: false, good: [], doubtful: [], model: null, threshold: null, fresh: null, map: null, score: null, seconds: null };
  let facts, files, network, rows, columns, stream = null, queue = Promise.resolve();
  window.padimLearn.state = state;

  async function start() {
    at("why").textContent = "Loading the network … (16 MB, once)";
    const [own, shared] = await Promise.all([folder(base), folder(root.dataset.runtime)]);
    files = own;
    const [bytes, settings] = await Promise.all([files("features.onnx"), files("learn.json"), runtime(root.dataset.runtime, shared)]);
    facts = json(settings);
    network = await ort.InferenceSession.create(new Uint8Array(bytes));
    const [, height, width] = facts.shapes[facts.shapes.length - 1];
    rows = smoother(height, facts.size[0], facts.sigma);
    columns = smoother(width, facts.size[1], facts.sigma);
    listen();
    root.classList.add("learn-on");
    state.ready = true;
    show();
  }

  /* One thing at a time, in the order in which it was asked for. */
  function enqueue(work) {
    root.setAttribute("aria-busy", "true");
    queue = queue.then(() => { complain(""); return work(); })
      .catch((error) => {
        if (state.ready) show();
        complain(error instanceof Trouble ? error.message : `That went wrong: ${error.message}`);
      })
      .then(() => root.setAttribute("aria-busy", "false"));
    return queue;
  }

  /* A photograph in the frame, uint8 RGB, read in strips: a phone's photograph is larger than some browsers' canvas. */
  async function framed(file) {
    const name = file.name ?? "the photograph";
    let image;
    try {
      image = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    } catch { throw new Trouble(`${name} is not an image that this browser can read: save it as JPEG or PNG`); }
    try {
      return shrunk(image, image.width, image.height, name);
    } finally { image.close(); }
  }

  function shrunk(image, width, height, name) {
    if (Math.max(width, height) > LARGEST_SIDE) {
      throw new Trouble(`${name} is ${width} x ${height} pixels: make it smaller, ${LARGEST_SIDE} a side at most`);
    }
    const [tall, wide] = facts.size, across = weights(width, wide), rowsOf = new Uint8ClampedArray(3 * wide * height);
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = Math.min(STRIP, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    for (let top = 0; top < height; top += STRIP) {
      const count = Math.min(STRIP, height - top);
      context.clearRect(0, 0, width, canvas.height);
      context.drawImage(image, 0, -top);
      shrinkRows(context.getImageData(0, 0, width, count).data, width, count, across, rowsOf, top);
    }
    return shrinkColumns(rowsOf, wide, weights(height, tall));
  }

  async function features(rgb) {
    const output = await network.run({ images: new ort.Tensor("uint8", new Uint8Array(rgb), [1, ...facts.size, 3]) });
    return facts.shapes.map((_, k) => Float32Array.from(output[`layer${k}`].data));
  }

  async function learn(chosen) {
    const list = [...chosen], began = performance.now(), problems = [], added = [];
    if (!list.length) return;
    for (const [number, file] of list.entries()) {
      const key = `${file.name}/${file.size}/${file.lastModified}`;
      if ([...state.good, ...added].some((image) => image.key === key)) { problems.push(`${file.name} is here already.`); continue; }
      if (state.good.length + added.length >= facts.most) {
        problems.push(`The page learns from ${facts.most} images at most: the rest was left out. Python has no such limit.`);
        break;
      }
      say(`reading image ${number + 1} of ${list.length} …`);
      try {
        const rgb = await framed(file);
        added.push({ key, name: file.name, rgb, features: await features(rgb) });
      } catch (error) {
        if (!(error instanceof Trouble)) throw error;
        problems.push(`${error.message}.`);
      }
    }
    if (added.length) {
      say("comparing the images with each other …");
      await new Promise((done) => setTimeout(done));
      const odd = unlike([...state.good, ...added], (image) => added.includes(image), UNLIKE,
        (images) => heldOutScores(fitted(images)), (images, image) => scoreOf(fitted(images), image));
      const keys = odd.map(({ image }) => image.key);
      state.doubtful = [...state.doubtful.filter(({ image }) => !added.some(({ key }) => key === image.key)), ...odd];
      state.good.push(...added.filter(({ key }) => !keys.includes(key)));
      await refit(began);
    }
    complain(problems.slice(0, 4).join(" ") + (problems.length > 4 ? ` And ${problems.length - 4} more.` : ""));
  }

  async function refit(began = performance.now()) {
    state.model = state.threshold = null;
    const images = state.good.map((image) => image.features), n = images.length;
    if (n >= FEWEST) {
      say(`fitting a Gaussian to each of ${area(facts.shapes[facts.shapes.length - 1])} patches …`);
      await new Promise((done) => setTimeout(done));
      state.model = fit(images, facts.shapes, facts.shrinkage);
      const scores = heldOutScores(state.model);
      state.good.forEach((image, i) => { image.heldOut = scores[i]; });
      state.threshold = conformal(scores, facts.false_alarm);
      state.seconds = (performance.now() - began) / 1000;
    }
    judgeAgain();
    show();
  }

  const smoothed = (values) => smooth(values, facts.shapes[facts.shapes.length - 1], rows, columns);
  const fitted = (images) => fit(images.map((image) => image.features), facts.shapes, facts.shrinkage);
  const heldOutScores = (model) => heldOut(model).map((values) => imageScore(smoothed(values), facts.score));
  const scoreOf = (model, image) => imageScore(mapOf(model, image.features), facts.score);

  const mapOf = (model, image) => smoothed(distances(model, image));

  async function judge(file, rgb = null) {
    if (!state.model) throw new Trouble(`Learn at least ${FEWEST} good images first`);
    state.fresh = null; // nothing of an earlier photograph stays, also where this one cannot be read
    judgeAgain();
    show();
    say("looking …");
    rgb ??= await framed(file);
    state.fresh = { key: `${file.name}/${file.size}/${file.lastModified}`, name: file.name, rgb, features: await features(rgb) };
    judgeAgain();
    show();
    at("result").scrollIntoView({ block: "nearest" });
  }

  function judgeAgain() {
    state.map = state.score = state.p = null;
    if (!state.fresh || !state.model) return;
    state.map = mapOf(state.model, state.fresh.features);
    state.score = imageScore(state.map, facts.score);
    /* Full conformal prediction: the new image among the others, each of all n + 1 held out in turn. */
    const all = [...state.good.map((image) => image.features), state.fresh.features];
    const scores = heldOutScores(fit(all, facts.shapes, facts.shrinkage));
    state.p = scores.filter((score) => score >= scores[scores.length - 1]).length / scores.length;
  }

  /* ---- What one sees. ---- */

  const TOP = 1.5; // thresholds that the bar and the colors reach to

  function show() {
    const n = state.good.length;
    at("good").replaceChildren(...state.good.map(thumbnail));
    at("doubt").hidden = !state.doubtful.length;
    at("doubtful").replaceChildren(...state.doubtful.map(doubt));
    at("count").textContent = n ? `${n} good image${n > 1 ? "s" : ""}` : "no images yet";
    for (const id of ["save", "forget"]) at(id).disabled = id === "save" ? !state.model : !n && !state.doubtful.length;
    for (const node of root.querySelectorAll("[data-needs-model]")) node.disabled = !state.model;
    at("judging").classList.toggle("learn-waits", !state.model);
    if (!n) say("");
    else if (!state.model) say(`of at least ${FEWEST}; ten are a good start.`);
    else {
      const one = Math.round(1 / facts.false_alarm), odd = state.good.reduce((a, b) => (b.heldOut > a.heldOut ? b : a));
      say(`learned in ${state.seconds.toFixed(1)} s. Requested: one good part in ${one} stopped; ` +
        (state.threshold.few ? `${n} images attain one in ${n + 1} (one in ${one} would need ${one - 1}). ` : "attained. ") +
        `Most unlike the others: ${odd.name}, with a held-out score of ${number(odd.heldOut)}.`);
    }
    at("result").hidden = state.score === null;
    if (state.score === null) {
      at("verdict").textContent = at("score").textContent = "";
      return;
    }
    const limit = state.threshold.value, rate = Math.max(facts.false_alarm, 1 / (n + 1)), stopped = state.p <= rate + 1e-9;
    paint(at("photo"), (i, put) => put(state.fresh.rgb[3 * i], state.fresh.rgb[3 * i + 1], state.fresh.rgb[3 * i + 2]));
    outline(at("photo"), limit);
    paint(at("heat"), (i, put) => put(...inferno(state.map[i] / (TOP * limit))));
    at("verdict").textContent = stopped ? "Stopped: something here is not as learned." : "Passes.";
    at("verdict").dataset.stopped = stopped;
    at("score").textContent = `Score ${number(state.score)}, p = ${state.p.toPrecision(2)}. ` +
      `Stopped from p = ${rate.toPrecision(2)} down: at most one good part in ${Math.floor(1 / rate + 1e-9)} is, on average.`;
    at("bar").style.width = `${Math.min(100, (100 * state.score) / (TOP * limit))}%`;
    at("bar").dataset.stopped = stopped;
    at("limit").style.left = `${100 / TOP}%`;
  }

  const number = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

  function thumbnail(image) {
    image.node ??= thumbnailOf(image);
    image.node.querySelector("small").textContent = image.heldOut && state.model ? number(image.heldOut) : "";
    return image.node;
  }

  function photograph(image) {
    const canvas = document.createElement("canvas");
    paint(canvas, (i, put) => put(image.rgb[3 * i], image.rgb[3 * i + 1], image.rgb[3 * i + 2]));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", image.name);
    return canvas;
  }

  /* An image that is unlike the others, and the two things that one can do about it. */
  function doubt(entry) {
    const item = document.createElement("li"), text = document.createElement("span"), { image, times } = entry;
    text.textContent = `${image.name}: its score is ${times.toPrecision(2)} times the highest among the others. `;
    const choice = (label, accepted) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.setAttribute("aria-label", `${label}: ${image.name}`);
      button.addEventListener("click", () => enqueue(async () => {
        if (!state.doubtful.includes(entry)) return;
        if (accepted && state.good.length >= facts.most) throw new Trouble(`The page learns from ${facts.most} images at most`);
        state.doubtful = state.doubtful.filter((other) => other !== entry);
        if (accepted) { state.good.push(image); await refit(); } else show();
        (at("doubtful").querySelector("button") ?? at("files")).focus();
      }));
      return button;
    };
    text.append(choice("learn it too", true), " ", choice("leave it out", false));
    item.append(photograph(image), text);
    return item;
  }

  function thumbnailOf(image) {
    const item = document.createElement("li"), remove = document.createElement("button");
    if (image.rgb) item.append(photograph(image));
    else {
      const text = document.createElement("span");
      text.textContent = image.name;
      item.append(text);
    }
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `remove ${image.name}`);
    remove.addEventListener("click", () => enqueue(async () => {
      const place = state.good.indexOf(image);
      if (place < 0) return;
      state.good.splice(place, 1);
      await refit();
      (at("good").querySelectorAll("button")[Math.min(place, state.good.length - 1)] ?? at("files")).focus();
    }));
    const score = document.createElement("small");
    score.title = "held-out score: by a model of the other images";
    item.append(score, remove);
    return item;
  }

  function paint(canvas, color) {
    [canvas.height, canvas.width] = facts.size;
    const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
    for (let i = 0; i < canvas.width * canvas.height; i++) {
      color(i, (r, g, b) => { pixels.data[4 * i] = r; pixels.data[4 * i + 1] = g; pixels.data[4 * i + 2] = b; pixels.data[4 * i + 3] = 255; });
    }
    context.putImageData(pixels, 0, 0);
  }

  /* A line around what lies above the threshold. */
  function outline(canvas, limit) {
    const [height, width] = facts.size, context = canvas.getContext("2d"), map = state.map;
    context.fillStyle = "#00e5ff";
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const above = (i, j) => i >= 0 && j >= 0 && i < height && j < width && map[i * width + j] > limit;
        if (above(y, x) && !(above(y - 1, x) && above(y + 1, x) && above(y, x - 1) && above(y, x + 1))) context.fillRect(x, y, 1, 1);
      }
    }
  }

  function say(text) { at("status").textContent = text; }
  function complain(text) { at("problem").textContent = text; }

  /* ---- What one does. ---- */

  function listen() {
    for (const id of ["files", "folder"]) {
      at(id).addEventListener("change", () => { const files = onlyImages([...at(id).files]); at(id).value = ""; enqueue(() => learn(files)); });
    }
    at("new").addEventListener("change", () => { const [file] = at("new").files; at("new").value = ""; if (file) enqueue(() => judge(file)); });
    dropped(at("drop"), (files) => enqueue(() => learn(onlyImages(files))));
    dropped(at("judging"), ([file]) => file && enqueue(() => judge(file)));
    at("samples").addEventListener("click", () => enqueue(async () => learn(await samples("good"))));
    at("forget").addEventListener("click", () => enqueue(async () => { state.good = []; state.doubtful = []; state.fresh = null; await refit(); }));
    at("save").addEventListener("click", save);
    at("load").addEventListener("change", () => { const [file] = at("load").files; at("load").value = ""; if (file) enqueue(() => load(file)); });
    at("also").addEventListener("click", () => enqueue(async () => {
      if (!state.fresh || state.good.some(({ key }) => key === state.fresh.key)) throw new Trouble("This image is among the good ones already");
      if (state.good.length >= facts.most) throw new Trouble(`The page learns from ${facts.most} images at most`);
      state.good.push(state.fresh);
      state.fresh = null;
      await refit();
    }));
    for (const [i, { defect }] of facts.samples.new.entries()) {
      const choice = document.createElement("button");
      choice.type = "button";
      choice.textContent = `${facts.category}: ${defect}`;
      choice.dataset.needsModel = "";
      choice.addEventListener("click", () => enqueue(async () => judge((await samples("new"))[i])));
      at("tries").append(choice);
    }
    if (navigator.mediaDevices?.getUserMedia) {
      at("camera").addEventListener("click", () => enqueue(camera));
      at("shot").addEventListener("click", () => enqueue(async () => learn([await shot()])));
      at("shot-new").addEventListener("click", () => enqueue(async () => judge(await shot())));
    } else at("camera").hidden = true;
  }

  /* Of a folder only what may be an image; of single files all, so that the page can say what is wrong with them. */
  const onlyImages = (files) => (files.some((file) => file.webkitRelativePath || file.inFolder)
    ? files.filter((file) => file.type.startsWith("image/")) : files).sort((a, b) => a.name.localeCompare(b.name));

  function dropped(node, work) {
    const over = (on) => (event) => { event.preventDefault(); node.classList.toggle("learn-over", on); };
    node.addEventListener("dragover", over(true));
    node.addEventListener("dragleave", over(false));
    node.addEventListener("drop", async (event) => {
      over(false)(event);
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      const plain = [...event.dataTransfer.files];
      work(entries.some((entry) => entry.isDirectory) ? (await Promise.all(entries.map(walked))).flat() : plain);
    });
  }

  async function walked(entry) {
    if (entry.isFile) return new Promise((done, failed) => entry.file((file) => { file.inFolder = true; done([file]); }, failed));
    const reader = entry.createReader(), list = [];
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return (await Promise.all(list.map(walked))).flat();
      list.push(...some);
    }
  }

  async function samples(group) {
    return Promise.all(facts.samples[group].map(async ({ file }) =>
      new File([await files(file)], file, { type: "image/jpeg", lastModified: 0 })));
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(pack(state.good.map((image) => image.features), facts, state.threshold));
    link.download = "part.safetensors";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  async function load(file) {
    const images = await unpack(file, facts);
    state.doubtful = [];
    state.good = images.map((image, i) => ({ key: `${file.name}/${i}`, name: `image ${i + 1}`, rgb: null, features: image }));
    await refit();
  }

  async function camera() {
    if (stream) {
      stream.getTracks().forEach((track) => track.stop());
      stream = null;
    } else {
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
      } catch { throw new Trouble("There is no camera here, or this page may not use it: choose files instead"); }
      at("video").srcObject = stream;
      await at("video").play();
    }
    at("viewer").hidden = !stream;
    at("camera").textContent = stream ? "turn the camera off" : "use the camera";
    at("camera").setAttribute("aria-expanded", Boolean(stream));
  }

  async function shot() {
    const video = at("video"), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    if (!canvas.width) throw new Trouble("The camera shows nothing yet: wait a moment");
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    return new File([blob], `camera ${new Date().toLocaleTimeString()}`, { type: "image/png" });
  }

  start().catch((error) => {
    root.classList.remove("learn-on");
    at("why").textContent = `The page cannot learn here (${error.message}). The image below shows what it does.`;
    state.error = String(error.message);
  });
})();
