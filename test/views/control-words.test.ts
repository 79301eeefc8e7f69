// Lines of control as they are understood: in words and as JSON, and what is said of those that are not.

import t from 'tap';
import { commandName, parseControlLine } from '../../src/views/command-line.js';

const lot = (name: string, rest: object = {}) => ({
  cmd: 'lot',
  request: { name, word: null, json: undefined, flags: [], ...rest },
});
/** `waitMs`: undefined: it does not wait; null: for ever. */
const reserve = (options: object = {}, waitMs?: number | null) => ({ cmd: 'reserve', path: '/a', bytes: 1, options, waitMs });
const reclaim = (apply: boolean, low: number | null = null, progress = false) => ({ cmd: 'reclaim', apply, low, progress });

t.test('lines that are understood', async (t) => {
  const table: [string, object | null][] = [
    ['', null],
    ['  \t', null],
    ['# reserve /a 1', null],
    ['reserve /a 1', reserve()],
    ['  reserve  /a\t1 ', reserve()],
    [`reserve "/a b" 1kB`, { ...reserve(), path: '/a b', bytes: 1000 }],
    [`reserve '/{a}' 1`, { ...reserve(), path: '/{a}' }],
    ['reserve /a 1 --expires 2h', reserve({ expiresInMs: 7_200_000 })],
    ['reserve --expires=2h /a 1', reserve({ expiresInMs: 7_200_000 })],
    ['reserve /a --expires 250ms 1', reserve({ expiresInMs: 250 })],
    ['reserve /a 1 --expires 0', reserve({ expiresInMs: 0 })],
    ['reserve /a 1 --expires never', reserve({ expiresInMs: null })],
    ['reserve /a 1 --owner alice', reserve({ owner: 'alice' })],
    [`reserve /a 1 --owner='a b=c'`, reserve({ owner: 'a b=c' })],
    ['reserve /a 1 --opportunistic 5GiB', reserve({ opportunisticBytes: 5 * 2 ** 30 })],
    ['reserve /a 1 --opportunistic unlimited', reserve({ opportunisticBytes: -1 })],
    ['reserve /a 1 --objects 1000', reserve({ maxObjects: 1000 })],
    ['reserve /a 1 --objects=unlimited', reserve({ maxObjects: -1 })],
    ['reserve /a 1 --objects 5 --objects 6', reserve({ maxObjects: 6 })],
    [
      'reserve /a 1 --objects 0 --opportunistic 0 --owner 7 --expires 1d',
      reserve({ expiresInMs: 86_400_000, owner: '7', opportunisticBytes: 0, maxObjects: 0 }),
    ],
    ['{"cmd":"reserve","path":"/a","bytes":1}', reserve()],
    ['{"cmd":"reserve","path":"/a","bytes":"1"}', reserve()],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":"2h"}', reserve({ expiresInMs: 7_200_000 })],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":1500}', reserve({ expiresInMs: 1500 })],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":null}', reserve({ expiresInMs: null })],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":"never"}', reserve({ expiresInMs: null })],
    ['{"cmd":"reserve","path":"/a","bytes":1,"owner":"alice"}', reserve({ owner: 'alice' })],
    [
      '{"cmd":"reserve","path":"/a","bytes":1,"opportunistic":"5G","objects":7}',
      reserve({ opportunisticBytes: 5e9, maxObjects: 7 }),
    ],
    [
      '{"cmd":"reserve","path":"/a","bytes":1,"opportunistic":-1,"objects":-1}',
      reserve({ opportunisticBytes: -1, maxObjects: -1 }),
    ],
    [
      '{"cmd":"reserve","path":"/a","bytes":1,"opportunistic":"unlimited","objects":"unlimited"}',
      reserve({ opportunisticBytes: -1, maxObjects: -1 }),
    ],
    ['reserve /a 1 wait', reserve({}, null)],
    ['reserve /a 1 --wait', reserve({}, null)],
    ['reserve /a 1 wait=', reserve({}, null)],
    ['reserve /a 1 wait=10m', reserve({}, 600_000)],
    ['reserve /a 1 --wait=10m', reserve({}, 600_000)],
    [`reserve /a 1 wait="90"`, reserve({}, 90_000)],
    ['reserve /a 1 wait=0s', reserve({}, 0)],
    ['reserve /a 1 wait=36500d', reserve({}, 3_153_600_000_000)],
    ['reserve /a 1 --objects 5 wait=250ms --owner alice', reserve({ maxObjects: 5, owner: 'alice' }, 250)],
    ['reserve --wait=10m /a 1', reserve({}, 600_000)],
    ['reserve /a 1 wait --owner wait', reserve({ owner: 'wait' }, null)],
    ['reserve wait 1', { ...reserve(), path: 'wait' }],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":true}', reserve({}, null)],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":null}', reserve({}, null)],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":""}', reserve({}, null)],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":false}', reserve()],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":"10m"}', reserve({}, 600_000)],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":1500,"objects":7}', reserve({ maxObjects: 7 }, 1500)],
    ['extend /a 1', { cmd: 'extend', path: '/a', bytes: 1 }],
    ['{"cmd":"extend","path":"/a","bytes":"1k"}', { cmd: 'extend', path: '/a', bytes: 1000 }],
    ['release /a', { cmd: 'release', path: '/a' }],
    ['{"cmd":"release","path":"/a"}', { cmd: 'release', path: '/a' }],
    ['report', { cmd: 'report' }],
    ['{"cmd":"report"}', { cmd: 'report' }],
    ['check', { cmd: 'check', repair: false, progress: false }],
    ['check --repair', { cmd: 'check', repair: true, progress: false }],
    ['{"cmd":"check","repair":true,"progress":true}', { cmd: 'check', repair: true, progress: true }],
    ['reclaim --plan', reclaim(false)],
    ['reclaim --apply', reclaim(true)],
    ['reclaim --apply --low-watermark 80%', reclaim(true, 0.8)],
    ['reclaim --low-watermark=80 --plan', reclaim(false, 0.8)],
    ['{"cmd":"reclaim"}', reclaim(false)],
    ['{"cmd":"reclaim","apply":true,"low":"99.5%","progress":true}', reclaim(true, 0.995, true)],
    ['{"cmd":"reclaim","apply":false,"low":null}', reclaim(false)],
    ['lot', lot('')],
    ['lot list', lot('list')],
    ['lot show default', lot('show', { word: 'default' })],
    ['lot\tshow  default --recursive', lot('show', { word: 'default', flags: ['recursive'] })],
    ['lot show --recursive default', lot('show', { word: 'default', flags: ['recursive'] })],
    [`lot show 'my lot'`, lot('show', { word: 'my lot' })],
    [
      `lot remove "" --assign-to-orphans --assign-to-non-orphans`,
      lot('remove', { word: '', flags: ['assign-to-orphans', 'assign-to-non-orphans'] }),
    ],
    ['lot which /a/b=c', lot('which', { word: '/a/b=c' })],
    ['lot usage a', lot('usage', { word: 'a' })],
    ['lot add {"lot_name":"x"}', lot('add', { json: '{"lot_name":"x"}' })],
    [`lot add {"lot_name":"it's \\"x\\" \\\\ y"}  `, lot('add', { json: `{"lot_name":"it's \\"x\\" \\\\ y"}` })],
    ['lot add {"lot_name":"--a --b", "owner": "[c]"}', lot('add', { json: '{"lot_name":"--a --b", "owner": "[c]"}' })],
    ['lot usage set {"lot_name":"x"} --delta', lot('usage set', { json: '{"lot_name":"x"}', flags: ['delta'] })],
    ['lot usage set --delta {"lot_name":"x"}', lot('usage set', { json: '{"lot_name":"x"}', flags: ['delta'] })],
    [
      'lot usage set-by-dir [{"path":"/a"}] --delta --x',
      lot('usage set-by-dir', { json: '[{"path":"/a"}]', flags: ['delta', 'x'] }),
    ],
    ['lot add {"lot_name":', lot('add', { json: '{"lot_name":' })],
    ['lot usage {"lot_name":"x"}', lot('usage', { json: '{"lot_name":"x"}' })],
    ['{"cmd":"lot","name":"list"}', lot('list')],
    ['{"cmd":"lot","name":"show","word":"{x}","flags":["recursive"]}', lot('show', { word: '{x}', flags: ['recursive'] })],
    ['{"cmd":"lot","name":"add","word":null,"json":{"lot_name":"x"}}', lot('add', { json: { lot_name: 'x' } })],
    ['{"cmd":"lot","name":"usage set-by-dir","json":[1]}', lot('usage set-by-dir', { json: [1] })],
    ['{"cmd":"lot","name":"add","json":"{}"}', lot('add', { json: '{}' })],
    ['{"cmd":"lot","name":"list","json":null}', lot('list')],
  ];
  for (const [line, command] of table) t.strictSame(parseControlLine(line), command, line);
});

t.test('only a word that begins with a bracket is JSON', async (t) => {
  const table: [string, object][] = [
    ['lot which /a[1]/{b}', lot('which', { word: '/a[1]/{b}' })],
    ['lot dirs x{} --recursive', lot('dirs', { word: 'x{}', flags: ['recursive'] })],
    [`lot show 'my {x}'`, lot('show', { word: 'my {x}' })],
  ];
  for (const [line, command] of table) {
    t.doesNotThrow(() => t.strictSame(parseControlLine(line), command, line), line);
  }
});

t.test('lines that are not understood', async (t) => {
  const table: [string, string, RegExp][] = [
    ['frobnicate', 'UNKNOWN_COMMAND', /'frobnicate'/],
    [`${'x'.repeat(1000)}`, 'UNKNOWN_COMMAND', /^.{1,70}$/],
    ['lots', 'UNKNOWN_COMMAND', /'lots'/],
    ['RESERVE /a 1', 'UNKNOWN_COMMAND', /'RESERVE'/],
    ['reserve', 'BAD_COMMAND', /write: reserve PATH BYTES \[wait\[=DURATION\]\] \[--expires/],
    ['reserve /a', 'BAD_COMMAND', /write: reserve PATH BYTES/],
    ['reserve /a 1 2', 'BAD_COMMAND', /write: reserve PATH BYTES/],
    ['reserve /a 1 --force', 'BAD_COMMAND', /unknown option '--force'/],
    ['reserve /a 1 --', 'BAD_COMMAND', /unknown option '--'/],
    ['reserve /a 1 --constructor x', 'BAD_COMMAND', /unknown option '--constructor'/],
    ['reserve /a 1 --Expires 2h', 'BAD_COMMAND', /unknown option/],
    ['reserve /a 1 --expires', 'BAD_COMMAND', /--expires needs a value/],
    ['reserve /a 1 wait=soon', 'BAD_DURATION', /'soon'/],
    ['reserve /a 1 --wait=-1', 'BAD_DURATION', /'-1'/],
    ['reserve /a 1 wait=36501d', 'BAD_COMMAND', /at most 100 years/],
    ['reserve /a 1 wait 10m', 'BAD_COMMAND', /write: reserve PATH BYTES/],
    ['reserve /a 1 waits', 'BAD_COMMAND', /write: reserve PATH BYTES/],
    ['reserve /a wait', 'BAD_BYTES', /'wait'/],
    ['extend /a 1 wait', 'BAD_COMMAND', /write: extend PATH BYTES/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":"soon"}', 'BAD_DURATION', /'soon'/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":-1}', 'BAD_COMMAND', /wait must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":1.5}', 'BAD_COMMAND', /wait must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":9007199254740991}', 'BAD_COMMAND', /at most 100 years/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"wait":{}}', 'BAD_COMMAND', /wait must be/],
    ['{"cmd":"extend","path":"/a","bytes":1,"wait":true}', 'BAD_COMMAND', /extend has no field "wait"/],
    ['reserve /a 1 --expires soon', 'BAD_DURATION', /'soon'/],
    ['reserve /a 1 --expires -1h', 'BAD_DURATION', /'-1h'/],
    ['reserve /a 1 --expires=', 'BAD_DURATION', /''/],
    ['reserve /a 1 --owner', 'BAD_COMMAND', /--owner needs a value/],
    ['reserve /a 1 --owner=', 'BAD_COMMAND', /owner must be/],
    ['reserve /a 1 --opportunistic all', 'BAD_BYTES', /'all'/],
    ['reserve /a 1 --opportunistic -1', 'BAD_BYTES', /negative/],
    ['reserve /a 1 --objects 1k', 'BAD_COMMAND', /'1k'/],
    ['reserve /a 1 --objects -1', 'BAD_COMMAND', /'-1'/],
    ['reserve /a 1 --objects 9007199254740992', 'BAD_COMMAND', /objects must be/],
    ['reserve /a x --expires 1h', 'BAD_BYTES', /'x'/],
    [`reserve '/a 1`, 'BAD_COMMAND', /quote/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":-1}', 'BAD_COMMAND', /expires must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":1.5}', 'BAD_COMMAND', /expires must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":true}', 'BAD_COMMAND', /expires must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expires":"1y"}', 'BAD_DURATION', /'1y'/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"owner":7}', 'BAD_COMMAND', /owner must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"owner":""}', 'BAD_COMMAND', /owner must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"opportunistic":-2}', 'BAD_BYTES', /'-2'/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"opportunistic":null}', 'BAD_COMMAND', /a limit must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"objects":1.5}', 'BAD_BYTES', /'1.5'/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"objects":[1]}', 'BAD_COMMAND', /a limit must be/],
    ['{"cmd":"reserve","path":"/a","bytes":1,"expiresInMs":1}', 'BAD_COMMAND', /no field "expiresInMs"/],
    ['{"cmd":"reserve","path":"/a","bytes":true}', 'BAD_COMMAND', /"bytes" must be/],
    ['extend /a', 'BAD_COMMAND', /write: extend PATH BYTES/],
    ['extend /a 1 --expires 1h', 'BAD_COMMAND', /unknown option '--expires'/],
    ['{"cmd":"extend","path":"/a","bytes":1,"expires":1}', 'BAD_COMMAND', /no field "expires"/],
    ['release', 'BAD_COMMAND', /write: release PATH/],
    ['release /a /b', 'BAD_COMMAND', /write: release PATH/],
    ['report all', 'BAD_COMMAND', /write: report/],
    ['check --repair=yes', 'BAD_COMMAND', /unknown option '--repair=yes'/],
    ['check /a', 'BAD_COMMAND', /write: check/],
    ['{"cmd":"check","repair":1}', 'BAD_COMMAND', /"repair" must be true or false/],
    ['reclaim', 'BAD_COMMAND', /reclaim --plan, or reclaim --apply/],
    ['reclaim --plan --apply', 'BAD_COMMAND', /reclaim --plan, or reclaim --apply/],
    ['reclaim --plan --force', 'BAD_COMMAND', /unknown option '--force'/],
    ['reclaim --plan=1', 'BAD_COMMAND', /unknown option '--plan=1'/],
    ['reclaim --apply now', 'BAD_COMMAND', /write: reclaim --plan\|--apply/],
    ['reclaim --apply --low-watermark', 'BAD_COMMAND', /--low-watermark needs a value/],
    ['{"cmd":"reclaim","low":0.8}', 'BAD_COMMAND', /"low" must be a text/],
    ['{"cmd":"reclaim","apply":"yes"}', 'BAD_COMMAND', /"apply" must be true or false/],
    ['{"cmd":"reclaim","plan":true}', 'BAD_COMMAND', /no field "plan"/],
    ['lot show a b', 'BAD_COMMAND', /'b' is one word too many/],
    ['lot usage set a b', 'BAD_COMMAND', /'b' is one word too many/],
    [`lot show 'a`, 'BAD_COMMAND', /quote/],
    ['{"cmd":"lot"}', 'BAD_COMMAND', /"name" must be a string/],
    ['{"cmd":"lot","name":7}', 'BAD_COMMAND', /"name" must be a string/],
    ['{"cmd":"lot","name":"show","word":7}', 'BAD_COMMAND', /"word" must be a string/],
    ['{"cmd":"lot","name":"show","flags":"recursive"}', 'BAD_COMMAND', /"flags" must be a list/],
    ['{"cmd":"lot","name":"show","flags":[1]}', 'BAD_COMMAND', /"flags" must be a list/],
    ['{"cmd":"lot","name":"show","lot":"a"}', 'BAD_COMMAND', /no field "lot"/],
    ['{', 'BAD_COMMAND', /it is not JSON/],
    ['{"cmd":"report"} x', 'BAD_COMMAND', /it is not JSON/],
    ['{}', 'BAD_COMMAND', /it has no "cmd"/],
    ['{"cmd":null}', 'BAD_COMMAND', /it has no "cmd"/],
    ['{"cmd":"toString"}', 'UNKNOWN_COMMAND', /'toString'/],
    ['{"cmd":"report","__proto__":1}', 'BAD_COMMAND', /no field "__proto__"/],
  ];
  for (const [line, code, message] of table) {
    t.throws(() => parseControlLine(line), { code, message, errno: 'EINVAL', exitCode: 2 }, line.slice(0, 80));
  }
  for (const line of [
    'reclaim --apply --low-watermark 101%',
    'reclaim --plan --low-watermark=x',
    '{"cmd":"reclaim","low":"-1"}',
  ]) {
    t.throws(() => parseControlLine(line), { message: /is not a percentage/, errno: 'EINVAL', exitCode: 2 }, line);
  }
});

t.test('the name of a command in a line that is not understood', async (t) => {
  const table: [string, string | null][] = [
    ['reserve', 'reserve'],
    ['  lot show', 'lot'],
    ['{"cmd":"reclaim","low":1}', 'reclaim'],
    ['{ "x": 1, "cmd" : "lot"', 'lot'],
    ['{"name":"x"}', null],
    ['"quoted"', null],
    [`${'x'.repeat(30)}`, null],
  ];
  for (const [line, name] of table) t.equal(commandName(line), name, line);
});
