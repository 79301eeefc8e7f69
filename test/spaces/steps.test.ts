// Spaces whose daemon ends at any of its steps, also while it mends what an earlier end has left: lots and ledger are real, the mount is a
// plain directory.
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { administrator } from '../../src/cli/mount-host.js';
import { mountSpaces } from '../../src/cli/mount-spaces.js';
import { Pools } from '../../src/engine/pools.js';
import { quietLog } from '../../src/log.js';
import { systemTools } from '../../src/pools/tools.js';
import { SpaceDirectory } from '../../src/spaces/directory.js';
import type { SpaceDirectories, SpaceHost } from '../../src/spaces/host.js';
import { PoolDirectory } from '../../src/spaces/pool-directory.js';
import { Spaces } from '../../src/spaces/spaces.js';
import type { SpaceRequest } from '../../src/views/host.js';
import { type ControlPlane, controlPlane } from '../helpers/control-plane.js';
import { CrashPoint, crashing } from '../helpers/crashing.js';
import { until } from '../helpers/http.js';
import { temporaryDirectory } from '../helpers/mount.js';

const self = administrator(0);
const CREATE = { do: 'create', name: 's', bytes: 400, policy: 'ssd-first', at: null } as const;
const REMOVE: SpaceRequest = { do: 'delete', name: 's' };

interface World {
  plane: ControlPlane;
  /** Stands for the mount. */
  mnt: string;
  /** Stands for the pool of what is grafted; null: nothing is. */
  pool: string | null;
  /** Whether that is the main one, where the kernel enforces; else it is another one, the only one that has room. */
  byKernel: boolean;
  /** What is served from the pool, by path: as engine and ledger have it. */
  attached: Set<string>;
}

async function world(t: Test, kind: keyof typeof KINDS): Promise<World> {
  const top = await temporaryDirectory(t);
  const [own, mnt] = [join(top, 'own'), join(top, 'mnt')];
  await mkdir(own);
  await mkdir(mnt);
  const pool = kind === 'main' ? null : join(top, 'pool');
  if (pool !== null) await mkdir(pool);
  const plane = await controlPlane(own);
  t.teardown(() => plane.ledger.close());
  return { plane, mnt, pool, byKernel: kind === 'kernel', attached: new Set() };
}

/** What stands for the pool of what is grafted in the place of the host's own. */
function otherPool({ pool, byKernel, attached }: World): Partial<SpaceHost> {
  if (pool === null) return {};
  const directory = new PoolDirectory(pool, () => null, quietLog());
  return {
    pools: () => [{ id: byKernel ? 0 : 1, name: 'other', type: 'ssd', state: 'served', headroomBytes: 1000, filesystem: 'ext4' }],
    whyNotByKernel: () => null,
    enforce: async () => {},
    measure: async () => new Map(),
    attach: async ({ name, path }) => {
      await directory.make(name, false);
      attached.add(path);
    },
    detach: async ({ path }) => void attached.delete(path),
    discard: ({ name }) => directory.takeAway(name, false),
    discarded: (mostMs) => directory.settled(mostMs),
  };
}

/** A life that ends at the given half step, or never; what comes of `doing`, 'stopped' where it has ended before. */
async function live<T>(w: World, halves: number, doing: (spaces: Spaces) => Promise<T>): Promise<T | 'stopped'> {
  const { plane, mnt } = w;
  const point = new CrashPoint();
  point.arm(halves);
  const log = quietLog();
  const life = async () => {
    plane.keeper.book.spaces.clear();
    const opened = await SpaceDirectory.open(mnt, log);
    const directories: SpaceDirectories = crashing(opened, point, ['makeSpace', 'unmakeSpace', 'takeSpaceAway']);
    const { record, ...host } = mountSpaces({
      keeper: plane.keeper,
      view: mnt,
      pools: new Pools({
        keeper: plane.keeper,
        view: mnt,
        backing: '/srv/data',
        mountpoint: '/mnt/data',
        filesystem: 'tmpfs',
        diskType: () => null,
      }),
      tools: systemTools(),
      log,
      waiting: () => 0,
      directories: async () => directories,
    });
    const whole = { ...host, ...otherPool(w), record: crashing(record, point, ['putSpace', 'removeSpace']) };
    const crashed: SpaceHost = crashing(whole, point, ['admit', 'resize', 'free', 'attach', 'detach', 'discard']);
    const spaces = new Spaces({ host: crashed, log, self });
    await spaces.load();
    await spaces.recover();
    const result = await doing(spaces);
    await spaces.close();
    await opened.close();
    return result;
  };
  return Promise.race([life(), point.stopped]);
}

/** Lives that end at their first half step, the second, and so on, until one does not. */
async function everyStep(
  w: World,
  doing: (spaces: Spaces) => Promise<unknown>,
  after: (at: number) => Promise<unknown>,
): Promise<number> {
  for (let halves = 1; ; halves++) {
    const isOver = (await live(w, halves, doing)) !== 'stopped';
    await after(halves);
    if (isOver) return halves;
  }
}

const KINDS = { main: 'the main pool', other: 'another pool', kernel: 'the main pool, by the kernel' };

const never = Number.POSITIVE_INFINITY;
const nothing = async () => {};
const create =
  ({ byKernel }: World) =>
  (spaces: Spaces) =>
    spaces.run({ ...CREATE, enforce: byKernel ? 'kernel' : 'mount' }, self);
const remove = (spaces: Spaces) => spaces.run(REMOVE, self);

/** What there is: in the ledger, as a lot, as a directory, and the bytes that are set aside. */
async function found({ plane, mnt, pool, attached }: World) {
  const rows = (await plane.ledger.spaces()).map(({ name, state }) => `${name} ${state}`);
  const lots = [...plane.keeper.book.all()].filter(({ id }) => id !== 1).map(({ name, paths }) => `${name} ${paths[0]?.path}`);
  const directories = (await readdir(join(mnt, 'spaces')).catch(() => [])).filter((name) => name !== '.work');
  const elsewhere = pool === null ? [] : await readdir(join(pool, '.vreserve/spaces')).catch(() => []);
  const setAsideBytes = plane.engine.pool().setAsideBytes;
  return { rows, lots, directories, elsewhere, attached: [...attached], setAsideBytes };
}

const WHOLE = { rows: ['s ready'], lots: ['s /spaces/s'], directories: ['s'], elsewhere: [], attached: [], setAsideBytes: 400 };
const ELSEWHERE = { ...WHOLE, elsewhere: ['s'], attached: ['/spaces/s'] };
const NOTHING = { rows: [], lots: [], directories: [], elsewhere: [], attached: [], setAsideBytes: 0 };

const wholeIn = ({ pool }: World) => (pool === null ? WHOLE : ELSEWHERE);

/** Where the files of the space are. */
const filesOf = ({ mnt, pool }: World) => (pool === null ? join(mnt, 'spaces/s') : join(pool, '.vreserve/spaces/s'));

async function allOrNothing(t: Test, w: World, what: string): Promise<boolean> {
  const is = await found(w);
  const isThere = is.rows.length > 0;
  t.same(is, isThere ? wholeIn(w) : NOTHING, what);
  return isThere;
}

async function cleared(w: World): Promise<void> {
  await live(w, never, async () => {
    const removed = join(w.mnt, 'spaces/.work/removed');
    await until(async () => (await readdir(removed).catch(() => [])).length === 0, 'removed spaces are cleared away');
  });
}

for (const kind of ['main', 'other', 'kernel'] as const) {
  const where = KINDS[kind];
  t.test(`every step, in ${where}`, async (t) => {
    const w = await world(t, kind);
    const creating = await everyStep(w, create(w), async (at) => {
      await live(w, never, nothing);
      await allOrNothing(t, w, `a creation that ended at ${at}`);
      await live(w, never, create(w));
      t.same(await found(w), wholeIn(w), 'who asks again gets it');
      t.same(await live(w, never, remove), { deleted: true });
      t.same(await found(w), NOTHING);
      await cleared(w);
    });
    t.ok(creating > 8, `${creating} half steps`);

    const removing = await everyStep(
      w,
      async (spaces) => {
        await create(w)(spaces);
        await writeFile(join(filesOf(w), 'f'), 'x');
        await remove(spaces);
      },
      async (at) => {
        await live(w, never, nothing);
        const isThere = await allOrNothing(t, w, `a removal that ended at ${at}`);
        if (isThere) t.same(await live(w, never, remove), { deleted: true });
        await cleared(w);
      },
    );
    t.ok(removing > creating + 6, `${removing} half steps`);

    // What its filesystem does for that is tested with it.
    if (w.byKernel) return;
    await live(w, never, create(w));
    const update: SpaceRequest = { do: 'update', name: 's', bytes: 700 };
    const updating = await everyStep(
      w,
      (spaces) => spaces.run(update, self),
      async (at) => {
        await live(w, never, nothing);
        const { setAsideBytes, ...rest } = await found(w);
        t.ok(setAsideBytes === 400 || setAsideBytes === 700, `an update that ended at ${at}: the old size or the new`);
        t.same({ ...rest, setAsideBytes: 400 }, wholeIn(w));
      },
    );
    t.ok(updating > 2);
  });

  if (kind === 'kernel') continue;
  t.test(`every step of mending, in ${where}`, async (t) => {
    const w = await world(t, kind);
    for (let halves = 1; halves < 13; halves++) {
      await live(w, halves, create(w));
      await everyStep(w, nothing, async (at) => t.pass(`mending a creation (${halves}), ended at ${at}`));
      await allOrNothing(t, w, `a creation that ended at ${halves} is mended`);
      await live(w, never, remove);
      t.same(await found(w), NOTHING);
      await cleared(w);
    }
    for (let halves = 1; halves < 13; halves++) {
      await live(w, never, create(w));
      await writeFile(join(filesOf(w), 'f'), 'x');
      await live(w, halves, remove);
      await everyStep(w, nothing, async (at) => t.pass(`mending a removal (${halves}), ended at ${at}`));
      await allOrNothing(t, w, `a removal that ended at ${halves} is mended`);
      await live(w, never, remove);
      t.same(await found(w), NOTHING);
      await cleared(w);
    }
  });
}

t.test('a refusal leaves nothing', async (t) => {
  const w = await world(t, 'main');
  await writeFile(join(w.mnt, 'spaces'), 'a file');
  await live(w, never, async (spaces) => {
    await t.rejects(create(w)(spaces), { code: 'SPACES_FOREIGN' });
    t.same(await found(w), { ...NOTHING, directories: [] }, 'where the directory cannot be made');
    t.same(spaces.troubles, []);
  });
});
