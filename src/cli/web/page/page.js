// The page: asks, and shows what it is told. It has nothing but the token, and changes nothing.

import { Chart } from "./chart.js";
import { at, bytes, clock, count, day, el, moment, percent, say, seconds, show } from "./draw.js";

const HOURS = [[1, "1 h"], [6, "6 h"], [24, "24 h"], [168, "7 d"], [720, "30 d"]];
const MOST_LINES = 1000;
const PATIENCE = 15_000;

const charts = {
  memory: new Chart("Memory without page cache", { hue: "memory", format: bytes, least: 1 << 20, isBinary: true, isWide: true }),
  cpu: new Chart("CPU", { hue: "cpu", format: percent }),
  stall: new Chart("Stalls", { hue: "stall", format: percent }),
  queue: new Chart("Waiting", { hue: "queue", format: (value) => (Number.isInteger(value) ? count(value) : value.toFixed(1)), least: 4 }),
};

const state = {
  token: "",
  status: null,
  chosen: null,
  hours: 6,
  log: [],
  after: "",
  past: null,
  paused: false,
  /** The turn whose log is being asked for. */
  reading: null,
  /** Another environment: what is still under way is of the one before. */
  turn: 0,
};

// ---- asking -------------------------------------------------------------------------------------

class Refused extends Error {}

async function ask(word, fields = {}) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const query = new URLSearchParams(fields).toString();
  const signal = AbortSignal.timeout(PATIENCE);
  const answer = await fetch(`/api/${word}${query ? `?${query}` : ""}`, { headers, signal });
  if (answer.status === 401) throw new Refused();
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.error);
  return document;
}

/** What cannot be had now, and why: by the word of the question, or by what looks. */
const troubles = new Map();

/** The answer to a question; `null` where there is none, which is said. */
async function told(word, fields) {
  const { turn } = state;
  try {
    const document = await ask(word, fields);
    troubles.delete(word);
    sayTroubles();
    return document;
  } catch (error) {
    if (error instanceof Refused) knock();
    else if (turn === state.turn) {
      const isServer = error.name === "TypeError" || error.name === "TimeoutError";
      troubles.set(word, isServer ? "The page's own server does not answer: is \"swrun web\" running?" : error.message);
      sayTroubles();
    }
    return null;
  }
}

function sayTroubles() {
  const texts = [...new Set(troubles.values())];
  say(at("away"), texts.join("; "));
  show(at("away"), texts.length > 0);
}

// ---- the token ----------------------------------------------------------------------------------

function knock() {
  if (at("door").open) return;
  show(at("wrong"), state.token !== "");
  at("token").value = "";
  at("door").showModal();
}

function enter() {
  state.token = at("token").value.trim();
  remember("token", state.token, sessionStorage);
  at("door").close();
  refresh();
}

function remember(key, value, store) {
  // A browser that keeps nothing is no reason to show nothing.
  try { store.setItem(`swrun-${key}`, value); } catch { /* not kept */ }
}

function recall(key, store) {
  try { return store.getItem(`swrun-${key}`) ?? ""; } catch { return ""; }
}

/** The token comes in the fragment once, and is taken out of the address bar. */
function takeToken() {
  const said = /^#token=([\w.~+/=-]+)$/.exec(location.hash);
  if (!said) return false;
  state.token = said[1];
  remember("token", state.token, sessionStorage);
  history.replaceState(null, "", location.pathname);
  return true;
}

// ---- the list -----------------------------------------------------------------------------------

const rows = new Map();

function tone(one) {
  if (one.state === "online") return one.wanted === "online" ? "good" : "warn";
  if (one.state === "stopped") return one.wanted === "stopped" ? "" : "bad";
  return ["starting", "stopping"].includes(one.state) ? "warn" : "bad";
}

function row(one) {
  const parts = {
    dot: el("span", { className: "dot" }),
    who: el("span", { className: "who" }),
    state: el("span"),
    fill: el("i"),
    more: el("span", { className: "more" }),
    note: el("span", { className: "more" }),
  };
  const bar = el("span", { className: "bar" }, parts.fill);
  parts.link = el("a", { href: `#${one.name}` }, parts.dot, parts.who, parts.state, bar, parts.more, parts.note);
  // A link to where the address is already changes nothing of it.
  parts.link.addEventListener("click", () => choose(one.name));
  parts.item = el("li", {}, parts.link);
  return parts;
}

function fill(parts, one) {
  parts.dot.className = `dot ${tone(one)}`;
  say(parts.who, one.name);
  say(parts.state, one.state);
  const { anon, max } = one.memory;
  const share = anon !== null && max ? Math.min(100, (anon / max) * 100) : 0;
  parts.fill.style.width = `${share}%`;
  parts.fill.className = share > 90 ? "bad" : share > 75 ? "warn" : "";
  const restarts = one.restarts ? `, ${one.restarts} ${one.restarts === 1 ? "restart" : "restarts"}` : "";
  say(parts.more, `${anon === null ? "-" : bytes(anon)} of ${bytes(max)}, CPU ${one.cpu.percent === null ? "-" : percent(one.cpu.percent)}${restarts}`);
  const isWorse = ["suspected", "leaking"].includes(one.leak.verdict);
  const note = one.reason ?? (isWorse ? `memory: ${one.leak.verdict}` : "");
  say(parts.note, note);
  parts.note.className = `more ${one.reason && tone(one) === "bad" || one.leak.verdict === "leaking" ? "bad" : "warn"}`;
  show(parts.note, note !== "");
  const isChosen = one.name === state.chosen;
  if (isChosen) parts.link.setAttribute("aria-current", "true");
  else parts.link.removeAttribute("aria-current");
  show(parts.item, one.name.includes(at("find").value.trim()) || (one.target ?? "").includes(at("find").value.trim()));
}

function list() {
  const { environments } = state.status;
  const names = new Set(environments.map((one) => one.name));
  for (const [name, parts] of rows) {
    if (!names.has(name)) {
      parts.item.remove();
      rows.delete(name);
    }
  }
  environments.forEach((one, index) => {
    if (!rows.has(one.name)) {
      rows.set(one.name, row(one));
      at("list").insertBefore(rows.get(one.name).item, at("list").children[index] ?? null);
    }
    fill(rows.get(one.name), one);
  });
  show(at("none"), environments.length === 0);
  show(at("find"), environments.length > 8 || at("find").value !== "");
}

// ---- one environment ----------------------------------------------------------------------------

function facts(one) {
  const last = one.last_exit;
  const ended = last ? `${last.cause}${last.code === null ? "" : `, exit code ${last.code}`} at ${moment(new Date(last.at))}` : "-";
  const stall = one.memory.pressure_avg10;
  return [
    ["up", seconds(one.uptime_s)],
    ["memory", `${bytes(one.memory.anon)} of ${bytes(one.memory.max)}`],
    ["with page cache", bytes(one.memory.current)],
    ["CPU", `${percent(one.cpu.percent)}${one.cpu.limit_percent === null ? "" : ` of ${one.cpu.limit_percent}%`}`],
    ["stalls", percent(stall)],
    ["restarts", count(one.restarts)],
    ["last end", ended],
    ["ports", one.ports.map((port) => `${port.port}${port.proto === "udp" ? "/udp" : ""} ${port.state ?? "?"}`).join(", ") || "-"],
    ["waiting", count(state.status.queues[one.name])],
    ["processes", `${count(one.pids.current)} of ${count(one.pids.max)}`],
    ["pid", one.instances.length > 1 ? one.instances.map((instance) => count(instance.pid)).join(", ") : count(one.pid)],
    ["user", one.user],
  ];
}

const cells = new Map();

function detail() {
  const one = state.status.environments.find((one) => one.name === state.chosen);
  show(at("detail"), Boolean(one));
  document.title = `${one ? `${one.name} ${one.state} - ` : ""}swrun`;
  if (!one) return;
  say(at("name"), one.name);
  say(at("state"), one.wanted === one.state ? one.state : `${one.state}, wanted ${one.wanted}`);
  at("state").className = `pill ${tone(one)}`;
  show(at("changed"), one.changed);
  say(at("reason"), one.reason ?? "");
  show(at("reason"), Boolean(one.reason));
  at("reason").className = `banner ${tone(one) === "bad" ? "bad" : ""}`;
  const { verdict, confidence } = one.leak;
  const sure = confidence === null ? "" : ` (${(confidence * 100).toFixed(1)}% sure)`;
  say(at("leak"), `Memory, ${verdict}${["suspected", "leaking"].includes(verdict) ? sure : ""}: ${state.status.leaks[one.name] ?? ""}`);
  at("leak").className = `banner ${{ leaking: "bad", none: "good" }[verdict] ?? ""}`;
  show(at("leak"), verdict !== "unknown");
  for (const [label, value] of facts(one)) {
    if (!cells.has(label)) {
      cells.set(label, el("dd"));
      at("facts").append(el("div", {}, el("dt", { textContent: label }), cells.get(label)));
    }
    say(cells.get(label), value);
  }
}

function overview() {
  const { host, runner } = state.status;
  const used = host.memory_total !== null && host.memory_available !== null ? host.memory_total - host.memory_available : null;
  say(at("host"), `host: memory ${bytes(used)} of ${bytes(host.memory_total)}, load ${(host.load ?? []).map((n) => n.toFixed(2)).join(" ") || "?"}, ${count(host.cpus)} CPUs`);
  say(at("runner"), `runner ${runner.version}, up ${seconds(runner.uptime_s)}, as of ${clock(new Date(), true)}`);
  const degraded = at("degraded");
  show(degraded, runner.degraded.length > 0);
  const [summary, items] = degraded.children;
  say(summary, `this host lacks something (${runner.degraded.length})`);
  if (items.childElementCount !== runner.degraded.length) {
    items.replaceChildren(...runner.degraded.map((text) => el("li", { textContent: text })));
  }
}

async function lookAtAll() {
  const status = await told("status");
  if (!status) return;
  state.status = status;
  const names = status.environments.map((one) => one.name);
  if (!names.includes(state.chosen)) choose(named() ?? names[0] ?? null, false);
  overview();
  list();
  detail();
  drawCharts();
}

async function lookBack() {
  if (!state.chosen) return;
  const { turn, hours } = state;
  const past = await told("history", { environment: state.chosen, hours });
  if (!past || turn !== state.turn || hours !== state.hours) return;
  state.past = past;
  drawCharts();
}

/** What was kept, and what is now at its end. */
function drawCharts() {
  const { past } = state;
  const one = state.status?.environments.find((one) => one.name === state.chosen);
  if (!past || !one) return;
  const until = Date.now() / 1000;
  const now = one.instances.length ? [[until, one.memory.anon, one.memory.current, one.cpu.percent, one.memory.pressure_avg10, state.status.queues[one.name] ?? null, 0]] : [];
  const column = (name) => past.columns.indexOf(name);
  const points = (...names) => [...past.rows, ...now].map((row) => [row[0], ...names.map((name) => row[column(name)])]);
  const shared = { isLive: now.length > 0, since: past.since, until, gap: past.step_s * 2.5 };
  const ended = past.rows.filter((row) => row[column("restarts")] > 0);
  const marks = ended.map((row) => [row[0], row[column("restarts")]]);
  charts.memory.show({ ...shared, points: points("anon", "current"), ceiling: past.memory_max, marks, second: "with page cache" });
  charts.cpu.show({ ...shared, points: points("cpu") });
  charts.stall.show({ ...shared, points: points("pressure") });
  charts.queue.show({ ...shared, points: points("queue") });
}

async function lookAtEvents() {
  if (!state.chosen) return;
  const { turn } = state;
  const events = await told("events", { environment: state.chosen });
  if (!events || turn !== state.turn) return;
  // Drawn anew only when there is something new: a reader's place and selection stay.
  const key = JSON.stringify([turn, day(new Date()), events]);
  if (at("events").dataset.key === key) return;
  at("events").dataset.key = key;
  const items = events.reverse().map(({ at: when, tone: kind, text }) => {
    const date = new Date(when);
    return el("li", { className: kind }, el("time", { dateTime: when, title: when, textContent: moment(date) }), el("span", { textContent: text }));
  });
  if (!items.length) items.push(el("li", { textContent: "nothing yet" }));
  at("events").replaceChildren(...items);
}

// ---- the log ------------------------------------------------------------------------------------

function isShown(line) {
  const stream = at("stream").value;
  const text = at("filter").value.toLowerCase();
  return (!stream || line.stream === stream) && (!text || line.text.toLowerCase().includes(text));
}

function lineNode(line) {
  // What swrun says there itself has the number 0.
  const kind = line.instance === 0 ? "own" : line.stream;
  const date = line.at ? new Date(line.at) : null;
  const time = date ? `${clock(date, true)}.${line.at.slice(20, 23)}` : "?";
  return el("div", { className: kind }, el("time", { dateTime: line.at ?? "", title: line.at ?? "", textContent: time }), " ", el("small", { textContent: line.stream }), " ", line.text);
}

/** Adds lines, and follows unless somebody has scrolled up. */
function addLines(lines) {
  const log = at("log");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  log.append(...lines.filter(isShown).map(lineNode));
  while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function redrawLog() {
  at("log").replaceChildren();
  addLines(state.log);
  at("log").scrollTop = at("log").scrollHeight;
}

/** One at a time, or lines would come twice. */
async function readLog() {
  const { turn } = state;
  if (!state.chosen || state.paused || state.reading === turn) return;
  state.reading = turn;
  try {
    await readParts(turn);
  } finally {
    if (state.reading === turn) state.reading = null;
  }
}

async function readParts(turn) {
  for (;;) {
    const part = await told("logs", { environment: state.chosen, after: state.after });
    if (!part || turn !== state.turn || state.paused) return;
    const lines = part.lines;
    if (part.skipped) lines.unshift({ at: null, stream: "", instance: 0, text: "… lines before this are not shown here: swrun logs has them" });
    state.after = part.after;
    state.log.push(...lines);
    state.log.splice(0, state.log.length - MOST_LINES);
    if (lines.length) addLines(lines);
    if (!part.more) return;
  }
}

function pause() {
  state.paused = !state.paused;
  at("pause").setAttribute("aria-pressed", String(state.paused));
  say(at("pause"), state.paused ? "go on" : "pause");
}

// ---- choosing -----------------------------------------------------------------------------------

const named = () => {
  const name = location.hash.slice(1);
  return state.status?.environments.some((one) => one.name === name) ? name : null;
};

function choose(name, isAsked = true) {
  if (name === state.chosen) return;
  Object.assign(state, { chosen: name, turn: state.turn + 1, log: [], after: "", past: null });
  for (const chart of Object.values(charts)) chart.empty();
  for (const word of ["history", "events", "logs"]) troubles.delete(word);
  sayTroubles();
  if (state.paused) pause();
  at("log").replaceChildren();
  at("events").replaceChildren();
  if (name && isAsked && location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  if (!state.status) return;
  list();
  detail();
  for (const look of [lookBack, lookAtEvents, readLog]) look();
}

function step(by) {
  const names = (state.status?.environments ?? []).map((one) => one.name).filter((name) => !rows.get(name)?.item.hidden);
  const next = names[Math.min(Math.max(names.indexOf(state.chosen) + by, 0), names.length - 1)];
  if (!next) return;
  choose(next);
  rows.get(next).link.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function goBack(hours) {
  state.hours = hours;
  remember("hours", String(hours), localStorage);
  for (const button of at("stretch").children) {
    const is = button.value === String(hours);
    button.setAttribute("aria-checked", String(is));
    button.tabIndex = is ? 0 : -1;
  }
  lookBack();
}

function theme(choice) {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  say(at("theme"), `theme: ${choice}`);
  remember("theme", choice, localStorage);
}

function nextTheme() {
  const order = ["system", "light", "dark"];
  const now = document.documentElement.dataset.theme ?? "system";
  theme(order[(order.indexOf(now) + 1) % order.length]);
}

function press(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox]), select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!at("single").checked) return;
  const doing = {
    j: () => step(1),
    k: () => step(-1),
    p: pause,
    t: nextTheme,
    "/": () => at("filter").focus(),
    "?": () => at("keys").showModal(),
  }[event.key] ?? (HOURS[event.key - 1] && (() => goBack(HOURS[event.key - 1][0])));
  if (!doing) return;
  event.preventDefault();
  doing();
}

function pressStretch(event) {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const index = HOURS.findIndex(([hours]) => hours === state.hours);
  const next = (index + by + HOURS.length) % HOURS.length;
  goBack(HOURS[next][0]);
  at("stretch").children[next].focus();
}

// ---- going --------------------------------------------------------------------------------------

/** Again and again while somebody can see it, one after the other. */
function again(look, every) {
  const next = async () => {
    if (!document.hidden && !at("door").open) {
      try {
        await look();
        troubles.delete(look);
      } catch (error) {
        troubles.set(look, `This page failed: ${error.message}`);
      }
      sayTroubles();
    }
    setTimeout(next, every);
  };
  setTimeout(next, every);
}

async function refresh() {
  await lookAtAll();
  await Promise.all([lookBack(), lookAtEvents(), readLog()]);
}

function begin() {
  takeToken();
  state.token ||= recall("token", sessionStorage);
  for (const chart of Object.values(charts)) at("charts").append(chart.node);
  for (const [hours, label] of HOURS) {
    const button = el("button", { type: "button", value: String(hours), textContent: label, onclick: () => goBack(hours) });
    button.setAttribute("role", "radio");
    at("stretch").append(button);
  }
  at("stretch").addEventListener("keydown", pressStretch);
  theme(["light", "dark"].find((choice) => choice === recall("theme", localStorage)) ?? "system");
  goBack(HOURS.map(([hours]) => hours).find((hours) => String(hours) === recall("hours", localStorage)) ?? 6);
  at("single").checked = recall("single", localStorage) !== "off";
  at("single").addEventListener("change", () => remember("single", at("single").checked ? "on" : "off", localStorage));
  at("theme").addEventListener("click", nextTheme);
  at("help").addEventListener("click", () => at("keys").showModal());
  at("close").addEventListener("click", () => at("keys").close());
  at("enter").addEventListener("click", enter);
  at("token").addEventListener("keydown", (event) => event.key === "Enter" && enter());
  at("pause").addEventListener("click", pause);
  at("stream").addEventListener("change", redrawLog);
  at("filter").addEventListener("input", redrawLog);
  at("find").addEventListener("input", () => state.status && list());
  window.addEventListener("keydown", press);
  window.addEventListener("hashchange", () => {
    if (takeToken()) refresh();
    else if (named()) choose(named());
  });
  document.addEventListener("visibilitychange", () => !document.hidden && refresh());
  refresh();
  again(lookAtAll, 2000);
  again(readLog, 1000);
  again(lookAtEvents, 5000);
  again(lookBack, 10_000);
}

begin();
