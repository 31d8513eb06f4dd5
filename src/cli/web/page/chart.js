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

/** Round moments of the reader's time zone; days have 23 to 25 hours there. */
function moments(since, until, step) {
  const first = new Date(since * 1000);
  const found = [];
  const [days, within] = step >= 86400 ? [step / 86400, 86400] : [1, step];
  for (let number = 0; ; number += days) {
    for (let second = 0; second < 86400; second += within) {
      const date = new Date(first.getFullYear(), first.getMonth(), first.getDate() + number, 0, 0, second);
      if (date / 1000 > until) return found;
      if (date / 1000 >= since) found.push(date);
    }
  }
}

/** The points of a path. */
function trace(run, column, x, y) {
  return run.map((point) => `${x(point[0]).toFixed(1)} ${y(point[column]).toFixed(1)}`).join("L");
}

export class Chart {
  /** `format` words a value; `least` is the smallest top of the scale. */
  constructor(title, { hue, format, least = 1, isBinary = false, isWide = false }) {
    Object.assign(this, { title, format, least, isBinary });
    // Read value by value, as a slider is; what it says is spoken only while somebody reads it.
    this.picture = svg("svg", { role: "slider", tabindex: "0", "aria-label": title, "aria-readonly": "true" });
    this.reading = el("span", { className: "reading" });
    this.node = el(
      "figure",
      { className: `${hue}${isWide ? " wide" : ""}` },
      el("figcaption", {}, el("span", { textContent: title }), this.reading),
      this.picture,
    );
    /** The time that is read. */
    this.time = null;
    this.picture.addEventListener("pointermove", (event) => this.read(this.nearest(event)));
    this.picture.addEventListener("pointerleave", () => this.read(-1));
    this.picture.addEventListener("blur", () => this.read(-1));
    this.picture.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.draw()).observe(this.picture);
  }

  /** `points` are [seconds, value or null, second value or null]; those that are further apart than `gap` are not joined. */
  show({ points, isLive, since, until, gap, ceiling = null, marks = [], second = "" }) {
    Object.assign(this, { points, isLive, since, until, gap, ceiling, marks, second });
    this.draw();
  }

  /** Nothing is known yet. */
  empty() {
    this.points = null;
    this.time = null;
    this.picture.replaceChildren();
    this.read(-1);
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
    for (const [mark] of this.marks) {
      parts.push(svg("line", { class: "mark", x1: x(mark), x2: x(mark), y1: height - BOTTOM - 8, y2: height - BOTTOM }));
    }
    this.cross = svg("line", { class: "cross", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    parts.push(this.cross);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.replaceChildren(...parts);
    this.read(this.points.findIndex(([time]) => time === this.time));
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
      // A single one is a dot of the stroke's width.
      return `M${trace(run, column, x, y)}${run.length === 1 ? "h1" : ""}`;
    });
    return svg("path", { class: kind, d: d.join("") });
  }

  area(x, y) {
    const d = this.runs(1).map((run) => {
      return `M${x(run[0][0]).toFixed(1)} ${y(0)}L${trace(run, 1, x, y)}L${x(run.at(-1)[0]).toFixed(1)} ${y(0)}Z`;
    });
    return svg("path", { class: "fill", d: d.join("") });
  }

  times(x, width, height) {
    const length = this.until - this.since;
    const fit = Math.max(2, Math.floor(width / 110));
    const step = [600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800].find((s) => length / s <= fit) ?? 604800;
    const parts = [];
    for (const date of moments(this.since, this.until, step)) {
      const place = x(date / 1000);
      if (place < LEFT || place > width - 18) continue;
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
    return best?.index ?? -1;
  }

  press(event) {
    const last = (this.points?.length ?? 0) - 1;
    const reads = this.points?.findIndex(([time]) => time === this.time) ?? -1;
    const from = reads < 0 ? last : reads;
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

  /** Shows the point of that number; -1 is none. */
  read(index) {
    const point = this.points?.[index];
    this.time = point?.[0] ?? null;
    this.cross?.setAttribute("visibility", point ? "visible" : "hidden");
    if (point) {
      this.cross.setAttribute("x1", this.x(point[0]));
      this.cross.setAttribute("x2", this.x(point[0]));
    }
    const last = (this.points?.length ?? 0) - 1;
    const text = point ? this.words(point) : this.points ? this.summary() : "";
    say(this.reading, text);
    const value = { "aria-valuemin": 0, "aria-valuemax": Math.max(last, 0), "aria-valuenow": Math.max(point ? index : last, 0) };
    for (const [name, number] of Object.entries(value)) this.picture.setAttribute(name, String(number));
    const ended = this.points ? this.marks.reduce((sum, [, times]) => sum + times, 0) : 0;
    this.picture.setAttribute("aria-valuetext", `${text}${!point && ended ? `; ends of instances: ${ended}` : ""}`);
  }

  summary() {
    const known = this.points.filter(([, value]) => value !== null);
    if (!known.length) return "nothing known of that time";
    const last = known.at(-1)[1];
    const of = this.ceiling === null ? "" : ` of ${this.format(this.ceiling)}`;
    return `${this.isLive ? "now" : "last"} ${this.format(last)}, at most ${this.format(Math.max(...known.map(([, value]) => value)))}${of}`;
  }
}
