// Stores that are asked over a Unix socket: one with its routes in the process of the test, as the service has them, and a mount's.
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { buildApp } from '../../../src/http/app.js';
import { type StoreRoutesOptions, storeRoutes } from '../../../src/http/store-routes.js';
import { quietLog } from '../../../src/log.js';
import { Store, type StoreOptions } from '../../../src/store/store.js';
import { type Answer, type Ask, ask } from '../../helpers/http.js';
import { type Mounted, mount, type Teardown, temporaryDirectory } from '../../helpers/mount.js';

/** Whoever answers. */
export interface Asked {
  where: { socketPath: string };
  ask(path: string, asked?: Ask): Promise<Answer>;
}

export interface Service extends Asked {
  dir: string;
  store: Store;
  app: FastifyInstance;
}

export async function serve(t: Teardown, routes: Partial<StoreRoutesOptions> = {}, options: StoreOptions = {}): Promise<Service> {
  const top = await temporaryDirectory(t);
  const dir = join(top, 'store');
  await mkdir(dir);
  const store = await Store.open(dir, { gcIntervalMs: null, ...options });
  const where = { socketPath: join(top, 'socket') };
  const app = buildApp({
    token: null,
    address: where,
    log: quietLog(),
    version: 'test',
    stage: () => 'serving',
    plugins: [
      storeRoutes({ store: () => store, ...routes }),
      (other, _, done) => {
        other.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, parsed) => parsed(null, body));
        other.post('/other', async () => 'taken');
        done();
      },
    ],
  });
  await app.ready();
  app.server.listen(where.socketPath);
  await once(app.server, 'listening');
  t.teardown(async () => {
    const closed = app.close();
    app.server.closeAllConnections();
    await closed;
    await store.close();
  });
  return { dir, store, app, where, ask: (path, asked) => ask(where, path, asked) };
}

/** A mount of its own with a store, and with HTTP. */
export async function serveMount(t: Teardown, args: readonly string[] = []): Promise<Asked & { m: Mounted }> {
  const socketPath = join(await temporaryDirectory(t), 'socket');
  const where = { socketPath };
  const options = ['--capacity', '64MB', '--margin', '0', '--http', `unix:${socketPath}`, ...args];
  const m = await mount(t, { on: 'tmpfs', store: true, args: options });
  return { m, where, ask: (path, asked) => ask(where, path, asked) };
}
