// The interactive curves: a panel for each dataset, a curve for each method, drawn from the page's own numbers.
const SVG = "http://www.w3.org/2000/svg";
const LOOK = { ink: "#1b1b1b", muted: "#5f6570", grid: "#dcdfe4" };  // always on white paper, as the figures

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function corners(count, radius, inner = 0) {
  const steps = inner ? 2 * count : count;
  const at = (i) => [i % 2 && inner ? inner : radius, (2 * Math.PI * i) / steps - Math.PI / 2];
  const points = Array.from({ length: steps }, (_, i) => at(i)).map(([r, a]) => `${(r * Math.cos(a)).toFixed(2)} ${(r * Math.sin(a)).toFixed(2)}`);
  return `M${points.join("L")}Z`;
}

// The marks of the figures, by matplotlib's names.
const MARKS = {
  o: "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", s: "M-3.6-3.6H3.6V3.6H-3.6Z", D: "M0-5L5 0L0 5L-5 0Z",
  "^": "M0-4.8L4.4 3.6H-4.4Z", v: "M0 4.8L4.4-3.6H-4.4Z", p: corners(5, 4.8), "*": corners(5, 6, 2.4),
  x: "M-3.6-3.6L3.6 3.6M-3.6 3.6L3.6-3.6", P: "M-1.6-4.6H1.6V-1.6H4.6V1.6H1.6V4.6H-1.6V1.6H-4.6V-1.6H-1.6Z",
  "+": "M-4.6 0H4.6M0-4.6V4.6", X: "M-2-4.6L0-2.4L2-4.6L4.6-2L2.4 0L4.6 2L2 4.6L0 2.4L-2 4.6L-4.6 2L-2.4 0L-4.6-2Z",
  d: "M0-5L3 0L0 5L-3 0Z", h: corners(6, 4.8),
};

function mark([, , , color, marker], full, x, y) {
  return shape("path", { d: MARKS[marker] || MARKS.o, transform: `translate(${x} ${y})`, stroke: color, "stroke-width": 1.3, fill: full ? color : "#fff" });
}

const dashed = (dashes, width) => (dashes.length ? { "stroke-dasharray": dashes.map((part) => part * width).join(" ") } : {});

function niceStep(span) {
  const raw = span / 7;
  const unit = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((times) => times * unit).find((step) => step >= raw);
}

class Curves {
  constructor(data) {
    this.data = data;
    this.shown = new Set(data.rows.keys());
    this.picked = null;  // row and share, the same in all panels
    this.panels = data.datasets.map((name, d) => this.panel(name, d));
    find("#curves-panels").append(...this.panels.map((panel) => panel.root));
    find("#curves-tools").append(...this.tools());
    find("#curves").hidden = false;
    new ResizeObserver(() => this.draw()).observe(find("#curves-panels"));
  }

  panel(name, d) {
    const plot = make("div", { className: "plot", tabIndex: 0, role: "group", "aria-label": `${name}: curves. Arrow keys move from point to point.` });
    const tip = make("div", { className: "tip", hidden: true });
    plot.addEventListener("pointermove", (event) => this.pick(this.nearest(this.panels[d], event), d));
    plot.addEventListener("pointerleave", () => this.pick(null, d));
    plot.addEventListener("blur", () => this.pick(null, d));
    plot.addEventListener("keydown", (event) => this.key(event, d));
    return { name, d, plot, tip, places: [], root: make("div", { className: "panel" }, make("p", { className: "panel-title", textContent: name }), make("div", { className: "holder" }, plot, tip)) };
  }

  tools() {
    const button = (text, press) => {
      const made = make("button", { type: "button", textContent: text });
      made.addEventListener("click", press);
      return made;
    };
    const set = (rows) => { this.shown = new Set(rows); this.draw(); };
    const groups = new Map();
    this.data.rows.forEach((row, r) => groups.set(row[2], [...(groups.get(row[2]) || []), r]));
    this.switches = [];
    const parts = [...groups].map(([title, rows]) => {
      const all = button(title, () => {
        const on = rows.every((r) => this.shown.has(r));
        rows.forEach((r) => (on ? this.shown.delete(r) : this.shown.add(r)));
        this.draw();
      });
      all.className = "group-switch";
      this.switches.push([all, rows]);
      return make("div", { className: "switches", role: "group", "aria-label": title }, all, ...rows.map((r) => this.rowSwitch(r)));
    });
    return [make("div", { className: "switches" }, button("Show all", () => set(this.data.rows.keys())), button("Show none", () => set([]))), ...parts];
  }

  rowSwitch(r) {
    const row = this.data.rows[r];
    const sample = shape("svg", { width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" }, shape("path", { d: "M1 6H33", stroke: row[3], "stroke-width": 1.8, ...dashed(row[5], 1.8) }), mark(row, true, 17, 6));
    const made = make("button", { type: "button", className: "switch" }, sample, row[1].split(" (")[0]);
    made.title = row[1];
    made.addEventListener("click", (event) => {
      if (event.shiftKey) this.shown = new Set([r]);
      else if (this.shown.has(r)) this.shown.delete(r);
      else this.shown.add(r);
      this.draw();
    });
    const pick = () => this.pick(this.shown.has(r) ? [r, null] : null, null);
    made.addEventListener("pointerenter", pick);
    made.addEventListener("pointerleave", () => this.pick(null, null));
    this.switches.push([made, [r]]);
    return made;
  }

  nearest(panel, event) {
    const box = panel.plot.getBoundingClientRect();
    const far = ([x, y]) => Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top);
    let best = null;
    for (const place of panel.places) if (far(place) < (best ? far(best) : 40)) best = place;
    return best && [best[2], best[3]];
  }

  key(event, d) {
    const { shares, rows, points } = this.data;
    const order = [...rows.keys()].filter((r) => this.shown.has(r) && points[d][r].some(Boolean));
    if (event.key === "Escape") return this.pick(null, d);
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[event.key];
    if (!by || !order.length) return undefined;
    event.preventDefault();
    let [r, s] = this.picked && order.includes(this.picked[0]) ? this.picked : [order[0], 0];
    if (this.picked) s = Math.min(shares.length - 1, Math.max(0, (s ?? 0) + by[1]));
    if (this.picked && by[0]) {
      // Up and down go by height: to the next mean above or below at this share.
      const height = (row) => points[d][row][s]?.[0] ?? -1;
      const sorted = order.filter((row) => points[d][row][s]).sort((a, b) => height(a) - height(b));
      r = sorted[Math.min(sorted.length - 1, Math.max(0, sorted.indexOf(r) + by[0]))] ?? r;
    }
    return this.pick([r, s], d);
  }

  pick(picked, d) {
    const same = (picked && this.picked && picked[0] === this.picked[0] && picked[1] === this.picked[1]) || picked === this.picked;
    if (same) return;
    this.picked = picked;
    this.draw();
    for (const panel of this.panels) this.tell(panel, panel.d === d ? picked : null);
  }

  tell(panel, picked) {
    const point = picked && picked[1] !== null && this.data.points[panel.d][picked[0]][picked[1]];
    panel.tip.hidden = !point;
    if (!point) return;
    const [mean, half, low, high, n, complete] = point;
    const written = (value) => (value / 1000).toFixed(2);
    const lines = [
      `${this.data.protocol} (${this.data.shares[picked[1]]}%): ${written(mean)}%${half === null ? "" : ` ± ${written(half)} over seeds`}`,
      low === null ? "" : `${written(low)} to ${written(high)} over patients`,
      `n = ${n}${complete ? "" : ", seeds are missing"}`,
    ];
    const name = this.data.rows[picked[0]][1];
    panel.tip.replaceChildren(make("strong", { textContent: name }), ...lines.filter(Boolean).map((text) => make("div", { textContent: text })));
    find("#curves-voice").textContent = [`${panel.name}, ${name}`, ...lines.filter(Boolean)].join("; ");
    const [x, y] = panel.places.find(([, , r, s]) => r === picked[0] && s === picked[1]) || [0, 0];
    const left = Math.min(x + 14, panel.plot.clientWidth - panel.tip.offsetWidth - 4);
    panel.tip.style.left = `${Math.max(4, left)}px`;
    panel.tip.style.top = `${y > 110 ? y - panel.tip.offsetHeight - 12 : y + 14}px`;
  }

  draw() {
    for (const [made, rows] of this.switches) made.setAttribute("aria-pressed", String(rows.every((r) => this.shown.has(r))));
    for (const panel of this.panels) this.drawPanel(panel);
  }

  scales(panel) {
    const width = Math.max(240, panel.plot.clientWidth);
    const height = Math.round(Math.min(430, Math.max(260, 0.62 * width)));
    const { shares } = this.data;
    const shown = this.data.points[panel.d].filter((_, r) => this.shown.has(r)).flat().filter(Boolean);
    const ends = shown.flatMap(([mean, half]) => [mean - (half || 0), mean + (half || 0)]).map((value) => value / 1000);
    const [low, high] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [50, 100];
    const step = niceStep(Math.max(high - low, 1));
    const [bottom, top] = [low - 0.04 * (high - low) - 0.2, high + 0.04 * (high - low) + 0.2];
    const [left, right, above, below] = [44, 14, 12, 40];
    const [first, last] = [Math.log(shares[0]), Math.log(shares[shares.length - 1])];
    return {
      width, height, step, bottom, top, left, right, above, below,
      x: (share) => left + 18 + ((Math.log(share) - first) / (last - first)) * (width - left - right - 36),
      y: (value) => height - below - ((value - bottom) / (top - bottom)) * (height - above - below),
    };
  }

  drawPanel(panel) {
    const at = this.scales(panel);
    const text = (x, y, content, anchor, fill = LOOK.ink) => shape("text", { x, y, "text-anchor": anchor, fill, "font-size": 12 }, content);
    const svg = shape("svg", { width: at.width, height: at.height, viewBox: `0 0 ${at.width} ${at.height}`, "aria-hidden": "true" });
    for (let value = Math.ceil(at.bottom / at.step) * at.step; value <= at.top + 1e-9; value += at.step) {
      svg.append(shape("path", { d: `M${at.left} ${at.y(value)}H${at.width - at.right}`, stroke: LOOK.grid }));
      svg.append(text(at.left - 7, at.y(value) + 4, at.step < 1 ? value.toFixed(1) : String(Math.round(value)), "end"));
    }
    for (const share of this.data.shares) svg.append(text(at.x(share), at.height - at.below + 17, `${share}%`, "middle"));
    svg.append(text((at.left + at.width) / 2, at.height - 6, "labels used", "middle", LOOK.muted));
    svg.append(shape("text", { transform: `translate(12 ${(at.height - at.below) / 2}) rotate(-90)`, "text-anchor": "middle", fill: LOOK.muted, "font-size": 12 }, "macro AUROC, %"));
    panel.places = [];
    const rows = [...this.data.rows.keys()].filter((r) => this.shown.has(r));
    const last = this.picked ? rows.filter((r) => r === this.picked[0]) : [];
    for (const r of [...rows.filter((one) => !last.includes(one)), ...last]) svg.append(this.curve(panel, r, rows.indexOf(r) - (rows.length - 1) / 2, at));
    panel.plot.replaceChildren(svg);
  }

  curve(panel, r, place, at) {
    const row = this.data.rows[r];
    const isPicked = this.picked !== null && this.picked[0] === r;
    const curve = shape("g", { opacity: this.picked && !isPicked ? 0.22 : 1 });
    const width = isPicked ? 2.6 : 1.7;
    const shift = Math.max(-16, Math.min(16, 2.2 * place));  // so that bars do not hide each other
    const drawn = this.data.points[panel.d][r].map((point, s) => point && [at.x(this.data.shares[s]) + shift, at.y(point[0] / 1000), point, s]).filter(Boolean);
    curve.append(shape("path", { d: drawn.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""), fill: "none", stroke: row[3], "stroke-width": width, ...dashed(row[5], width) }));
    for (const [x, y, point, s] of drawn) {
      const [mean, half, , , , complete] = point;
      if (half !== null) {
        const [up, down] = [at.y((mean + half) / 1000), at.y((mean - half) / 1000)];
        curve.append(shape("path", { d: `M${x} ${up}V${down}M${x - 3} ${up}H${x + 3}M${x - 3} ${down}H${x + 3}`, stroke: row[3], "stroke-width": isPicked ? 1.8 : 0.8 }));
      }
      const here = mark(row, complete, x, y);
      if (isPicked && this.picked[1] === s) here.setAttribute("stroke-width", 3.4);
      curve.append(here);
      panel.places.push([x, y, r, s]);
    }
    return curve;
  }
}

function startCurves(data) {
  if (data.curves) new Curves(data.curves);
}
