/* Figures one can touch: one idea and one control each. Where scripts are off a still image stands in their place. */
(() => {
  "use strict";
  const GOOD = "#0072b2", DEFECTIVE = "#d55e00", EXTRA = "#009e73";
  const data = window.padimFigures ?? {};

  /* ---- Elements ---- */

  function element(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function drawn(name, attributes = {}, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const label = (x, y, text, attributes = {}) => drawn("text", { x, y, class: "touch-text", ...attributes }, text);
  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  /* The same numbers for every reader: a small generator with a seed, and Box and Muller's normal numbers. */
  function normals(seed) {
    let state = seed;
    const uniform = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  function slider(text, attributes) {
    const input = element("input", { type: "range", ...attributes });
    return [element("label", { class: "touch-slider" }, element("span", {}, text), input), input];
  }

  const reading = () => element("p", { class: "touch-reading", role: "status" });

  /* A plot's frame: axes with ticks, and functions from values to places. */
  function axes({ width, height, left, right = 12, top = 12, bottom = 40, x, y, xTicks, yTicks, xLabel, yLabel, alt }) {
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "touch-plot", role: "img", "aria-label": alt });
    const atX = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
    const atY = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - top - bottom);
    svg.append(drawn("path", { class: "touch-axis", d: `M${left} ${top}V${height - bottom}H${width - right}` }));
    for (const [value, text] of xTicks) svg.append(label(atX(value), height - bottom + 16, text, { "text-anchor": "middle" }));
    for (const [value, text] of yTicks) svg.append(label(left - 6, atY(value) + 4, text, { "text-anchor": "end" }));
    svg.append(label((left + width - right) / 2, height - 6, xLabel, { "text-anchor": "middle" }));
    const middle = (top + height - bottom) / 2;
    svg.append(label(15, middle, yLabel, { "text-anchor": "middle", transform: `rotate(-90 15 ${middle})` }));
    return { svg, atX, atY };
  }

  /* ---- Euclid against Mahalanobis: drag a point around a cloud ---- */

  function mahalanobis(panel) {
    const width = 480, height = 360, scale = 46, normal = normals(7);
    const long = 2.1, short = 0.55, tilt = 0.55;
    const turn = (u, v) => [u * Math.cos(tilt) - v * Math.sin(tilt), u * Math.sin(tilt) + v * Math.cos(tilt)];
    const cloud = Array.from({ length: 150 }, () => turn(long * normal(), short * normal()));
    const center = [0, 1].map((axis) => mean(cloud.map((p) => p[axis])));
    const scatter = (a, b) => cloud.reduce((sum, p) => sum + (p[a] - center[a]) * (p[b] - center[b]), 0) / (cloud.length - 1);
    const [sxx, sxy, syy] = [scatter(0, 0), scatter(0, 1), scatter(1, 1)];
    const lower = [Math.sqrt(sxx), sxy / Math.sqrt(sxx), Math.sqrt(syy - (sxy * sxy) / sxx)];
    const euclid = ([x, y]) => Math.hypot(x - center[0], y - center[1]);
    const straightened = ([x, y]) => {
      const first = (x - center[0]) / lower[0];
      return [first, (y - center[1] - lower[1] * first) / lower[2]];
    };
    const distance = (p) => Math.hypot(...straightened(p));
    const closer = (measure, p) => cloud.filter((q) => measure(q) < measure(p)).length / cloud.length;
    const atX = (x) => width / 2 + scale * (x - center[0]), atY = (y) => height / 2 - scale * (y - center[1]);
    const round = (place) => place.toFixed(1);

    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "touch-plot", role: "group",
      "aria-label": "A tilted cloud of 150 good patches, and a new patch that can be moved" });
    const ring = (radius, straight) => Array.from({ length: 73 }, (_, i) => {
      const [u, v] = [radius * Math.cos((i * Math.PI) / 36), radius * Math.sin((i * Math.PI) / 36)];
      const [x, y] = straight ? [center[0] + u, center[1] + v] : [center[0] + lower[0] * u, center[1] + lower[1] * u + lower[2] * v];
      return `${i ? "L" : "M"}${round(atX(x))} ${round(atY(y))}`;
    }).join("");
    for (const radius of [1, 2, 3]) svg.append(drawn("path", { class: "touch-faint", d: ring(radius, false) }));
    for (const [x, y] of cloud) svg.append(drawn("circle", { cx: round(atX(x)), cy: round(atY(y)), r: 2.6, class: "touch-point" }));
    const circle = drawn("path", { class: "touch-circle" }), ellipse = drawn("path", { class: "touch-ellipse" });
    const dot = drawn("circle", { r: 7, fill: DEFECTIVE, class: "touch-dot" });
    const handle = drawn("g", { class: "touch-handle", tabindex: 0, role: "slider", "aria-label": "the new patch; the arrow keys move it",
      "aria-valuemin": 0, "aria-valuemax": 20 }, drawn("circle", { r: 24, fill: "transparent" }), dot);
    svg.append(circle, ellipse, handle);
    const buttons = element("div", { class: "touch-buttons" }), text = reading();
    panel.append(svg, buttons, text);

    let point;
    function move(next) {
      point = [Math.min(Math.max(next[0], center[0] - 5), center[0] + 5), Math.min(Math.max(next[1], center[1] - 3.6), center[1] + 3.6)];
      handle.setAttribute("transform", `translate(${round(atX(point[0]))} ${round(atY(point[1]))})`);
      circle.setAttribute("d", ring(euclid(point), true));
      ellipse.setAttribute("d", ring(distance(point), false));
      const plain = `Euclid ${euclid(point).toFixed(1)}: farther than ${percent(closer(euclid, point))} of the good patches.`;
      const odd = `Mahalanobis ${distance(point).toFixed(1)}: farther than ${percent(closer(distance, point))}.`;
      text.replaceChildren(element("span", { class: "touch-key touch-key-circle" }, plain), " ",
        element("span", { class: "touch-key touch-key-ellipse" }, odd));
      handle.setAttribute("aria-valuenow", distance(point).toFixed(1));
      handle.setAttribute("aria-valuetext", `${plain} ${odd}`);
    }
    const away = 2.2, angle = 0.5 * Math.atan2(2 * sxy, sxx - syy);
    for (const [name, direction] of [["across the cloud", angle + Math.PI / 2], ["along the cloud", angle]]) {
      const button = element("button", { type: "button" }, name);
      button.addEventListener("click", () => move([center[0] + away * Math.cos(direction), center[1] + away * Math.sin(direction)]));
      buttons.append(button);
    }
    const place = (event) => {
      const box = svg.getBoundingClientRect(), factor = width / box.width;
      return [center[0] + ((event.clientX - box.left) * factor - width / 2) / scale,
        center[1] - ((event.clientY - box.top) * factor - height / 2) / scale];
    };
    let dragged = false;
    svg.addEventListener("pointerdown", (event) => {
      dragged = true;
      svg.setPointerCapture(event.pointerId);
      move(place(event));
      handle.focus({ preventScroll: true });
      event.preventDefault();
    });
    svg.addEventListener("pointermove", (event) => { if (dragged) move(place(event)); });
    for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { dragged = false; });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const size = event.shiftKey ? 0.5 : 0.1;
      move([point[0] + size * step[0], point[1] + size * step[1]]);
    });
    buttons.firstChild.click();
  }

  /* ---- A threshold over one anomaly map, with its curves growing ---- */

  function threshold(panel) {
    const { of, low, high, image } = data.threshold, side = 64, limit = 0.15;
    const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const levels = bytes(data.threshold.map), regions = bytes(data.threshold.regions);
    const numbers = [...new Set(regions)].filter(Boolean).sort();
    const size = (number) => regions.reduce((sum, r) => sum + (r === number), 0);
    const sizes = Object.fromEntries([0, ...numbers].map((number) => [number, size(number)]));
    const marked = numbers.reduce((sum, number) => sum + sizes[number], 0);

    /* What lies above each of the 256 levels. */
    const rates = Array.from({ length: 257 }, (_, level) => {
      const above = Object.fromEntries([0, ...numbers].map((number) => [number, 0]));
      levels.forEach((value, i) => { if (value >= level) above[regions[i]]++; });
      const hits = numbers.reduce((sum, number) => sum + above[number], 0);
      const shares = numbers.map((number) => above[number] / sizes[number]);
      return { alarms: above[0] / sizes[0], hits: hits / marked, precision: hits / (hits + above[0]), shares, overlap: mean(shares) };
    });
    const lowest = rates.findIndex(({ alarms }) => alarms <= limit);

    const canvas = element("canvas", { width: side, height: side, role: "img", "aria-label": "What lies above the threshold" });
    const photo = element("img", { src: image, alt: `The image: ${of}` });
    const heat = element("canvas", { width: side, height: side, role: "img", "aria-label": "The anomaly map" });
    const figure = (node, text) => element("figure", {}, node, element("figcaption", {}, text));
    const key = element("span", {}, element("span", { class: "touch-key touch-key-hit" }, "hit"), " ",
      element("span", { class: "touch-key touch-key-alarm" }, "false alarm"), " ", element("span", { class: "touch-key touch-key-miss" }, "missed"));
    const { svg, atX, atY } = axes({ width: 480, height: 250, left: 78, right: 26, x: [0, limit], y: [0, 1], xLabel: "false alarms, share of good pixels",
      yLabel: "detected share", xTicks: [0, 0.05, 0.1, 0.15].map((v) => [v, `${Math.round(100 * v)} %`]),
      yTicks: [0, 0.5, 1].map((v) => [v, `${100 * v} %`]), alt: "Hit rate and region overlap against the rate of false alarms" });
    const path = (from, value) => rates.slice(Math.max(from, lowest)).reverse()
      .map((rate, i) => `${i ? "L" : "M"}${atX(rate.alarms).toFixed(1)} ${atY(value(rate)).toFixed(1)}`).join("");
    const curves = [[(rate) => rate.hits, GOOD, "pixels", "M0 0"], [(rate) => rate.overlap, EXTRA, "regions", "6 4"]].map(([value, color, name, dash]) => {
      const all = drawn("path", { d: path(0, value), class: "touch-faint" });
      const grown = drawn("path", { fill: "none", stroke: color, "stroke-width": 2.5 }), dot = drawn("circle", { r: 5, fill: color });
      if (name === "regions") grown.setAttribute("stroke-dasharray", dash);
      svg.append(all, grown, dot);
      return { value, grown, dot };
    });
    svg.append(label(atX(0.088), atY(0.34), "of pixels (ROC)", { fill: GOOD, class: "touch-text touch-good" }),
      label(atX(0.088), atY(0.2), "of regions (PRO)", { fill: EXTRA, class: "touch-text touch-extra" }));
    const start = rates.findIndex(({ alarms }) => alarms <= 0.01);
    const [control, input] = slider("threshold", { min: lowest, max: 256, value: start, step: 1 });
    const text = reading();
    panel.append(element("div", { class: "touch-images" }, figure(photo, of), figure(heat, "anomaly map"), figure(canvas, key)), control, svg, text);

    const paint = (target, color) => {
      const context = target.getContext("2d"), pixels = context.createImageData(side, side);
      levels.forEach((level, i) => pixels.data.set([...color(level, regions[i], i), 255], 4 * i));
      context.putImageData(pixels, 0, 0);
    };
    paint(heat, (level) => inferno(level / 255));
    function show() {
      const level = Number(input.value), rate = rates[level];
      paint(canvas, (value, region) => (value >= level ? (region ? [0, 114, 178] : [213, 94, 0]) : region ? [150, 200, 235] : [40, 44, 52]));
      for (const { value, grown, dot } of curves) {
        grown.setAttribute("d", path(level, value));
        dot.setAttribute("cx", atX(rate.alarms));
        dot.setAttribute("cy", atY(value(rate)));
      }
      const at = low + ((high - low) * level) / 255;
      const parts = numbers.map((number, i) => [sizes[number], rate.shares[i]]).sort((a, b) => b[0] - a[0]);
      const of_ = parts.map(([, share]) => percent(share));
      const precision = Number.isNaN(rate.precision) ? "none above it" : `precision ${percent(rate.precision)}`;
      text.textContent = `Threshold ${at.toFixed(0)}: hits ${percent(rate.hits)} of the defect's pixels at ${percent(rate.alarms)} false alarms; ${precision}. ` +
        `Detected of each region, largest first: ${of_.join(", ")}; mean ${percent(rate.overlap)}.`;
      input.setAttribute("aria-valuetext", text.textContent);
    }
    input.addEventListener("input", show);
    show();
  }

  /* Inferno at nine places, blended between: the colors of every map in this book. */
  const STOPS = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10],
    [249, 201, 50], [252, 255, 164]];
  function inferno(share) {
    const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
    return STOPS[low].map((value, i) => Math.round(value + (STOPS[low + 1][i] - value) * (place - low)));
  }

  /* ---- The number of random dimensions: maps of several draws, and the spread of their AUROC ---- */

  function dimensions(panel) {
    const { of, rows, maps, image } = data.dimensions;
    const all = rows.flatMap((row) => row.image_auroc), low = Math.floor(20 * Math.min(...all)) / 20;
    const places = rows.map((_, i) => i);
    const { svg, atX, atY } = axes({ width: 480, height: 250, left: 66, x: [-0.5, rows.length - 0.5], y: [low, 1], xLabel: "random dimensions of 176",
      yLabel: "image AUROC", xTicks: places.map((i) => [i, String(rows[i].d)]),
      yTicks: Array.from({ length: Math.round((1 - low) / 0.05) + 1 }, (_, i) => low + 0.05 * i).map((v) => [v, v.toFixed(2)]),
      alt: "Image AUROC of every draw against the number of random dimensions" });
    const band = drawn("rect", { class: "touch-band", y: 12, height: 198, width: atX(1) - atX(0), rx: 4 });
    svg.append(band);
    const dots = rows.map((row, i) => row.image_auroc.map((value, seed) => {
      const dot = drawn("circle", { cx: (atX(i) + (seed - (row.image_auroc.length - 1) / 2) * 4).toFixed(1), cy: atY(value).toFixed(1), r: 3.6, class: "touch-point" });
      svg.append(dot);
      return dot;
    }));
    const photo = element("img", { src: image, alt: `The image: ${of}` });
    const images = element("div", { class: "touch-images touch-four" }), text = reading();
    const [control, input] = slider("dimensions", { min: 0, max: rows.length - 1, value: 1, step: 1 });
    panel.append(images, control, svg, text);
    const figure = (node, caption) => element("figure", {}, node, element("figcaption", {}, caption));
    function show() {
      const place = Number(input.value), { d, image_auroc: values } = rows[place], own = maps.filter((map) => map.d === d);
      images.replaceChildren(figure(photo, of), ...own.map((map) => figure(element("img", { src: map.map,
        alt: `Anomaly map with ${d} dimensions, draw ${map.seed + 1}` }), own.length > 1 ? `draw ${map.seed + 1}` : "all of them")));
      band.setAttribute("x", atX(place - 0.5));
      dots.forEach((row, i) => row.forEach((dot) => dot.classList.toggle("touch-chosen", i === place)));
      const [worst, best] = [Math.min(...values), Math.max(...values)];
      text.textContent = values.length > 1
        ? `${d} dimensions: ${values.length} draws have an image AUROC of ${worst.toFixed(2)} to ${best.toFixed(2)}, ${mean(values).toFixed(2)} on average.`
        : `All ${d} dimensions: nothing is drawn; image AUROC ${best.toFixed(2)}.`;
      input.setAttribute("aria-valuetext", text.textContent);
    }
    input.addEventListener("input", show);
    show();
  }

  /* ---- EfficientAD's training: four losses, and the two maps after so many steps ---- */

  function training(panel) {
    const { of, kinds, images, terms, every, means, points } = data.training;
    const last = every * means.length, colors = [DEFECTIVE, GOOD, EXTRA, "#cc79a7"];
    const { svg, atX, atY } = axes({ width: 480, height: 230, left: 66, right: 26, x: [0, last], y: [-2.5, 1.5], xLabel: "steps", yLabel: "loss",
      xTicks: points.map(({ step }) => [step, String(step)]), yTicks: [-2, -1, 0, 1].map((power) => [power, String(10 ** power)]),
      alt: "The four terms of the loss against the number of steps, on a logarithmic scale" });
    const now = drawn("path", { class: "touch-axis", "stroke-dasharray": "4 3" });
    svg.append(now);
    terms.forEach((term, k) => svg.append(drawn("path", { fill: "none", stroke: colors[k], "stroke-width": 1.6, d: means
      .map((row, i) => `${i ? "L" : "M"}${atX(every * (i + 0.5)).toFixed(1)} ${atY(Math.log10(Math.max(row[k], 10 ** -2.5))).toFixed(1)}`).join("") })));
    const key = element("p", { class: "touch-legend" }, ...terms.flatMap((term, k) => [
      element("span", { style: `color: ${colors[k]}`, "aria-hidden": "true" }, "\u2501 "), `${term}\u2003`]));
    const rows = element("div", { class: "touch-images" }), text = reading();
    const [control, input] = slider("steps", { min: 0, max: points.length - 1, value: 0, step: 1 });
    panel.append(rows, control, svg, key, text);
    const figure = (source, caption, alt) => element("figure", {}, element("img", { src: source, alt }), element("figcaption", {}, caption));
    function show() {
      const { step, metrics, maps } = points[Number(input.value)];
      rows.replaceChildren(...kinds.flatMap((kind, i) => [figure(images[i], kind, `${of}, ${kind}`),
        ...["student", "autoencoder"].map((name, m) => figure(maps[i][m], `${name}'s map`, `The ${name}'s map of it after ${step} steps`))]));
      now.setAttribute("d", `M${atX(step)} 12V190`);
      const [student, autoencoder, both] = metrics.map((value) => value.toFixed(2));
      text.textContent = `After ${step} steps: image AUROC ${both}; by the student's map alone ${student}, by the autoencoder's alone ${autoencoder}.`;
      input.setAttribute("aria-valuetext", text.textContent);
    }
    input.addEventListener("input", show);
    show();
  }

  /* ---- Each in its place ---- */

  const FIGURES = { mahalanobis, threshold, dimensions, training };
  for (const [name, draw] of Object.entries(FIGURES)) {
    for (const figure of document.querySelectorAll(`figure.touch-${name}`)) {
      const panel = element("div", { class: "touch-panel" });
      try {
        draw(panel);
      } catch (error) {
        console.error(error);
        continue; // the still image stays
      }
      const caption = figure.querySelector("figcaption");
      figure.replaceChildren(panel, ...(caption ? [caption] : []));
    }
  }
})();
