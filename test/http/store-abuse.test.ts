// Bad clients of a mount's store: nothing of what they send stays charged, nothing leaks, and files in the mount go on all the while.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, unlink, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { serveMount } from '../compat/store/service.js';
import { Place, soon, whyNotRoot } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { type At, ask, open, raw } from '../helpers/http.js';
import type { Mounted, Teardown } from '../helpers/mount.js';
import { payloadFiles } from '../store/blobs.js';
import { servicePid } from '../store/mount-target.js';

const KIB = 1024;
const GRANT = 4_000_000;

/** Works with files in the mount, and in the store, until stdin ends; says how often it has done all of it, or what went wrong. */
const FILES = `
  const fs = require('node:fs');
  const [top, store] = process.argv.slice(1);
  const bytes = Buffer.alloc(20000, 'x');
  let isOver = false;
  process.stdin.on('end', () => { isOver = true; }).resume();
  const turn = (i) => {
    if (isOver) return console.log('over');
    const [a, b] = [top + '/a' + (i % 3), top + '/b'];
    fs.writeFileSync(a, bytes);
    fs.appendFileSync(a, bytes);
    fs.renameSync(a, b);
    if (fs.readFileSync(b).length !== 40000) throw new Error('another length');
    fs.unlinkSync(b);
    fs.writeFileSync(store + '/file', bytes);
    if (!fs.readFileSync(store + '/file').equals(bytes)) throw new Error('another content');
    console.log(i);
    setImmediate(turn, i + 1);
  };
  turn(1);`;

/** File I/O that goes on. */
class Files {
  #done = 0;
  #ended = '';
  #more: () => void = () => {};
  readonly #end: () => Promise<string>;

  constructor(t: Teardown, { mnt }: Mounted) {
    const child = spawn(process.execPath, ['-e', FILES, mnt, join(mnt, '.vreserve/store')], {
      env: { PATH: process.env.PATH },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#done += 1;
      this.#ended = line;
      this.#more();
    });
    child.on('close', () => this.#more());
    this.#end = async () => {
      child.stdin.end();
      await closed;
      return this.#ended;
    };
    t.teardown(async () => void (await this.end()));
  }

  /** Resolves when all of it was done once more from now on; what was begun before does not count. */
  async goOn(): Promise<void> {
    const from = this.#done;
    while (this.#done < from + 2) await new Promise<void>((resolve) => (this.#more = resolve));
  }

  /** 'over' where nothing went wrong. */
  end(): Promise<string> {
    return this.#end();
  }
}

interface World {
  m: Mounted;
  where: At;
  p: Place;
  files: Files;
  service: number;
}

const lines = (...all: string[]) => all.map((line) => `${line}\r\n`).join('');
const head = (method: string, name: string, ...headers: string[]) =>
  lines(`${method} /store/${name} HTTP/1.1`, 'Host: h', ...headers, '');

const descriptors = async (pid: number) => (await readdir(`/proc/${pid}/fd`)).length;

async function storeLot({ p }: World) {
  const lot = (await p.report()).lots.find(({ name }) => name === 'store');
  if (lot === undefined) throw new Error('there is no lot of the store');
  return lot;
}

/** Sends these bytes on so many connections, and waits until the store has taken that many uploads. */
async function pending(world: World, count: number, bytes: (i: number) => string): Promise<Socket[]> {
  const sockets = await Promise.all(Array.from({ length: count }, () => open(world.where)));
  for (const [i, socket] of sockets.entries()) {
    socket.on('error', () => {});
    socket.write(bytes(i));
  }
  const seen = await soon(
    () => storeLot(world),
    ({ pendingObjects }) => pendingObjects >= count,
  );
  if (seen.pendingObjects < count) throw new Error(`${seen.pendingObjects} of ${count} uploads have begun`);
  return sockets;
}

/** What each piece of abuse does; afterwards nothing of it may be left. */
const ABUSE: [name: string, abuse: (t: Test, world: World) => Promise<void>][] = [
  [
    'bodies that break off',
    async (t, world) => {
      const half = 'x'.repeat(10 * KIB);
      for (const ending of ['destroy', 'end', 'garbage'] as const) {
        const sockets = await pending(world, 40, (i) =>
          i % 2 === 0
            ? `${head('POST', `cut-${ending}-${i}`, 'Content-Length: 20000')}${half}`
            : `${head('POST', `cut-${ending}-${i}`, 'Transfer-Encoding: chunked')}${lines(half.length.toString(16), half)}`,
        );
        t.ok((await storeLot(world)).pendingBytes >= 0);
        for (const [i, socket] of sockets.entries()) {
          if (ending === 'end') socket.end();
          // What has a length takes any bytes for its body.
          else if (ending === 'destroy' || i % 2 === 0) socket.destroy();
          else socket.write('zz\r\nno chunk\r\n'.repeat(400));
        }
        for (const socket of sockets) {
          socket.resume();
          if (!socket.destroyed) await once(socket, 'close');
        }
      }
    },
  ],
  [
    'announced and not sent',
    async (t, world) => {
      for (const length of ['10000000000', '9007199254740991', '99999999999999999999']) {
        const said = await raw(
          world.where,
          `${head('POST', 'huge', `Content-Length: ${length}`)}${'x'.repeat(KIB)}`,
          /\}\n$|400/,
        );
        t.match(said, /^HTTP\/1\.1 (507|400) /, length);
      }
      // What fits when it is announced, and is not sent.
      const sockets = await pending(world, 30, (i) => `${head('POST', `small${i}`, 'Content-Length: 3000000')}x`);
      t.ok((await storeLot(world)).usedBytes < 100 * KIB, 'what is announced takes nothing');
      for (const socket of sockets) socket.destroy();
    },
  ],
  [
    'without an end, until the grant is full',
    async (t, world) => {
      const socket = await open(world.where);
      socket.on('error', () => {});
      let said = '';
      socket.on('data', (part) => {
        said += part.toString('latin1');
      });
      const closed = once(socket, 'close');
      socket.write(head('POST', 'endless', 'Transfer-Encoding: chunked'));
      const chunk = lines((64 * KIB).toString(16), 'x'.repeat(64 * KIB));
      for (let i = 0; i < 100 && said === ''; i++) {
        if (!socket.write(chunk)) await Promise.race([once(socket, 'drain'), closed]);
      }
      await closed;
      t.match(said, /^HTTP\/1\.1 507 [\s\S]*the grant has no room for blob endless/);
      t.equal((await ask(world.where, '/store/endless')).status, 404);
    },
  ],
  [
    'slow clients',
    async (t, world) => {
      const sockets = await pending(world, 30, (i) => `${head('POST', `slow${i}`, 'Content-Length: 100')}x`);
      const dripping = setInterval(() => {
        for (const socket of sockets) socket.write('y');
      }, 20);
      await world.files.goOn();
      t.equal((await ask(world.where, '/store/quick', { method: 'POST', body: 'quick' })).status, 204, 'nobody waits for them');
      t.equal((await ask(world.where, '/store/quick', { method: 'DELETE' })).status, 200);
      clearInterval(dripping);
      for (const socket of sockets) socket.destroy();
    },
  ],
  [
    'clients that read nothing of what they ask for',
    async (t, world) => {
      t.equal((await ask(world.where, '/store/big', { method: 'POST', body: Buffer.alloc(3_000_000) })).status, 204);
      const sockets = await Promise.all(Array.from({ length: 20 }, () => open(world.where)));
      for (const socket of sockets) {
        socket.pause();
        socket.on('error', () => {});
        socket.write(head('GET', 'big'));
      }
      await world.files.goOn();
      t.equal((await ask(world.where, '/store/big', { method: 'DELETE' })).status, 200);
      for (const socket of sockets) socket.destroy();
    },
  ],
  [
    'names and methods',
    async (t, world) => {
      const table: [said: string, answer: RegExp][] = [
        [`${head('POST', 'a%2Fb', 'Content-Length: 1')}x`, /^HTTP\/1\.1 404 [\s\S]*404 page not found/],
        [`${head('POST', '..', 'Content-Length: 1')}x`, /^HTTP\/1\.1 404/],
        [`${head('POST', '%2e%2e', 'Content-Length: 1')}x`, /^HTTP\/1\.1 404/],
        [`${head('POST', '../../../etc/passwd', 'Content-Length: 1')}x`, /^HTTP\/1\.1 404/],
        [`${head('POST', '%2e%2e%2frecords', 'Content-Length: 1')}x`, /^HTTP\/1\.1 404/],
        [head('GET', '%2e%2e%2frecords'), /^HTTP\/1\.1 404/],
        [`${head('POST', 'a%00b', 'Content-Length: 1')}x`, /^HTTP\/1\.1 400 [\s\S]*NUL/],
        [`${head('POST', 'x'.repeat(300), 'Content-Length: 1')}x`, /^HTTP\/1\.1 400 [\s\S]*longer than 255 bytes/],
        [`${head('POST', '%FF', 'Content-Length: 1')}x`, /^HTTP\/1\.1 400/],
        [`${head('POST', '%ED%A0%80', 'Content-Length: 1')}x`, /^HTTP\/1\.1 400/],
        [`${head('POST', '%C0%AF', 'Content-Length: 1')}x`, /^HTTP\/1\.1 400/],
        [`${head('POST', '\xff', 'Content-Length: 1')}x`, /^HTTP\/1\.1 400/],
        [`${head('POST', 'a%', 'Content-Length: 1')}x`, /^HTTP\/1\.1 400/],
        [`${head('POST', 'a?lot=..%2F..', 'Content-Length: 1')}x`, /^HTTP\/1\.1 404/],
        [`${head('POST', 'a?lot=', 'Content-Length: 1')}x`, /^HTTP\/1\.1 (400|404)/],
        [head('BREW', 'a'), /^HTTP\/1\.1 400/],
        [`${head('PATCH', 'a', 'Content-Length: 1')}x`, /^HTTP\/1\.1 404/],
        [head('OPTIONS', 'a'), /^HTTP\/1\.1 404/],
        [head('CONNECT', 'a'), /^HTTP\/1\.1 40\d|^$/],
        [head('GET', 'x'.repeat(100_000)), /^HTTP\/1\.1 431/],
        [`${head('POST', 'a', `X: ${'y'.repeat(100_000)}`, 'Content-Length: 1')}x`, /^HTTP\/1\.1 431/],
        [
          `${head('POST', 'a', ...Array.from({ length: 3000 }, (_, i) => `X${i}: y`), 'Content-Length: 1')}x`,
          /^HTTP\/1\.1 (431|400)/,
        ],
        [`${head('POST', 'a', 'Content-Length: 1', 'Content-Length: 2')}xx`, /^HTTP\/1\.1 400/],
        [`${head('POST', 'a', 'Content-Length: 1', 'Transfer-Encoding: chunked')}x`, /^HTTP\/1\.1 400/],
        [`${head('PUT', 'a', 'Content-Range: bytes 0-1/2', 'Content-Length: 1')}x`, /^HTTP\/1\.1 400/],
        ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', /^HTTP\/1\.1 400|^$/],
        ['\r\n'.repeat(20_000), /^HTTP\/1\.1 400|^$/],
      ];
      for (const [said, answer] of table) {
        const bytes = Buffer.from(said.replace('Host: h', 'Host: h\r\nConnection: close'), 'latin1');
        const socket = await open(world.where);
        let heard = '';
        socket.on('error', () => {});
        socket.on('data', (part) => {
          heard += part.toString('latin1');
        });
        const closed = once(socket, 'close');
        // Who has said all may say so, where what was said is no request.
        if (said.includes('Host: h')) socket.write(bytes);
        else socket.end(bytes);
        await closed;
        t.match(heard, answer, said.slice(0, 60));
      }
      const { blobs } = JSON.parse((await ask(world.where, '/store/')).body) as { blobs: { name: string; state: string }[] };
      t.same(
        blobs.filter(({ name, state }) => state === 'OK' && name !== 'file'),
        [],
      );
    },
  ],
  [
    'many at one name',
    async (t, world) => {
      const post = () => ask(world.where, '/store/one', { method: 'POST', body: Buffer.alloc(2000, '1') });
      const created = await Promise.all(Array.from({ length: 60 }, post));
      t.equal(created.filter(({ status }) => status === 204).length, 1, 'one creation wins');
      t.equal(created.filter(({ status, body }) => status === 500 && body.includes('already exists')).length, 59);
      const path = join(world.m.mnt, '.vreserve/store/one');
      const jobs = Array.from({ length: 200 }, async (_, i): Promise<number> => {
        if (i % 4 === 0) return (await ask(world.where, '/store/one', { method: 'DELETE' })).status;
        if (i % 4 === 1) return (await ask(world.where, '/store/one', { method: 'PUT', body: Buffer.alloc(5000, '2') })).status;
        if (i % 4 === 2) return (await post()).status;
        await writeFile(path, Buffer.alloc(3000, '3'));
        const { status, body } = await ask(world.where, '/store/one');
        if (status !== 200) return status;
        return new Set(body).size === 1 && [2000, 5000, 3000][Number(body[0]) - 1] === body.length ? 200 : 999;
      });
      const statuses = await Promise.all(jobs);
      t.same(
        [...new Set(statuses)].filter((status) => ![200, 204, 404, 500].includes(status)),
        [],
      );
      await ask(world.where, '/store/one', { method: 'DELETE' });
    },
  ],
];

t.test('nothing of it stays', { skip: whyNotRoot, timeout: 150_000 }, async (t) => {
  const { m, where } = await serveMount(t, ['--store-grant', String(GRANT), '--gc-interval', '50ms']);
  const p = new Place(m, await startSteps(t, m.mnt));
  const files = new Files(t, m);
  await files.goOn();
  const service = await servicePid(m);
  if (service === null) throw new Error('there is no service process');
  const world: World = { m, where, p, files, service };
  // Its code and its connection with the daemon are there by now.
  await ask(where, '/store/');
  const before = await descriptors(service);
  for (const [name, abuse] of ABUSE) {
    await t.test(name, async (t) => {
      await abuse(t, world);
      await files.goOn();
      // One blob is that of the files that go on: there, being replaced, or both.
      const left = await soon(
        async () => ({ files: (await payloadFiles(join(m.data, '.vreserve/blobs'))).length, lot: await storeLot(world) }),
        (found) => found.files <= 3 && found.lot.pendingObjects <= 1 && found.lot.usedBytes < 300_000,
      );
      t.ok(left.files <= 3, `${left.files} files`);
      t.ok(left.lot.pendingObjects <= 1 && left.lot.usedBytes < 300_000, JSON.stringify(left.lot));
      t.equal(await p.text('health'), 'ok\n');
    });
  }
  t.equal(await files.end(), 'over', 'file I/O went on all the while');
  t.equal(await servicePid(m), service, 'the process has not died');
  t.ok(
    (await soon(
      () => descriptors(service),
      (now) => now <= before,
    )) <= before,
    'no descriptor is left',
  );
  await unlink(join(m.mnt, '.vreserve/store/file'));
  await soon(
    () => payloadFiles(join(m.data, '.vreserve/blobs')),
    (found) => found.length === 0,
  );
  t.same(await payloadFiles(join(m.data, '.vreserve/blobs')), []);
  t.match(await storeLot(world), { objects: 1, pendingObjects: 0 }, 'the records are all that is left');
  await p.usageEqualsCount(t);
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await p.ops.end();
  await m.umount();
});
