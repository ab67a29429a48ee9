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
