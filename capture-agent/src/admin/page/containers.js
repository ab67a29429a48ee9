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
  tr.setAttribute('role', 'row');
  const cells = Array.from({ length: 7 }, (_, place) => tr.appendChild(make('td', place > 1 ? 'number' : '')));
  for (const cell of cells) cell.setAttribute('role', 'cell');
  const name = cells[0].appendChild(make('span')), image = cells[0].appendChild(make('span', 'image'));
  const svg = document.createElementNS(SVG, 'svg'), path = document.createElementNS(SVG, 'path');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('viewBox', `0 0 ${POINTS - 1} 20`);
  svg.setAttribute('preserveAspectRatio', 'none');
  cells[1].appendChild(svg).appendChild(path);
  const r = { tr, name, image, path, cells, history: [], drawn: '', container: null, skipped: false };
  // Out of sight no curve is drawn, and the one it has is redrawn as it comes in sight.
  tr.addEventListener('contentvisibilityautostatechange', (event) => { r.skipped = event.skipped; spark(r); });
  return r;
}
function spark(row) {
  if (row.skipped) return;
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
    const labels = Object.entries(container.labels).map(([key, value]) => `${key}=${value}`).join('\n');
    if (r.cells[0].title !== labels) r.cells[0].title = labels;
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
