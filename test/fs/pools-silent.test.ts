// A pool whose disk does not answer: it holds up who uses it, is reported, and comes back by itself.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { sendControl } from '../../src/client/control.js';
import type { PoolRow } from '../../src/core/snapshot.js';
import { soon, whyNotRoot } from '../helpers/columns.js';
import { makeDisk, whyNoDisk } from '../helpers/disks.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';

const MIB = 1 << 20;
/** More than the data plane begins with. */
const WRITERS = 40;
/** Of what must not be held up: less than a pool takes to be found silent. */
const PATIENCE_MS = 9_000;
/** Until it is found silent, and more. */
const FOUND_MS = 30_000;

const skip = whyNotRoot !== false ? whyNotRoot : await whyNoDisk('ext4');

interface Report {
  health: string;
  pools: PoolRow[];
  lots: { path: string; usedBytes: number }[];
}

const report = async (m: Mounted) => JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as Report;
const poolOf = async (m: Mounted, name: string) => (await report(m)).pools.find((pool) => pool.name === name);
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => '',
    (error: { code?: string }) => error.code ?? String(error),
  );
const graft = (m: Mounted, path: string, name: string, bytes: number) =>
  sendControl<object>(m.mnt, { cmd: 'pool', name: 'graft', words: [path, name, String(bytes)] });
const isBroken = (m: Mounted, name: string, broken: boolean) =>
  soon(
    () => poolOf(m, name),
    (row) => (row?.broken !== null) === broken,
    60_000,
  );

/** Processes of their own: those that hang must not hold up this one. Ended with the test, after the disk answers. */
function writers(t: Test, m: Mounted, at: string, count: number): ChildProcess[] {
  const all = Array.from({ length: count }, (_, i) =>
    spawn('sh', ['-c', `exec dd if=/dev/zero of=w${i} bs=4096 count=1 conv=notrunc status=none`], {
      cwd: join(m.mnt, at),
      stdio: 'ignore',
    }),
  );
  t.teardown(() => {
    for (const child of all) child.kill('SIGKILL');
  });
  return all;
}

const ended = (child: ChildProcess) =>
  new Promise<number | null>((done) => (child.exitCode === null ? child.once('exit', done) : done(child.exitCode)));

/** What everybody else does meanwhile. */
async function othersGoOn(t: Test, m: Mounted, round: string): Promise<void> {
  const commands = `
    set -e; cd '${m.mnt}'; mkdir ${round}; cd ${round}
    echo ${round} > file; cat file; ls .. > list; mv file moved; stat -f . > space; rm moved
    dd if=/dev/zero of=big bs=1M count=20 conv=fsync status=none; rm big`;
  t.match(await run('bash', ['-c', commands], { timeoutMs: PATIENCE_MS }), { code: 0 }, `${round}: files of the main pool`);
  const job = join(m.mnt, `${round}-job`);
  t.match(await m.run(['reserve', job, '1MiB'], { timeoutMs: PATIENCE_MS }), { code: 0 }, `${round}: a reservation there`);
  t.match(await m.run(['release', job], { timeoutMs: PATIENCE_MS }), { code: 0 }, `${round}: a release`);
  const inOther = join(m.mnt, 'whole', round);
  t.match(await m.run(['reserve', inOther, '1MiB'], { timeoutMs: PATIENCE_MS }), { code: 0 }, `${round}: and in another pool`);
}

/** A disk that can be made silent, and is not when the test ends. */
interface Silencing {
  at: string;
  stop(): Promise<void>;
  goOn(): Promise<void>;
}

const KINDS: Record<string, (t: Test) => Promise<Silencing>> = {
  // Writers hang, readers do not.
  async 'a frozen filesystem'(t) {
    const { at } = await makeDisk(t, await temporaryDirectory(t), 'disk', 'ext4', 160);
    return {
      at,
      stop: async () => void (await must(run('fsfreeze', ['-f', at]))),
      goOn: async () => void (await run('fsfreeze', ['-u', at])),
    };
  },
  // Everybody hangs, as with a server that is dead.
  async 'a server that is stopped'(t) {
    const disk = await mount(t, { on: 'tmpfs' });
    const at = join(disk.mnt, 'disk');
    await mkdir(at);
    const signal = async (name: 'SIGSTOP' | 'SIGCONT') => void process.kill(disk.ready.pid, name);
    return { at, stop: () => signal('SIGSTOP'), goOn: () => signal('SIGCONT') };
  },
};

for (const [kind, make] of Object.entries(KINDS)) {
  test(kind, { skip, timeout: 90_000 }, async (t) => {
    const disk = await make(t);
    const other = await makeDisk(t, await temporaryDirectory(t), 'other', 'tmpfs', 64);
    const pools = [`--pool=silent=${disk.at},margin=0`, `--pool=other=${other.at},margin=0`];
    const m = await mount(t, { on: 'tmpfs', args: [...pools, '--margin', '0'] });
    t.teardown(() => disk.goOn()); // before anything else is taken down
    await graft(m, '/silent', 'silent', 32 * MIB);
    await graft(m, '/whole', 'other', 32 * MIB);
    await writeFile(join(m.mnt, 'silent/kept'), Buffer.alloc(12_345));

    await disk.stop();
    const all = writers(t, m, 'silent', WRITERS);
    await othersGoOn(t, m, 'before');
    // By the file: who looks at the path itself waits for the directory, which the writers have.
    const control = (line: string) =>
      run('bash', ['-c', `echo '${line}' > '${m.mnt}/.vreserve/control'`], { timeoutMs: FOUND_MS });
    const below = await control('reserve /silent/job 1MiB');
    t.not(below.code, null, 'a command below it comes back');
    t.match((await isBroken(m, 'silent', true))?.broken ?? '', /does not answer/, 'it is found out');
    await othersGoOn(t, m, 'after');
    t.match((await report(m)).health, /pool silent at .* is broken: its disk does not answer/);
    const late = await run('cat', [join(m.mnt, 'silent/kept')], { timeoutMs: PATIENCE_MS });
    t.match(late, { code: 1, stderr: /Input\/output error/ }, 'who comes late is not held up');
    const refused = await control('reserve /silent/late 1MiB');
    t.not(refused.code, 0, 'nor a command');
    t.match(await m.run(['check', m.mnt], { timeoutMs: PATIENCE_MS }), { code: 0 }, 'the others can be counted');
    t.equal((await poolOf(m, 'other'))?.broken, null);

    await disk.goOn();
    for (const child of all) await ended(child);
    t.equal((await isBroken(m, 'silent', false))?.broken, null, 'it comes back by itself');
    t.equal((await readFile(join(m.mnt, 'silent/kept'))).length, 12_345);
    t.equal(await codeOf(writeFile(join(m.mnt, 'silent/new'), Buffer.alloc(100))), '');
    const names = await readdir(join(m.mnt, 'silent'));
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(m.mnt, 'silent', name))).size));
    t.equal(
      (await poolOf(m, 'silent'))?.usedBytes,
      sizes.reduce((sum, size) => sum + size, 0),
      'what is there is counted',
    );
    t.match(await m.run(['check', m.mnt]), { code: 0 });
    t.match(await m.run(['reserve', join(m.mnt, 'silent/again'), '1MiB']), { code: 0 });
    const told = async () => {
      const journal = await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8');
      return journal.match(/"event":"pool-(broken|back)"/g)?.map((text) => text.slice(9, -1));
    };
    // The control plane looks once a second.
    const events = await soon(told, (found) => found?.length === 2);
    t.same(events, ['pool-broken', 'pool-back']);
  });
}
