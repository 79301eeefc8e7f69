// Many files in a thousand directories, found and summed through a mount: the daemon's memory and descriptors stay small.
// Files: 20,000, or VRESERVE_FILES of the environment; scripts/stress asks for a million.
import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Mounted, mount } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';

const MAX_RSS_MIB = 400;
const MAX_DESCRIPTORS = 4096;
const DIRECTORIES = 1000;
const files = Math.ceil(Number(process.env.VRESERVE_FILES ?? 20_000) / DIRECTORIES) * DIRECTORIES;

/** Names as long as people give them, sizes from 0 to 999 bytes as holes: they are charged and take no memory. Returns the bytes. */
function makeFiles(data: string): number {
  let bytes = 0;
  for (let d = 0; d < DIRECTORIES; d++) {
    const directory = join(data, `directory-${d}`);
    mkdirSync(directory);
    for (let n = 0; n < files / DIRECTORIES; n++) {
      const fd = openSync(join(directory, `some-file-name-${d}-${n}.dat`), 'w');
      ftruncateSync(fd, n % 1000);
      closeSync(fd);
      bytes += n % 1000;
    }
  }
  return bytes;
}

interface Sample {
  rssMiB: number;
  /** The most since the daemon began. */
  peakMiB: number;
  descriptors: number;
}

async function sample(pid: number): Promise<Sample> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const mib = (name: string) => Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024);
  return { rssMiB: mib('VmRSS'), peakMiB: mib('VmHWM'), descriptors: (await readdir(`/proc/${pid}/fd`)).length };
}

/** Runs a script in the mount and holds the daemon to its limits meanwhile. */
async function step(t: Test, m: Mounted, name: string, script: string, wanted: string): Promise<void> {
  const beganMs = Date.now();
  let most = 0;
  const look = async () => {
    most = Math.max(most, (await sample(m.ready.pid)).descriptors);
  };
  const watch = setInterval(() => void look(), 100);
  const { stdout } = await must(m.shell(script, { timeoutMs: 1_200_000 }));
  clearInterval(watch);
  await look();
  const { rssMiB, peakMiB } = await sample(m.ready.pid);
  const seconds = ((Date.now() - beganMs) / 1000).toFixed(1);
  t.equal(stdout.trim(), wanted, `${name}: ${seconds} s`);
  t.ok(peakMiB < MAX_RSS_MIB, `${name}: VmRSS ${rssMiB} MiB, at most ${peakMiB} MiB`);
  t.ok(most < MAX_DESCRIPTORS, `${name}: ${most} descriptors`);
}

const skip = process.getuid?.() === 0 ? false : 'a tmpfs with inodes enough needs root';

t.test(`${files} files`, { skip }, async (t) => {
  let bytes = 0;
  const fill = async (data: string) => {
    await must(run('mount', ['-o', `remount,nr_inodes=${files + 100_000}`, join(data, '..')]));
    bytes = makeFiles(data);
  };
  const m = await mount(t, { on: 'tmpfs', tmpfsSize: '2g', fill, args: ['--capacity', '1GB', '--margin', '0'] });
  await step(t, m, 'find', 'find . -type f | wc -l', String(files));
  await step(t, m, 'du', 'du --summarize --apparent-size --block-size=1G . | cut -f 2', '.');
  await step(t, m, 'find with sizes', "find . -type f -printf '%s\\n' | awk '{ n += $1 } END { print n }'", String(bytes));
  const beganMs = Date.now();
  t.match(await m.run(['check', m.mnt], { timeoutMs: 600_000 }), { code: 0 });
  t.pass(`check: ${((Date.now() - beganMs) / 1000).toFixed(1)} s`);
  // The kernel forgets, and what it asks for afterwards is learned anew.
  await step(t, m, 'forgotten', 'echo 2 > /proc/sys/vm/drop_caches; stat -c %s directory-1/some-file-name-1-7.dat', '7');
});
