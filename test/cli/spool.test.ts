// The command `spool`, as people and scripts use it: child processes on real directories, and what is left in them.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { soon } from '../helpers/columns.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, run, shell } from '../helpers/run.js';
import { entryFiles, files, makeSpool, put, Running, spool } from '../helpers/spool.js';

/** Rows `label  value` of an answer. */
function rows(stdout: string): Record<string, string> {
  const lines = stdout.trimEnd().split('\n');
  return Object.fromEntries(lines.map((line) => [line.split(' ')[0] ?? '', line.replace(/^\S+ */, '')]));
}

t.test('bad input is refused with one line, and changes nothing', async (t) => {
  const dir = await makeSpool(t);
  const top = await temporaryDirectory(t);
  const full = join(top, 'full');
  await mkdir(full);
  await writeFile(join(full, 'x'), '');
  const latin = join(top, 'latin');
  await writeFile(latin, Buffer.from([0x67, 0xfc, 0x6e]));
  await put(dir, 'new', 'here');
  const before = await files(dir);
  const has = "has no queue 'nwe'; it has done, failed, new";

  const cases: [args: string[], code: number, says: RegExp | string][] = [
    [[], 2, 'something is missing: vreserve spool COMMAND; there are create, load, '],
    [['lsit', dir], 2, "spool has no 'lsit'; it has create, load, enqueue, list, "],
    [['create'], 2, 'something is missing: vreserve spool create DIR [QUEUE…]'],
    [['create', full], 1, 'dir is not empty while creating new spool'],
    [['create', join(full, 'x')], 1, 'is not a directory'],
    [['create', join(full, 'x', 'below')], 1, 'ENOTDIR'],
    [['list', join(full, 'x')], 1, 'is not a spool'],
    [['create', join(top, 'no', 'parent')], 1, 'ENOENT'],
    [['create', dir, 'a/b'], 2, "'a/b' cannot be a queue: it contains a slash"],
    [['create', dir, '.hidden'], 2, "'.hidden' cannot be a queue: it begins with a dot"],
    [['create', dir, ''], 2, 'it is empty'],
    [['create', ''], 2, 'DIR is empty'],
    [['load', full], 1, /'.*full' is not a spool; vreserve spool create makes one/],
    [['load', join(top, 'none')], 1, 'does not exist or is not a directory'],
    [['load', dir, 'new'], 2, "'new' is one word too many"],
    [['list', full], 1, 'is not a spool'],
    [['list', join(top, 'none')], 1, 'does not exist or is not a directory'],
    [['list', dir, 'nwe'], 1, has],
    [['list', dir, '--frobnicate'], 2, "unknown option '--frobnicate'"],
    [['cat', dir], 2, 'something is missing: vreserve spool cat DIR NAME'],
    [['cat', dir, 'none'], 1, "No such entry: 'none'"],
    [['cat', dir, '../new/here'], 2, "'../new/here' cannot be the name of an entry: it contains a slash"],
    [['enqueue', dir], 2, 'something is missing'],
    [['enqueue', dir, 'nwe'], 1, has],
    [['enqueue', dir, '.data'], 1, "has no queue '.data'"],
    [['enqueue', dir, 'new', '--name', 'a/b'], 2, "'a/b' cannot be the name of an entry: it contains a slash"],
    [['enqueue', dir, 'new', '--name', ''], 2, 'it is empty'],
    [['enqueue', dir, 'new', '--name', '..'], 2, "'..' cannot be the name"],
    [['enqueue', dir, 'new', '--name', 'x'.repeat(256)], 2, 'longer than 255 bytes'],
    [['enqueue', dir, 'new', '--prefix', 'a/b'], 2, 'it contains a slash'],
    [['enqueue', dir, 'new', '--name', 'a', '--prefix', 'b'], 2, 'give --name or --prefix, not both'],
    [['enqueue', dir, 'new', '--name', 'here'], 1, "'here' is the name of another entry"],
    [['enqueue', dir, 'new', '--meta', `@${latin}`], 2, /the metadata in '.*latin' is not UTF-8/],
    [['enqueue', dir, 'new', '--meta', '@/no/such/file'], 1, 'ENOENT'],
    [['enqueue', dir, 'new', '--meta', '@'], 2, '--meta @ names no file'],
    [['checkout', dir, 'failed'], 1, "nothing is in queue 'failed'"],
    [['checkout', dir, 'new', 'none'], 1, "No such entry: 'none' in queue 'new'"],
    [['checkout', dir, 'new', '.checkout'], 2, "'.checkout' cannot be the name of an entry"],
    [['save', dir, 'new', 'here'], 2, 'something is missing: vreserve spool save DIR QUEUE NAME TO'],
    [['save', dir, 'new', 'here', 'nwe'], 1, has],
    [['save', dir, 'new', 'here', 'done'], 1, "'here' is not checked out: check it out first, or use --force"],
    [['remove', dir, 'new', 'here'], 1, "'here' is not checked out: check it out first, or use --force"],
    [['remove', dir, 'new', 'none', '--force'], 1, "No such entry: 'none' in queue 'new'"],
    [['remove', dir, 'new', '../new/here', '--force'], 2, 'it contains a slash'],
    [['dequeue', dir, 'failed', '--no-wait'], 1, "nothing is in queue 'failed'"],
    [['dequeue', dir, 'failed', '--timeout', '10ms'], 1, "nothing is in queue 'failed'"],
    [['dequeue', dir, 'new', '--timeout', 'soon'], 2, "'soon' is not a duration"],
    [['dequeue', dir, 'new', '--timeout', '100d'], 2, 'at most 24d can be waited for'],
    [['dequeue', dir, 'new', '--timeout', '1s', '--no-wait'], 2, 'give --no-wait or --timeout, not both'],
    [['dequeue', dir, 'new', '--remove', '--save', 'done'], 2, 'give --remove or --save, not both'],
    [['dequeue', dir, 'new', '--save', 'nwe'], 1, has],
    [['dequeue', dir, 'new', '--data', ''], 2, '--data names no file'],
    [['watch', dir, 'new'], 2, 'the command is missing: put it after --'],
    [['watch', dir, 'new', 'true'], 2, 'the command is missing: put it after --'],
    [['watch', dir, 'new', '--jobs', '0', '--', 'true'], 2, "--jobs is a number from 1 to 9999, not '0'"],
    [['watch', dir, 'new', '--on-failure', 'nwe', '--', 'true'], 1, has],
    [['watch', dir, 'new', '--on-failure', 'new', '--', 'true'], 2, "saved into 'new' would be taken again at once, for ever"],
    [['watch', dir, 'new', '--', 'no-such-command'], 1, "'no-such-command' is not there, or cannot be run"],
    [['watch', dir, 'new', '--', latin], 1, 'is not there, or cannot be run'],
    [['recover', dir, '--older-than', 'x'], 2, "'x' is not a duration"],
    [['monitor', dir, '--max-queue-age', 'new'], 2, "--max-queue-age is QUEUE=DURATION, such as new=2h, not 'new'"],
    [['monitor', dir, '--max-queue-age', 'nwe=1h'], 1, has],
    [['monitor', dir, '--alert-after-cycles', 'x'], 2, '--alert-after-cycles is a number'],
    [['monitor', join(top, 'none')], 1, 'does not exist'],
  ];
  for (let i = 0; i < cases.length; i += 4) {
    await Promise.all(
      cases.slice(i, i + 4).map(async ([args, code, says]) => {
        const got = await spool(args, { input: 'data' });
        const name = args.map((word) => (word.length > 40 ? `${word.slice(0, 20)}…` : word)).join(' ');
        t.match({ ...got, lines: got.stderr.split('\n').length - 1 }, { code, stdout: '', lines: 1 }, `'${name}' ${got.stderr}`);
        t.match(got.stderr, says, `'${name}' says what is wrong`);
      }),
    );
  }
  t.match(await spool(['dequeue', dir, 'new', '--data', '-', '--json']), { code: 2, stderr: /both want standard output/ });
  const asJson = await spool(['list', dir, 'nwe', '--json']);
  t.match(JSON.parse(asJson.stdout), { ok: false, code: 'SPOOL_NO_QUEUE', errno: 'ENOENT', queue: 'nwe' });
  t.same(await files(dir), before, 'nothing was changed');
  t.same((await readdir(full)).sort(), ['x']);
});

t.test('each has its help, with examples', async (t) => {
  const names = [
    'create',
    'load',
    'enqueue',
    'list',
    'cat',
    'checkout',
    'save',
    'remove',
    'dequeue',
    'watch',
    'recover',
    'monitor',
  ];
  const overview = await spool(['--help']);
  await Promise.all(
    names.map(async (name) => {
      t.match(overview.stdout, new RegExp(`^  ${name} `, 'm'));
      const { code, stdout, stderr } = await spool([name, '--help']);
      t.match({ code, stderr }, { code: 0, stderr: '' }, name);
      t.match(stdout, new RegExp(`^Usage: vreserve spool ${name} DIR`), name);
      t.match(stdout, new RegExp(`Examples?:\n(  .*\n)*  .*vreserve spool ${name}`), name);
      t.match(stdout, /--json/);
    }),
  );
  t.match((await run(process.execPath, [MAIN, 'help', 'spool', 'watch'])).stdout, /^Usage: vreserve spool watch/);
  t.match(await spool(['watch', '/', 'q', '--', 'true', '--help']), { code: 1, stdout: '' }, 'what comes after -- is no option');
});

t.test('create and load', async (t) => {
  const dir = join(await temporaryDirectory(t), 's');
  const made = (await spool(['create', dir])).stdout;
  t.equal(made, `made the spool ${dir} with new\n`);
  t.same((await readdir(dir, { recursive: true })).sort(), ['.data', '.registry', '.tmp', 'new', 'new/.checkout']);
  t.equal((await spool(['create', dir, 'a', 'new', 'b'])).stdout, `added a, b to the spool ${dir}\n`);
  t.equal((await spool(['create', dir])).stdout, `the spool ${dir} has a, b, new already\n`);
  t.same(JSON.parse((await spool(['create', dir, 'c', '--json'])).stdout), {
    dir,
    made: false,
    added: ['c'],
    queues: ['a', 'b', 'c', 'new'],
  });
  await put(dir, 'a', 'one');
  await put(dir, 'a', 'two');
  await must(spool(['checkout', dir, 'a', 'two']));
  const table = [
    'QUEUE  QUEUED  CHECKED OUT',
    'a           1            1',
    'b           0            0',
    'c           0            0',
  ];
  t.equal((await spool(['load', dir])).stdout, [...table, 'new         0            0', ''].join('\n'));
  t.match(JSON.parse((await spool(['load', dir, '--json'])).stdout), { dir, queues: [{ name: 'a', queued: 1, checkedOut: 1 }] });
  await rm(join(dir, 'b', '.checkout'), { recursive: true });
  t.match(await spool(['load', dir]), { code: 1, stderr: /b\/\.checkout does not exist or is not a directory/ });
  t.match(await spool(['list', dir]), { code: 0, stderr: '' }, 'the others can still be seen');
  t.match(await spool(['create', dir]), { code: 0 }, 'create mends it');
  t.match(await spool(['load', dir]), { code: 0 });
});

t.test('the life of an entry', async (t) => {
  const dir = await makeSpool(t);
  const got = await spool(['enqueue', dir, 'new', '--name', 'one', '--meta', 'to: alice\nsecond line'], { input: 'hello\n' });
  t.same(got, { code: 0, signal: null, stdout: 'one\n', stderr: '' });
  t.same(await files(dir), entryFiles('one', 'new'));
  t.match(
    (await spool(['list', dir])).stdout,
    /^QUEUE {2}NAME {2}STATE +DATA +AGE {2}METADATA\nnew +one +queued +6 B +\d+ s +to: alice…\n$/,
  );
  t.match(JSON.parse((await spool(['list', dir, 'new', '--json'])).stdout), [
    {
      queue: 'new',
      name: 'one',
      state: 'queued',
      dataBytes: 6,
      data: join(dir, '.data', 'one'),
      metadata: 'to: alice\nsecond line',
      sinceMs: Number,
      ageMs: Number,
    },
  ]);
  t.equal((await spool(['list', dir, 'done'])).stdout, `${dir} has no entries in done\n`);
  t.equal((await spool(['list', dir, 'done', '--json'])).stdout, '[]\n');

  t.same(rows((await spool(['checkout', dir, 'new'])).stdout), {
    name: 'one',
    state: 'checked out, in new',
    metadata: 'to: alice\\u000asecond line',
    data: join(dir, '.data', 'one'),
    size: '6 B',
  });
  t.same(await files(dir), entryFiles('one', 'new/.checkout'));
  t.match(await spool(['checkout', dir, 'new', 'one']), { code: 1, stderr: "vreserve: 'one' is checked out already\n" });
  t.equal((await spool(['cat', dir, 'one'])).stdout, 'hello\n', 'also while it is checked out');
  t.equal((await spool(['cat', dir, 'one', '--meta'])).stdout, 'to: alice\nsecond line');
  t.match(JSON.parse((await spool(['cat', dir, 'one', '--json'])).stdout), { name: 'one', state: 'checked-out', dataBytes: 6 });

  t.equal((await spool(['save', dir, 'new', 'one', 'failed', '--meta', 'other'])).stdout, 'saved one into failed\n');
  t.same(await files(dir), entryFiles('one', 'failed'));
  t.equal((await spool(['cat', dir, 'one', '--meta'])).stdout, 'other');
  t.match(JSON.parse((await spool(['save', dir, 'failed', 'one', 'done', '--force', '--json'])).stdout), {
    state: 'saved',
    to: 'done',
  });
  t.same(await files(dir), entryFiles('one', 'done'), '--force takes it itself');
  t.match(JSON.parse((await spool(['checkout', dir, 'done', 'one', '--json'])).stdout), {
    name: 'one',
    metadata: 'other',
    dataBytes: 6,
  });
  t.equal((await spool(['remove', dir, 'done', 'one'])).stdout, 'removed one\n');
  t.same(await files(dir), []);
  await put(dir, 'new', 'two');
  t.match(JSON.parse((await spool(['remove', dir, 'new', 'two', '--force', '--json'])).stdout), {
    name: 'two',
    state: 'removed',
  });
  t.same(await files(dir), []);
});

t.test('names', async (t) => {
  const dir = await makeSpool(t);
  const names: string[] = [];
  for (let i = 0; i < 3; i++) names.push((await must(spool(['enqueue', dir, 'new'], { input: '' }))).stdout.trim());
  t.same([...names].sort(), names, 'by time, they sort in their order');
  for (const name of names) t.match(name, /^\d{8}T\d{6}\.\d{6}Z_000$/);
  const many = await Promise.all(
    Array.from({ length: 6 }, () => spool(['enqueue', dir, 'done', '--prefix', 'p'], { input: '' })),
  );
  t.same(
    many.map(({ stdout }) => stdout).sort(),
    [0, 1, 2, 3, 4, 5].map((i) => `p_00000${i}\n`),
    'six at once have a number each',
  );
  await must(spool(['remove', dir, 'done', 'p_000002', '--force']));
  t.equal((await spool(['enqueue', dir, 'done', '--prefix', 'p'], { input: '' })).stdout, 'p_000006\n', 'after the highest');
  t.equal((await spool(['enqueue', dir, 'done', '--prefix', 'p_'], { input: '' })).stdout, 'p___000000\n'.replace('___', '__'));
  await writeFile(join(dir, '.registry', 'p_999999'), '');
  t.equal((await spool(['enqueue', dir, 'done', '--prefix', 'p'], { input: '' })).stdout, 'p_1000000\n');
  t.equal((await spool(['enqueue', dir, 'done', '--prefix', 'ü ö'], { input: '' })).stdout, 'ü ö_000000\n');
});

t.test('a prefix with many names asks for few', async (t) => {
  const dir = await makeSpool(t);
  await shell(`cd '${dir}/.registry'; printf 'p_%06d\\n' {0..1999} | xargs touch`);
  const trace = join(await temporaryDirectory(t), 'trace');
  const traced = ['-f', '-qq', '-e', 'trace=openat', '-o', trace, process.execPath, MAIN];
  const hasStrace = (await shell('command -v strace || true')).stdout !== '';
  const command = hasStrace ? run('strace', [...traced, 'spool', 'enqueue', dir, 'new', '--prefix', 'p'], { input: '' }) : null;
  const got = await (command ?? spool(['enqueue', dir, 'new', '--prefix', 'p'], { input: '' }));
  t.match(got, { code: 0, stdout: 'p_002000\n' });
  const opened = hasStrace ? (await readFile(trace, 'utf8')).split('\n').filter((line) => line.includes('.registry/p_')) : [];
  t.equal(opened.length, 1, { skip: hasStrace ? false : 'strace is not installed' });
});

t.test('metadata from a file, and odd ones', async (t) => {
  const dir = await makeSpool(t);
  const file = join(await temporaryDirectory(t), 'meta');
  const text = '\ufeff{"grüße": "𝄞"}\nzwei\0\n';
  await writeFile(file, text);
  await must(spool(['enqueue', dir, 'new', '--name', 'a', '--meta', `@${file}`], { input: '' }));
  t.equal((await spool(['cat', dir, 'a', '--meta'])).stdout, text);
  t.equal(JSON.parse((await spool(['list', dir, '--json'])).stdout)[0].metadata, text);
  await put(dir, 'new', 'long', 'ä'.repeat(500));
  t.match((await spool(['list', dir, 'new'])).stdout, /long +queued .* ä{48}…\n/);
  // Another program's, that is no text.
  await writeFile(join(dir, 'new', 'a'), Buffer.from([0xff, 0x0a]));
  t.match(JSON.parse((await spool(['list', dir, '--json'])).stdout)[0], { metadata: null, metadataBase64: '/wo=' });
  t.match(await spool(['checkout', dir, 'new', 'a']), { code: 1, stderr: /the metadata of 'a' in .* is not valid UTF-8/ });
  t.match(await spool(['recover', dir]), { code: 1, stderr: /a stays checked out: the metadata of 'a'/ });
  t.match(await spool(['remove', dir, 'new', 'a']), { code: 0 }, 'it can be removed');
  t.same(await files(dir), entryFiles('long', 'new'));
});

t.test('a large stream goes through in little memory', async (t) => {
  const dir = await makeSpool(t);
  const enqueue = new Running(t, ['enqueue', dir, 'new', '--name', 'big']);
  const part = Buffer.alloc(1024 * 1024, 'x');
  for (let i = 0; i < 192; i++) {
    if (enqueue.child.stdin?.write(part) === false) await once(enqueue.child.stdin, 'drain');
  }
  const sizeOf = async () => {
    const [name] = (await files(dir)).filter((path) => path.startsWith('.data/'));
    return name === undefined ? 0 : (await stat(join(dir, name))).size;
  };
  t.equal(await soon(sizeOf, (size) => size === 192 * part.length), 192 * part.length);
  const peakKb = Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${enqueue.pid}/status`, 'utf8'))?.[1]);
  t.ok(peakKb < 160_000, `${peakKb} kB at most`);
  t.equal((await readdir(join(dir, 'new'))).join(), '.checkout', 'it is not in the queue before it is whole');
  enqueue.child.stdin?.end();
  t.equal(await enqueue.end(), 0);
  t.match(JSON.parse((await spool(['cat', dir, 'big', '--json'])).stdout), { dataBytes: 192 * part.length });
});

t.test('an enqueue that is interrupted leaves nothing', async (t) => {
  const dir = await makeSpool(t);
  await put(dir, 'new', 'other');
  for (const [signal, code, more] of [
    ['SIGTERM', 143, []],
    ['SIGINT', 130, ['--json']],
    ['SIGHUP', 129, []],
  ] as const) {
    const enqueue = new Running(t, ['enqueue', dir, 'new', '--name', 'half', ...more]);
    enqueue.child.stdin?.write('half of it');
    const arrived = async () => (await files(dir)).some((path) => path.startsWith('.data/half'));
    t.ok(await soon(arrived, Boolean), 'it has begun');
    enqueue.child.kill(signal);
    t.equal(await enqueue.end(), code, signal);
    t.equal(enqueue.stderr, 'vreserve: interrupted: nothing was put into the queue\n');
    if (more.length > 0) t.match(JSON.parse(enqueue.stdout), { ok: false, errno: 'EINTR' });
    else t.equal(enqueue.stdout, '');
    t.same(await files(dir), entryFiles('other', 'new'), 'exactly what was there');
  }
});

t.test('standard input that cannot be read, or is a terminal', async (t) => {
  const dir = await makeSpool(t);
  const command = `'${process.execPath}' '${MAIN}' spool enqueue '${dir}' new --name tty`;
  t.match(await shell(`${command} < '${dir}'`), { code: 1, stdout: '', stderr: 'vreserve: standard input is a directory\n' });
  t.same(await files(dir), []);
  const hasScript = (await shell('command -v script || true')).stdout !== '';
  if (!hasScript) return void t.pass('no terminal to be had', { skip: 'script(1) is not installed' });
  const terminal = await run('script', ['-qec', command, '/dev/null'], { input: 'typed\n\u0004' });
  t.match(terminal.stdout, /the data is read from standard input, until Ctrl-D/);
  t.equal((await spool(['cat', dir, 'tty'])).stdout, 'typed\n');
});

const notRoot = process.getuid?.() === 0 ? false : 'needs root';
t.test('a full disk', { skip: notRoot }, async (t) => {
  const top = await temporaryDirectory(t);
  await must(run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'vreserve-test', top]));
  const dir = join(top, 's');
  await must(spool(['create', dir, 'new']));
  await put(dir, 'new', 'small');
  const got = await spool(['enqueue', dir, 'new', '--name', 'large'], { input: Buffer.alloc(4 * 1024 * 1024) });
  t.match(got, { code: 1, stdout: '', stderr: /^vreserve: .*ENOSPC.*\n$/ });
  t.same(await files(dir), entryFiles('small', 'new'), 'nothing is left of it');
  await put(dir, 'new', 'second');
  t.match(await spool(['dequeue', dir, 'new', '--no-wait', '--remove', '--data', '/dev/full']), {
    code: 1,
    stderr: /went back.*ENOSPC/,
  });
  t.same(await files(dir), [...entryFiles('second', 'new'), ...entryFiles('small', 'new')].sort());
});

t.test('who may only read', { skip: notRoot }, async (t) => {
  const dir = await makeSpool(t);
  await put(dir, 'new', 'one');
  await chmod(join(dir, '..'), 0o755);
  const nobody = { uid: 65534, gid: 65534, input: '' };
  t.match(await spool(['list', dir], nobody), { code: 0, stdout: /one/ });
  t.match(await spool(['cat', dir, 'one'], nobody), { code: 0, stdout: 'data of one' });
  t.match(await spool(['monitor', dir, '--once'], nobody), { code: 0 });
  t.match(await spool(['enqueue', dir, 'new'], nobody), { code: 1, stderr: /is not writable, readable, and executable/ });
});

t.test('dequeue: what is there, what comes, and what does not', async (t) => {
  const dir = await makeSpool(t);
  await put(dir, 'new', 'b');
  await put(dir, 'new', 'a');
  t.match(rows((await spool(['dequeue', dir, 'new'])).stdout), { name: 'a', state: 'checked out, in new', metadata: 'about a' });
  const saved = await spool(['dequeue', dir, 'new', '--timeout', '0', '--save', 'done', '--json']);
  t.same(JSON.parse(saved.stdout), {
    name: 'b',
    queue: 'new',
    state: 'saved',
    metadata: 'about b',
    data: join(dir, '.data', 'b'),
    dataBytes: 9,
    to: 'done',
  });
  t.same(await files(dir), [...entryFiles('a', 'new/.checkout'), ...entryFiles('b', 'done')].sort());

  const waiting = new Running(t, ['dequeue', dir, 'new', '--remove']);
  await waiting.untilWaiting();
  await put(dir, 'new', 'late');
  t.equal(await waiting.end(), 0);
  t.match(rows(waiting.stdout), { name: 'late', state: 'removed, was in new', size: '12 B' });
  t.notOk(existsSync(join(dir, '.data', 'late')));

  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    const stopped = new Running(t, ['dequeue', dir, 'new']);
    await stopped.untilWaiting();
    stopped.child.kill(signal);
    t.equal(await stopped.end(), code, signal);
    t.equal(stopped.stdout + stopped.stderr, '');
  }
  const startMs = performance.now();
  t.match(await spool(['dequeue', dir, 'new', '--timeout', '400ms']), { code: 1, stderr: /nothing is in queue 'new'/ });
  t.ok(performance.now() - startMs >= 400);
});

t.test('dequeue: the data out first', async (t) => {
  const dir = await makeSpool(t);
  const top = await temporaryDirectory(t);
  for (const name of ['a', 'b', 'c']) await put(dir, 'new', name);
  const out = join(top, 'out');
  t.match(await spool(['dequeue', dir, 'new', '--remove', '--data', '-']), { code: 0, stdout: 'data of a', stderr: '' });
  t.match(rows((await spool(['dequeue', dir, 'new', '--remove', '--data', out])).stdout), { name: 'b', copy: out });
  t.equal(await readFile(out, 'utf8'), 'data of b');
  await symlink(out, join(top, 'link'));
  t.match(await spool(['dequeue', dir, 'new', '--data', join(top, 'no', 'such')]), {
    code: 1,
    stderr: /'c' went back into queue 'new': ENOENT/,
  });
  t.same(await files(dir), entryFiles('c', 'new'));
  t.match(await spool(['dequeue', dir, 'new', '--data', join(top, 'link')]), { code: 0 });
  t.equal(await readFile(out, 'utf8'), 'data of c', 'through a link');
  t.same(await readdir(top), ['link', 'out']);
  await must(spool(['save', dir, 'new', 'c', 'new']));

  await rm(join(dir, '.data', 'c'));
  t.match(await spool(['dequeue', dir, 'new', '--data', out]), { code: 1, stderr: /'c' went back into queue 'new'.*ENOENT/ });
  t.match(await spool(['cat', dir, 'c']), { code: 1, stdout: '', stderr: "vreserve: the data of 'c' is gone\n" });
  t.match((await spool(['list', dir])).stdout, /c +queued +gone/);
  t.match(rows((await spool(['dequeue', dir, 'new', '--remove'])).stdout), { name: 'c', size: 'the data is gone' });
  t.same(await files(dir), [], 'what was left of it is removed');

  await put(dir, 'new', 'd');
  await rm(join(dir, '.registry', 'd'));
  t.match(await spool(['dequeue', dir, 'new', '--no-wait']), { code: 1, stderr: /nothing is in queue/ }, 'not to be taken');
  t.match(await spool(['remove', dir, 'new', 'd']), { code: 1, stderr: /not checked out/ });
  t.match(await spool(['remove', dir, 'new', 'd', '--force']), { code: 0, stdout: 'removed d\n' });
  t.same(await files(dir), []);
});

t.test('nobody reads what is printed', async (t) => {
  const dir = await makeSpool(t);
  await put(dir, 'new', 'one');
  const deaf = async (args: string[], input = '') => {
    const command = new Running(t, args);
    command.child.stdout?.destroy();
    command.child.stdin?.end(input);
    return { code: await command.end(), stderr: command.stderr };
  };
  for (const args of [
    ['dequeue', dir, 'new', '--remove'],
    ['dequeue', dir, 'new', '--remove', '--data', '-'],
    ['checkout', dir, 'new'],
  ]) {
    t.match(await deaf(args), { code: 1, stderr: /^vreserve: 'one' went back into queue 'new': .*EPIPE\n$/ }, args.join(' '));
    t.same(await files(dir), entryFiles('one', 'new'));
  }
  t.match(await deaf(['enqueue', dir, 'new', '--name', 'two'], 'x'), { code: 0, stderr: '' });
  t.same(await readdir(join(dir, 'new')), ['.checkout', 'one', 'two']);
  await shell(`cd '${dir}'; for place in .registry .data done; do seq -f "$place/%060.0f" 1500; done | xargs touch`);
  const vreserve = `'${process.execPath}' '${MAIN}' spool`;
  for (const json of ['', ' --json']) {
    const got = await shell(`${vreserve} list '${dir}'${json} | head -c 10 > /dev/null; echo "\${PIPESTATUS[0]}"`);
    t.match(got, { stdout: '0\n', stderr: '' }, `list${json}`);
  }
});

t.test('recover', async (t) => {
  const dir = await makeSpool(t);
  t.match(await spool(['recover', dir]), { code: 0, stdout: 'nothing is checked out\n', stderr: '' });
  for (const name of ['a', 'b']) {
    await put(dir, 'new', name);
    await must(spool(['checkout', dir, 'new', name]));
  }
  await put(dir, 'done', 'c');
  await must(spool(['checkout', dir, 'done']));
  const hourAgo = Date.now() / 1000 - 3600;
  await utimes(join(dir, 'new', '.checkout', 'b'), hourAgo, hourAgo);
  const old = await spool(['recover', dir, '--older-than', '10m']);
  t.match(old, { code: 0, stdout: 'put b back into new\n', stderr: '' });
  t.match(await spool(['recover', dir, '--older-than', '10m']), { stdout: 'nothing is checked out for longer than 10m\n' });
  const all = await spool(['recover', dir, 'new', '--json']);
  t.match(all, { code: 0, stderr: /^vreserve: a consumer that is still at work loses its entry now: .*--older-than.*\n$/ });
  t.match(JSON.parse(all.stdout), { recovered: [{ name: 'a', queue: 'new', ageMs: Number }], failures: 0 });
  t.same(
    (await files(dir)).filter((path) => !path.startsWith('.')),
    ['done/.checkout/c', 'new/a', 'new/b'],
    'only of that queue',
  );
  t.equal((await spool(['cat', dir, 'b', '--meta'])).stdout, 'about b');
});

t.test('monitor', async (t) => {
  const dir = await makeSpool(t);
  t.match(await spool(['monitor', dir, '--once']), { code: 0, stdout: 'no problems\n', stderr: '' });
  await put(dir, 'new', 'old');
  const hourAgo = Date.now() / 1000 - 3600;
  await utimes(join(dir, 'new', 'old'), hourAgo, hourAgo);
  t.match(await spool(['monitor', dir, '--once']), { code: 0 }, 'a queue has no limit unless one is given');
  const aged = ['monitor', dir, '--max-queue-age', 'done=1s', '--max-queue-age=new=30m'];
  t.match(await spool([...aged, '--once']), { code: 1, stdout: 'Too_old: new/old (60 min, at most 30 min)\n', stderr: '' });
  const asJson = await spool([...aged, '--once', '--json']);
  t.equal(asJson.code, 1);
  t.match(JSON.parse(asJson.stdout), { problems: [{ kind: 'too-old', dir: 'new', file: 'old', limitMs: 1_800_000 }] });
  await must(spool(['checkout', dir, 'new', 'old']));
  await utimes(join(dir, 'new', '.checkout', 'old'), hourAgo, hourAgo);
  t.match(await spool(['monitor', dir, '--once']), { code: 1, stdout: /Too_old: new\/\.checkout\/old/ });
  t.match(await spool(['monitor', dir, '--once', '--max-checked-out-age', '2h']), { code: 0 });
  await writeFile(join(dir, '.tmp', 'rest'), '');
  t.match(await spool(['monitor', dir, '--once', '--max-checked-out-age', '2h']), {
    code: 1,
    stdout: /^Orphaned: \.tmp\/rest .*\n$/,
  });
  await rm(join(dir, '.tmp', 'rest'));

  for (const [signal, more] of [
    ['SIGTERM', []],
    ['SIGINT', ['--json']],
  ] as const) {
    const daemon = new Running(t, [
      'monitor',
      dir,
      '--check-every',
      '20ms',
      '--alert-after-cycles',
      '1',
      '--max-checked-out-age',
      '2h',
      ...more,
    ]);
    await writeFile(join(dir, '.data', 'orphan'), '');
    await soon(
      async () => daemon.stdout,
      (text) => text.includes('start'),
    );
    await rm(join(dir, '.data', 'orphan'));
    await soon(
      async () => daemon.stdout,
      (text) => text.includes('end'),
    );
    daemon.child.kill(signal);
    t.equal(await daemon.end(), 0, signal);
    t.equal(daemon.stderr, '');
    if (more.length === 0) {
      t.match(
        daemon.stdout,
        /^[-\d]{10} [:\d]{8} {2}start {2}Orphaned: \.data\/orphan .*\n[-\d]{10} [:\d]{8} {2}end {4}Orphaned: .*\n$/,
      );
    } else {
      const events = daemon.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      t.match(events, [
        { at: /Z$/, event: 'start', problem: { kind: 'orphaned', dir: '.data', file: 'orphan' } },
        { event: 'end' },
      ]);
    }
  }
});

t.test("another program's spool, by its directories alone", async (t) => {
  const dir = join(await temporaryDirectory(t), 'mail');
  for (const name of ['.registry', '.tmp', '.data', 'active/.checkout', 'frozen/.checkout'])
    await mkdir(join(dir, name), { recursive: true });
  for (const path of ['.registry/m_000000', '.data/m_000000']) await writeFile(join(dir, path), '');
  await writeFile(join(dir, 'frozen', 'm_000000'), '(Cog 1)');
  await writeFile(join(dir, 'notes'), 'a file is no queue');
  t.match((await spool(['load', dir])).stdout, /^QUEUE.*\nactive +0 +0\nfrozen +1 +0\n$/);
  t.match(await spool(['create', dir]), { code: 0, stdout: /has active, frozen already/ }, 'create adds no queue of its own');
  await must(spool(['dequeue', dir, 'frozen', '--save', 'active']));
  t.equal(await readFile(join(dir, 'active', 'm_000000'), 'utf8'), '(Cog 1)');
  t.equal((await spool(['enqueue', dir, 'active', '--prefix', 'm'], { input: '' })).stdout, 'm_000001\n');
});
