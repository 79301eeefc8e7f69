// A process that is as little of an HTTP server as Node.js allows: what it takes to ask and to be answered here, and no more.
//   http-plain.js ADDRESS [FILE]
// With FILE what was asked is a line there, and on the disk before it is answered; those that come meanwhile share the next sync.
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { createServer } from 'node:http';

const [, , address = '', path] = process.argv;
const LINE_BYTES = 200;
const line = Buffer.alloc(LINE_BYTES, 'v').fill('\n', LINE_BYTES - 1);
const file: FileHandle | null = path === undefined ? null : await open(path, 'a');
const body = Buffer.alloc(4096, 'v');

let waiting: (() => void)[] = [];
let isSyncing = false;

/** Appends a line for all that wait, until nobody does. */
async function sync(to: FileHandle): Promise<void> {
  isSyncing = true;
  while (waiting.length > 0) {
    const now = waiting;
    waiting = [];
    await to.write(Buffer.concat(now.map(() => line)));
    await to.datasync();
    for (const done of now) done();
  }
  isSyncing = false;
}

const server = createServer((request, response) => {
  const answer = () => {
    const content = request.method === 'GET' ? body : '';
    response.writeHead(200, { 'content-length': content.length }).end(content);
  };
  request.resume().on('end', () => {
    if (file === null) {
      answer();
      return;
    }
    waiting.push(answer);
    if (!isSyncing) void sync(file);
  });
});
server.keepAliveTimeout = 60_000;
const [host = '', port = ''] = address.split(':');
server.listen(host === 'unix' ? { path: port } : { host, port: Number(port) });
await once(server, 'listening');
process.stdout.write('ready\n');
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
});
