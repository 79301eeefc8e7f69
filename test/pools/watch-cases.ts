// What comes and goes: as lines of `vreserve pool monitor`, and in the journal of a mount.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import type { Device } from '../../src/pools/devices.js';
import { changes, type PoolSight, type Sight, type WatchEvent, Watcher } from '../../src/pools/watch.js';
import { soon } from '../helpers/columns.js';
import { bench, whyNotLoops } from '../helpers/loops.js';
import { MAIN, must, run, vreserve } from '../helpers/run.js';

const skip = await whyNotLoops();

const device = (name: string, sequence: number | null = null): Device => ({
  name,
  path: `/dev/${name}`,
  number: '8:0',
  sizeBytes: 1000,
  type: 'ssd',
  kind: 'disk',
  transport: null,
  readOnly: false,
  serial: null,
  model: null,
  sequence,
});
const pool = (name: string, ...troubles: string[]): PoolSight => ({ name, directory: `/p/${name}`, troubles });
const text = (event: WatchEvent) =>
  `${event.event} ${'device' in event ? event.device : event.pool}${'reason' in event ? `: ${event.reason}` : ''}`;

t.test('the difference of two looks', async (t) => {
  const nothing: Sight = { devices: [], pools: [] };
  const cases: [string, Sight, Sight, string[]][] = [
    ['nothing', nothing, nothing, []],
    ['a device comes', nothing, { devices: [device('sda')], pools: [] }, ['device-added /dev/sda']],
    ['it goes', { devices: [device('sda')], pools: [] }, nothing, ['device-removed /dev/sda']],
    ['it stays', { devices: [device('sda', 1)], pools: [] }, { devices: [device('sda', 1)], pools: [] }, []],
    [
      'another takes its name',
      { devices: [device('sda', 1)], pools: [] },
      { devices: [device('sda', 2)], pools: [] },
      ['device-removed /dev/sda', 'device-added /dev/sda'],
    ],
    ['a pool comes', nothing, { devices: [], pools: [pool('a')] }, ['pool-added a']],
    ['one comes broken', nothing, { devices: [], pools: [pool('a', 'x')] }, ['pool-added a', 'pool-broken a: x']],
    ['it breaks', { devices: [], pools: [pool('a')] }, { devices: [], pools: [pool('a', 'x', 'y')] }, ['pool-broken a: x; y']],
    ['otherwise', { devices: [], pools: [pool('a', 'x')] }, { devices: [], pools: [pool('a', 'y')] }, ['pool-broken a: y']],
    ['it is broken still', { devices: [], pools: [pool('a', 'x')] }, { devices: [], pools: [pool('a', 'x')] }, []],
    ['it is back', { devices: [], pools: [pool('a', 'x')] }, { devices: [], pools: [pool('a')] }, ['pool-back a']],
    [
      'a pool goes with its device',
      { devices: [device('sda')], pools: [pool('a'), pool('b')] },
      { devices: [], pools: [pool('b')] },
      ['pool-removed a', 'device-removed /dev/sda'],
    ],
  ];
  for (const [name, before, now, events] of cases) t.same(changes(before, now).map(text), events, name);
});

t.test('looks that fail are told once, and the watch goes on', async (t) => {
  const looks: (Sight | Error)[] = [
    { devices: [], pools: [pool('a', 'x')] },
    new Error('no'),
    new Error('no'),
    new Error('other'),
    { devices: [device('sda')], pools: [pool('a')] },
    new Error('other'),
  ];
  const said: string[] = [];
  const stop = new AbortController();
  const look = async () => {
    const next = looks.shift();
    if (looks.length === 0) stop.abort();
    if (next === undefined || next instanceof Error) throw next;
    return next;
  };
  const watcher = new Watcher({
    look,
    tell: (event) => said.push(text(event)),
    failed: (reason) => said.push(reason),
    everyMs: 1,
  });
  await watcher.begin();
  await watcher.run(stop.signal);
  const internal = (reason: string) => `internal error: ${reason}`;
  const expected = [
    'pool-broken a: x',
    internal('no'),
    internal('other'),
    'device-added /dev/sda',
    'pool-back a',
    internal('other'),
  ];
  t.same(said, expected);
});

interface Line {
  event: string;
  device?: string;
  pool?: string;
  [name: string]: unknown;
}

/** `pool monitor` until the test ends it. */
async function monitor(t: Test, ...words: string[]) {
  const child = spawn(process.execPath, [MAIN, 'pool', 'monitor', '--loop', '--every', '50ms', ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const ended = once(child, 'close').then(([code, signal]) => code ?? signal);
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const lines: string[] = [];
  const notes: string[] = [];
  createInterface(child.stdout).on('line', (line) => lines.push(line));
  createInterface(child.stderr).on('line', (line) => notes.push(line));
  await soon(
    async () => notes,
    () => notes.length > 0,
  );
  return { child, ended, lines, notes };
}

t.test('monitor: disks and pools, on the terminal and as JSON', { skip }, async (t) => {
  const b = await bench(t);
  const poolsDir = join(b.top, 'pools');
  const json = await monitor(t, '--json', '--pools-dir', poolsDir);
  const plain = await monitor(t, '--pools-dir', poolsDir);
  t.match(plain.notes[0], /watching \d+ devices and 0 pools; Ctrl-C ends it/);
  /** Of our own devices and pools: others come and go on this machine too. */
  const mine: Line[] = [];
  const until = async (event: string, of: string) => {
    const words = `${event.replace('-', ' ')} ${of}`;
    const isShown = async () => plain.lines.filter((line) => line.includes(words)).length;
    t.ok(await soon(isShown, Boolean), words);
    const isNew = (line: Line) =>
      line.event === event && [line.device, line.pool].includes(of) && !mine.some((each) => each.at === line.at);
    const look = async () => json.lines.map((line) => JSON.parse(line) as Line).find(isNew);
    const seen = await soon(look, (line) => line !== undefined);
    t.ok(seen, `${event} ${of} as JSON`);
    if (seen !== undefined) mine.push(seen);
    return seen;
  };
  const loop = await b.device({ ssd: true });
  const { path } = loop;
  t.match(await until('device-added', path), { bytes: loop.bytes, serial: null });
  await must(vreserve(['pool', 'prepare', 'watched', path, '--pools-dir', poolsDir]));
  const directory = join(poolsDir, 'watched');
  t.match(await until('pool-added', 'watched'), { directory });
  await must(run('mount', ['-o', 'remount,ro', directory]));
  t.match(await until('pool-broken', 'watched'), { reason: 'it has become read-only' });
  await must(run('mount', ['-o', 'remount,rw', directory]));
  await until('pool-back', 'watched');
  await must(run('umount', [directory]));
  await until('pool-removed', 'watched');
  await loop.detach();
  await until('device-removed', path);
  const said = () => plain.lines.join('\n');
  t.match(said(), new RegExp(`^[-0-9]{10} [:0-9]{8}  device added ${path} (ssd|hdd) 315 MB$`, 'm'));
  t.match(said(), /pool broken watched: it has become read-only/);
  for (const [{ child, ended }, signal] of [
    [json, 'SIGINT'],
    [plain, 'SIGTERM'],
  ] as const) {
    child.kill(signal);
    t.equal(await ended, 0, `${signal} is the end, and no failure`);
  }
  t.match(await vreserve(['pool', 'monitor', '--every', '1ms']), { code: 2, stderr: /at least 50ms/ });
  t.match(await vreserve(['pool', 'monitor', '/']), { code: 1, stderr: /not a vreserve mount/ });
});

t.test('mount --watch-devices: the same in the journal', { skip }, async (t) => {
  const b = await bench(t);
  const loop = await b.device();
  const poolsDir = join(b.top, 'pools');
  await must(vreserve(['pool', 'prepare', 'served', loop.path, '--pools-dir', poolsDir]));
  const directory = join(poolsDir, 'served');
  t.teardown(async () => void (await vreserve(['umount', directory])));
  await must(vreserve(['mount', directory, '--watch-devices', '--spool-grant', '0', '--store-grant', '0']));
  const journal = async () => {
    const { stdout } = await must(vreserve(['ledger', directory, '--json']));
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line);
  };
  const until = async (wanted: (line: Line) => boolean, name: string) => {
    const lines = await soon(journal, (all) => all.some(wanted));
    t.ok(lines.some(wanted), name);
    return lines.find(wanted);
  };
  // Its first look is over when the next device is told of: so others are attached until one is.
  const others: string[] = [];
  await soon(
    async () => {
      const other = await b.device();
      others.push(other.path);
      return journal();
    },
    (all) => others.length > 5 || all.some(({ event, device }) => event === 'device-added' && others.includes(device ?? '')),
  );
  const seen = await until(({ event, device }) => event === 'device-added' && others.includes(device ?? ''), 'a device');
  t.match(seen, { bytes: loop.bytes });
  t.match(await vreserve(['ledger', directory]), { code: 0, stdout: /device-added +device \/dev\/loop\d+ +type/ });
  await must(vreserve(['umount', directory]));
});

/** What the stream of the journal has said so far. */
async function follow(t: Test, socketPath: string): Promise<Line[]> {
  const asked = request({ socketPath, path: '/api/v1.0/ledger', headers: { accept: 'text/event-stream' }, agent: false });
  t.teardown(async () => void asked.destroy());
  asked.end();
  const [response] = await once(asked, 'response');
  response.on('error', () => {});
  const heard: Line[] = [];
  createInterface(response).on('line', (line) => {
    if (line.startsWith('data: ')) heard.push(JSON.parse(line.slice('data: '.length)) as Line);
  });
  return heard;
}

t.test('server-sent events: a disk goes from under a pool of a mount, and comes back', { skip }, async (t) => {
  const b = await bench(t);
  const loop = await b.device();
  const poolsDir = join(b.top, 'pools');
  const [data, mnt, socket] = [join(b.top, 'data'), join(b.top, 'mnt'), join(b.top, 'http')];
  await mkdir(data);
  await mkdir(mnt);
  await must(vreserve(['pool', 'prepare', 'fast', loop.path, '--pools-dir', poolsDir]));
  const directory = join(poolsDir, 'fast');
  const options = ['--watch-devices', '--http', `unix:${socket}`, '--spool-grant', '0', '--store-grant', '0'];
  t.teardown(async () => void (await vreserve(['umount', mnt])));
  await must(vreserve(['mount', data, mnt, '--pool', `fast=${directory}`, ...options]));
  const heard = await follow(t, socket);
  const until = async (event: string, isIt: (line: Line) => boolean) => {
    const isWanted = (line: Line) => line.event === event && isIt(line);
    const lines = await soon(
      async () => heard,
      (all) => all.some(isWanted),
      30_000,
    );
    const seen = lines.find(isWanted);
    t.ok(seen, event);
    return seen;
  };
  // Its first look is over when it tells of a device that came.
  const others: string[] = [];
  const isOther = ({ device: path }: Line) => others.includes(path ?? '');
  await soon(
    async () => {
      if (others.length < 6) others.push((await b.device()).path);
      return heard;
    },
    (all) => all.some(isOther),
    30_000,
  );
  await until('device-added', isOther);

  const { path } = loop;
  await must(run('umount', ['--lazy', directory]));
  const broken = await until('pool-broken', ({ pool: name }) => name === 'fast');
  t.match(broken, { directory, reason: /\w/ });
  await loop.detach();
  const removed = await until('device-removed', ({ device: gone }) => gone === path);
  t.match(removed, { type: 'hdd', bytes: loop.bytes });
  const before = heard.length;
  await loop.attach();
  // Loop devices of others come and go meanwhile, and ours can have been one of theirs.
  const added = await until('device-added', (line) => heard.indexOf(line) >= before && line.device === loop.path);
  await must(run('mount', [loop.path, directory]));
  const back = await until('pool-back', ({ pool: name }) => name === 'fast');
  t.match(back, { directory });
  const places = [broken, removed, added, back].map((line) => heard.indexOf(line as Line));
  t.same(
    places,
    [...places].sort((x, y) => x - y),
    'in the order in which it happened',
  );
  t.equal(heard.filter(({ pool: name }) => name === 'fast').length, 2, 'each told once');
  await must(vreserve(['umount', mnt]));
});
