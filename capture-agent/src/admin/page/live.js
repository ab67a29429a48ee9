'use strict';
// Everything that comes from containers goes into the page as text. There is no other way in: the page's policy forbids
// to make nodes of text (require-trusted-types-for).
const byId = (id) => document.getElementById(id);
const POINTS = 60, KEPT = 2000, SHOWN = 600, LONGEST = 8192;

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
/** Writes only what has changed: most of a screen is as it was a second ago. */
function put(node, text) { if (node.firstChild?.data !== text) node.textContent = text; }
function paint(node, name) { if (node.className !== name) node.className = name; }

function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1024; unit++; }
  return `${unit && bytes < 99.95 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}
const count = (number) => Math.round(number).toLocaleString('en');
function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

// ---- asking ----
let token = sessionStorage.getItem('token') ?? '';
class Refused extends Error {
  constructor(status, told) { super(told); this.status = status; }
}
async function ask(path, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`api/v1/${path}`, { headers, signal, cache: 'no-store', credentials: 'omit' });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, problem.error ?? `${answer.status}`);
  }
  byId('token').hidden = true;
  return answer;
}
function refuse(error) {
  if (error.status !== 401) return;
  byId('token').hidden = false;
  put(byId('refused'), token ? error.message : 'this agent asks for a token');
}
byId('token').addEventListener('submit', (event) => {
  event.preventDefault();
  token = event.target.querySelector('input').value.trim();
  sessionStorage.setItem('token', token);
  follow();
  look();
});

// ---- containers ----
const rows = new Map(); // by id
let chosen = null, only = null, sort = 'bytes', wanted = '';
const ORDERS = {
  name: (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  bytes: (a, b) => b.rate.bytes - a.rate.bytes || ORDERS.name(a, b),
  lines: (a, b) => b.rate.lines - a.rate.lines || ORDERS.name(a, b),
  captured: (a, b) => b.totals.captured - a.totals.captured || ORDERS.name(a, b),
  lost: (a, b) => gone(b) - gone(a) || ORDERS.name(a, b),
};
const gone = (container) => container.totals.lost + container.totals.dropped;
const SVG = 'http://www.w3.org/2000/svg';

function row(id) {
  const tr = make('tr');
  tr.dataset.id = id;
  const cells = Array.from({ length: 7 }, (_, place) => tr.appendChild(make('td', place > 1 ? 'number' : '')));
  const name = cells[0].appendChild(make('span')), image = cells[0].appendChild(make('span', 'image'));
  const svg = document.createElementNS(SVG, 'svg'), path = document.createElementNS(SVG, 'path');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('viewBox', `0 0 ${POINTS - 1} 20`);
  svg.setAttribute('preserveAspectRatio', 'none');
  cells[1].appendChild(svg).appendChild(path);
  return { tr, name, image, path, cells, history: [], drawn: '', container: null };
}
function spark(row) {
  const most = Math.max(1, ...row.history), from = POINTS - row.history.length;
  let d = '';
  for (let i = 0; i < row.history.length; i++) {
    d += `${i ? 'L' : 'M'}${from + i} ${(19 - (18 * row.history[i]) / most).toFixed(1)}`;
  }
  if (d !== row.drawn) row.path.setAttribute('d', (row.drawn = d));
}
function showContainers(answer) {
  const seen = new Set();
  for (const container of answer.containers) {
    container.name ||= container.id.slice(0, 12);
    seen.add(container.id);
    let r = rows.get(container.id);
    if (!r) rows.set(container.id, (r = row(container.id)));
    if (container.history) r.history = container.history.slice(-POINTS);
    else if (r.container?.at !== answer.at) r.history.push(container.rate.bytes);
    if (r.history.length > POINTS) r.history.shift();
    container.at = answer.at;
    r.container = container;
    put(r.name, container.name);
    put(r.image, container.image ?? '');
    r.cells[0].title = Object.entries(container.labels).map(([key, value]) => `${key}=${value}`).join('\n');
    spark(r);
    put(r.cells[2], size(container.rate.bytes));
    put(r.cells[3], count(container.rate.lines));
    put(r.cells[4], size(container.totals.captured));
    const lost = gone(container);
    put(r.cells[5], lost ? size(lost) : '0');
    paint(r.cells[5], lost ? 'number bad' : 'number');
    put(r.cells[6], container.running ? age(container.session.age_seconds) : 'ended');
    paint(r.tr, `${container.running ? '' : 'ended'}${container.rate.lost ? ' losing' : ''}`);
  }
  for (const [id, r] of rows) if (!seen.has(id)) { r.tr.remove(); rows.delete(id); }
  arrange();
}
function arrange() {
  const all = [...rows.values()];
  const shown = all.filter((r) => r.container.name.toLowerCase().includes(wanted));
  shown.sort((a, b) => ORDERS[sort](a.container, b.container));
  const body = byId('rows');
  const visible = new Set(shown);
  for (const r of all) if (!visible.has(r)) r.tr.remove();
  // Moves only those that are out of their place.
  let next = body.firstChild;
  for (const r of shown) {
    if (r.tr === next) next = next.nextSibling;
    else body.insertBefore(r.tr, next);
  }
  put(byId('shown'), shown.length === all.length ? `${all.length}` : `${shown.length} of ${all.length}`);
}
function choose(id, scroll) {
  rows.get(chosen)?.tr.removeAttribute('aria-selected');
  chosen = id;
  const tr = rows.get(id)?.tr;
  tr?.setAttribute('aria-selected', 'true');
  if (scroll) tr?.scrollIntoView({ block: 'nearest' });
}
byId('rows').addEventListener('click', (event) => {
  const tr = event.target.closest('tr');
  if (tr) { choose(tr.dataset.id); tailOf(tr.dataset.id); }
});
document.querySelector('thead').addEventListener('click', (event) => event.target.dataset.sort && sortBy(event.target.dataset.sort));
function sortBy(column) {
  sort = column;
  for (const button of document.querySelectorAll('[data-sort]')) button.setAttribute('aria-pressed', button.dataset.sort === sort);
  arrange();
}
byId('filter').addEventListener('input', (event) => { wanted = event.target.value.toLowerCase(); arrange(); });

// ---- agent and sinks ----
function showAgent(agent, containers) {
  put(byId('host'), `${agent.host} · ${agent.version} · up ${age(agent.uptime_seconds)}`);
  put(byId('state'), agent.state);
  paint(byId('state'), `pill ${agent.state === 'capturing' ? 'good' : 'warn'}`);
  const { active, capacity, waiting } = agent.sessions;
  put(byId('sessions'), waiting ? `${active}, ${waiting} wait` : `${active} of ${capacity}`);
  paint(byId('sessions'), waiting ? 'bad' : '');
  const sum = (read) => containers.reduce((total, container) => total + read(container), 0);
  put(byId('bytes'), `${size(sum((c) => c.rate.bytes))}/s`);
  put(byId('lines'), `${count(sum((c) => c.rate.lines))}/s`);
  const lost = sum(gone);
  put(byId('lost'), lost ? size(lost) : 'nothing');
  paint(byId('lost'), lost ? 'bad' : 'good');
  put(byId('ring'), `${Math.round((100 * agent.ring.used) / Math.max(1, agent.ring.size))} %`);
  const docker = agent.docker;
  const failed = Object.values(docker.errors).reduce((a, b) => a + b, 0);
  put(byId('docker'), docker.up ? `up, ${(1000 * docker.last_request_seconds).toFixed(1)} ms${failed ? `, ${count(failed)} errors` : ''}` : 'down');
  paint(byId('docker'), docker.up ? (failed ? 'warn' : 'good') : 'bad');
}
const sinks = new Map();
function showSinks(answer) {
  const names = new Set(answer.sinks.map((sink) => sink.name));
  for (const [name, s] of sinks) if (!names.has(name)) { s.node.remove(); sinks.delete(name); }
  for (const sink of answer.sinks) {
    let s = sinks.get(sink.name);
    if (!s) {
      const node = make('div', 'sink');
      s = { node, name: node.appendChild(make('b', '', sink.name)), state: node.appendChild(make('span')), queue: node.appendChild(make('meter')), told: node.appendChild(make('span', 'quiet')), dropped: node.appendChild(make('span', 'bad')) };
      s.queue.max = 1;
      s.queue.high = 0.8;
      s.queue.low = 0.5;
      s.queue.optimum = 0;
      sinks.set(sink.name, s);
      byId('sinks').appendChild(node);
    }
    const rate = s.at === undefined ? 0 : (sink.delivered - s.delivered) / Math.max(0.001, (performance.now() - s.at) / 1000);
    s.at = performance.now();
    s.delivered = sink.delivered;
    put(s.state, sink.state);
    paint(s.state, { up: 'good', degraded: 'warn' }[sink.state] ?? 'bad');
    s.node.title = sink.last_error ?? '';
    s.queue.value = sink.queue.bytes / Math.max(1, sink.queue.capacity_bytes);
    put(s.told, `${count(Math.max(0, rate))} records/s, ${count(sink.queue.records)} wait${sink.queue.lag_seconds >= 1 ? `, ${age(sink.queue.lag_seconds)} behind` : ''}`);
    const dropped = Object.values(sink.dropped).reduce((a, b) => a + b, 0);
    put(s.dropped, dropped ? `${count(dropped)} dropped` : '');
  }
}

// ---- once a second ----
let looking = null;
async function look() {
  clearTimeout(looking);
  if (!document.hidden) {
    try {
      const answers = await Promise.all(['agent', rows.size ? 'containers' : 'containers?history=1', 'sinks'].map((path) => ask(path).then((answer) => answer.text())));
      const begun = performance.now();
      const [agent, containers, sinks] = answers.map((text) => JSON.parse(text));
      showContainers(containers);
      showAgent(agent, containers.containers);
      showSinks(sinks);
      // What an update takes ends when the next frame has been painted.
      requestAnimationFrame(() => setTimeout(() => performance.measure('update', { start: begun, end: performance.now() })));
    } catch (error) {
      refuse(error);
      put(byId('state'), error.status ? 'refused' : 'no answer');
      paint(byId('state'), 'pill bad');
    }
  }
  // Nobody looks at all of them: the browser keeps no more than it is asked to.
  if (performance.getEntriesByName('update').length > 600) performance.clearMeasures('update');
  clearTimeout(looking);
  looking = setTimeout(look, 1000);
}
document.addEventListener('visibilitychange', () => {
  if (document.hidden) stream?.abort();
  else { look(); follow(); }
});

// ---- live tail ----
const log = byId('log');
const kept = [];
let fresh = [], paused = false, search = '', stream = null, scheduled = false;

/** Colours of terminals are left out, and what else would steer one is made visible. */
function legible(text) {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}… ${count(text.length - LONGEST)} more characters` : text;
  return cut.replace(/\x1b\[[0-9;:]*m/g, '').replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (c) => (c === '\x7f' ? '\u2421' : String.fromCharCode(0x2400 + c.charCodeAt(0))));
}
function hue(name) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % 360;
}
function node(line) {
  if (line.note) return make('div', 'record note', line.note);
  const div = make('div', `record ${line.stream}${line.gap ? ' gap' : ''}`);
  div.appendChild(make('time', '', line.time));
  const name = div.appendChild(make('span', 'name', line.name));
  const of = hue(line.name);
  name.style.color = `light-dark(hsl(${of} 60% 32%), hsl(${of} 60% 68%))`;
  const message = div.appendChild(make('span', 'message'));
  let rest = line.message;
  for (let at = find(rest); at >= 0; at = find(rest)) {
    message.append(rest.slice(0, at), make('mark', '', rest.slice(at, at + search.length)));
    rest = rest.slice(at + search.length);
  }
  message.append(rest);
  return div;
}
const find = (text) => (search ? text.toLowerCase().indexOf(search) : -1);
const matches = (line) => !search || line.note || find(line.message) >= 0 || line.name.toLowerCase().includes(search);

function add(line) {
  fresh.push(line);
  if (fresh.length > KEPT) fresh.splice(0, fresh.length - KEPT);
  if (!scheduled && !paused) { scheduled = true; requestAnimationFrame(showFresh); }
}
function showFresh() {
  scheduled = false;
  if (paused) return;
  const lines = fresh;
  fresh = [];
  kept.push(...lines);
  if (kept.length > KEPT) kept.splice(0, kept.length - KEPT);
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const part = document.createDocumentFragment();
  for (const line of lines.filter(matches).slice(-SHOWN)) part.appendChild(node(line));
  log.appendChild(part);
  while (log.childElementCount > SHOWN) log.firstElementChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}
function showAgain() {
  log.replaceChildren(...kept.filter(matches).slice(-SHOWN).map(node));
  log.scrollTop = log.scrollHeight;
}
byId('search').addEventListener('input', (event) => { search = event.target.value.toLowerCase(); showAgain(); });
function pause() {
  paused = !paused;
  byId('pause').setAttribute('aria-pressed', paused);
  put(byId('pause'), paused ? 'go on' : 'pause');
  if (!paused) showFresh();
}
byId('pause').addEventListener('click', pause);

function tailOf(id) {
  only = id;
  const container = rows.get(id)?.container;
  put(byId('of'), id === null ? 'all containers' : (container?.name ?? id));
  byId('all').hidden = id === null;
  kept.length = fresh.length = 0;
  log.replaceChildren();
  follow();
}
byId('all').addEventListener('click', () => tailOf(null));

function take(event) {
  let name = '', data = '';
  for (const line of event.split('\n')) {
    if (line.startsWith('data: ')) data = line.slice(6);
    else if (line.startsWith('event: ')) name = line.slice(7);
  }
  if (!data) return;
  const told = JSON.parse(data);
  if (name === 'dropped') add({ note: `${count(told.records)} records are not shown here: this page was too slow` });
  if (name) return;
  add({
    time: told.timestamp.slice(11, 23),
    name: told.container_name || told.container_id.slice(0, 12),
    stream: told.stream === 'stderr' ? 'stderr' : 'stdout',
    message: legible(told.message),
    gap: told.lost_bytes !== undefined,
  });
}
async function follow() {
  stream?.abort();
  const mine = (stream = new AbortController());
  const query = only === null ? '' : `?name=${encodeURIComponent(only)}`;
  let pause = 500;
  while (!mine.signal.aborted) {
    try {
      const answer = await ask(`stream${query}`, mine.signal);
      put(byId('following'), 'live');
      pause = 500;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ''; ; ) {
        const { value, done } = await reader.read();
        if (done) break;
        const events = (text + value).split('\n\n');
        text = events.pop();
        events.forEach(take);
      }
    } catch (error) {
      if (mine.signal.aborted) return;
      refuse(error);
      put(byId('following'), error.status ? error.message : 'no answer');
      if (error.status === 401 || error.status === 403) return;
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 5000);
  }
}

// ---- keys ----
function theme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = isDark ? 'light' : 'dark';
  localStorage.setItem('theme', root.dataset.theme);
}
const stored = localStorage.getItem('theme');
if (stored === 'dark' || stored === 'light') document.documentElement.dataset.theme = stored;
byId('theme').addEventListener('click', theme);
byId('keys').addEventListener('click', () => byId('help').showModal());
function step(by) {
  const all = [...byId('rows').children];
  const at = all.findIndex((tr) => tr.dataset.id === chosen);
  const tr = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))];
  if (tr) choose(tr.dataset.id, true);
}
const KEYS = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  Enter: () => chosen && tailOf(chosen), Escape: () => only !== null && tailOf(null),
  '/': () => byId('search').focus(), f: () => byId('filter').focus(), p: pause, t: theme,
  s: () => { const all = Object.keys(ORDERS); sortBy(all[(all.indexOf(sort) + 1) % all.length]); },
  '?': () => byId('help').showModal(),
};
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId('help').open) return;
  if (event.target.matches('input')) {
    if (event.key === 'Escape') { event.target.value = ''; event.target.dispatchEvent(new Event('input')); event.target.blur(); }
    return;
  }
  if (event.target.matches('button') && event.key === 'Enter') return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
look();
follow();
