// The journal over HTTP: a piece at a time, and as server-sent events that resume, wait for slow readers, and end with the mount.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { formatAddress } from '../../src/core/http-address.js';
import type { HttpHost, Journal } from '../../src/http/host.js';
import { eventsFrom, readLines } from '../../src/http/journal-lines.js';
import { HttpService } from '../../src/http/service.js';
import { quietLog } from '../../src/log.js';
import { type At, ask, askJson, at, open, until } from '../helpers/http.js';
import { type Mounted, mount } from '../helpers/mount.js';

const LEDGER = '/api/v1.0/ledger';

interface Page {
  events: { event: string; path?: string }[];
  next: number;
  end: number;
}

/** A journal of this text, which counts what is read of it; what is before `start` was trimmed. */
function journalOf(text: { data: Buffer; start?: number }): Journal & { readBytes: number } {
  return {
    readBytes: 0,
    async journalRange() {
      return { startBytes: text.start ?? 0, endBytes: text.data.length };
    },
    async readJournal(offsetBytes, lengthBytes) {
      this.readBytes += lengthBytes;
      const piece = Buffer.from(text.data.subarray(offsetBytes, offsetBytes + lengthBytes));
      for (let i = 0; i < piece.length && offsetBytes + i < (text.start ?? 0); i++) piece[i] = 0x0a;
      return piece;
    },
  };
}

t.test('whole lines from any offset', async (t) => {
  const journal = journalOf({ data: Buffer.from('one\n\n\ntwo é\nthree\n') });
  const rows: [from: number, most: number, lines: string[], next: number][] = [
    [0, 100, ['one', 'two é', 'three'], 19],
    [0, 1, ['one'], 4],
    [4, 2, [], 6],
    [6, 1, ['two é'], 13],
    [1, 100, ['two é', 'three'], 19],
    [8, 100, ['three'], 19],
    [11, 100, ['three'], 19],
    [14, 100, [], 19],
    [19, 100, [], 19],
    [1e15, 100, [], 19],
  ];
  for (const [from, most, lines, next] of rows) {
    const got = await readLines(journal, from, most);
    t.strictSame([got.lines.map(({ text }) => text), got.nextBytes], [lines, next], `from ${from}, at most ${most}`);
  }
  const trimmed = journalOf({ data: Buffer.from('gone\nhalf\nthere\n'), start: 10 });
  t.strictSame((await readLines(trimmed, 0, 100)).lines, [{ text: 'there', nextBytes: 16 }]);
  const long = 'x'.repeat(300_000);
  t.equal((await readLines(journalOf({ data: Buffer.from(`${long}\nnext\n`) }), 0, 1000)).lines[0]?.text.length, 300_000);
});

t.test('a client that does not read holds two pieces at most, and hears that the stream lives', async (t) => {
  const journal = journalOf({ data: Buffer.alloc(20_000_000, `${'x'.repeat(99)}\n`) });
  const ending = new AbortController();
  const stream = Readable.from(eventsFrom(journal, 0, 1e6, ending.signal), { highWaterMark: 1 });
  stream.on('error', () => {});
  stream.pipe(new Writable({ write() {} }));
  for (let turn = 0; turn < 2000; turn++) await setImmediate();
  t.ok(journal.readBytes > 0 && journal.readBytes <= 5 * 64 * 1024, `read ${journal.readBytes} bytes`);
  ending.abort();
  stream.destroy();
  const quiet = eventsFrom(journalOf({ data: Buffer.alloc(0) }), 0, 1, new AbortController().signal);
  t.strictSame([(await quiet.next()).value, (await quiet.next()).value], ['retry: 2000\n\n', ':\n\n']);
  await quiet.return(undefined);
});

t.test('a ledger that cannot be read ends what is asked of it, and nothing else', async (t) => {
  let reads = 0;
  const journal: Journal = {
    async journalRange() {
      return { startBytes: 0, endBytes: 1e9 };
    },
    async readJournal() {
      reads += 1;
      if (reads % 3 === 0) throw new Error('the disk is gone');
      return Buffer.from('{"event":"mount"}\n');
    },
  };
  const unused = async () => {
    throw new Error('not asked');
  };
  const lots = { command: unused, lot: unused, showLot: unused, listLots: unused, room: unused };
  const bytes = { reserve: unused, release: unused, reservations: unused };
  const host: HttpHost = { ...journal, ...lots, ...bytes, report: unused, metrics: unused };
  const address = { host: '127.0.0.1', port: 0 };
  const options = { address, socketMode: 0o600, token: null, log: quietLog(), version: '0', mountpoint: '/m' };
  const service = await HttpService.forMount(host, options);
  const where = at(formatAddress(service.address));
  t.match(await ask(where, '/metrics'), { status: 503, body: /"STARTING"/ }, 'it does not serve yet');
  t.match(await ask(where, '/ping/'), { status: 200 });
  service.serve();
  const stream = new Follower(where, '?from=0');
  await stream.response;
  await until(() => stream.ended, 'the stream is cut off');
  const statuses = new Set<number>();
  for (let i = 0; i < 6; i++) statuses.add((await ask(where, `${LEDGER}?limit=1`)).status);
  t.strictSame([...statuses].sort(), [200, 500]);
  t.match(await ask(where, '/api/v1.0/report'), {
    status: 500,
    body: '{"code":"INTERNAL","errno":"EIO","message":"internal error: not asked"}',
  });
  t.match(await ask(where, '/reserve/?path=/a&bytes=1'), {
    status: 500,
    body: /Could not reserve 1 bytes for file '\/a': internal error/,
  });
  const silent = (await open(where)).resume();
  await service.close();
  await until(() => silent.closed, 'the end waits for nobody who says nothing');
});

/** A follower: what it has heard so far. */
class Follower {
  text = '';
  readonly #request: ClientRequest;
  readonly response: Promise<IncomingMessage>;
  ended = false;

  constructor(where: At, query: string, headers: Record<string, string> = {}) {
    this.#request = request({
      ...where,
      path: `${LEDGER}${query}`,
      headers: { accept: 'text/event-stream', ...headers },
      agent: false,
    });
    this.#request.on('error', () => {
      this.ended = true;
    });
    this.response = once(this.#request, 'response').then(([response]) => response as IncomingMessage);
    this.response.then(
      (response) => {
        response.setEncoding('utf8').on('data', (part: string) => {
          this.text += part;
        });
        response
          .on('error', () => {})
          .on('close', () => {
            this.ended = true;
          });
      },
      () => {},
    );
    this.#request.end();
  }

  close(): void {
    this.#request.destroy();
  }

  get events(): { id: string; data: string }[] {
    return [...this.text.matchAll(/id: (\d+)\ndata: (.*)\n\n/g)].map(([, id = '', data = '']) => ({ id, data }));
  }
}

const lines = async (m: Mounted) => (await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8')).split('\n').filter(Boolean);

t.test('on a mount', async (t: Test) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0', '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  const reserve = async (path: string) => t.equal((await ask(where, `/reserve/?path=${path}&bytes=1000`)).status, 200);
  for (let i = 0; i < 20; i++) await reserve(`/job${i}`);

  await t.test('page by page it is the file', async (t) => {
    const seen: unknown[] = [];
    for (let next = 0, end = 1; next < end; ) {
      const page = (await askJson(where, `${LEDGER}?limit=300&from=${next}`)).json as Page;
      t.ok(page.next > next, 'it goes on');
      seen.push(...page.events);
      ({ next, end } = page);
    }
    t.strictSame(
      seen,
      (await lines(m)).map((line) => JSON.parse(line) as unknown),
    );
    t.ok(seen.length >= 21);
    for (const query of [
      '?from=-1',
      '?from=x',
      '?limit=0',
      '?limit=999999999999',
      '?from=1e400',
      '?limit=1e400',
      '?from=0x10',
      '?from=1.5',
    ]) {
      t.match(await askJson(where, LEDGER + query), { status: 400, json: { code: 'BAD_REQUEST' } }, query);
    }
  });

  await t.test('as events: all, then new ones, and resumed where it was left', async (t) => {
    const all = new Follower(where, '?from=0');
    t.match((await all.response).headers, { 'content-type': /text\/event-stream/, 'cache-control': 'no-store' });
    await until(() => all.events.length >= 21, 'all old lines');
    await reserve('/new1');
    await until(() => all.events.some(({ data }) => data.includes('/new1')), 'a new line');
    t.strictSame(
      all.events.map(({ data }) => data),
      (await lines(m)).slice(0, all.events.length),
    );
    const left = all.events.at(-3);
    const resumed = new Follower(where, '?from=0', { 'last-event-id': left?.id ?? '' });
    await until(() => resumed.events.length >= 2, 'what came since');
    t.strictSame(resumed.events, all.events.slice(-2));
    const fresh = new Follower(where, '');
    await until(() => fresh.text.includes('retry'), 'a stream from now on');
    await reserve('/new2');
    await until(() => fresh.events.length > 0, 'the next line');
    t.match(fresh.events[0]?.data, '/new2', 'nothing of before');
    const odd = new Follower(where, '?from=0', { 'last-event-id': 'nonsense' });
    await until(() => odd.events.length >= 21, 'an id that is none is passed over');
    for (const each of [all, resumed, fresh, odd]) each.close();
  });

  await t.test('there are so many streams and no more, and they end with the mount', async (t) => {
    const many: Follower[] = [];
    const another = async () => {
      const follower = new Follower(where, '');
      const { statusCode } = await follower.response;
      if (statusCode === 200) many.push(follower);
      return statusCode;
    };
    await until(async () => (await another()) === 503, 'the last one is refused');
    t.equal(many.length, 64);
    many.pop()?.close();
    await until(async () => (await another()) === 200, 'one that goes makes room');
    await m.umount();
    await until(() => many.every(({ ended }) => ended), 'all have ended');
  });
});
