"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const select = document.getElementById("metric");
  const hidden = new Set();
  const W = 360, H = 250, LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 34, NEAR = 30;
  const LINE = 12, CHARACTER = 6.8, LEADER = 12;
  const SHAPES = [
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0", "M-3.2-3.2h6.4v6.4h-6.4z", "M0-4.2l4 7.2h-8z", "M0-4.4l4.4 4.4-4.4 4.4-4.4-4.4z",
    "M0 4.2l4-7.2h-8z", "M-4 0h8M0-4v8", "M-3.2-3.2l6.4 6.4M-3.2 3.2l6.4-6.4", "M-4-2h8v4h-8z",
  ];
  const index = new Map(data.series.map((series, i) => [series.name, i]));
  const color = (name) => `var(--c${index.get(name) % 8})`;
  const shape = (name) => SHAPES[(index.get(name) + Math.floor(index.get(name) / 8)) % SHAPES.length];
  const dash = (i) => ["", "6 3", "2 2", "8 3 2 3"][i % 4];

  function node(parent, name, attributes = {}, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    parent.append(made);
    return made;
  }

  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let t = Math.ceil(low / step); t * step <= high + 1e-9; t++) found.push(t * step);
    return found;
  }

  function rateTicks(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const m of [1, 2, 5]) if (m * 10 ** power >= low && m * 10 ** power <= high) found.push(m * 10 ** power);
    return found;
  }

  const short = (value) => String(Number(value.toPrecision(4)));

  /* A frame with axes in a figure; returns the drawing and its scales from values to pixels. */
  function axes(figure, xs, ys, xLabel, yLabel, logarithmic, right = RIGHT) {
    const svg = node(figure, "svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
    let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const pad = (y1 - y0 || Math.abs(y1) || 1) * 0.06;
    [y0, y1] = [y0 - pad, y1 + pad];
    if (logarithmic) [x0, x1] = [x0 / 1.15, x1 * 1.15];
    const place = (v) => (logarithmic ? Math.log(v / x0) / Math.log(x1 / x0) : (v - x0) / (x1 - x0 || 1));
    const x = (v) => LEFT + place(v) * (W - LEFT - right);
    const y = (v) => H - BOTTOM - ((v - y0) / (y1 - y0)) * (H - TOP - BOTTOM);
    for (const t of ticks(y0, y1, 5)) {
      node(svg, "line", { class: "grid", x1: LEFT, x2: W - right, y1: y(t), y2: y(t) });
      node(svg, "text", { x: LEFT - 5, y: y(t) + 4, "text-anchor": "end" }, short(t));
    }
    for (const t of logarithmic ? rateTicks(x0, x1) : ticks(x0, x1, 6)) {
      node(svg, "line", { class: "grid", x1: x(t), x2: x(t), y1: TOP, y2: H - BOTTOM });
      node(svg, "text", { x: x(t), y: H - BOTTOM + 13, "text-anchor": "middle" }, short(t));
    }
    node(svg, "text", { x: (LEFT + W - right) / 2, y: H - 5, "text-anchor": "middle" }, xLabel);
    node(svg, "text", { x: 12, y: (TOP + H - BOTTOM) / 2, "text-anchor": "middle",
      transform: `rotate(-90 12 ${(TOP + H - BOTTOM) / 2})` }, yLabel);
    return { svg, x, y };
  }

  function figureIn(parent, title) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    figure.append(caption);
    parent.append(figure);
    return figure;
  }

  function showTip(event, text) {
    tip.textContent = text;
    tip.hidden = false;
    const width = tip.offsetWidth, height = tip.offsetHeight;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, event.clientY - height - 12)}px`;
  }

  /* The position of a pointer in the drawing's own units. */
  function at(svg, event) {
    const box = svg.getBoundingClientRect();
    return [((event.clientX - box.left) * W) / box.width, ((event.clientY - box.top) * H) / box.height];
  }

  const unit = (metric) => (metric.unit ? ` ${metric.unit}` : "");
  const axis = (metric) => `${metric.label}${metric.unit ? `, ${metric.unit}` : ""}${metric.higher ? "" : " (lower is better)"}`;

  function rateDistortion(parent, title, curves, metric) {
    const shown = Object.entries(curves[metric.key] || {}).filter(([name]) => !hidden.has(name));
    const points = shown.flatMap(([name, found]) => found.map((p) => ({ name, setting: p[0], bpp: p[1], value: p[2] })));
    if (!points.length) return;
    const { svg, x, y } = axes(figureIn(parent, title), points.map((p) => p.bpp), points.map((p) => p.value),
      "bits a pixel", axis(metric), true);
    svg.setAttribute("aria-label", `${title}: ${metric.label} over bits a pixel`);
    for (const [name, found] of shown)
      node(svg, "path", { class: "curve", style: `--color:${color(name)}`,
        d: found.map((p, i) => `${i ? "L" : "M"}${x(p[1]).toFixed(1)} ${y(p[2]).toFixed(1)}`).join("") });
    for (const p of points) {
      p.text = `${p.name} ${p.setting}\n${p.bpp.toFixed(4)} bpp\n${p.value.toFixed(metric.digits)}${unit(metric)}`;
      p.mark = node(svg, "path", { class: "mark", style: `--color:${color(p.name)}`, d: shape(p.name),
        transform: `translate(${x(p.bpp).toFixed(1)} ${y(p.value).toFixed(1)})` });
      node(p.mark, "title", {}, p.text.replaceAll("\n", ", "));
    }
    hover(svg, (event) => {
      const [px, py] = at(svg, event);
      let best = null, distance = NEAR;
      for (const p of points) {
        const d = Math.hypot(x(p.bpp) - px, y(p.value) - py);
        p.mark.classList.remove("near");
        if (d < distance) [best, distance] = [p, d];
      }
      if (best) best.mark.classList.add("near");
      return best && best.text;
    }, () => points.forEach((p) => p.mark.classList.remove("near")));
  }

  function byFrame(parent, clip, metric) {
    const lines = clip.frames.filter((line) => !hidden.has(line.series) && line.values[metric.key]);
    const values = lines.flatMap((line) => line.values[metric.key].filter((v) => v !== null));
    if (!values.length) return;
    const count = Math.max(...lines.map((line) => line.values[metric.key].length));
    const fit = lines.length * LINE <= H - TOP - BOTTOM;
    const right = fit ? LEADER + 6 + CHARACTER * Math.max(...lines.map((line) => line.setting.length)) : RIGHT;
    const { svg, x, y } = axes(figureIn(parent, clip.name), [0, count - 1], values, "frame", axis(metric), false, right);
    svg.setAttribute("aria-label", `${clip.name}: ${metric.label} by frame`);
    for (let key = lines[0].gop; key < count; key += lines[0].gop)
      node(svg, "line", { class: "gop", x1: x(key), x2: x(key), y1: TOP, y2: H - BOTTOM });
    const nth = new Map(), ends = [];
    for (const line of lines) {
      const i = nth.get(line.series) || 0;
      nth.set(line.series, i + 1);
      let d = "", pen = "M";
      line.values[metric.key].forEach((v, n) => {
        // Frames that a metric was not measured on are passed over.
        if (v !== null) { d += `${pen}${x(n).toFixed(1)} ${y(v).toFixed(1)}`; pen = "L"; }
      });
      node(svg, "path", { class: "curve", style: `--color:${color(line.series)}`, "stroke-dasharray": dash(i), d });
      const last = line.values[metric.key].findLastIndex((v) => v !== null);
      if (last >= 0) ends.push({ line, x: x(last), end: y(line.values[metric.key][last]) });
    }
    if (fit) names(svg, ends, W - right + LEADER);
    const cursor = node(svg, "line", { class: "cursor", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
    hover(svg, (event) => {
      const n = Math.round(((at(svg, event)[0] - LEFT) / (W - LEFT - right)) * (count - 1));
      if (n < 0 || n >= count) return null;
      cursor.setAttribute("x1", x(n));
      cursor.setAttribute("x2", x(n));
      cursor.setAttribute("visibility", "visible");
      const rows = lines.map((line) => {
        const v = line.values[metric.key][n];
        return v === undefined || v === null ? null
          : `${line.series} ${line.setting} (${line.bpp.toFixed(4)} bpp): ${v.toFixed(metric.digits)}${unit(metric)}`;
      });
      return [`frame ${n}`, ...rows.filter(Boolean)].join("\n");
    }, () => cursor.setAttribute("visibility", "hidden"));
  }

  /* The names of lines beside their ends, moved apart where they would cover each other. */
  function names(svg, ends, left) {
    ends.sort((a, b) => a.end - b.end);
    const low = TOP + LINE / 2, high = H - BOTTOM - LINE / 2;
    ends.forEach((one, i) => { one.y = Math.max(one.end, i ? ends[i - 1].y + LINE : low); });
    for (let i = ends.length - 1, floor = high; i >= 0 && ends[i].y > floor; i--, floor -= LINE) ends[i].y = floor;
    for (const { line, x, end, y } of ends) {
      const style = `--color:${color(line.series)}`;
      node(svg, "path", { class: "leader", style, d: `M${x.toFixed(1)} ${end.toFixed(1)}L${left - 2} ${y.toFixed(1)}` });
      node(svg, "text", { class: "name", style, x: left, y: y + 4 }, line.setting);
    }
  }

  function hover(svg, find, leave) {
    const move = (event) => {
      const text = find(event);
      if (text) showTip(event, text);
      else tip.hidden = true;
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", () => { tip.hidden = true; leave(); });
  }

  function draw() {
    const metric = data.metrics.find((m) => m.key === select.value);
    const [rates, frames] = ["rate-distortion", "positions"].map((id) => {
      const room = document.querySelector(`#${id} .plots`);
      room.replaceChildren();
      return room;
    });
    tip.hidden = true;
    for (const one of [...data.datasets, ...data.clips]) rateDistortion(rates, one.name, one.curves, metric);
    for (const clip of data.clips) byFrame(frames, clip, metric);
    document.getElementById("positions").hidden = !frames.children.length;
  }

  for (const metric of data.metrics) select.append(new Option(metric.label, metric.key));
  select.addEventListener("change", draw);
  const legend = document.getElementById("legend");
  for (const { name } of data.series) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => { box.checked ? hidden.delete(name) : hidden.add(name); draw(); });
    label.append(box);
    const sample = node(label, "svg", { viewBox: "0 0 26 12", style: `--color:${color(name)}`, "aria-hidden": "true" });
    node(sample, "path", { class: "curve", d: "M0 6H26" });
    node(sample, "path", { class: "mark", d: shape(name), transform: "translate(13 6)" });
    label.append(name);
    legend.append(label);
  }
  draw();
})();
