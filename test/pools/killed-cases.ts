// `vreserve pool prepare` killed at each of its steps: the next one, or the next start, finishes or undoes it; it is never half.
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Prepared } from '../../src/pools/prepare.js';
import { soon } from '../helpers/columns.js';
import { type Bench, bench, type Loop, whyNotLoops } from '../helpers/loops.js';
import { MAIN, must, run, shell, vreserve } from '../helpers/run.js';

const skip = await whyNotLoops();
/** Names of pools hold for the whole machine. */
const P = `p-${process.pid}-${Date.now()}`;
const Q = `q-${process.pid}-${Date.now()}`;
const hasStrace = (await shell('command -v strace')).code === 0;

/** Prepares with these scripts in the place of tools; `$REAL` is the tool, and `kill -9 $PPID` kills vreserve. */
async function prepareWith(b: Bench, scripts: Record<string, string>, words: readonly string[]) {
  const bin = join(b.top, 'bin');
  await mkdir(bin, { recursive: true });
  for (const file of await readdir(bin)) await must(run('rm', [join(bin, file)]));
  for (const [tool, script] of Object.entries(scripts)) {
    const real = (await must(shell(`PATH=/usr/sbin:/usr/bin:/sbin:/bin; command -v ${tool}`))).stdout.trim();
    await writeFile(join(bin, tool), `#!/bin/bash\nREAL=${real}\n${script}\n`);
    await chmod(join(bin, tool), 0o755);
  }
  const env = { ...process.env, NODE_OPTIONS: '', PATH: `${bin}:${process.env.PATH}` };
  return run(process.execPath, [MAIN, 'pool', 'prepare', ...words, '--pools-dir', join(b.top, 'pools')], { env });
}

const prepare = (b: Bench, ...words: string[]) =>
  vreserve(['pool', 'prepare', ...words, '--pools-dir', join(b.top, 'pools'), '--json']);

async function signatures(loop: Loop): Promise<string> {
  return (await must(run('wipefs', ['--noheadings', '--output', 'TYPE,LABEL', loop.path]))).stdout.trim();
}

/** What is hidden in the directory of the pools, but its lock. */
async function notes(b: Bench): Promise<string[]> {
  return (await readdir(join(b.top, 'pools'))).filter((file) => file.startsWith('.') && file !== '.lock');
}

async function isMounted(directory: string): Promise<boolean> {
  return (await run('mountpoint', ['--quiet', directory])).code === 0;
}

/** Where vreserve is killed. `made`: the pool is whole on its devices then. */
const KILLS: Record<string, { scripts: Record<string, string>; made: boolean }> = {
  'before mkfs': { scripts: { 'mkfs.btrfs': 'kill -9 $PPID' }, made: false },
  'after mkfs': { scripts: { 'mkfs.btrfs': '"$REAL" "$@"; kill -9 $PPID' }, made: true },
  'before the mount': { scripts: { mount: 'kill -9 $PPID' }, made: true },
  'after the mount': { scripts: { mount: '"$REAL" "$@"; kill -9 $PPID' }, made: true },
  'after the quotas': { scripts: { btrfs: '"$REAL" "$@"; kill -9 $PPID' }, made: true },
};
if (hasStrace) {
  // mkfs itself is killed at one of its writes, and vreserve with it.
  for (const at of [1, 5, 20, 60]) {
    const trace = `strace -f -o /dev/null -e trace=pwrite64 -e inject=pwrite64:signal=SIGKILL:when=${at}`;
    KILLS[`in mkfs, at write ${at}`] = { scripts: { 'mkfs.btrfs': `${trace} "$REAL" "$@"; kill -9 $PPID` }, made: false };
  }
}

t.test('killed at each step, and called again', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two] = [await b.device(), await b.device()];
  const directory = join(b.top, 'pools', P);
  for (const [when, { scripts, made }] of Object.entries(KILLS)) {
    const pair = [P, one.path, two.path, '--policy', 'raid1'];
    for (const words of when.includes('mkfs') ? [[P, one.path], pair] : [pair]) {
      const name = `${when}, ${words.length > 2 ? 'two devices' : 'one device'}`;
      const killed = await prepareWith(b, scripts, words);
      t.equal(killed.signal, 'SIGKILL', `${name}: it was killed${killed.stderr}`);
      t.same(await notes(b), [`.${P}.preparing`], `${name}: its note is there`);
      const again = await prepare(b, ...words);
      t.equal(again.code, 0, `${name}: ${again.stderr}`);
      const pool = JSON.parse(again.stdout) as Prepared;
      t.equal(
        pool.resumed,
        made || (pool.resumed && when.startsWith('in mkfs')),
        `${name}: ${pool.resumed ? 'finished' : 'made anew'}`,
      );
      t.same(await notes(b), [], `${name}: no note is there`);
      t.ok(await isMounted(directory), `${name}: it is mounted`);
      t.match((await must(run('btrfs', ['qgroup', 'show', directory]))).stdout, /0\/5/, `${name}: quotas are on`);
      await must(run('umount', [directory]));
      for (const path of words.filter((word) => word.startsWith('/dev/'))) {
        await must(vreserve(['pool', 'wipe', path, '--yes-destroy', path.slice('/dev/'.length)]));
      }
    }
  }
});

t.test('killed at each step, and the next start', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two] = [await b.device(), await b.device()];
  const file = join(b.top, 'boot.json');
  const mountpoint = join(b.top, 'mnt');
  const directory = join(b.top, 'pools', P);
  const backing = join(b.top, 'data');
  await mkdir(backing);
  const config = { poolsDir: join(b.top, 'pools'), devices: [one.path, two.path], mount: { backing, mountpoint, options: {} } };
  await writeFile(file, JSON.stringify({ ...config, mount: { ...config.mount, options: { 'spool-grant': '0' } } }));
  t.teardown(async () => void (await vreserve(['umount', mountpoint])));
  for (const [when, { scripts, made }] of Object.entries(KILLS)) {
    const killed = await prepareWith(b, scripts, [P, one.path, two.path, '--policy', 'raid1']);
    t.equal(killed.signal, 'SIGKILL', `${when}: it was killed${killed.stderr}`);
    const got = await vreserve(['boot', '--config', file]);
    t.equal(got.code, 0, `${when}: ${got.stderr}`);
    t.same(await notes(b), [], `${when}: no note is there`);
    const isFinished = got.stderr.includes(`preparing of pool '${P}', which was cut off, was finished`);
    const isUndone = got.stderr.includes(`preparing of pool '${P}', which was cut off, was undone`);
    t.ok(isFinished !== isUndone, `${when}: ${got.stderr}`);
    if (made) t.ok(isFinished, `${when}: what was whole is finished`);
    t.equal(await isMounted(directory), isFinished);
    if (isFinished) {
      // Boot has given it to the mount, which has it open.
      await must(vreserve(['pool', 'remove', mountpoint, P]));
      await must(run('umount', [directory]));
      for (const loop of [one, two]) await must(vreserve(['pool', 'wipe', loop.path, '--yes-destroy', loop.name]));
    } else {
      t.notOk(existsSync(directory), `${when}: no directory is there`);
    }
    t.same([await signatures(one), await signatures(two)], ['', ''], `${when}: the devices are empty`);
  }
});

t.test('a tool that outlives vreserve is waited for', { skip }, async (t) => {
  const b = await bench(t);
  const loop = await b.device();
  const go = join(b.top, 'go');
  const script = `kill -9 $PPID; for i in $(seq 600); do [ -e '${go}' ] && break; sleep 0.05; done; exec "$REAL" "$@"`;
  // Its output is the script's too: so that this does not wait for the script.
  const command = `exec >/dev/null 2>&1; exec "$@"`;
  const bin = join(b.top, 'bin');
  await mkdir(bin);
  const real = (await must(shell('PATH=/usr/sbin:/sbin; command -v mkfs.btrfs'))).stdout.trim();
  await writeFile(join(bin, 'mkfs.btrfs'), `#!/bin/bash\nREAL=${real}\n${script}\n`);
  await chmod(join(bin, 'mkfs.btrfs'), 0o755);
  const words = [process.execPath, MAIN, 'pool', 'prepare', P, loop.path, '--pools-dir', join(b.top, 'pools')];
  const env = { ...process.env, NODE_OPTIONS: '', PATH: `${bin}:${process.env.PATH}` };
  t.equal((await run('/bin/bash', ['-c', command, 'sh', ...words], { env })).signal, 'SIGKILL');
  let isOver = false;
  const again = prepare(b, P, loop.path).finally(() => {
    isOver = true;
  });
  const other = vreserve(['pool', 'prepare', Q, loop.path, '--pools-dir', join(b.top, 'others')]);
  const waiting = async () => (await shell(`pgrep --full --count "flock --exclusive --timeout [0-9]+ 3" || true`)).stdout.trim();
  t.ok(Number(await soon(waiting, (count) => Number(count) >= 2)) >= 2, 'both wait for the lock');
  t.notOk(isOver);
  await writeFile(go, '');
  const { stdout, stderr, code } = await again;
  t.equal(code, 0, stderr);
  t.match(JSON.parse(stdout), { resumed: true }, 'the one that goes on finds the pool finished');
  t.match(await other, { code: 1, stderr: /is in use|is not empty/ }, 'the other one is refused');
});

t.test('what fails, or is interrupted, is undone', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two] = [await b.device(), await b.device()];
  const cases: [string, Record<string, string>, RegExp][] = [
    ['mkfs fails', { 'mkfs.btrfs': 'echo "ERROR: no luck" >&2; exit 1' }, /mkfs\.btrfs failed: ERROR: no luck/],
    [
      'mkfs fails at its end',
      { 'mkfs.btrfs': '"$REAL" "$@"; echo "ERROR: late" >&2; exit 1' },
      /mkfs\.btrfs failed: ERROR: late/,
    ],
    ['the mount fails', { mount: 'echo "mount: no" >&2; exit 32' }, /mount failed: mount: no/],
    [
      'quotas fail',
      { btrfs: '[ "$1" = quota ] && { echo "ERROR: no quota" >&2; exit 1; }; exec "$REAL" "$@"' },
      /btrfs failed: ERROR: no quota/,
    ],
    [
      'SIGTERM in mkfs',
      { 'mkfs.btrfs': '"$REAL" "$@"; kill -TERM $PPID; exec sleep 60' },
      /interrupted: pool '[^']*' was not made/,
    ],
    ['SIGINT in mkfs', { 'mkfs.btrfs': 'kill -INT $PPID; exec sleep 60' }, /interrupted: pool '[^']*' was not made/],
  ];
  for (const [name, scripts, says] of cases) {
    const got = await prepareWith(b, scripts, [P, one.path, two.path, '--policy', 'raid1']);
    t.match(got, { code: 1, stderr: says }, name);
    t.same(await notes(b), [], `${name}: no note stays`);
    t.notOk(existsSync(join(b.top, 'pools', P)), `${name}: no directory stays`);
    t.same([await signatures(one), await signatures(two)], ['', ''], `${name}: the devices are empty`);
  }
});

t.test('a note that does not fit what is there', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two] = [await b.device(), await b.device()];
  const pools = join(b.top, 'pools');
  const note = join(pools, `.${P}.preparing`);
  await prepareWith(b, { 'mkfs.btrfs': '"$REAL" "$@"; kill -9 $PPID' }, [P, one.path]);
  t.match(await prepare(b, P, two.path), {
    code: 1,
    stderr: /there is a pool '[^']*' already, on \/dev\/loop\d+ \(what was cut off/,
  });
  t.equal(await signatures(two), '');
  t.ok(await isMounted(join(pools, P)), 'it was finished for that');
  await must(run('umount', [join(pools, P)]));
  await must(vreserve(['pool', 'wipe', one.path, '--yes-destroy', one.name]));

  // Another filesystem has come to be on the device that the note names.
  await prepareWith(b, { 'mkfs.btrfs': 'kill -9 $PPID' }, [P, one.path]);
  await must(run('mkfs.ext4', ['-q', one.path]));
  const before = await one.fingerprint();
  t.match(await prepare(b, P, one.path), { code: 1, stderr: /is not empty, it has ext4/ });
  t.equal(await one.fingerprint(), before, 'nobody has touched it');
  t.match(await prepare(b, P, two.path), { code: 0 }, 'and the name is free for another');

  for (const text of ['', '{', '{"name":"q"}', '{"name":"r","uuid":"x","policy":"single","devices":["/dev/loop0"]}']) {
    await writeFile(join(pools, `.${Q}.preparing`), text);
    t.match(await prepare(b, Q, one.path), { code: 1, stderr: /\.preparing', the note of a pool .* is damaged/ }, text);
    t.equal(await readFile(join(pools, `.${Q}.preparing`), 'utf8'), text);
  }
  t.equal(await one.fingerprint(), before);
  t.notOk(existsSync(note));
});
