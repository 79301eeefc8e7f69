import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { soon } from '../helpers/columns.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must } from '../helpers/run.js';
import { entryFiles, exists, files, makeSpool, put, Running, spool } from '../helpers/spool.js';

t.test('watch --once: success, failure, and all the ways to fail', async (t) => {
  const dir = await makeSpool(t);
  const out = join(await temporaryDirectory(t), 'out');
  await put(dir, 'new', 'a');
  await put(dir, 'new', 'b');
  const script = `{ cat; echo " $VRESERVE_SPOOL $VRESERVE_QUEUE $VRESERVE_NAME $VRESERVE_DATA $(cat "$VRESERVE_DATA")"; } >> '${out}'`;
  const worked = await spool(['watch', dir, 'new', '--once', '--', 'sh', '-c', script]);
  t.match(worked, { code: 0, stdout: /^a {2}removed {2}\d\.\d s\nb {2}removed {2}\d\.\d s\n$/, stderr: '' });
  const line = (name: string) => `about ${name} ${dir} new ${name} ${dir}/.data/${name} data of ${name}\n`;
  t.equal(await readFile(out, 'utf8'), line('a') + line('b'), 'in order');
  t.same(await files(dir), [], 'they are removed');

  await put(dir, 'new', 'a');
  await must(spool(['watch', dir, 'new', '--once', '--on-success', 'done', '--quiet', '--', 'true']));
  t.same(await files(dir), entryFiles('a', 'done'));

  const fails: [command: string[], more: string[], stdout: RegExp][] = [
    [['sh', '-c', 'exit 7'], ['--on-failure', 'failed'], /^a {2}saved into failed \(exit code 7\) {2}\d\.\d s\n$/],
    [['sh', '-c', 'kill -9 $$'], ['--on-failure', 'done'], /\(killed by SIGKILL\)/],
  ];
  let queue = 'done';
  for (const [command, more, stdout] of fails) {
    t.match(await spool(['watch', dir, queue, '--once', ...more, '--', ...command]), { code: 1, stdout, stderr: '' });
    queue = more[1] ?? '';
    t.same(await files(dir), entryFiles('a', queue));
  }
  const left = await spool(['watch', dir, 'done', '--once', '--', 'false']);
  t.match(left, { code: 1, stdout: '' });
  t.equal(
    left.stderr,
    `vreserve: a: exit code 1; it stays checked out, and goes back with: vreserve spool recover ${dir} done\n`,
  );
  t.same(await files(dir), entryFiles('a', 'done/.checkout'));
  await must(spool(['recover', dir, 'done']));

  // There when it is looked for, and not to be run all the same.
  const gone = join(await temporaryDirectory(t), 'gone');
  await writeFile(gone, '#!/no/such/interpreter\n', { mode: 0o755 });
  const cannot = await spool(['watch', dir, 'done', '--once', '--on-failure', 'failed', '--json', '--', gone]);
  t.match(JSON.parse(cannot.stdout), { name: 'a', state: 'saved', to: 'failed', exitCode: null, reason: /ENOENT/ });

  await rm(join(dir, '.data', 'a'));
  const noData = await spool(['watch', dir, 'failed', '--once', '--on-failure', 'done', '--', 'touch', join(dir, '..', 'ran')]);
  t.match(noData, { code: 1, stdout: /saved into done \(the data of 'a' is gone\)/ });
  t.notOk(existsSync(join(dir, '..', 'ran')), 'no command without data');
});

t.test('watch: the command may move the data away, and --json keeps its output apart', async (t) => {
  const dir = await makeSpool(t);
  const out = join(await temporaryDirectory(t), 'out');
  await put(dir, 'new', 'a', 'm'.repeat(200_000));
  const got = await spool(['watch', dir, 'new', '--once', '--json', '--', 'sh', '-c', `echo said; mv "$VRESERVE_DATA" '${out}'`]);
  t.match(JSON.parse(got.stdout), {
    name: 'a',
    queue: 'new',
    state: 'removed',
    exitCode: 0,
    signal: null,
    reason: '',
    durationMs: Number,
  });
  t.equal(got.stderr, 'said\n');
  t.equal(await readFile(out, 'utf8'), 'data of a');
  t.same(await files(dir), [], 'nothing of the entry is left');
  await put(dir, 'new', 'b');
  t.match(await spool(['watch', dir, 'new', '--once', '--on-success', 'new', '--', 'echo', '-n', '--json', '-1']), {
    code: 0,
    stdout: /^--json -1b {2}saved into new/,
  });
});

t.test('watch: an entry that was put back meanwhile is not finished twice', async (t) => {
  const dir = await makeSpool(t);
  await put(dir, 'new', 'a');
  const recover = `"$1" "$2" spool recover '${dir}' > /dev/null 2>&1`;
  const command = ['sh', '-c', recover, 'sh', process.execPath, MAIN];
  for (const more of [[], ['--on-success', 'done']]) {
    const got = await spool(['watch', dir, 'new', '--once', ...more, '--', ...command]);
    t.match(got, { code: 1, stderr: /'a' is no longer checked out/ });
    t.same(await files(dir), entryFiles('a', 'new'));
  }
});

t.test('watch: entries as they come, several at once', async (t) => {
  const dir = await makeSpool(t);
  const top = await temporaryDirectory(t);
  // Each says that it runs, and waits to be let go.
  const script = `touch '${top}'/ran-"$VRESERVE_NAME"; until [ -e '${top}'/go ]; do sleep 0.02; done`;
  const watch = new Running(t, ['watch', dir, 'new', '--jobs', '2', '--', 'sh', '-c', script]);
  await watch.untilWaiting();
  for (const name of ['a', 'b', 'c']) await put(dir, 'new', name);
  await exists(join(top, 'ran-a'));
  await exists(join(top, 'ran-b'));
  t.same(await readdir(join(dir, 'new')), ['.checkout', 'c'], 'the third is not taken before there is room for it');
  t.same((await readdir(top)).sort(), ['ran-a', 'ran-b']);
  await writeFile(join(top, 'go'), '');
  t.same(
    await soon(
      () => files(dir),
      (names) => names.length === 0,
    ),
    [],
  );
  watch.child.kill('SIGTERM');
  t.equal(await watch.end(), 0, 'stopped in order');
  t.same(watch.stdout.match(/^\S+ {2}removed/gm)?.sort(), ['a  removed', 'b  removed', 'c  removed']);
});

t.test('watch: signals', async (t) => {
  const dir = await makeSpool(t);
  const top = await mkdtemp(join(dir, '..', 'marks-'));
  // A command that says so when a signal comes, and one that does not care.
  const polite = `trap 'touch "${top}/told"; exit 9' TERM INT; touch '${top}/ran'; until [ -e '${top}/go' ] || [ ! -d '${top}' ]; do sleep 0.02; done`;
  const deaf = `trap '' TERM INT; touch '${top}/ran'; until [ -e '${top}/go' ] || [ ! -d '${top}' ]; do sleep 0.02; done`;
  const begin = async (script: string) => {
    for (const name of await readdir(top)) await rm(join(top, name));
    await put(dir, 'new', 'a');
    await put(dir, 'new', 'b');
    const watch = new Running(t, ['watch', dir, 'new', '--on-failure', 'failed', '--', 'sh', '-c', script]);
    await exists(join(top, 'ran'));
    return watch;
  };
  const clear = async () => {
    for (const name of ['a', 'b']) await spool(['remove', dir, 'new', name, '--force']);
    t.same(await files(dir), []);
  };

  const ended = await begin(polite);
  ended.child.kill('SIGINT');
  await writeFile(join(top, 'go'), '');
  t.equal(await ended.end(), 0, 'one signal: the command may end');
  t.notOk(existsSync(join(top, 'told')), 'and is not told');
  t.match(ended.stdout, /^a {2}removed .*\n$/);
  t.same(await files(dir), entryFiles('b', 'new'), 'no other was taken');
  await clear();

  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    const broken = await begin(polite);
    broken.child.kill(signal);
    // Signals that come at once are one: so until it has ended.
    const tell = setInterval(() => broken.child.kill(signal), 100);
    t.equal(await broken.end(), code, `${signal} twice`);
    clearInterval(tell);
    t.match(broken.stdout, /^a {2}put back \((exit code 9|killed by SIGKILL)\) .*\n$/);
    t.same(await files(dir), [...entryFiles('a', 'new'), ...entryFiles('b', 'new')].sort(), 'the entry is back');
    await clear();
  }

  const killed = await begin(deaf);
  const insist = setInterval(() => killed.child.kill('SIGTERM'), 50);
  t.equal(await killed.end(), 143, 'a third signal kills');
  clearInterval(insist);
  t.match(killed.stdout, /^a {2}put back \(killed by SIGKILL\)/);
  await clear();

  // A terminal's Ctrl-C goes to the whole group: the command has its own.
  const grouped = await begin(polite);
  const group = (await readFile(`/proc/${grouped.pid}/task/${grouped.pid}/children`, 'utf8')).trim().split(' ').map(Number);
  t.equal(group.length, 1);
  const own = (await readFile(`/proc/${group[0]}/stat`, 'utf8')).split(') ')[1]?.split(' ')[2];
  t.equal(Number(own), group[0]);
  grouped.child.kill('SIGTERM');
  await writeFile(join(top, 'go'), '');
  t.equal(await grouped.end(), 0);
});

t.test('watch: without a reader it ends, and in order', async (t) => {
  const dir = await makeSpool(t);
  const top = await temporaryDirectory(t);
  for (const name of ['a', 'b', 'c']) await put(dir, 'new', name);
  const script = `touch '${top}'/ran-"$VRESERVE_NAME"; until [ -e '${top}'/go-"$VRESERVE_NAME" ] || [ ! -d '${top}' ]; do sleep 0.02; done`;
  const watch = new Running(t, ['watch', dir, 'new', '--jobs', '2', '--', 'sh', '-c', script]);
  watch.child.stdout?.destroy();
  for (const name of ['a', 'b']) await exists(join(top, `ran-${name}`));
  await writeFile(join(top, 'go-a'), '');
  const isRegistered = async () => existsSync(join(dir, '.registry', 'a'));
  t.notOk(await soon(isRegistered, (there) => !there), 'the first is done, and nobody can be told');
  for (const name of ['b', 'c']) await writeFile(join(top, `go-${name}`), '');
  t.equal(await watch.end(), 0);
  const rest = await files(dir);
  t.same(
    rest.filter((path) => path.endsWith('/b') || path.includes('.checkout')),
    [],
    'what ran is finished',
  );
});
