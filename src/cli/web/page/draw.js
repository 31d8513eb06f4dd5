// Elements and words. Whatever comes from the server becomes text nodes and nothing else: no string is ever
// taken for markup (the policy of the page would not let it).

const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

/** An element with properties and children; a child that is no node becomes text. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Changes a text only where it differs, so that what somebody has selected stays selected. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, is) {
  if (node.hidden === is) node.hidden = !is;
}

const known = (value) => value !== null && value !== undefined;

/** Binary units with a letter, as the command line has them. */
export function bytes(value) {
  if (!known(value)) return "?";
  if (value === 0) return "0";
  let size = value;
  for (const unit of ["B", "K", "M", "G", "T"]) {
    if (size < 1024 || unit === "T") {
      const digits = unit === "B" || size >= 100 ? 0 : 1;
      return `${size.toFixed(digits).replace(/\.0$/, "")}${unit}`;
    }
    size /= 1024;
  }
}

export function percent(value) {
  if (!known(value)) return "?";
  return `${value.toFixed(value < 10 ? 1 : 0).replace(/^0\.0$/, "0")}%`;
}

export const count = (value) => (known(value) ? String(value) : "?");

export function seconds(value) {
  if (!known(value)) return "-";
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(value / unit));
  if (days) return `${days}d ${hours % 24}h`;
  if (hours) return `${hours}h ${minutes % 60}m`;
  if (minutes) return `${minutes}m ${value % 60}s`;
  return `${value}s`;
}

const two = (number) => String(number).padStart(2, "0");

/** In the reader's own time zone. */
export function clock(date, withSeconds = false) {
  const text = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return withSeconds ? `${text}:${two(date.getSeconds())}` : text;
}

export function day(date) {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** A moment: the time alone where it was today. */
export function moment(date) {
  const today = day(date) === day(new Date());
  return today ? clock(date, true) : `${day(date)} ${clock(date)}`;
}
