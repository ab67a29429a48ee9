// ---- live tail ----
const log = byId('log');
const kept = [];
/** How long lines are gathered, in milliseconds: what comes at once is laid out once, and nobody reads faster. */
const TOGETHER = 100;
/** So many lines come in sight, go out of it and are taken away together: a browser asks for each of these in each frame. */
const GROUP = 50;
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
  if (!scheduled && !paused) { scheduled = true; setTimeout(() => requestAnimationFrame(showFresh), TOGETHER); }
}
function showFresh() {
  scheduled = false;
  if (paused) return;
  const lines = fresh;
  fresh = [];
  kept.push(...lines);
  if (kept.length > KEPT) kept.splice(0, kept.length - KEPT);
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  append(lines);
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}
function showAgain() {
  log.replaceChildren();
  append(kept);
  log.scrollTop = log.scrollHeight;
}
function append(lines) {
  for (const line of lines.filter(matches).slice(-SHOWN)) {
    let group = log.lastElementChild;
    if (!group || group.childElementCount >= GROUP) group = log.appendChild(make('div', 'group'));
    group.appendChild(node(line));
  }
  while (log.childElementCount > SHOWN / GROUP) log.firstElementChild.remove();
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
