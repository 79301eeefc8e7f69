// Spaces whose daemon ends at any of its steps, also while it mends what an earlier end has left: lots and ledger are real, the mount is a
// plain directory.
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { administrator } from '../../src/cli/mount-host.js';
import { mountSpaces } from '../../src/cli/mount-spaces.js';
import { quietLog } from '../../src/log.js';
import { SpaceDirectory } from '../../src/spaces/directory.js';
import type { SpaceDirectories, SpaceHost } from '../../src/spaces/host.js';
import { Spaces } from '../../src/spaces/spaces.js';
import type { SpaceRequest } from '../../src/views/host.js';
import { type ControlPlane, controlPlane } from '../helpers/control-plane.js';
import { CrashPoint, crashing } from '../helpers/crashing.js';
import { until } from '../helpers/http.js';
import { temporaryDirectory } from '../helpers/mount.js';

const self = administrator(0);
const CREATE: SpaceRequest = { do: 'create', name: 's', bytes: 400, policy: 'ssd-first', enforce: 'mount', at: null };
const REMOVE: SpaceRequest = { do: 'delete', name: 's' };

interface World {
  plane: ControlPlane;
  /** Stands for the mount. */
  mnt: string;
}

async function world(t: Test): Promise<World> {
  const top = await temporaryDirectory(t);
  const [own, mnt] = [join(top, 'own'), join(top, 'mnt')];
  await mkdir(own);
  await mkdir(mnt);
  const plane = await controlPlane(own);
  t.teardown(() => plane.ledger.close());
  return { plane, mnt };
}

/** A life that ends at the given half step, or never; what comes of `doing`, 'stopped' where it has ended before. */
async function live<T>({ plane, mnt }: World, halves: number, doing: (spaces: Spaces) => Promise<T>): Promise<T | 'stopped'> {
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
      type: null,
      waiting: () => 0,
      directories: async () => directories,
    });
    const crashed: SpaceHost = crashing({ ...host, record: crashing(record, point, ['putSpace', 'removeSpace']) }, point, [
      'admit',
      'resize',
      'free',
    ]);
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

const never = Number.POSITIVE_INFINITY;
const nothing = async () => {};
const create = (spaces: Spaces) => spaces.run(CREATE, self);
const remove = (spaces: Spaces) => spaces.run(REMOVE, self);

/** What there is: in the ledger, as a lot, as a directory, and the bytes that are set aside. */
async function found({ plane, mnt }: World) {
  const rows = (await plane.ledger.spaces()).map(({ name, state }) => `${name} ${state}`);
  const lots = [...plane.keeper.book.all()].filter(({ id }) => id !== 1).map(({ name, paths }) => `${name} ${paths[0]?.path}`);
  const directories = (await readdir(join(mnt, 'spaces')).catch(() => [])).filter((name) => name !== '.work');
  return { rows, lots, directories, setAsideBytes: plane.engine.pool().setAsideBytes };
}

const WHOLE = { rows: ['s ready'], lots: ['s /spaces/s'], directories: ['s'], setAsideBytes: 400 };
const NOTHING = { rows: [], lots: [], directories: [], setAsideBytes: 0 };

async function allOrNothing(t: Test, w: World, what: string): Promise<boolean> {
  const is = await found(w);
  const isThere = is.rows.length > 0;
  t.same(is, isThere ? WHOLE : NOTHING, what);
  return isThere;
}

async function cleared(w: World): Promise<void> {
  await live(w, never, async () => {
    const removed = join(w.mnt, 'spaces/.work/removed');
    await until(async () => (await readdir(removed).catch(() => [])).length === 0, 'removed spaces are cleared away');
  });
}

t.test('every step', async (t) => {
  const w = await world(t);
  const creating = await everyStep(w, create, async (at) => {
    await live(w, never, nothing);
    await allOrNothing(t, w, `a creation that ended at ${at}`);
    await live(w, never, create);
    t.same(await found(w), WHOLE, 'who asks again gets it');
    t.same(await live(w, never, remove), { deleted: true });
    t.same(await found(w), NOTHING);
    await cleared(w);
  });
  t.ok(creating > 8, `${creating} half steps`);

  const removing = await everyStep(
    w,
    async (spaces) => {
      await create(spaces);
      await writeFile(join(w.mnt, 'spaces/s/f'), 'x');
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

  await live(w, never, create);
  const update: SpaceRequest = { do: 'update', name: 's', bytes: 700 };
  const updating = await everyStep(
    w,
    (spaces) => spaces.run(update, self),
    async (at) => {
      await live(w, never, nothing);
      const { setAsideBytes, ...rest } = await found(w);
      t.ok(setAsideBytes === 400 || setAsideBytes === 700, `an update that ended at ${at}: the old size or the new`);
      t.same(rest, { rows: WHOLE.rows, lots: WHOLE.lots, directories: WHOLE.directories });
    },
  );
  t.ok(updating > 2);
});

t.test('every step of mending', async (t) => {
  const w = await world(t);
  for (let halves = 1; halves < 9; halves++) {
    await live(w, halves, create);
    await everyStep(w, nothing, async (at) => t.pass(`mending a creation (${halves}), ended at ${at}`));
    await allOrNothing(t, w, `a creation that ended at ${halves} is mended`);
    await live(w, never, remove);
    t.same(await found(w), NOTHING);
    await cleared(w);
  }
  for (let halves = 1; halves < 9; halves++) {
    await live(w, never, create);
    await writeFile(join(w.mnt, 'spaces/s/f'), 'x');
    await live(w, halves, remove);
    await everyStep(w, nothing, async (at) => t.pass(`mending a removal (${halves}), ended at ${at}`));
    await allOrNothing(t, w, `a removal that ended at ${halves} is mended`);
    await live(w, never, remove);
    t.same(await found(w), NOTHING);
    await cleared(w);
  }
});

t.test('a refusal leaves nothing', async (t) => {
  const w = await world(t);
  await writeFile(join(w.mnt, 'spaces'), 'a file');
  await live(w, never, async (spaces) => {
    await t.rejects(create(spaces), { code: 'SPACES_FOREIGN' });
    t.same(await found(w), { ...NOTHING, directories: [] }, 'where the directory cannot be made');
    t.same(spaces.troubles, []);
  });
});
