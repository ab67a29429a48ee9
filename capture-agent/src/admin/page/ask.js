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
const DIGITS = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const count = (number) => DIGITS.format(number);
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
