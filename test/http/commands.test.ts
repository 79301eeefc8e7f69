// Commands of `control` over HTTP: what is taken, what is refused, and with which status.
import t from 'tap';
import { ask, askJson, at } from '../helpers/http.js';
import { mount } from '../helpers/mount.js';

const COMMAND = '/api/v1.0/command';

t.test('commands', async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0', '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  /** The body; then status and what the answer matches. */
  const rows: [json: unknown, status: number, answer: unknown][] = [
    [
      { cmd: 'reserve', path: '/a', bytes: '5MB', expires: '2h', objects: 3 },
      200,
      { ok: true, cmd: 'reserve', lot: { path: '/a', dedicatedBytes: 5e6, maxObjects: 3, usedBytes: 0, expiresAtMs: Number } },
    ],
    [{ cmd: 'extend', path: `${m.mnt}/a`, bytes: 1 }, 200, { ok: true, cmd: 'extend', lot: { dedicatedBytes: 5_000_001 } }],
    [
      { cmd: 'reserve', path: '/b', bytes: '50MB', wait: false },
      507,
      { ok: false, cmd: 'reserve', code: 'NO_SPACE', errno: 'ENOSPC', message: /available/, availableBytes: 44_999_999 },
    ],
    [{ cmd: 'lot', name: 'list' }, 200, { ok: true, cmd: 'lot', result: ['default', '/a'] }],
    [{ cmd: 'lot', name: 'past', word: 'tense' }, 400, { code: 'USAGE' }],
    [{ cmd: 'lot', name: 'show', word: 'none' }, 404, { code: 'NO_SUCH_LOT', errno: 'ENOENT' }],
    [{ cmd: 'release', path: '/a' }, 200, { ok: true, cmd: 'release', lot: { path: '/a' } }],
    [{ cmd: 'release', path: '/a' }, 200, { ok: true, lot: null }],
    [{ cmd: 'reserve', path: '/a', bytes: 5, wait: '1m' }, 501, { code: 'NOT_SUPPORTED', message: /nobody waits over HTTP/ }],
    [{ cmd: 'reserve', path: '/a', bytes: 5, wait: null }, 501, { code: 'NOT_SUPPORTED' }],
    ...['check', 'reclaim', 'report'].map((cmd): [unknown, number, unknown] => [
      { cmd },
      501,
      { code: 'NOT_SUPPORTED', message: `${cmd} is not done over HTTP: use vreserve ${cmd}` },
    ]),
    [{ cmd: 'reserve', path: '/a', bytes: 5, more: 1 }, 400, { ok: false, code: 'BAD_COMMAND', message: /no field "more"/ }],
    [{ cmd: 'reserve', path: 5, bytes: 5 }, 400, { code: 'BAD_COMMAND' }],
    [{ cmd: 'reserve', path: '/a' }, 400, { code: 'BAD_COMMAND' }],
    [{ cmd: 'reserve', path: '/a', bytes: '5 stones' }, 400, { code: 'BAD_BYTES' }],
    [{ cmd: 'reserve', path: 'a', bytes: 5 }, 400, { code: 'BAD_PATH', errno: 'EINVAL' }],
    [{ cmd: 'destroy' }, 400, { code: 'UNKNOWN_COMMAND' }],
    [{ cmd: 5 }, 400, { code: 'BAD_REQUEST' }],
    [{}, 400, { code: 'BAD_REQUEST', message: /'cmd'/ }],
    [[], 400, { code: 'BAD_REQUEST' }],
    [null, 400, { code: 'BAD_REQUEST' }],
  ];
  for (const [json, status, answer] of rows) {
    t.match(await askJson(where, COMMAND, 'POST', json), { status, json: answer }, JSON.stringify(json));
  }
  t.match(await ask(where, COMMAND, { method: 'POST', body: 'reserve /a 5' }), { status: 400, body: /BAD_REQUEST.*is no JSON/ });
  t.match(await ask(where, COMMAND, { method: 'POST' }), { status: 400, body: /BAD_REQUEST/ });
  t.match(await ask(where, COMMAND), { status: 404, body: /NO_SUCH_ROUTE/ });
});
