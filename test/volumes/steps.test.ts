// Volumes whose process ends at any of its steps, also while it mends what an earlier end has left.
import { lstat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { quietLog } from '../../src/log.js';
import { VolumeDirectory } from '../../src/volumes/directory.js';
import { VolumeDriver } from '../../src/volumes/driver.js';
import { CrashPoint, crashing } from '../helpers/crashing.js';
import { type Mounted, mount } from '../helpers/mount.js';
import { must } from '../helpers/run.js';
import { allIsGone, nothingIsLeft, volumesOf } from '../helpers/volumes.js';
import { ControlHost } from './control-host.js';

const MB = 1_000_000;
const WHOLE = { directories: ['v'], lots: { v: 40 * MB } };
const NOTHING = { directories: [], lots: {} };
const OPTIONS = { size: '40MB', mode: '700' };

/** Directories by the point of the life they belong to. */
const points = new WeakMap<VolumeDirectory, CrashPoint>();
let living = new CrashPoint();

const STEPS = ['begin', 'end', 'make', 'unmake', 'takeAway', 'withRemoved'] as const;
for (const name of STEPS) {
  const real = VolumeDirectory.prototype[name] as (...words: unknown[]) => Promise<unknown>;
  const step = function (this: VolumeDirectory, ...words: unknown[]) {
    const point = points.get(this) ?? living;
    points.set(this, point);
    return point.call(() => real.apply(this, words));
  };
  Object.assign(VolumeDirectory.prototype, { [name]: step });
}

/** A life that ends at the given half step, or never; what comes of `doing`, 'stopped' where it has ended before. */
async function live<T>(m: Mounted, halves: number, doing: (driver: VolumeDriver) => Promise<T>): Promise<T | 'stopped'> {
  const point = new CrashPoint();
  living = point;
  point.arm(halves);
  const host = crashing(new ControlHost(m.mnt), point, ['reserve', 'free']);
  const life = async () => {
    const driver = await VolumeDriver.open({ host, mountpoint: m.mnt, readOnly: false, log: quietLog() });
    const result = await doing(driver);
    await driver.close();
    return result;
  };
  return Promise.race([life(), point.stopped]);
}

/** Lives that end at their first half step, the second, and so on, until one does not. */
async function everyStep(
  m: Mounted,
  doing: (driver: VolumeDriver) => Promise<unknown>,
  after: (at: number) => Promise<unknown>,
): Promise<number> {
  for (let halves = 1; ; halves++) {
    const isOver = (await live(m, halves, doing)) !== 'stopped';
    await after(halves);
    if (isOver) return halves;
  }
}

const never = Number.POSITIVE_INFINITY;
const create = (driver: VolumeDriver) => driver.create('v', OPTIONS);
const remove = (driver: VolumeDriver) => driver.remove('v');
const nothing = async () => {};

/** What is left of removed files is removed in a life of its own. */
async function gone(t: Test, m: Mounted): Promise<void> {
  await live(m, never, async (driver) => {
    await driver.create('w', {});
    await driver.remove('w');
  });
  await allIsGone(t, m);
}

async function found(m: Mounted) {
  const { directories, lots } = await volumesOf(m);
  return { directories, lots };
}

async function madeWhole(t: Test, m: Mounted, what: string): Promise<void> {
  await live(m, never, create);
  t.same(await volumesOf(m), { ...WHOLE, work: [] }, what);
  t.equal((await lstat(join(m.mnt, 'volumes/v'))).mode & 0o777, 0o700, 'as it was asked for');
  await must(m.shell('cd volumes/v; mkdir -p a/b/c; echo x > a/f; head -c 1000000 /dev/zero > a/b/g'));
}

t.test('every step', async (t) => {
  const m = await mount(t, { args: ['--capacity', '100MB', '--margin', '0'] });
  const creating = await everyStep(m, create, async (at) => {
    await live(m, never, nothing);
    const is = await found(m);
    t.same(is, is.directories.length > 0 ? WHOLE : NOTHING, `a creation that ended at ${at}: all or nothing`);
    await madeWhole(t, m, 'who asks again gets it');
    await live(m, never, remove);
    await gone(t, m);
  });
  t.ok(creating > 10, `${creating} half steps`);

  const removing = await everyStep(
    m,
    async (driver) => {
      await create(driver);
      await writeFile(join(m.mnt, 'volumes/v/f'), 'x');
      await remove(driver);
    },
    async (at) => {
      await live(m, never, nothing);
      const is = await found(m);
      t.same(is, is.directories.length > 0 ? WHOLE : NOTHING, `a removal that ended at ${at}: all or nothing`);
      if (is.directories.length > 0) await live(m, never, remove);
      await gone(t, m);
    },
  );
  t.ok(removing > creating + 6, `${removing} half steps`);
  await nothingIsLeft(t, m);
});

t.test('every step of mending', async (t) => {
  const m = await mount(t, { args: ['--capacity', '100MB', '--margin', '0'] });
  // Where a creation and a removal have done most of what has to be mended.
  for (const halves of [4, 5, 6, 7]) {
    await live(m, halves, create);
    const mending = await everyStep(m, nothing, async (at) => t.pass(`mending a creation (${halves}), ended at ${at}`));
    t.ok(mending > 1);
    const is = await found(m);
    t.same(is, is.directories.length > 0 ? WHOLE : NOTHING);
    await live(m, never, (driver) => driver.remove('v').catch(nothing));
    await gone(t, m);
  }
  for (const halves of [3, 4, 5, 6, 7, 8, 9]) {
    await madeWhole(t, m, 'made');
    await live(m, halves, remove);
    const mending = await everyStep(m, nothing, async (at) => t.pass(`mending a removal (${halves}), ended at ${at}`));
    t.ok(mending > 1);
    const is = await found(m);
    t.same(is, is.directories.length > 0 ? WHOLE : NOTHING);
    await live(m, never, (driver) => driver.remove('v').catch(nothing));
    await gone(t, m);
  }
  await nothingIsLeft(t, m);
});
