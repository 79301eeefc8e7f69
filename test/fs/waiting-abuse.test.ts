// People who try to abuse the line of requests, through a real mount: what is another's is neither taken, changed nor held up, what is not
// allowed is not granted, and whatever is put into the spool, the daemon follows nothing, hangs nowhere and serves the others.
import { lstat, mkdir, readdir, readFile, readlink, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NOBODY, whyNotRoot } from '../helpers/columns.js';
import { type Outcome, type Steps, startSteps } from '../helpers/fsop.js';
import { report } from '../helpers/lots.js';
import { type Mounted, mount } from '../helpers/mount.js';
import { asUser, RequestSpool, until } from '../helpers/requests.js';
import { must, type RunOptions, run, shell, vreserve } from '../helpers/run.js';

const MB = 1_000_000;
const ARGS = ['--capacity', '128MB', '--margin', '0', '--spool-grant', '64MB'];
const ROOM = 64 * MB;

const ALICE: RunOptions = { uid: 3001, gid: 3001 };
const BOB: RunOptions = { uid: 3002, gid: 3002 };

interface World {
  m: Mounted;
  s: RequestSpool;
  alice: Steps;
  bob: Steps;
}

async function world(t: Test, args: readonly string[] = []): Promise<World> {
  const m = await mount(t, { on: 'tmpfs', args: [...ARGS, ...args] });
  await must(m.shell('mkdir u a shared; chmod 777 u shared; chown 3001 a'));
  const s = new RequestSpool(t, m);
  const [alice, bob] = await Promise.all([startSteps(t, s.dir, ALICE), startSteps(t, s.dir, BOB)]);
  return { m, s, alice, bob };
}

let made = 0;

/** A request of somebody else comes through, and nothing is wrong. */
async function served(t: Test, { s }: World, what: string): Promise<void> {
  const name = `served${++made}`;
  await s.put(name, { path: `/a/${name}`, bytes: 1000 }, ALICE);
  t.match(await s.end(name), { queue: 'granted', uid: 3001 }, `${what}: others are served`);
  await s.release(`/a/${name}`);
  await must(s.shell(`rm granted/${name} .data/${name} .registry/${name}`));
  await until(`${what}: health is ok`, async () => (await s.health()) === 'ok');
}

async function where(t: Test, { m, s }: World): Promise<void> {
  await must(
    m.shell('mkdir roots bobs sticky; chown 3002 bobs; chmod 1777 sticky; mkdir groups; chgrp 3001 groups; chmod 771 groups'),
  );
  await s.reserve('/u/hosts', 1000);
  await s.reserve('/u/bobs', 1000, { owner: '3002' });
  const rows: [who: RunOptions, path: string, code: string | null][] = [
    [BOB, '/a/x', 'NOT_YOURS'],
    [BOB, '/roots/x', 'NOT_YOURS'],
    [BOB, '/x', 'NOT_YOURS'],
    [BOB, '/sticky/x', 'NOT_YOURS'],
    [BOB, '/u/hosts', 'NOT_YOURS'],
    [BOB, '/groups/x', 'NOT_YOURS'],
    [ALICE, '/u/bobs', 'NOT_YOURS'],
    [ALICE, '/u/bobs/x', null],
    [ALICE, '/groups/x', null],
    [ALICE, '/a/x', null],
    [ALICE, '/bobs/x', 'NOT_YOURS'],
    // Root that is only the owner of a file has no privileges.
    [{}, '/a/root', 'NOT_YOURS'],
    [{}, '/bobs/root', 'NOT_YOURS'],
    [{}, '/u/bobs', 'NOT_YOURS'],
    [{}, '/u/hosts', 'NOT_YOURS'],
    [{}, '/roots/root', null],
    [{}, '/sticky/root', null],
  ];
  for (const [i, [who, path, code]] of rows.entries()) {
    const name = `where${i}`;
    await s.put(name, { path, bytes: 500 }, who);
    const end = await s.end(name);
    t.equal(end.outcome.code ?? null, code, `${who.uid ?? 'root'} for ${path}`);
    t.equal(end.uid, who.uid ?? 0);
  }
  t.equal((await s.lots()).find(({ path }) => path === '/u/hosts')?.dedicatedBytes, 1000, 'what is there stays as it is');
  await s.clear();
  await must(m.shell('rm -rf roots bobs sticky groups'));
}

/** Bob tries all he can with Alice's request. */
async function anothers(t: Test, w: World): Promise<void> {
  const { m, s, bob } = w;
  await s.reserve('/full', ROOM);
  await s.put('alices', { path: '/a/one', bytes: MB }, ALICE);
  await s.waits('/a/one');
  const command = s.control('reserve /a/two 1MB wait', ALICE);
  const { name } = await s.waits('/a/two');
  const before = [
    await s.files(),
    await readFile(join(s.dir, 'pending/alices'), 'utf8'),
    await readFile(join(s.dir, 'pending', name), 'utf8'),
  ];
  t.equal(await bob.do('open b .tmp/mine CREAT|RDWR'), 0);
  t.equal(await bob.do('write b {"path":"/u/bob","bytes":1}'), 27);
  for (const each of ['alices', name]) {
    const refused: string[] = [
      ...['pending', '.registry', '.data'].flatMap((directory) => [
        `unlink ${directory}/${each}`,
        `rename ${directory}/${each} ${directory}/bobs`,
        `rename ${directory}/${each} .tmp/bobs`,
        `rename .tmp/mine ${directory}/${each}`,
        `rename .tmp/mine ${directory}/${each} EXCHANGE`,
        `open f ${directory}/${each} WRONLY`,
        `open f ${directory}/${each} RDWR|TRUNC`,
        `truncate ${directory}/${each} 0`,
        `chmod ${directory}/${each} 0666`,
        `chown ${directory}/${each} 3002 3002`,
        `utimens ${directory}/${each} 1.0 1.0`,
        `link ${directory}/${each} ${directory}/bobs`,
      ]),
      `rename pending/${each} pending/.checkout/${each}`,
      `rename pending/${each} granted/${each}`,
      `rename pending/${each} refused/${each}`,
      'rename pending pending2',
      'rename pending/.checkout pending/checkout',
      'rmdir granted',
      'chmod pending 0777',
    ];
    for (const step of refused) t.match(await bob.do(step), /^(EACCES|EPERM|EINVAL|EBUSY)$/, step);
    for (const words of [
      ['checkout', s.dir, 'pending', each],
      ['remove', s.dir, 'pending', each, '--force'],
      ['save', s.dir, 'pending', each, 'granted', '--force'],
    ]) {
      t.match(await vreserve(['spool', ...words], asUser(BOB)), { code: 1 }, words.join(' '));
    }
    t.equal(await bob.do(`open f pending/${each} RDONLY`), 0, 'to read it is all he can');
    t.equal(await bob.do('close f'), 0);
  }
  const claimed = [
    'list .claimed',
    'mkdir .claimed/x',
    'list .deciding',
    'rename .tmp/mine .claimed/alices',
    'rename .tmp/mine .deciding/alices',
    'open f .claimed/alices CREAT|RDWR',
  ];
  for (const step of claimed) t.match(await bob.do(step), /^(EACCES|EPERM)$/, step);
  t.equal(await bob.do('unlink .tmp/mine'), 0);
  t.same(
    [
      await s.files(),
      await readFile(join(s.dir, 'pending/alices'), 'utf8'),
      await readFile(join(s.dir, 'pending', name), 'utf8'),
    ],
    before,
  );

  await t.test('the order', async (t) => {
    await s.put('bobs', { path: '/u/bob', bytes: MB }, BOB);
    await s.waits('/u/bob');
    const order = ['/a/one', '/a/two', '/u/bob'];
    await utimes(join(s.dir, 'pending/bobs'), 1, 1);
    await must(s.shell('touch -d 1970-01-02 pending/bobs .registry/bobs; mv pending/bobs .tmp/0; mv .tmp/0 pending/bobs', BOB));
    const last = ['/a/one', '/a/two', '/u/bob'];
    t.same(await s.waitingFor(...last), order, 'is not that of the times of files');
    await must(s.shell('echo \'{"path":"/u/more","bytes":1000000}\' > pending/bobs', BOB));
    await served2(t, s);
    t.same((await s.waiting()).map(({ path }) => path).slice(0, 2), ['/a/one', '/a/two']);
  });
  await s.release('/full');
  t.match(await s.end('alices'), { queue: 'granted', uid: 3001, outcome: { lot: '/a/one' } });
  t.match(await command.done, { code: 0 });
  t.match(await s.end('bobs'), { queue: 'granted' });
  t.match(await s.reserved(), ['/a/one', '/a/two', '/u/bob'], 'what was written into it later is not looked at');
  t.same((await s.grants()).slice(-3), ['/a/one', '/a/two', '/u/bob']);

  await t.test('outcomes', async (t) => {
    for (const step of [
      'unlink granted/alices',
      'rename granted/alices granted/x',
      'rename granted/alices pending/alices',
      'open f granted/alices WRONLY',
    ]) {
      t.match(await bob.do(step), /^(EACCES|EPERM)$/, step);
    }
    t.match(
      await vreserve(['spool', 'dequeue', s.dir, 'granted', '--no-wait', '--remove', '--json'], asUser(BOB)),
      { code: 0, stdout: /"bobs"/ },
      'he gets his own',
    );
    t.match(
      await vreserve(['spool', 'dequeue', s.dir, 'granted', '--no-wait', '--remove'], asUser(BOB)),
      { code: 1 },
      'and no other',
    );
    t.same(await s.files(), RequestSpool.entry('granted', 'alices'));
  });
  await s.clear();
  await must(m.shell('rm -rf bob'));
  await s.sound(t);
}

/** Something came in, so what was there before has been looked at. */
async function served2(t: Test, s: RequestSpool): Promise<void> {
  const name = `mark${++made}`;
  await s.put(name, 'nonsense', ALICE);
  t.match(await s.end(name), { queue: 'refused' });
  await must(s.shell(`rm refused/${name} .data/${name} .registry/${name}`));
}

/** Whatever is not a file of its own, and where. */
async function specials(t: Test, w: World): Promise<void> {
  const { m, s, bob } = w;
  const victim = join(m.mnt, 'victim');
  await writeFile(victim, '{"path":"/u/victim","bytes":1000}', { mode: 0o644 });
  const outside = join(m.data, '..', 'outside');
  await writeFile(outside, '{"path":"/u/outside","bytes":1000}', { mode: 0o644 });
  const before = async () =>
    Promise.all(
      [victim, outside].map(async (path) => [await readFile(path, 'utf8'), (await lstat(path)).uid, (await lstat(path)).mtimeMs]),
    );
  const was = await before();
  const kinds: [name: string, make: (path: string) => string[]][] = [
    ['a symlink to a file', (path) => [`symlink ${victim} ${path}`]],
    ['a symlink out of the mount', (path) => [`symlink ${outside} ${path}`]],
    ['a symlink that leads nowhere', (path) => [`symlink nowhere ${path}`]],
    ['a loop', (path) => [`symlink ${path.split('/').at(-1)} ${path}`]],
    ['a pipe', (path) => [`mknod ${path} fifo 0666`]],
    ['a socket', (path) => [`mknod ${path} socket 0666`]],
    ['a directory', (path) => [`mkdir ${path}`]],
    ['a directory with something in it', (path) => [`mkdir ${path}`, `mkdir ${path}/full`]],
  ];
  const good = async (name: string, from: string, without: readonly string[]) => {
    for (const directory of ['.registry', '.data']) {
      if (!without.includes(directory)) t.equal(await bob.do(`open f ${directory}/${name} CREAT|EXCL|WRONLY`), 0);
    }
    if (without.includes('pending')) return;
    const text = `{"path":"/u/${name}","bytes":1000}`;
    t.equal(await bob.do(`open f ${from}/${name} CREAT|EXCL|WRONLY`), 0);
    t.equal(await bob.do(`write f ${text}`), text.length);
    t.equal(await bob.do(`rename ${from}/${name} pending/${name}`), 0);
  };
  let n = 0;
  for (const [kind, make] of kinds) {
    for (const place of [
      'pending',
      '.registry',
      '.data',
      'granted',
      'refused',
      'pending/.checkout',
      'granted/.checkout',
      '.tmp',
    ]) {
      const name = `s${++n}`;
      for (const step of make(`${place}/${name}`)) t.equal(await bob.do(step), 0, step);
      await good(name, place === '.tmp' ? 'refused/.checkout' : '.tmp', [place]);
      const what = `${kind} in ${place}`;
      if (place !== 'pending' && place !== '.registry')
        t.match(await s.end(name).catch((e) => e), { queue: 'granted', uid: 3002 }, what);
      else await served(t, w, what);
      const granted = (await s.reserved()).filter((path) => path === '/u/victim' || path === '/u/outside');
      t.same(granted, [], `${what}: what it leads to is not read`);
    }
    t.same(await before(), was, `${kind}: what it leads to is not written to`);
  }
  await t.test('devices', async (t) => {
    for (const [name, type] of [
      ['null', 'c 1 3'],
      ['zero', 'c 1 5'],
      ['tty', 'c 5 0'],
    ] as const) {
      await must(s.shell(`: > .registry/${name}; mknod pending/${name} ${type}; chmod 666 pending/${name}`));
      await served(t, w, name);
    }
  });
  await t.test('several names', async (t) => {
    t.equal(await bob.do('open f .registry/two CREAT|EXCL|WRONLY'), 0);
    t.equal(await bob.do('open f .tmp/two CREAT|EXCL|WRONLY'), 0);
    t.equal(await bob.do('write f {"path":"/u/two","bytes":1}'), 27);
    t.equal(await bob.do('link .tmp/two .tmp/too'), 0);
    t.equal(await bob.do('rename .tmp/two pending/two'), 0);
    t.match(await s.end('two'), { queue: 'refused', outcome: { code: 'BAD_COMMAND', message: /several names/ } });
    // By root, as it would be where the system does not protect hard links.
    await must(
      s.shell(
        `: > .registry/linked; : > .data/linked; chown 3002 .registry/linked; echo '{"path":"/u/linked","bytes":1}' > .tmp/roots; ln .tmp/roots .tmp/linked; mv .tmp/linked pending/linked`,
      ),
    );
    t.match(await s.end('linked').catch((e) => e), { queue: 'refused' }, 'a name of a file of another');
    t.same((await before())[0], was[0]);
  });
  await must(s.shell('rm -rf .tmp/* pending/* refused/.checkout/*; rm -rf {granted,refused,pending}/.checkout/*'));
  await s.clear();
  await s.sound(t);
  await rm(victim);
}

/** What belongs to another is no request of who moves it there. */
async function stolen(t: Test, { m, s, alice, bob }: World): Promise<void> {
  await must(m.shell('mkdir bobs; chown 3002 bobs; chmod 777 bobs'));
  const text = '{"path":"/a/stolen","bytes":1000}';
  t.equal(await alice.do(`open f ${m.mnt}/bobs/paper CREAT|EXCL|WRONLY`), 0);
  t.equal(await alice.do(`write f ${text}`), text.length);
  t.equal(await alice.do('close f'), 0);
  t.equal(await bob.do('open f .registry/stolen CREAT|EXCL|WRONLY'), 0);
  t.equal(await bob.do('open g .data/stolen CREAT|EXCL|WRONLY'), 0);
  t.equal(await bob.do(`rename ${m.mnt}/bobs/paper pending/stolen`), 0, 'his directory is not sticky');
  t.match(await s.end('stolen'), { queue: 'refused', outcome: { code: 'BAD_COMMAND', message: /registered by another user/ } });
  t.same(await s.reserved(), []);

  await t.test('an old outcome', async (t) => {
    await s.put('old', { path: '/a/old', bytes: 1000, wait: null }, ALICE);
    await s.end('old');
    const grants = async () =>
      (await s.journal()).filter(({ request, event }) => request === 'old' && event !== 'waiting').length;
    t.equal(await grants(), 1);
    t.equal(await alice.do('rename granted/old pending/old'), 0);
    await until('it is decided again', async () => (await s.names('granted')).includes('old'));
    t.equal((await s.lots()).find(({ path }) => path === '/a/old')?.dedicatedBytes, 1000, 'it is a request as any other');
    const { outcome, ...rest } = JSON.parse((await s.end('old')).text) as { outcome: { decision: string } };
    t.same(rest, { path: '/a/old', bytes: 1000, wait: null });
    t.equal(outcome.decision, 'granted');
    await s.release('/a/old');
    const forged = '{"path":"/a/x","bytes":1000,"outcome":{"decision":"granted","lot":"/a/x"}}';
    t.equal(await bob.do('open f granted/forged CREAT|EXCL|WRONLY'), 0);
    t.equal(await bob.do(`write f ${forged}`), forged.length);
    await served2(t, s);
    t.same(await s.reserved(), [], 'and one that somebody wrote himself is none');
  });
  await s.clear();
  await must(m.shell('rm -rf bobs'));
  await s.sound(t);
}

/** Between intake and decision the file is swapped for something else, again and again. */
async function swapped(t: Test, w: World): Promise<void> {
  const { m, s, bob } = w;
  await writeFile(join(m.mnt, 'victim'), '{"path":"/u/victim","bytes":5}', { mode: 0o644 });
  const spare = (name: string, bytes: number) => [
    `open f .tmp/${name}.${bytes} CREAT|EXCL|WRONLY`,
    `write f {"path":"/u/${name}","bytes":${bytes}}`,
    'close f',
  ];
  const swaps: [what: string, steps: (name: string) => string[]][] = [
    ['a pipe', (name) => [`mknod .tmp/${name}.p fifo 0644`, `rename .tmp/${name}.p pending/${name}`]],
    ['a symlink', (name) => [`symlink ${m.mnt}/victim .tmp/${name}.l`, `rename .tmp/${name}.l pending/${name}`]],
    ['other content', (name) => [...spare(name, 2000), `rename .tmp/${name}.2000 pending/${name}`]],
    [
      'a directory',
      (name) => [
        `rename pending/${name} .tmp/${name}.away`,
        `mkdir pending/${name}`,
        `rmdir pending/${name}`,
        `rename .tmp/${name}.away pending/${name}`,
      ],
    ],
    [
      'away and back',
      (name) => [`rename pending/${name} pending/.checkout/${name}`, `rename pending/.checkout/${name} pending/${name}`],
    ],
    ['its name', (name) => [`rename .registry/${name} .tmp/${name}.r`, `rename .tmp/${name}.r .registry/${name}`]],
    [
      'its data',
      (name) => [
        `unlink .data/${name}`,
        `mkdir .data/${name}`,
        `rmdir .data/${name}`,
        `open g .data/${name} CREAT|WRONLY`,
        'close g',
      ],
    ],
    ['an outcome', (name) => [`mkdir granted/${name}`, `rmdir granted/${name}`]],
  ];
  let rounds = 0;
  for (const [what, steps] of swaps) {
    for (let n = 0; n < 6; n++) {
      const name = `x${++rounds}`;
      const many = Array.from({ length: 25 }, () => [
        ...steps(name),
        ...(what === 'away and back' || what === 'an outcome'
          ? []
          : [...spare(name, 1000), `rename .tmp/${name}.1000 pending/${name}`]),
      ]).flat();
      await until('all room is taken', async () => {
        const { headroomBytes } = (await report(m.mnt)).pool;
        return s.reserve('/full', headroomBytes).then(
          () => true,
          () => false,
        );
      });
      const first = [
        `open r .registry/${name} CREAT|EXCL|WRONLY`,
        'close r',
        `open g .data/${name} CREAT|EXCL|WRONLY`,
        'close g',
      ];
      t.same(
        (await bob.all([...first, ...spare(name, 1000), `rename .tmp/${name}.1000 pending/${name}`])).filter(
          (each) => typeof each === 'string',
        ),
        [],
      );
      if (n % 2 === 0) await s.waits(`/u/${name}`);
      // Each may fail, for the daemon is faster.
      const under: Promise<Outcome[]> = bob.all(many);
      await s.release('/full');
      await served(t, w, `${what}, ${n}`);
      await under;
    }
  }
  // What is left is his own: what was granted is what one of his texts asked for, and nothing of the victim's.
  const lots = (await s.lots()).filter(({ path }) => path?.startsWith('/u/') === true);
  t.ok(lots.length > 0, `${lots.length} of ${rounds} were granted`);
  t.same(
    lots.filter(({ dedicatedBytes, path }) => (dedicatedBytes !== 1000 && dedicatedBytes !== 2000) || path === '/u/victim'),
    [],
  );
  t.equal(await readFile(join(m.mnt, 'victim'), 'utf8'), '{"path":"/u/victim","bytes":5}');
  for (const { path, owner } of lots) t.equal(owner, '3002', `${path} is his`);
  const told: string[] = [];
  for (const name of await s.names('granted')) {
    const file = join(s.dir, 'granted', name);
    if (!(await lstat(file)).isFile()) continue;
    const { outcome, ...asked } = JSON.parse(await readFile(file, 'utf8')) as { bytes: number; outcome?: object };
    const lot = lots.find(({ path }) => path === `/u/${name}`);
    if (outcome !== undefined && lot !== undefined && lot.dedicatedBytes !== asked.bytes)
      told.push(`${name}: told ${asked.bytes}, has ${lot.dedicatedBytes}`);
  }
  t.same(told, [], 'who was granted has what the outcome says');
  await s.clear();
  await s.sound(t);
}

async function junk(t: Test, w: World): Promise<void> {
  const { s, alice, bob } = w;
  for (const steps of [alice, bob]) await steps.end();
  await must(s.shell('for i in {1..10000}; do : > pending/junk$i; done', BOB));
  await served(t, w, '10,000 files that are no entries');
  t.equal((await readdir(join(s.dir, 'pending'))).length, 10_001, 'they are left alone');
  await s.m.umount();
  await s.m.remount();
  await served(t, w, 'also after the next mount');
  await must(s.shell('rm -rf pending/junk*; for i in {1..500}; do : > .registry/j$i; : > .data/j$i; : > pending/j$i; done', BOB));
  await served(t, w, '500 that are no requests');
  await until('all are refused', async () => (await s.names('refused')).length === 500);
  await must(s.shell('rm -f refused/* .registry/* .data/*', BOB));
  t.same(await s.files(), []);

  await t.test('names', async (t) => {
    const names = [
      'x'.repeat(255),
      'with\nnewline',
      '-rf',
      '.hidden',
      '.checkout2',
      'a b',
      '"quotes"',
      'ünïcödé',
      '%s',
      '__proto__',
      'constructor',
      'decided.tmp.x',
      '…',
    ];
    for (const name of names) {
      await s.put(name, { path: '/u/odd', bytes: 1000 }, BOB);
      t.match(await s.end(name), { queue: 'granted' }, JSON.stringify(name.slice(0, 20)));
    }
    const bytes = String.raw`$'\x80\xff'`;
    await must(
      s.shell(
        `: > .registry/${bytes}; : > .data/${bytes}; echo '{"path":"/u/bytes","bytes":1}' > .tmp/${bytes}; mv .tmp/${bytes} pending/${bytes}`,
        BOB,
      ),
    );
    await served(t, w, 'one that is not UTF-8');
    t.same(await s.reserved(), ['/u/odd'], 'is no request');
    await s.clear();
  });
  await t.test('metadata', async (t) => {
    const sized = (bytes: number) => {
      const empty = '{"path":"/u/long","bytes":1000,"filler":""}';
      return empty.replace('""', `"${'f'.repeat(bytes - empty.length)}"`);
    };
    const put = async (name: string, text: string) => {
      await writeFile(join(s.dir, '.tmp', name), text);
      await must(
        s.shell(
          `: > .registry/${name}; : > .data/${name}; chown 3002 .registry/${name} .data/${name} .tmp/${name}; mv .tmp/${name} pending/${name}`,
        ),
      );
      return s.end(name);
    };
    t.match(await put('limit', sized(65_536)), { queue: 'granted' }, '64 KiB are read');
    t.match(await put('over', sized(65_537)), { queue: 'refused', outcome: { code: 'BAD_COMMAND', message: /65536/ } });
    t.match(await put('huge', 'x'.repeat(20 * MB)), { queue: 'refused', outcome: { code: 'BAD_COMMAND' } });
    t.match(await put('deep', `${'['.repeat(30_000)}${']'.repeat(30_000)}`), { queue: 'refused' });
    t.match(await put('proto', '{"__proto__":{"path":"/u/x"},"bytes":1}'), {
      queue: 'refused',
      outcome: { code: 'BAD_COMMAND' },
    });
    t.match(await put('twice', '{"path":"/a/x","path":"/u/x","bytes":9e9,"bytes":1}'), {
      queue: 'granted',
      outcome: { lot: '/u/x' },
    });
    await s.clear();
  });
  await s.sound(t);
}

/** Somebody asks for what he knows is not to be had, so that nobody else gets anything. */
async function blockedUntil(t: Test, { m, s }: World): Promise<void> {
  await s.reserve('/lot', 10 * MB, { owner: '3001' });
  await s.reserve('/full', 40 * MB);
  await s.put('block', { path: '/u/block', bytes: 60 * MB }, BOB);
  await s.waits('/u/block');
  await s.put('alices', { path: '/a/x', bytes: 1000 }, ALICE);
  await s.waits('/a/x');
  t.match(await s.control('reserve /lot/x 1MB', ALICE).done, { code: 0 }, 'in lots of their own others go on');
  t.match(await s.control('extend /lot 1MB', ALICE).done, { code: 0 });
  t.match(await s.control('reserve /a/y 1', ALICE).done, { code: 1, stderr: /No space left/ });
  const { name } = await s.waits('/u/block');
  t.match(await m.shell(`rm .vreserve/spool/requests/pending/${name}`, ALICE), { code: 1 });
  await must(m.shell(`rm .vreserve/spool/requests/pending/${name}`));
  t.match(await s.end('alices'), { queue: 'granted' }, 'the administrator takes it out by rm');
  await s.clear();
  await s.sound(t);
}

/** A regular file whose owner holds a lease on it, and one that nobody may read. */
async function unreadable(t: Test, w: World): Promise<void> {
  const { s } = w;
  const holder = await startSteps(t, s.dir, {
    within: ['env', '--ignore-signal=IO', 'setpriv', '--reuid=3002', '--regid=3002', '--clear-groups'],
  });
  t.equal(await holder.do('open r .registry/lease CREAT|EXCL|WRONLY'), 0);
  t.equal(await holder.do('open f .tmp/lease CREAT|EXCL|RDWR'), 0);
  t.equal(await holder.do('write f {"path":"/u/lease","bytes":1}'), 29);
  t.equal(await holder.do('lease f W'), 0);
  t.equal(await holder.do('rename .tmp/lease pending/lease'), 0);
  await served(t, w, 'a lease');
  await holder.end();
  await must(s.shell('rm -f pending/lease granted/lease .registry/lease'));
  await s.put('secret', { path: '/u/secret', bytes: 1000 }, BOB);
  await s.end('secret');
  await must(
    s.shell(
      `: > .registry/closed; : > .data/closed; echo '{"path":"/u/closed","bytes":1}' > .tmp/closed; chmod 0 .tmp/closed; mv .tmp/closed pending/closed`,
      BOB,
    ),
  );
  t.match(await s.end('closed'), { queue: 'granted' }, 'the daemon may read it');
  await s.clear();
  await s.sound(t);
}

/** A part of the spool that was not made by the daemon is not used. */
async function planted(t: Test): Promise<void> {
  const victim = { path: '' };
  const m = await mount(t, {
    on: 'tmpfs',
    args: ARGS,
    fill: async (data) => {
      const own = join(data, '.vreserve/spool');
      victim.path = join(data, '..', 'victim');
      await mkdir(victim.path, { mode: 0o755 });
      await mkdir(join(own, 'requests/.registry'), { recursive: true });
      await mkdir(join(own, 'requests/.tmp'));
      await must(
        shell(
          `chmod 700 '${data}/.vreserve'; chmod 1777 '${own}'; cd '${own}/requests'; ln -s '${victim.path}' pending; ln -s '${victim.path}' .data; chown -hR 3002 .`,
        ),
      );
    },
  });
  t.equal((await lstat(victim.path)).mode & 0o7777, 0o755, 'what a symlink leads to is left as it is');
  t.same(await readdir(victim.path), []);
  t.equal(await readlink(join(m.mnt, '.vreserve/spool/requests/pending')), victim.path);
  const s = new RequestSpool(t, m);
  t.not(await s.health(), 'ok', 'health says so');
  await s.reserve('/full', ROOM);
  t.match(await m.run(['reserve', join(m.mnt, 'x'), '1MB', '--wait']), { code: 1, stderr: /wait/ });
  await must(m.shell('rm -r .vreserve/spool/requests'));
  await m.umount();
  await m.remount();
  t.equal(await s.health(), 'ok');
  t.match(s.control('reserve /x 1MB wait=1s').done, {});
}

const RESERVE_BY: readonly [args: readonly string[], what: string][] = [
  [['--reserve-by', 'root'], 'administrators only'],
  [['--no-allow-other'], 'nobody else sees the mount'],
];

async function closed(t: Test, args: readonly string[]): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', args: [...ARGS, ...args] });
  const s = new RequestSpool(t, m);
  for (const directory of ['.registry', '.tmp', '.data', 'pending', 'pending/.checkout', 'granted', 'refused']) {
    t.equal((await lstat(join(s.dir, directory))).mode & 0o7777, 0o755, directory);
  }
  t.match(await s.tryPut('bobs', { path: '/x', bytes: 1 }, BOB), { code: 1 });
  await s.put('roots', { path: '/x', bytes: 1000 });
  const end = await s.end('roots');
  t.match(
    end,
    args.includes('root') ? { queue: 'refused', outcome: { code: 'NOT_YOURS' } } : { queue: 'granted' },
    'root by file is no administrator',
  );
  await s.reserve('/full', ROOM - 1000);
  const command = s.control('reserve /y 1MB wait');
  await s.waits('/y');
  await s.release('/full');
  t.match(await command.done, { code: 0 }, 'by command it is');
  await s.clear();
  await s.sound(t);
}

/** The daemon runs as an ordinary user: root of that user's namespace, as of a container, is no administrator by a file, either. */
async function ordinaryUser(t: Test): Promise<void> {
  const m = await mount(t, { uid: NOBODY, args: ['--capacity', '64MB', '--margin', '0', '--spool-grant', '4MB'] });
  const me = m.identity;
  const { within = [] } = me;
  const inNamespace: RunOptions = { ...me, within: [...within, 'unshare', '--user', '--map-root-user'] };
  const dir = join(m.mnt, '.vreserve/spool/requests');
  const put = (name: string, meta: object, who: RunOptions) =>
    must(
      run(
        '/bin/bash',
        [
          '-ec',
          `cd "$0"; : > ".registry/$1"; : > ".data/$1"; printf %s "$2" > ".tmp/$1"; mv ".tmp/$1" "pending/$1"`,
          dir,
          name,
          JSON.stringify(meta),
        ],
        who,
      ),
    );
  const end = async (name: string): Promise<string> =>
    until(`${name} is decided`, async () => {
      const { stdout } = await shell(`cat '${dir}'/granted/${name} '${dir}'/refused/${name} 2>/dev/null || true`, me);
      return stdout === '' ? null : stdout;
    });
  await must(vreserve(['reserve', join(m.mnt, 'd'), '1000', '--owner', 'root'], me));
  await put('mine', { path: '/mine', bytes: 1000 }, me);
  t.match(await end('mine'), /"granted"/);
  await put('roots', { path: '/d', bytes: 2000 }, inNamespace);
  t.match(await end('roots'), /"NOT_YOURS"/, 'what belongs to root');
  await put('own', { path: '/mine', bytes: 2000 }, inNamespace);
  t.match(await end('own'), /"granted"/, 'what belongs to the user');
  t.match(await vreserve(['spool', 'monitor', dir, '--once'], me), { code: 0 });
}

t.test('abuse of the line', { skip: whyNotRoot, timeout: 300_000 }, async (t) => {
  const w = await world(t);
  await t.test('where somebody may not reserve', (t) => where(t, w));
  await t.test("another's request", (t) => anothers(t, w));
  await t.test('what is no file', (t) => specials(t, w));
  await t.test("another's file, and old outcomes", (t) => stolen(t, w));
  await t.test('swapped while it is decided', (t) => swapped(t, w));
  await t.test('much, and odd', async (t) => junk(t, await world(t)));
  await t.test('a request that blocks the line', (t) => blockedUntil(t, w));
  await t.test('what cannot be read', (t) => unreadable(t, w));
  await t.test('a spool that somebody else has made', (t) => planted(t));
  for (const [args, what] of RESERVE_BY) await t.test(what, (t) => closed(t, args));
  await t.test("the daemon's user", (t) => ordinaryUser(t));
});
