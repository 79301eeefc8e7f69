// A process that serves a mount with the data plane alone: it hands every question on to its parent, and does what that says.
// Usage: bare-engine.js OPTIONS, where OPTIONS is BareOptions as JSON; the other end is `helpers/blob-view.ts`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_LOT, UNLIMITED } from '../../src/engine/engine.js';
import { createNativeEngine } from '../../src/engine/native.js';
import { type BareOptions, type Calls, type FromEngine, STORE, type ToEngine } from './bare-messages.js';

const say = (message: FromEngine) => process.send?.(message);

async function serve({ data, mnt, passthrough, grantBytes }: BareOptions): Promise<void> {
  const engine = createNativeEngine();
  engine.openBacking({
    backing: data,
    mountpoint: mnt,
    readOnly: false,
    allowOther: true,
    othersAsked: false,
    trustAllUsers: false,
    passthrough,
    threads: 0,
    suid: false,
    dev: false,
    exec: true,
    source: 'vreserve-test',
    charging: true,
  });
  mkdirSync(join(data, '.vreserve/blobs'), { recursive: true, mode: 0o700 });
  writeFileSync(join(data, '.vreserve/lock'), '');
  engine.setPool(null, null);
  const lot = {
    parents: [],
    dedicatedBytes: 0,
    opportunisticBytes: UNLIMITED,
    maxObjects: UNLIMITED,
    setsAside: true,
    mayGrow: true,
  };
  engine.addLot({ ...lot, id: DEFAULT_LOT, name: 'default' }, 0, 0);
  engine.addLot({ ...lot, id: STORE, name: 'store', dedicatedBytes: grantBytes, opportunisticBytes: 0 }, 0, 0);
  engine.bind({ path: '/.vreserve/blobs', id: STORE, recursive: true, exclude: false });
  engine.serveStore();
  await engine.count(false, () => {});
  const calls: Calls = {
    usage: () => engine.usage(),
    pool: (id) => engine.pool(id),
    addPool: (spec) => engine.addPool(spec),
    removePool: (id) => engine.removePool(id),
    graft: (path, pool, directory) => engine.graft(path, pool, directory),
    ungraft: (path) => engine.ungraft(path),
    room: (id) => engine.room(id),
    requests: () => engine.requests(),
    reply: (token, reply) => engine.reply(token, reply),
    reshape: (change) => engine.reshape(change),
    unmount: (lazy) => engine.unmount(lazy),
    count: (repair) => engine.count(repair, () => {}),
  };
  process.on('message', ({ id, call, args }: ToEngine) => {
    const work = async () => (calls[call] as (...given: unknown[]) => unknown)(...args);
    work().then(
      (value) => say({ id, value }),
      (error: Error & { code?: string }) => say({ id, error: error.code ?? error.message }),
    );
  });
  const info = await engine.mount(
    (request) => say({ request }),
    () => {
      say({ ended: true });
      engine.stop().then(() => process.disconnect());
    },
  );
  say({ mounted: info });
}

process.on('disconnect', () => process.exit());
await serve(JSON.parse(process.argv[2] ?? '') as BareOptions);
