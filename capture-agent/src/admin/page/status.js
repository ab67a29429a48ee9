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
/** How often, and how long an answer may take, in milliseconds. */
const PERIOD = 1000, PATIENCE = 5000;
let looking = null;
async function look() {
  clearTimeout(looking);
  const asked = performance.now();
  if (!document.hidden) {
    try {
      const answers = await Promise.all(['agent', rows.size ? 'containers' : 'containers?history=1', 'sinks'].map((path) => ask(path, AbortSignal.timeout(PATIENCE)).then((answer) => answer.text())));
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
  looking = setTimeout(look, Math.max(0, PERIOD - (performance.now() - asked)));
}
document.addEventListener('visibilitychange', () => {
  if (document.hidden) stream?.abort();
  else { look(); follow(); }
});
