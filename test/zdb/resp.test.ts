// Commands out of bytes: whole, byte by byte, two at a time; and what is too much, or no RESP.
import t from 'tap';
import {
  array,
  bulk,
  bulkText,
  failure,
  integer,
  MAX_PAYLOAD_BYTES,
  Malformed,
  NIL,
  RespReader,
  status,
} from '../../src/zdb/resp.js';
import { command } from '../helpers/resp.js';

/** What a reader makes of it: commands as lists of text, errors as `-text`, with `!` where nothing behind it is read. */
function read(bytes: Buffer, pieceBytes: number): (string[] | string)[] {
  const reader = new RespReader();
  const all: (string[] | string)[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    reader.push(bytes.subarray(at, at + pieceBytes));
    for (let next = reader.next(); next !== null; next = reader.next()) {
      if (next instanceof Malformed) {
        all.push(`-${next.text}${next.isOver ? '!' : ''}`);
        if (next.isOver) return all;
      } else all.push(next.map((arg) => arg.toString('latin1')));
    }
  }
  return all;
}

const BINARY = Buffer.from([0, 1, 13, 10, 255, 42, 36]);
const ping = command('PING').toString('latin1');

const CASES: [name: string, bytes: string | Buffer, result: (string[] | string)[]][] = [
  ['one', ping, [['PING']]],
  ['three, one behind the other', ping + ping + ping, [['PING'], ['PING'], ['PING']]],
  ['any bytes', command('SET', BINARY, BINARY), [['SET', BINARY.toString('latin1'), BINARY.toString('latin1')]]],
  ['arguments without bytes', command('SET', '', ''), [['SET', '', '']]],
  ['inline', 'PING\r\n', ['-Malformed request, array expected!']],
  ['nothing in it', `*0\r\n${ping}`, ['-Malformed request, empty command', ['PING']]],
  ['a count below zero', '*-1\r\n', ['-Malformed request, invalid length!']],
  ['no count', '*\r\n', ['-Malformed request, invalid length!']],
  ['a count that is no number', '*a\r\n', ['-Malformed request, invalid length!']],
  ['a count that never ends', `*${'1'.repeat(40)}`, ['-Malformed request, invalid length!']],
  ['no string', '*1\r\n:1\r\n', ['-Malformed request, string expected!']],
  ['a length below zero', '*1\r\n$-1\r\n', ['-Malformed request, invalid length!']],
  [
    'a string that is longer than it says',
    '*1\r\n$2\r\nPING\r\n',
    ['-Malformed request, a string does not end where it should!'],
  ],
  [
    '2,000 arguments are told of at once, and passed over',
    Buffer.concat([command(...Array.from({ length: 2000 }, () => 'x')), Buffer.from(ping)]),
    ['-Too many arguments', ['PING']],
  ],
  ['1,024 are not', command(...Array.from({ length: 1024 }, () => 'x')), [Array.from({ length: 1024 }, () => 'x')]],
];

t.test('commands, in whatever pieces they come', async (t) => {
  for (const [name, bytes, result] of CASES) {
    const all = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    for (const pieceBytes of [all.length, 1, 2, 7])
      t.strictSame(read(all, pieceBytes), result, `${name}, ${pieceBytes} at a time`);
  }
});

t.test('9 MiB are told of when they are announced, and never kept', async (t) => {
  const reader = new RespReader();
  const bytes = 9 * 1024 * 1024;
  reader.push(Buffer.from(`*3\r\n$3\r\nSET\r\n$1\r\na\r\n$${bytes}\r\n`));
  t.match(reader.next(), { text: 'Payload too big', isOver: false });
  const piece = Buffer.alloc(64 * 1024);
  for (let sent = 0; sent < bytes; sent += piece.length) {
    reader.push(piece);
    t.equal(reader.next(), null);
    if (reader.heldBytes > 0) t.fail('it keeps something');
  }
  reader.push(Buffer.from(`\r\n${ping}`));
  t.match(reader.next(), [Buffer.from('PING')]);
});

t.test('8 MiB are taken, and what is announced takes no room before it comes', async (t) => {
  const reader = new RespReader();
  reader.push(Buffer.from(`*2\r\n$3\r\nGET\r\n$${MAX_PAYLOAD_BYTES}\r\n`));
  t.equal(reader.next(), null);
  t.ok(reader.isWaiting);
  reader.push(Buffer.from('abc'));
  t.equal(reader.next(), null);
  t.ok(reader.heldBytes < 100, 'three bytes came, and no more is kept');
  reader.push(Buffer.alloc(MAX_PAYLOAD_BYTES - 3, 'x'));
  reader.push(Buffer.from('\r\n'));
  const next = reader.next();
  t.equal(Array.isArray(next) && next[1]?.length, MAX_PAYLOAD_BYTES);
  t.equal(reader.heldBytes, 0);
  t.notOk(reader.isWaiting);
  const two = command('SET', Buffer.alloc(MAX_PAYLOAD_BYTES), Buffer.alloc(MAX_PAYLOAD_BYTES));
  t.strictSame(read(two, 1 << 20), ['-Payload too big'], 'not twice in one command');
});

t.test('answers', async (t) => {
  const answers: [Buffer, string][] = [
    [status('OK'), '+OK\r\n'],
    [failure('No'), '-No\r\n'],
    [integer(7), ':7\r\n'],
    [integer(70_000), ':70000\r\n'],
    [bulk(Buffer.from('a\r\nb')), '$4\r\na\r\nb\r\n'],
    [bulkText('é'), '$2\r\né\r\n'],
    [NIL, '$-1\r\n'],
    [array([integer(1), array([])]), '*2\r\n:1\r\n*0\r\n'],
  ];
  for (const [answer, bytes] of answers) t.equal(answer.toString(), bytes);
});
