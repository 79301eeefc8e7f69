// A process that serves a store over HTTP on a Unix socket: `served.js DIR SOCKET [GC-MS]`. Says `ready`; ends with SIGTERM.
import fastify from 'fastify';
import { storeRoutes } from '../../src/http/store-routes.js';
import { Store } from '../../src/store/store.js';

const [, , dir = '', socketPath = '', gcIntervalMs = '5000'] = process.argv;
const store = await Store.open(dir, { gcIntervalMs: Number(gcIntervalMs) });
const app = fastify({ forceCloseConnections: true });
await app.register(storeRoutes({ store: () => store }));
await app.listen({ path: socketPath });
process.stdout.write('ready\n');
process.on('SIGTERM', () => {
  void app.close().then(() => store.close());
});
