// LotMan's JSON inputs: what is taken, and the exact text with which the rest is refused.

import t from 'tap';
import { VreserveError } from '../../src/core/errors.js';
import { checkInput, type LotInputKind } from '../../src/lots/schema.js';
import { dumpJson, parseJson } from '../../src/lots/schema-json.js';

const MPA = {
  dedicated_GB: 5,
  opportunistic_GB: 2.5,
  max_num_objects: 100,
  creation_time: 123,
  expiration_time: 234,
  deletion_time: 345,
};
const LOT = { lot_name: 'lot1', owner: 'owner1', parents: ['lot1'], management_policy_attrs: MPA };
const DIRECTORY = { path: '/a', includes_subdirs: false };

const lot = (change: object) => ({ ...LOT, ...change });
const policy = (change: object) => lot({ management_policy_attrs: { ...MPA, ...change } });
const without = (value: object, key: string) => Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));

/** The refusal's text; '' where the value is taken. */
function refusal(attempt: () => unknown): string {
  try {
    attempt();
    return '';
  } catch (error) {
    if (error instanceof VreserveError && error.code === 'BAD_LOT_JSON') return error.message;
    throw error;
  }
}

t.test('what is taken', async (t) => {
  const good: [LotInputKind, unknown][] = [
    ['add', LOT],
    ['add', lot({ children: [], paths: [] })],
    [
      'add',
      lot({
        children: ['', 'b'],
        paths: [
          { path: 'a', recursive: true },
          { ...{ path: '/', recursive: false }, exclude: true },
        ],
      }),
    ],
    ['add', policy({ dedicated_GB: 0, max_num_objects: 0, creation_time: 0, expiration_time: 0, deletion_time: 0 })],
    ['add', policy({ dedicated_GB: 9007199.25474099, max_num_objects: 2 ** 53 - 1, deletion_time: 99_679_525_853_643 })],
    ['update', { lot_name: 'a' }],
    ['update', { lot_name: 'a', owner: 'b', parents: [{ current: 'c', new: 'd' }], management_policy_attrs: {} }],
    ['update', { lot_name: 'a', paths: [{ current: 'c', new: 'd', recursive: false, exclude: false }] }],
    ['removeParents', { lot_name: 'a', parents: [''] }],
    ['removePaths', { paths: ['', '/a'] }],
    ['addTo', { lot_name: 'a', paths: [{ path: 'b', recursive: true }], parents: [] }],
    ['policy', { lot_name: 'a', dedicated_GB: true, creation_time: false }],
    ['usage', { lot_name: 'a', total_GB: true, objects_being_written: false }],
    ['setUsage', { lot_name: 'a', self_GB: 0.5, self_objects_being_written: 3 }],
    ['setUsageDelta', { lot_name: 'a', self_GB: -0.5, self_objects: -3 }],
    ['setUsageByDir', []],
    ['setUsageByDir', [{ ...DIRECTORY, size_GB: 1.5, num_obj: 2, subdirs: [{ ...DIRECTORY, subdirs: [] }] }]],
    ['setUsageByDirDelta', [{ ...DIRECTORY, size_GB: -1.5, num_obj: -2 }]],
  ];
  for (const [kind, value] of good) t.equal(checkInput(kind, value), value, `${kind} ${JSON.stringify(value)}`);
  t.equal(checkInput('add', LOT).management_policy_attrs.dedicated_GB, 5, 'typed by its kind');
});

t.test('the first error that LotMan finds, in its words', async (t) => {
  const pathless = '{"recursive":true}';
  const surplus = (key: string) => `validation failed for additional property '${key}': instance invalid as per false-schema`;
  const missing = (key: string) => `required property '${key}' not found in object`;
  const whole = (value: object) => dumpJson(value);
  const table: [LotInputKind, unknown, string][] = [
    // Of the required members the first one in LotMan's order.
    ['add', {}, `At  of {} - ${missing('lot_name')}`],
    ['add', without(LOT, 'owner'), `At  of ${whole(without(LOT, 'owner'))} - ${missing('owner')}`],
    ['add', { lot_name: 'a', owner: 'b', zzz: 1 }, `At  of {"lot_name":"a","owner":"b","zzz":1} - ${missing('parents')}`],
    [
      'add',
      lot({ management_policy_attrs: without(MPA, 'dedicated_GB') }),
      `At /management_policy_attrs of ${whole(without(MPA, 'dedicated_GB'))} - ${missing('dedicated_GB')}`,
    ],
    ['removeParents', { parents: ['a'] }, `At  of {"parents":["a"]} - ${missing('lot_name')}`],
    ['removePaths', {}, `At  of {} - ${missing('paths')}`],
    ['addTo', { lot_name: 'a', paths: [{ recursive: true }] }, `At /paths/0 of ${pathless} - ${missing('path')}`],
    ['update', { lot_name: 'a', parents: [{ new: 'b' }] }, `At /parents/0 of {"new":"b"} - ${missing('current')}`],
    [
      'update',
      { lot_name: 'a', paths: [{ current: 'b', new: 'c' }] },
      `At /paths/0 of {"current":"b","new":"c"} - ${missing('recursive')}`,
    ],
    // Members that nobody knows, with the whole object.
    ['policy', { lot_name: 'a', bad_key: true }, `At  of {"bad_key":true,"lot_name":"a"} - ${surplus('bad_key')}`],
    ['usage', { lot_name: 'a', self_GB: true }, `At  of {"lot_name":"a","self_GB":true} - ${surplus('self_GB')}`],
    [
      'update',
      { lot_name: 'a', management_policy_attrs: { creation_time: 1 } },
      `At /management_policy_attrs of {"creation_time":1} - ${surplus('creation_time')}`,
    ],
    ['addTo', { lot_name: 'a', '': 1 }, `At  of {"":1,"lot_name":"a"} - ${surplus('')}`],
    [
      'removePaths',
      JSON.parse('{"paths":["a"],"__proto__":1}'),
      `At  of {"__proto__":1,"paths":["a"]} - ${surplus('__proto__')}`,
    ],
    // Types.
    ['add', 5, 'At  of 5 - unexpected instance type'],
    ['add', null, 'At  of null - unexpected instance type'],
    ['add', [LOT], `At  of [${whole(LOT)}] - unexpected instance type`],
    ['add', lot({ lot_name: 7 }), 'At /lot_name of 7 - unexpected instance type'],
    ['add', lot({ children: null }), 'At /children of null - unexpected instance type'],
    ['add', lot({ parents: 'lot1' }), 'At /parents of "lot1" - unexpected instance type'],
    ['add', policy({ dedicated_GB: '5' }), 'At /management_policy_attrs/dedicated_GB of "5" - unexpected instance type'],
    ['policy', { lot_name: 'a', dedicated_GB: 1 }, 'At /dedicated_GB of 1 - unexpected instance type'],
    ['addTo', { lot_name: 'a', paths: [{ path: 'b', recursive: 0 }] }, 'At /paths/0/recursive of 0 - unexpected instance type'],
    // Texts and lists that are too short.
    ['add', lot({ lot_name: '' }), 'At /lot_name of "" - instance is too short as per minLength:1'],
    ['addTo', { lot_name: 'a', parents: ['b', ''] }, 'At /parents/1 of "" - instance is too short as per minLength:1'],
    ['add', lot({ parents: [] }), 'At /parents of [] - array has too few items'],
    ['removePaths', { paths: [] }, 'At /paths of [] - array has too few items'],
    // Numbers.
    ['add', policy({ dedicated_GB: -1 }), 'At /management_policy_attrs/dedicated_GB of -1 - instance is below minimum of 0.0'],
    ['setUsage', { lot_name: 'a', self_GB: -0.5 }, 'At /self_GB of -0.5 - instance is below minimum of 0.0'],
    [
      'add',
      policy({ creation_time: 1.5 }),
      'At /management_policy_attrs/creation_time of 1.5 - instance is not a multiple of 1.0',
    ],
    ['setUsageDelta', { lot_name: 'a', self_objects: -1.5 }, 'At /self_objects of -1.5 - instance is not a multiple of 1.0'],
    [
      'setUsage',
      { lot_name: 'a', self_objects: -1.5 },
      'At /self_objects of -1.5 - instance is not a multiple of 1.0instance is below minimum of 0.0',
    ],
    // Which one is first: an object before its members, and these by key, whatever the order of the text.
    ['update', { zzz: 1, owner: '', lot_name: 'a' }, 'At /owner of "" - instance is too short as per minLength:1'],
    ['update', { aaa: 1, owner: '', lot_name: 'a' }, `At  of {"aaa":1,"lot_name":"a","owner":""} - ${surplus('aaa')}`],
    [
      'update',
      { lot_name: 'a', '\u{1F600}': 1, '\uFFFD': 2 },
      `At  of {"lot_name":"a","\uFFFD":2,"\u{1F600}":1} - ${surplus('\uFFFD')}`,
    ],
    ['add', lot({ lot_name: '', children: [1] }), 'At /children/0 of 1 - unexpected instance type'],
    ['removePaths', { paths: ['a', 'b', 1, 2, 3, 4, 5, 6, 7, 8, 9] }, 'At /paths/2 of 1 - unexpected instance type'],
    // Directories: each member for itself.
    ['setUsageByDir', { ...DIRECTORY }, `At  of ${whole(DIRECTORY)} - unexpected instance type`],
    ['setUsageByDir', [DIRECTORY, { path: '/b' }], `At  of {"path":"/b"} - ${missing('includes_subdirs')}`],
    ['setUsageByDir', [{ ...DIRECTORY, size_GB: -1 }], 'At /size_GB of -1 - instance is below minimum of 0.0'],
    ['setUsageByDirDelta', [{ ...DIRECTORY, num_obj: -0.5 }], 'At /num_obj of -0.5 - instance is not a multiple of 1.0'],
    [
      'setUsageByDir',
      [{ ...DIRECTORY, subdirs: [{ ...DIRECTORY, subdirs: [{ ...DIRECTORY, path: '' }] }] }],
      'At /subdirs/0/subdirs/0/path of "" - instance is too short as per minLength:1',
    ],
  ];
  for (const [kind, value, text] of table)
    t.equal(
      refusal(() => checkInput(kind, value)),
      `${text}\n`,
      `${kind} ${text}`,
    );
});

t.test('numbers that cannot be kept exactly, in our words', async (t) => {
  const bytes = '9007199254740991 bytes, in GB of 10^9 bytes';
  const table: [LotInputKind, unknown, string][] = [
    [
      'setUsage',
      { lot_name: 'a', self_GB: 9007199.254740993 },
      `At /self_GB of 9007199.254740993 - the number is above ${bytes}`,
    ],
    ['setUsageDelta', { lot_name: 'a', self_GB: -1e300 }, `At /self_GB of -1e+300 - the number is below -${bytes}`],
    [
      'add',
      policy({ deletion_time: 1e21 }),
      'At /management_policy_attrs/deletion_time of 1e+21 - the number is above 9007199254740991',
    ],
    [
      'setUsage',
      { lot_name: 'a', self_objects: 2 ** 53 },
      'At /self_objects of 9007199254740992 - the number is above 9007199254740991',
    ],
    ['setUsage', parseJson('{"lot_name":"a","self_GB":1e400}'), 'At /self_GB of Infinity - the number is not finite'],
    ['setUsageDelta', { lot_name: 'a', self_objects: Number.NaN }, 'At /self_objects of NaN - the number is not finite'],
    // What LotMan refuses goes first, also in another directory.
    ['setUsage', { lot_name: 'a', self_GB: 1e20, self_objects: -1 }, 'At /self_objects of -1 - instance is below minimum of 0.0'],
    ['setUsageByDir', [{ ...DIRECTORY, size_GB: 1e20 }, 5], 'At  of 5 - unexpected instance type'],
  ];
  for (const [kind, value, text] of table)
    t.equal(
      refusal(() => checkInput(kind, value)),
      `${text}\n`,
      text,
    );
});

t.test('JSON texts: line and column of the byte at which LotMan gives up', async (t) => {
  const good: [string, unknown][] = [
    [' {"a" : [1, -2.5e+3, 0, true, false, null, {}, []]}\n', { a: [1, -2500, 0, true, false, null, {}, []] }],
    [
      '\uFEFF"\\u00e9\\ud83d\\uDE00\\"\\\\\\/\\b\\f\\n\\r\\t \u007f\u00e9\u{1F600}"',
      '\u00e9\u{1F600}"\\/\b\f\n\r\t \u007f\u00e9\u{1F600}',
    ],
    ['{"a":1,"a":2}', { a: 2 }],
    [`${'['.repeat(1000)}${']'.repeat(1000)}`, JSON.parse(`${'['.repeat(1000)}${']'.repeat(1000)}`)],
  ];
  for (const [text, value] of good) t.strictSame(parseJson(text), value, text.slice(0, 60));
  const table: [text: string, line: number, column: number][] = [
    ['', 1, 1],
    ['  ', 1, 3],
    ['\n', 2, 1],
    ['{', 1, 2],
    ['{o', 1, 2],
    ['{"a"', 1, 5],
    ['{"a" 1}', 1, 6],
    ['{"a":}', 1, 6],
    ['{"a":1,}', 1, 8],
    ['{"a":1 "b"', 1, 10],
    ['{"a":1}}', 1, 8],
    ['[1,]', 1, 4],
    ['[1 2]', 1, 4],
    ['[}', 1, 2],
    ["{'a':1}", 1, 2],
    ['{5 ', 1, 2],
    ['{5\n', 1, 0],
    ['1\n\n2', 3, 1],
    ['[1,\n\n2,,3]', 3, 3],
    ['{\n "\u00e9": \u00e9}', 2, 8],
    ['"\u{1F600}" x', 1, 8],
    ['\uFEFFx', 1, 4],
    ['tru', 1, 4],
    ['trux', 1, 4],
    ['fa\nlse', 2, 0],
    ['NaN', 1, 1],
    ['+1', 1, 1],
    ['.5', 1, 1],
    ['01', 1, 2],
    ['-', 1, 2],
    ['1.x', 1, 3],
    ['1e+', 1, 4],
    ['"abc', 1, 5],
    ['"a\tb"', 1, 3],
    ['"a\nb"', 2, 0],
    ['"\\x"', 1, 3],
    ['"\\u12g4"', 1, 6],
    ['"\\udc00"', 1, 7],
    ['"\\ud800x"', 1, 8],
    ['"\\ud83d\\ud83d"', 1, 13],
    ['/* c */1', 1, 1],
    ['1\0', 1, 2],
    [`${'['.repeat(1001)}${']'.repeat(1001)}`, 1, 1001],
  ];
  for (const [text, line, column] of table) {
    const said = refusal(() => parseJson(text));
    const head = `[json.exception.parse_error.101] parse error at line ${line}, column ${column}: `;
    t.ok(
      said.startsWith(head) && said.length > head.length && !said.includes('\n'),
      `${JSON.stringify(text.slice(0, 60))}: ${said}`,
    );
  }
  t.equal(
    refusal(() => parseJson('{"a":1 2}')),
    "[json.exception.parse_error.101] parse error at line 1, column 8: found a number, expected ',' or '}'",
  );
});

t.test('JSON as LotMan prints it', async (t) => {
  const table: [unknown, string][] = [
    [{ b: 1, a: [true, null, 'x'], B: {} }, '{"B":{},"a":[true,null,"x"],"b":1}'],
    [{ '\u{1F600}': 1, '\uFFFD': 2, a: undefined }, '{"\uFFFD":2,"\u{1F600}":1}'],
    ['\u0001\b\n"\\/\u007f\u00e9', '"\\u0001\\b\\n\\"\\\\/\u007f\u00e9"'],
    [
      [0, -0, 2.5, -1.5, 1e15, 2 ** 53, 123_456_789_012_345.5],
      '[0,0,2.5,-1.5,1000000000000000,9007199254740992,123456789012345.5]',
    ],
    [[0.1, 1e-4, 1e-5, 5e-324, 1e20, 1e21, -1.25e-7], '[0.1,0.0001,1e-05,5e-324,1e+20,1e+21,-1.25e-07]'],
  ];
  for (const [value, text] of table) t.equal(dumpJson(value), text);
});
