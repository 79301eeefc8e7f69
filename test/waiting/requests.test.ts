// What a request may say, and what others may put into the spool in its place: nothing there stops the line.

import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { RequestBox } from '../../src/waiting/box.js';
import { makeBox } from '../../src/waiting/make-box.js';
import { decided, MOST_REQUEST_BYTES, parseRequest, requestText } from '../../src/waiting/request.js';
import { BY_ROOT, turns, until, WaitingWorld } from '../helpers/waiting-world.js';

const ROOT_ONLY = process.getuid?.() === 0 ? false : 'only root can give files away and make devices';
const YEAR_MS = 365 * 86_400_000;

t.test('what a request says', async (t) => {
  const asked = (options: object = {}, waitMs: number | null = null) => ({ path: '/a', bytes: 5, options, waitMs });
  const table: [object, object][] = [
    [{}, asked()],
    [{ bytes: '5' }, asked()],
    [{ bytes: '5kB' }, { ...asked(), bytes: 5000 }],
    [{ bytes: 0 }, { ...asked(), bytes: 0 }],
    [{ bytes: 2 ** 53 - 1 }, { ...asked(), bytes: 2 ** 53 - 1 }],
    [{ path: 'is looked at later' }, { ...asked(), path: 'is looked at later' }],
    [{ wait: '10m' }, asked({}, 600_000)],
    [{ wait: 1500 }, asked({}, 1500)],
    [{ wait: 0 }, asked({}, 0)],
    [{ wait: '' }, asked()],
    [{ wait: true }, asked()],
    [{ wait: null }, asked()],
    [{ wait: 100 * YEAR_MS }, asked({}, 100 * YEAR_MS)],
    [{ expires: '2h' }, asked({ expiresInMs: 7_200_000 })],
    [{ expires: 5 }, asked({ expiresInMs: 5 })],
    [{ expires: null }, asked({ expiresInMs: null })],
    [{ expires: 'never' }, asked({ expiresInMs: null })],
    [{ owner: 'alice' }, asked({ owner: 'alice' })],
    [{ opportunistic: '1k' }, asked({ opportunisticBytes: 1000 })],
    [{ opportunistic: 'unlimited' }, asked({ opportunisticBytes: -1 })],
    [{ objects: 7 }, asked({ maxObjects: 7 })],
    [{ objects: 'unlimited' }, asked({ maxObjects: -1 })],
    [{ job: 17, tag: { deep: [1] }, outcome: 'mine', cmd: 'release' }, asked()],
  ];
  for (const [fields, wanted] of table) {
    const text = JSON.stringify({ path: '/a', bytes: 5, ...fields });
    t.strictSame(parseRequest(text), wanted, text);
  }
  t.strictSame(parseRequest('{"path":"/b","bytes":1,"path":"/a","bytes":5}'), asked(), 'the last of equal keys');
  t.strictSame(parseRequest(' \n{"path":"/a","bytes":5}\n\n'), asked());
  t.strictSame(parseRequest('{"path":"/a","bytes":5,"__proto__":{"wait":"1h","owner":"eve"}}'), asked(), 'no prototype');
});

t.test('what is no request', async (t) => {
  const json = (fields: object) => JSON.stringify({ path: '/a', bytes: 5, ...fields });
  const table: [string, string, RegExp?][] = [
    ['', 'BAD_COMMAND', /the metadata is not JSON/],
    ['nonsense', 'BAD_COMMAND', /not JSON/],
    ['{"path":"/a","bytes":5', 'BAD_COMMAND', /not JSON/],
    ['null', 'BAD_COMMAND', /no JSON object/],
    ['[]', 'BAD_COMMAND', /no JSON object/],
    ['"/a 5"', 'BAD_COMMAND', /no JSON object/],
    ['5', 'BAD_COMMAND', /no JSON object/],
    ['{}', 'BAD_COMMAND', /"path" must be a string/],
    [json({ path: 5 }), 'BAD_COMMAND', /"path"/],
    [json({ path: null }), 'BAD_COMMAND', /"path"/],
    ['{"path":"/a"}', 'BAD_COMMAND', /"bytes" must be a number of bytes/],
    [json({ bytes: null }), 'BAD_COMMAND', /"bytes"/],
    [json({ bytes: {} }), 'BAD_COMMAND', /"bytes"/],
    [json({ bytes: -1 }), 'BAD_BYTES'],
    [json({ bytes: 1.5 }), 'BAD_BYTES'],
    [json({ bytes: 2 ** 53 }), 'BAD_BYTES'],
    ['{"path":"/a","bytes":1e400}', 'BAD_BYTES'],
    [json({ bytes: '1.5' }), 'BAD_BYTES'],
    [json({ bytes: 'much' }), 'BAD_BYTES'],
    [json({ bytes: '9999999999999999999' }), 'BAD_BYTES'],
    [json({ wait: 'soon' }), 'BAD_DURATION'],
    [json({ wait: '1h30m' }), 'BAD_DURATION'],
    [json({ wait: false }), 'BAD_COMMAND', /wait/],
    [json({ wait: -1 }), 'BAD_COMMAND', /wait/],
    [json({ wait: 1.5 }), 'BAD_COMMAND', /wait/],
    [json({ wait: [] }), 'BAD_COMMAND', /wait/],
    [json({ wait: 100 * YEAR_MS + 1 }), 'BAD_COMMAND', /at most 100 years/],
    [json({ wait: 2 ** 53 - 1 }), 'BAD_COMMAND', /at most 100 years/],
    [json({ wait: '5300w' }), 'BAD_COMMAND', /at most 100 years/],
    [json({ expires: 'x' }), 'BAD_DURATION'],
    [json({ expires: false }), 'BAD_COMMAND', /expires/],
    [json({ expires: 2 ** 53 - 1 }), 'BAD_COMMAND', /expires/],
    [json({ owner: '' }), 'BAD_COMMAND', /owner/],
    [json({ owner: 7 }), 'BAD_COMMAND', /owner/],
    [json({ opportunistic: true }), 'BAD_COMMAND', /limit/],
    [json({ opportunistic: -2 }), 'BAD_BYTES'],
    [json({ objects: 'x' }), 'BAD_COMMAND', /objects/],
    [json({ objects: null }), 'BAD_COMMAND', /limit/],
  ];
  for (const [text, code, message = /./] of table) t.throws(() => parseRequest(text), { code, message }, text);
});

t.test('how it was decided is added', async (t) => {
  const outcome = { decision: 'granted', at: '2026-01-01T00:00:00.000Z', lot: '/a' } as const;
  const table: [string, object][] = [
    ['{"path":"/a","bytes":5,"job":[1,{"x":null}]}', { path: '/a', bytes: 5, job: [1, { x: null }], outcome }],
    ['{"outcome":{"decision":"refused"},"path":"/a"}', { outcome, path: '/a' }],
    ['nonsense\n', { request: 'nonsense\n', outcome }],
    ['[1]', { request: '[1]', outcome }],
    ['', { request: '', outcome }],
  ];
  for (const [text, wanted] of table) {
    const line = decided(text, outcome);
    t.strictSame([JSON.parse(line), line.endsWith('}\n'), line.indexOf('\n')], [wanted, true, line.length - 1], text);
  }
  t.match(decided('{"__proto__":{"x":1}}', outcome), '"__proto__":{"x":1}', 'even that is kept');
});

t.test('a command as a request means the same', async (t) => {
  for (const options of [{}, { expiresInMs: null }, { expiresInMs: 5, owner: 'u', opportunisticBytes: -1, maxObjects: 9 }]) {
    for (const waitMs of [null, 5]) {
      const asked = { path: '/a "b"', bytes: 5, options };
      t.strictSame(parseRequest(requestText(asked, waitMs)), { ...asked, waitMs });
    }
  }
});

t.test('bad requests are refused where their askers find it, and those after them are granted', async (t) => {
  const world = await WaitingWorld.make();
  t.teardown(() => world.remove());
  await world.commands.reserve('/mine', 10, {}, BY_ROOT, null);
  await world.commands.reserve('/lot', 50, {}, BY_ROOT, null);
  const request = (fields: object) => JSON.stringify({ path: '/x', bytes: 1, tag: 'kept', ...fields });
  const table: [string, string, string, RegExp][] = [
    ['nonsense', 'BAD_COMMAND', 'EINVAL', /the metadata is not JSON/],
    [request({ bytes: -1 }), 'BAD_BYTES', 'EINVAL', /-1/],
    [request({ bytes: '5 apples' }), 'BAD_BYTES', 'EINVAL', /5 apples/],
    [request({ wait: 'soon' }), 'BAD_DURATION', 'EINVAL', /soon/],
    [request({ wait: 2 ** 53 - 1 }), 'BAD_COMMAND', 'EINVAL', /100 years/],
    [request({ path: 'x' }), 'BAD_PATH', 'EINVAL', /must begin with/],
    [request({ path: '/' }), 'BAD_PATH', 'EINVAL', /default lot/],
    [request({ path: '/../x' }), 'BAD_PATH', 'EINVAL', /'\.\.'/],
    [request({ path: '/.vreserve/spool' }), 'BAD_PATH', 'EINVAL', /vreserve's own/],
    [request({ path: '/a\0b' }), 'BAD_PATH', 'EINVAL', /NUL/],
    [request({ path: `/${'x'.repeat(300)}` }), 'PATH_TOO_LONG', 'ENAMETOOLONG', /300 bytes/],
    [request({ owner: 'a b' }), 'BAD_OWNER', 'EINVAL', /a b/],
    [request({ path: '/mine' }), 'NOT_YOURS', 'EACCES', /belongs to user/],
    [
      request({ bytes: 1001 }),
      'NEVER_FITS',
      'ENOSPC',
      /^1 kB \(1,001 bytes\) asked for \/x, and the pool can never hold more than 1 kB$/,
    ],
    [
      request({ path: '/lot/y', bytes: 51 }),
      'NEVER_FITS',
      'ENOSPC',
      /51 B asked for \/lot\/y, and lot '\/lot' can never hold more/,
    ],
    [request({ outcome: 'old', bytes: 'x' }), 'BAD_BYTES', 'EINVAL', /'x'/],
  ];
  const names = table.map((_, i) => `bad${i}`);
  for (const [i, [text]] of table.entries()) await world.put(`bad${i}`, text);
  await world.put('good', request({ bytes: 7 }));
  world.life.hear([...names, 'good']);
  await world.settle();
  for (const [i, [text, code, errno, message]] of table.entries()) {
    const found = world.decision(`bad${i}`);
    t.match(found, { queue: 'refused', outcome: { decision: 'refused', code, errno, message } }, text);
    if (text.startsWith('{')) t.equal(found?.meta.tag, 'kept');
    t.equal(lstatSync(world.path('.data', `bad${i}`)).isFile(), true, 'with its payload');
  }
  t.match(world.decision('good'), {
    queue: 'granted',
    outcome: { decision: 'granted', lot: '/x', at: '2026-01-01T00:00:00.000Z' },
  });
  t.strictSame(world.line.troubles, []);
  t.strictSame((await world.life.ledger.load()).waiting, []);
  const refusals = (await world.journal('refusal')).filter(({ request }) => request !== undefined);
  t.strictSame(
    refusals.map(({ code }) => code),
    table.map(([, code]) => code),
    'each is a line of the journal',
  );
});

/** Puts something under a name that is registered, and says what becomes of it: refused, granted, or nothing at all. */
const HOSTILE: [what: string, put: (world: WaitingWorld, name: string) => void | Promise<void>, wanted: string | null][] = [
  ['a symbolic link', (w, n) => symlinkSync('/etc/passwd', w.path('pending', n)), null],
  [
    'a symbolic link to a request',
    (w, n) => {
      writeFileSync(w.path('.tmp', n), good(n));
      symlinkSync(`../.tmp/${n}`, w.path('pending', n));
    },
    null,
  ],
  ['a symbolic link to itself', (w, n) => symlinkSync(n, w.path('pending', n)), null],
  ['a pipe', (w, n) => void execFileSync('mkfifo', [w.path('pending', n)]), null],
  ['a directory', (w, n) => mkdirSync(w.path('pending', n)), null],
  ['a socket', (w, n) => listenAt(w.path('pending', n)), null],
  ['nothing', () => {}, null],
  ['not UTF-8', (w, n) => writeFileSync(w.path('pending', n), Buffer.from([0x7b, 0xff, 0x7d])), 'is not UTF-8'],
  [
    'a byte too many',
    (w, n) => writeFileSync(w.path('pending', n), `${good(n)}${' '.repeat(MOST_REQUEST_BYTES - good(n).length + 1)}`),
    'has more than 65536 bytes',
  ],
  [
    'as many bytes as there may be',
    (w, n) => writeFileSync(w.path('pending', n), `${good(n)}${' '.repeat(MOST_REQUEST_BYTES - good(n).length)}`),
    'granted',
  ],
  ['empty', (w, n) => writeFileSync(w.path('pending', n), ''), 'is not JSON'],
  [
    'a second name of the entry',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      linkSync(w.path('pending', n), w.path('.tmp', `${n}-2`));
    },
    'has several names',
  ],
  [
    'a second name of the registry file',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      linkSync(w.path('.registry', n), w.path('.tmp', `${n}-2`));
    },
    'has several names',
  ],
  [
    'no payload',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      rmSync(w.path('.data', n));
    },
    'granted',
  ],
  [
    'a directory where it is to be claimed',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      mkdirSync(w.path('pending', '.checkout', n));
    },
    'granted',
  ],
  [
    'a full directory where it is to be granted',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      mkdirSync(w.path('granted', n, 'full'), { recursive: true });
    },
    'granted',
  ],
  [
    'a symbolic link where it is to be granted',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      symlinkSync('/etc/passwd', w.path('granted', n));
    },
    'granted',
  ],
  [
    'a directory where it is to be refused',
    (w, n) => {
      writeFileSync(w.path('pending', n), 'x');
      mkdirSync(w.path('refused', n));
    },
    'is not JSON',
  ],
  [
    'a directory as its payload',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      rmSync(w.path('.data', n));
      mkdirSync(w.path('.data', n));
    },
    'granted',
  ],
  [
    'a directory in the registry',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      rmSync(w.path('.registry', n));
      mkdirSync(w.path('.registry', n));
    },
    'has several names',
  ],
];

/** What only root can put there. */
const HOSTILE_OF_ROOT: typeof HOSTILE = [
  ['a device', (w, n) => void execFileSync('mknod', [w.path('pending', n), 'c', '1', '5']), null],
  [
    'the name of another user',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      chownSync(w.path('.registry', n), 7, 7);
    },
    'registered by another user',
  ],
  [
    'the entry of another user',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      chownSync(w.path('pending', n), 7, 7);
    },
    'registered by another user',
  ],
  [
    'an entry that nobody may read',
    (w, n) => {
      writeFileSync(w.path('pending', n), good(n));
      chmodSync(w.path('pending', n), 0);
    },
    'granted',
  ],
];

function good(name: string): string {
  return JSON.stringify({ path: `/${Buffer.from(name).toString('hex').slice(0, 200)}`, bytes: 1 });
}

function listenAt(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(path, () => {
      // Closing takes the socket's file away; another name of it stays.
      linkSync(path, `${path}-kept`);
      server.close(() => {
        renameSync(`${path}-kept`, path);
        resolve();
      });
    });
  });
}

t.test('what else lies in the spool', async (t) => {
  const cases = [...HOSTILE, ...(ROOT_ONLY === false ? HOSTILE_OF_ROOT : [])];
  for (const atStart of [false, true]) {
    const world = await WaitingWorld.make();
    t.teardown(() => world.remove());
    if (atStart) await world.end();
    for (const [i, [, put]] of cases.entries()) {
      const name = `case${String(i).padStart(2, '0')}`;
      for (const place of ['.registry', '.data']) writeFileSync(world.path(place, name), '');
      await put(world, name);
    }
    await world.put('last', good('last'));
    const started = performance.now();
    if (atStart) await world.start();
    else {
      world.life.hear([...world.names('pending'), 'no such name', '.checkout']);
      await world.settle();
      world.life.hear([null]);
    }
    await world.settle();
    t.ok(performance.now() - started < 5000, 'nothing is waited for');
    for (const [i, [what, , wanted]] of cases.entries()) {
      const name = `case${String(i).padStart(2, '0')}`;
      const label = `${what}${atStart ? ', at the start' : ''}`;
      if (wanted === null) {
        t.strictSame([existsSync(world.path('granted', name)), existsSync(world.path('refused', name))], [false, false], label);
        continue;
      }
      const queue = wanted === 'granted' ? 'granted' : 'refused';
      const path = world.path(queue, name);
      t.equal(lstatSync(path).isFile(), true, `${label}: ${queue}`);
      const { outcome } = JSON.parse(readFileSync(path, 'utf8'));
      if (queue === 'granted') t.match(outcome, { decision: 'granted' }, label);
      else t.match(outcome, { decision: 'refused', code: 'BAD_COMMAND', message: new RegExp(wanted) }, label);
      t.equal(lstatSync(path).nlink, 1, 'with no other name');
    }
    t.match(world.decision('last'), { queue: 'granted' }, 'and whoever came last is served');
    t.strictSame(world.line.troubles, []);
    t.strictSame(world.waiting(), []);
    t.equal(readFileSync('/etc/passwd', 'utf8').includes('outcome'), false);
  }
});

t.test('names', async (t) => {
  const world = await WaitingWorld.make();
  t.teardown(() => world.remove());
  const names = [
    'x'.repeat(255),
    'ü'.repeat(127),
    'two\nlines',
    '\u001b[31mred',
    ' ',
    '-rf',
    '.hidden',
    '..x',
    '\ufeffbom',
    '%2F',
    'e\u0301',
  ];
  for (const name of names) await world.put(name, good(name));
  const raw = Buffer.from([0x66, 0xff, 0xfe]);
  for (const place of ['.registry', '.data', 'pending'])
    writeFileSync(Buffer.concat([Buffer.from(`${world.path(place)}/`), raw]), good('raw'));
  world.life.hear([null]);
  await world.settle();
  t.strictSame([...world.names('granted')].sort(), [...names].sort());
  t.strictSame(
    readdirSync(world.path('pending'), { encoding: 'buffer' }).filter((name) => name.equals(raw)).length,
    1,
    'a name that is no text is no request, and is left alone',
  );
  for (const name of names) t.match(world.decision(name), { outcome: { decision: 'granted' } }, JSON.stringify(name));
});

t.test('whose the answer is', { skip: ROOT_ONLY }, async (t) => {
  const world = await WaitingWorld.make();
  t.teardown(() => world.remove());
  await world.ask('of-a-user', { path: '/u', bytes: 5 }, 1000);
  await world.ask('refused', { path: '/u', bytes: 5 }, 1001);
  t.equal(world.keeper.book.named('/u')?.owner, '1000');
  for (const [queue, name, uid] of [
    ['granted', 'of-a-user', 1000],
    ['refused', 'refused', 1001],
  ] as const) {
    const { uid: is, gid, mode } = statSync(world.path(queue, name));
    t.strictSame([is, gid, mode & 0o777], [uid, uid, 0o644], name);
  }
  t.match(world.decision('refused'), { outcome: { code: 'NOT_YOURS', message: /belongs to user/ } });
  await world.ask('of-root', { path: '/r', bytes: 5 });
  t.match(
    world.keeper.book.named('/r'),
    { owner: '0', confinedOwner: true },
    "a file of uid 0 may be that of a container's root",
  );
});

t.test('the directories of the spool', async (t) => {
  const dir = t.testdir();
  const at = (...parts: string[]) => join(dir, 'requests', ...parts);
  mkdirSync(at());
  const mode = (path: string) => statSync(path).mode & 0o7777;
  await makeBox(at(), true);
  const open = ['.registry', '.tmp', '.data', 'pending', 'granted', 'refused', 'pending/.checkout', 'granted/.checkout'];
  for (const place of open) t.equal(mode(at(place)), 0o1777, place);
  t.equal(mode(at()), 0o1777);
  await makeBox(at(), false);
  for (const place of open) t.equal(mode(at(place)), 0o755, `${place} again, for the daemon alone`);
  if (ROOT_ONLY !== false) return;
  for (const place of ['pending', '.registry', 'pending/.checkout']) {
    chownSync(at(place), 7, 7);
    await t.rejects(makeBox(at(), true), { code: 'SYSTEM', errno: 'EEXIST' }, `${place} of another user`);
    chownSync(at(place), 0, 0);
  }
  rmdirSync(at('granted', '.checkout'));
  symlinkSync('/etc', at('granted', '.checkout'));
  const before = mode('/etc');
  await t.rejects(makeBox(at(), true), { code: 'SYSTEM', errno: 'EEXIST' }, 'a symbolic link');
  t.equal(mode('/etc'), before);
  unlinkSync(at('granted', '.checkout'));
  writeFileSync(at('granted', '.checkout'), '');
  await t.rejects(makeBox(at(), true), { code: 'SYSTEM' }, 'a file');
});

t.test('what nobody fetched is taken away in time', async (t) => {
  const world = await WaitingWorld.make();
  t.teardown(() => world.remove());
  for (const name of ['old', 'new']) await world.ask(name, { path: `/${name}`, bytes: 1 });
  await world.ask('bad', 'x');
  const old = new Date(Date.now() - 10_000);
  for (const [queue, name] of [
    ['granted', 'old'],
    ['refused', 'bad'],
  ] as const)
    utimesSync(world.path(queue, name), old, old);
  mkdirSync(world.path('granted', 'a directory'));
  symlinkSync('/etc/passwd', world.path('granted', 'a link'));
  await world.life.box.trim(Date.now() - 5000);
  t.strictSame(world.names('granted'), ['a directory', 'a link', 'new']);
  t.strictSame(world.names('refused'), []);
  t.strictSame([world.names('.registry'), world.names('.data')], [['new'], ['new']]);
});

t.test('the system tells who comes and goes', async (t) => {
  const world = await WaitingWorld.make({ isWatched: true, capacityBytes: 10_000 });
  t.teardown(() => world.remove());
  await world.put('one', good('one'));
  await until('one', () => world.decision('one') !== null);
  await world.commands.reserve('/full', world.life.engine.pool().headroomBytes, {}, BY_ROOT, null);
  await world.put('waits', good('waits'));
  await until('waits', () => world.waiting().length === 1);
  await world.spool.withEntry(world.spool.entry('pending', 'waits'), async () => ({ remove: true }));
  await until('withdrawn', () => world.waiting().length === 0);
  t.match(await world.journal('withdrawal'), [{ request: 'waits' }]);
  await world.commands.release('/full', BY_ROOT);

  // More than are listed one by one, and in the order in which they came.
  const many = Array.from({ length: 1200 }, (_, i) => `many${String(i).padStart(5, '0')}`);
  for (const name of many) world.putQuickly(name, good(name));
  await until('many', () => world.names('granted').length === many.length + 1, 60_000);
  const granted = (await world.journal('grant')).map(({ request }) => String(request));
  t.strictSame(
    granted.filter((name) => name.startsWith('many')),
    many,
    'in their order',
  );
  t.strictSame(world.line.troubles, []);
});

t.test('a box of an ordinary user', { skip: ROOT_ONLY }, async (t) => {
  const dir = t.testdir();
  const script = `
    import { makeBox } from ${JSON.stringify(new URL('../../src/waiting/make-box.js', import.meta.url).href)};
    import { RequestBox } from ${JSON.stringify(new URL('../../src/waiting/box.js', import.meta.url).href)};
    const dir = process.argv[1];
    process.setgroups([]); process.setgid(65534); process.setuid(65534);
    await makeBox(dir, false);
    const box = new RequestBox(dir);
    const name = await box.reserveName(0);
    await box.put(name, '{}', { uid: 65534, gid: 65534 });
    if (!(await box.claim(name))) throw new Error('not claimed');
    await box.finish(name, 'granted', '{"done":1}', { uid: 65534, gid: 65534 });
    process.stdout.write(name);
  `;
  const box = join(tmpdir(), `vreserve-box-${process.pid}`);
  mkdirSync(box);
  t.teardown(() => rmSync(box, { recursive: true }));
  chownSync(box, 65534, 65534);
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script, box], {
    encoding: 'utf8',
    cwd: dir,
  });
  t.equal(status, 0, stderr);
  t.equal(readFileSync(join(box, 'granted', stdout), 'utf8'), '{"done":1}');
});

t.test('claims', async (t) => {
  const world = await WaitingWorld.make();
  t.teardown(() => world.remove());
  await world.end();
  const box = new RequestBox(world.spoolDirectory);
  t.equal(await box.claim('nothing'), false);
  await world.put('a', good('a'));
  t.equal(await box.isPending('a'), true);
  t.equal(await box.claim('a'), true);
  t.equal(await box.claim('a'), false, 'once');
  t.strictSame([await box.claimed(), await box.pending(), await box.read('a')], [['a'], [], null]);
  await box.putBack('a');
  await box.putBack('a');
  t.match([await box.claimed(), await box.pending(), await box.read('a')], [[], ['a'], { text: good('a'), refusal: null }]);
  rmSync(world.path('.registry', 'a'));
  t.strictSame([await box.read('a'), await box.claim('a')], [null, false], 'no entry without its name');
  writeFileSync(world.path('.registry', 'a'), '');
  await box.claim('a');
  await box.remove('a');
  await box.remove('a');
  for (const place of ['.registry', '.data', 'pending', '.claimed']) t.strictSame(world.names(place), [], place);
  appendFileSync(world.path('.deciding', 'x'), 'half');
  await box.clear([], []);
  t.strictSame(world.names('.deciding'), [], 'a half outcome');
  await turns(1);
});
