// A line over time. It can be read by pointer, finger, arrow keys, and as a sentence.

import { clock, day, el, say, svg } from "./draw.js";

const LEFT = 46;
const BOTTOM = 18;
const TOP = 6;

/** Round steps up to `most`, about `fit` of them; of bytes in powers of two. */
function steps(most, fit, isBinary) {
  const rough = most / fit;
  const base = isBinary ? 2 : 10;
  const power = base ** Math.floor(Math.log(rough) / Math.log(base));
  const step = (isBinary ? [1, 2] : [1, 2, 5, 10]).map((n) => n * power).find((n) => n >= rough);
  return Array.from({ length: Math.ceil(most / step) }, (_, index) => (index + 1) * step);
}

export class Chart {
  /** `format` words a value; `least` is the smallest top of the scale. */
  constructor(title, { hue, format, least = 1, isBinary = false, isWide = false }) {
    Object.assign(this, { title, format, least, isBinary });
    this.picture = svg("svg", { role: "img", tabindex: "0" });
    this.reading = el("output");
    this.node = el(
      "figure",
      { className: `${hue}${isWide ? " wide" : ""}` },
      el("figcaption", {}, el("span", { textContent: title }), this.reading),
      this.picture,
    );
    this.at = null;
    this.picture.addEventListener("pointermove", (event) => this.read(this.nearest(event)));
    this.picture.addEventListener("pointerleave", () => this.read(null));
    this.picture.addEventListener("blur", () => this.read(null));
    this.picture.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.draw()).observe(this.picture);
  }

  /** `points` are [seconds, value or null, second value or null]; those that are further apart than `gap` are not joined. */
  show({ points, since, until, gap, ceiling = null, marks = [], second = "" }) {
    Object.assign(this, { points, since, until, gap, ceiling, marks, second });
    if (this.at !== null && this.at >= points.length) this.at = null;
    this.draw();
  }

  scale() {
    const values = this.points.flatMap(([, value, other]) => [value ?? 0, other ?? 0]);
    const most = Math.max(this.least, ...values);
    // Against its ceiling, unless that is so far off that nothing would be seen.
    const isNear = this.ceiling !== null && this.ceiling < most * 8;
    const fit = Math.max(1, Math.floor(this.picture.clientHeight / 45));
    const marks = steps(isNear ? Math.max(most, this.ceiling) : most, fit, this.isBinary);
    return { marks, top: marks.at(-1) };
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.picture;
    if (!this.points || width < LEFT + 20) return;
    const { marks, top } = this.scale();
    const x = (time) => LEFT + ((time - this.since) / (this.until - this.since)) * (width - LEFT - 4);
    const y = (value) => TOP + (1 - Math.min(value, top) / top) * (height - TOP - BOTTOM);
    this.x = x;
    const parts = [];
    for (const mark of [0, ...marks]) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(mark), y2: y(mark) }));
      const text = svg("text", { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" });
      text.append(this.format(mark));
      parts.push(text);
    }
    parts.push(...this.times(x, width, height));
    parts.push(this.line(2, x, y, "all"));
    parts.push(this.area(x, y), this.line(1, x, y, "stroke"));
    if (this.ceiling !== null && this.ceiling <= top) {
      parts.push(svg("line", { class: "ceiling", x1: LEFT, x2: width, y1: y(this.ceiling), y2: y(this.ceiling) }));
    }
    for (const mark of this.marks) {
      parts.push(svg("line", { class: "mark", x1: x(mark), x2: x(mark), y1: height - BOTTOM - 8, y2: height - BOTTOM }));
    }
    this.cross = svg("line", { class: "cross", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    parts.push(this.cross);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.replaceChildren(...parts);
    this.picture.setAttribute("aria-label", this.sentence());
    this.read(this.at);
  }

  /** The stretches that are joined, of the values in that column. */
  runs(column) {
    const runs = [];
    let last = null;
    for (const point of this.points) {
      if (point[column] === null || point[column] === undefined) {
        last = null;
        continue;
      }
      if (last === null || point[0] - last > this.gap) runs.push([]);
      runs.at(-1).push(point);
      last = point[0];
    }
    return runs;
  }

  line(column, x, y, kind) {
    const d = this.runs(column).map((run) => {
      const path = run.map((point) => `${x(point[0]).toFixed(1)} ${y(point[column]).toFixed(1)}`);
      // A single one is a dot of the stroke's width.
      return `M${path.join("L")}${path.length === 1 ? "h1" : ""}`;
    });
    return svg("path", { class: kind, d: d.join("") });
  }

  area(x, y) {
    const d = this.runs(1).map((run) => {
      const path = run.map((point) => `${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`);
      return `M${x(run[0][0]).toFixed(1)} ${y(0)}L${path.join("L")}L${x(run.at(-1)[0]).toFixed(1)} ${y(0)}Z`;
    });
    return svg("path", { class: "fill", d: d.join("") });
  }

  times(x, width, height) {
    const length = this.until - this.since;
    const fit = Math.max(2, Math.floor(width / 110));
    const step = [600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800].find((s) => length / s <= fit) ?? 604800;
    const zone = new Date(this.since * 1000).getTimezoneOffset() * 60;
    const parts = [];
    for (let time = Math.ceil((this.since - zone) / step) * step + zone; time < this.until; time += step) {
      const date = new Date(time * 1000);
      const place = x(time);
      if (place > width - 18) continue;
      const text = svg("text", { x: place, y: height - 4, "text-anchor": "middle" });
      text.append(step >= 86400 || (length > 86400 && clock(date) === "00:00") ? day(date).slice(5) : clock(date));
      parts.push(text);
    }
    return parts;
  }

  nearest(event) {
    const inside = event.clientX - this.picture.getBoundingClientRect().left;
    let best = null;
    this.points?.forEach(([time], index) => {
      const distance = Math.abs(this.x(time) - inside);
      if (best === null || distance < best.distance) best = { index, distance };
    });
    return best?.index ?? null;
  }

  press(event) {
    const last = (this.points?.length ?? 0) - 1;
    const from = this.at ?? last;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.read(Math.min(Math.max(to, 0), last));
  }

  words([time, value, other]) {
    const date = new Date(time * 1000);
    const more = this.second && other !== null && other !== undefined ? `, ${this.format(other)} ${this.second}` : "";
    return `${day(date).slice(5)} ${clock(date, true)}: ${value === null ? "unknown" : this.format(value)}${more}`;
  }

  read(index) {
    this.at = index;
    const point = index === null ? null : this.points?.[index];
    if (!point) {
      this.cross?.setAttribute("visibility", "hidden");
      say(this.reading, this.points ? this.summary() : "");
      return;
    }
    this.cross.setAttribute("visibility", "visible");
    this.cross.setAttribute("x1", this.x(point[0]));
    this.cross.setAttribute("x2", this.x(point[0]));
    say(this.reading, this.words(point));
  }

  summary() {
    const values = this.points.map(([, value]) => value).filter((value) => value !== null);
    if (!values.length) return "nothing known of that time";
    const of = this.ceiling === null ? "" : ` of ${this.format(this.ceiling)}`;
    return `now ${this.format(values.at(-1))}, at most ${this.format(Math.max(...values))}${of}`;
  }

  sentence() {
    const marks = this.marks.length ? `; ${this.marks.length} ends of instances` : "";
    return `${this.title}: ${this.summary()}${marks}`;
  }
}
