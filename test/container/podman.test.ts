// Containers with a reservation each: one overruns, the other is unharmed, and neither can touch what is not its own.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { whyNotHere } from '../helpers/limits.js';
import { lotAt, report } from '../helpers/lots.js';
import { mount } from '../helpers/mount.js';
import { must, shell } from '../helpers/run.js';
import { bytesIn } from '../helpers/tree.js';
import { Podman, whyNoContainers } from './podman.js';

const MIB = 1024 * 1024;

/** Waits, in a container, for the host's word, so that both run at the same time. */
const READY = 'touch /data/ready; n=0; while [ ! -e /data/go ]; do n=$((n + 1)); [ $n -lt 300 ] || exit 99; sleep 0.1; done;';

async function releaseBoth(directories: string[]): Promise<void> {
  for (const directory of directories) {
    await must(shell(`for n in $(seq 300); do [ -e ${directory}/ready ] && exit 0; sleep 0.1; done; exit 1`));
  }
  for (const directory of directories) await writeFile(join(directory, 'go'), '');
}

const reason = await whyNoContainers();

t.test('two containers at the same time', { skip: reason }, async (t) => {
  const podman = await Podman.create(t);
  for (const mode of [[], ['--no-passthrough'], ['--engine=fuse-native']]) {
    const m = await mount(t, { args: ['--capacity', '64MiB', '--margin', '0', ...mode] });
    const [greedy, modest] = [join(m.mnt, 'greedy'), join(m.mnt, 'modest')];
    for (const directory of [greedy, modest]) await mkdir(directory);
    await must(m.run(['reserve', greedy, '8MiB']));
    await must(m.run(['reserve', modest, '16MiB']));

    const overrun = podman.run(
      greedy,
      `${READY} df -Pk /data | tail -n 1; cat /dev/zero > /data/big; echo "exit $?"; stat -c %s /data/big; df -Pk /data | tail -n 1
       cat /data/.vreserve/report; echo =====; cat /data/.vreserve/report.json`,
    );
    const within = podman.run(
      modest,
      `${READY} for n in $(seq 16); do dd if=/dev/zero of=/data/part$n bs=64k count=16 2>/dev/null || exit 1; done
       df -Pk /data | tail -n 1; cat /data/part* | wc -c; ls /data/.vreserve/lots`,
    );
    await releaseBoth([greedy, modest]);
    const [one, other] = await Promise.all([overrun, within]);

    t.match(one, { code: 0, stderr: /No space left on device/ }, mode[0] ?? 'passthrough');
    const lines = one.stdout.split('\n');
    t.match(lines[0], / 8192 +0 +8192 +0% \/data$/, 'df inside shows the grant, all free');
    t.equal(lines[1], 'exit 1');
    t.equal(lines[2], String(8 * MIB), 'every byte of the grant, and not one more');
    t.match(lines[3], / 8192 +8192 +0 +100% \/data$/, 'df inside shows it full');
    t.match(one.stdout, /^\/ +8\.39 MB +8\.39 MB +100%/m, 'its own report');
    t.notMatch(one.stdout, /modest/, 'and nothing of the other');
    const { lots } = JSON.parse(one.stdout.split('=====\n')[1] ?? '{}');
    t.match(lots, [{ path: '/', dedicatedBytes: 8 * MIB, usedBytes: 8 * MIB }]);

    t.match(other, { code: 0, stderr: '' });
    t.match(other.stdout, new RegExp(` 16384 +16384 +0 +100% /data\n${16 * MIB}\n`), 'the other has all of its own');
    t.notMatch(other.stdout, /greedy/);
    t.equal((await lotAt(m.mnt, '/modest')).usedBytes, 16 * MIB);
    t.equal(await bytesIn(join(m.data, 'modest')), 16 * MIB, 'and it is in the backing');
    t.match(await m.run(['check', m.mnt]), { code: 0 });
  }
});

t.test('what root in a container may command', { skip: reason || whyNotHere('container-root') }, async (t) => {
  const podman = await Podman.create(t);
  const m = await mount(t, { args: ['--capacity', '64MiB', '--margin', '0'] });
  for (const name of ['a', 'b', 'a/hosts']) await mkdir(join(m.mnt, name));
  await must(m.run(['reserve', join(m.mnt, 'a'), '8MiB']));
  await must(m.run(['reserve', join(m.mnt, 'b'), '8MiB']));
  await must(m.run(['reserve', join(m.mnt, 'a/hosts'), '1MiB']));
  const paths = async () => (await report(m.mnt)).lots.map(({ path, dedicatedBytes }) => `${path} ${dedicatedBytes}`);
  const before = ['/ 0', `/a ${8 * MIB}`, `/a/hosts ${MIB}`, `/b ${8 * MIB}`];
  t.same((await paths()).sort(), before);
  /** Writes a command to control in a container, and says what the shell said. */
  const command = async (directory: string, line: string, user?: string) => {
    const got = await podman.run(directory, `echo '${line}' > /data/.vreserve/control && echo done`, user);
    return /done/.test(got.stdout)
      ? 'done'
      : (/write error: (.*)|can't create .*: (.*)/.exec(got.stderr)?.slice(1).find(Boolean) ?? got.stderr);
  };

  const cases: [what: string, directory: string, line: string, answer: string, user?: string][] = [
    ['the release of another lot, seen through the whole mount', '', 'release /b', 'Permission denied'],
    ['another size for another lot', '', 'reserve /b 1', 'Permission denied'],
    ['a check of the whole mount', '', 'check', 'Permission denied'],
    ['the release of a lot below its own that host root made', 'a', 'release /hosts', 'Permission denied'],
    ['the release of its own lot', 'a', 'release /', 'Invalid argument'],
    ['more for its own lot', 'a', 'extend / 1MiB', 'Invalid argument'],
    ['a way out of its own lot', 'a', 'release /../b', 'Invalid argument'],
    ['a reservation by an ordinary user where it may not write', 'a', 'reserve /mine 1MiB', 'Permission denied', '1000:1000'],
    ['more than the pool has', 'a', 'reserve /sub 57MiB', 'No space left on device'],
  ];
  for (const [what, directory, line, answer, user] of cases) {
    t.equal(await command(join(m.mnt, directory), line, user), answer, what);
  }
  t.same((await paths()).sort(), before, 'and nothing was changed');

  t.equal(await command(join(m.mnt, 'a'), 'reserve /sub 1MiB'), 'done', 'a reservation below its own lot');
  t.match(await lotAt(m.mnt, '/a/sub'), { dedicatedBytes: MIB });
  t.equal(await command(join(m.mnt, 'a'), 'release /sub'), 'done', 'and its release');
  t.same((await paths()).sort(), before);
  const foreign = await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8');
  t.match(foreign, /"event":"refusal".*"path":"\/b"/, 'what was refused is in the journal');
});
