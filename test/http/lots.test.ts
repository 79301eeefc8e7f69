// Lots, report and metrics over HTTP on a live mount, and that the OpenAPI document says what there is.
import { Ajv } from 'ajv';
import t, { type Test } from 'tap';
import { NEW_LOT } from '../../src/http/lot-wire.js';
import { type At, ask, askJson, at } from '../helpers/http.js';
import { mount } from '../helpers/mount.js';
import { must } from '../helpers/run.js';

const LOTS = '/api/v1.0/lots';
const HOUR = 3_600_000;
const POLICY = {
  dedicatedGB: 0.005,
  opportunisticGB: 0.001,
  maxNumObjects: 10,
  creationTime: 0,
  expirationTime: 0,
  deletionTime: 0,
};
const lot = (lotName: string, more: object = {}, policy: object = {}) => ({
  lotName,
  owner: 'root',
  parents: [lotName],
  managementPolicyAttrs: { ...POLICY, ...policy },
  ...more,
});

/** Method, path and body; then status and what the answer matches. */
type Row = [method: string, path: string, json: unknown, status: number, answer: unknown];

async function table(t: Test, where: At, rows: readonly Row[]): Promise<void> {
  for (const [method, path, json, status, answer] of rows) {
    t.match(await askJson(where, path, method, json), { status, json: answer }, `${method} ${path.slice(0, 80)}`);
  }
}

t.test('lots', async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0', '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  const soon = Date.now() + HOUR;

  await t.test('are made, seen, changed and removed', (t) =>
    table(t, where, [
      [
        'POST',
        LOTS,
        lot('ops', { paths: [{ path: '/ops', recursive: true }] }),
        201,
        { lotName: 'ops', status: 'active', owner: 'root' },
      ],
      ['POST', LOTS, lot('ops'), 409, { code: 'LOT_EXISTS', errno: 'EEXIST', message: /already exists/ }],
      [
        'POST',
        LOTS,
        lot('team', { parents: ['ops'] }, { dedicatedGB: 0.002, opportunisticGB: -1, maxNumObjects: -1 }),
        201,
        { parents: ['ops'], managementPolicyAttrs: { opportunisticGB: -1, maxNumObjects: -1, expirationTime: 0 } },
      ],
      ['POST', LOTS, lot('big', {}, { dedicatedGB: 1 }), 507, { code: 'NO_SPACE', errno: 'ENOSPC', message: /available/ }],
      [
        'POST',
        LOTS,
        lot('later', {}, { creationTime: soon, expirationTime: soon + 1, deletionTime: 0 }),
        201,
        { status: 'pending' },
      ],
      ['POST', LOTS, lot('old', {}, { expirationTime: 5, deletionTime: soon }), 201, { status: 'expired' }],
      ['POST', LOTS, lot('older', {}, { expirationTime: 5, deletionTime: 6 }), 201, { status: 'deleted' }],
      ['POST', LOTS, lot('below-old', { parents: ['old'] }, { dedicatedGB: 0 }), 201, { status: 'expired' }],
      [
        'GET',
        `${LOTS}/ops`,
        undefined,
        200,
        { children: ['team'], paths: [{ path: '/ops/', recursive: true }], managementPolicyAttrs: POLICY },
      ],
      [
        'GET',
        `${LOTS}/team?recursive=true`,
        undefined,
        200,
        {
          owners: ['root'],
          restrictiveManagementPolicyAttrs: { maxNumObjects: { lotName: 'ops', value: 10 }, expirationTime: { value: 0 } },
        },
      ],
      ['POST', LOTS, lot('below-later', { parents: ['later'] }, { dedicatedGB: 0 }), 201, { status: 'pending' }],
      ['DELETE', `${LOTS}/below-later`, undefined, 204, null],
      ['GET', `${LOTS}/ops/children`, undefined, 200, { lotName: 'ops', children: ['team'] }],
      ['GET', `${LOTS}/ops/children?self=true&recursive=true`, undefined, 200, { children: ['ops', 'team'] }],
      ['GET', `${LOTS}/ops/policy`, undefined, 200, { policy: { dedicatedGB: { value: 0.005 }, deletionTime: { value: 0 } } }],
      [
        'GET',
        `${LOTS}/team/policy?recursive=true`,
        undefined,
        200,
        { policy: { opportunisticGB: { lotName: 'ops', value: 0.001 } } },
      ],
      [
        'GET',
        `${LOTS}/ops/usage`,
        undefined,
        200,
        { usage: { totalGB: { selfContrib: 0 }, gbBeingWritten: { selfContrib: 0 } } },
      ],
      [
        'PATCH',
        `${LOTS}/ops`,
        { managementPolicyAttrs: { maxNumObjects: -1 } },
        200,
        { managementPolicyAttrs: { maxNumObjects: -1, dedicatedGB: 0.005 } },
      ],
      [
        'PATCH',
        `${LOTS}/ops`,
        { owner: 'daemon', paths: [{ current: '/ops', new: '/ops2', recursive: true }] },
        200,
        { owner: 'daemon', paths: [{ path: '/ops2/' }] },
      ],
      ['PATCH', `${LOTS}/none`, { owner: 'daemon' }, 404, { code: 'NO_SUCH_LOT' }],
      ['DELETE', `${LOTS}/ops`, undefined, 409, { code: 'LOT_ORPHANS' }],
      ['DELETE', `${LOTS}/ops?recursive=true`, undefined, 204, null],
      ['GET', `${LOTS}/team`, undefined, 404, { code: 'NO_SUCH_LOT', errno: 'ENOENT' }],
      ['DELETE', `${LOTS}/ops`, undefined, 404, { code: 'NO_SUCH_LOT' }],
      ['DELETE', `${LOTS}/default`, undefined, 409, { code: 'LOT_IS_DEFAULT' }],
    ]),
  );

  await t.test('are listed, some or a page at a time', async (t) => {
    const names = async (query: string) => {
      const { json } = await askJson(where, `${LOTS}${query}`);
      const { lots, next } = json as { lots: { lotName: string }[]; next?: string };
      return [...lots.map(({ lotName }) => lotName), ...(next === undefined ? [] : [`next ${next}`])];
    };
    t.strictSame(await names(''), ['default', 'below-old', 'later', 'old', 'older']);
    t.strictSame(await names('?limit=2'), ['default', 'below-old', 'next below-old']);
    t.strictSame(await names('?limit=2&after=below-old'), ['later', 'old', 'next old']);
    t.strictSame(await names('?after=gone&limit=1'), ['later', 'next later'], 'a lot that is gone keeps its place');
    t.strictSame(await names('?status=expired'), ['below-old', 'old']);
    t.strictSame(await names('?status=pending&owner=root'), ['later']);
    t.strictSame(await names('?owner=nobody'), []);
    t.strictSame(await names('?owner=0&limit=1'), ['default', 'next default']);
  });

  await t.test('are found by a path, also those that are named by one', async (t) => {
    await must(m.run(['reserve', `${m.mnt}/job 1`, '3MB']));
    await must(m.shell('mkdir "job 1"; head -c 1000000 /dev/zero > "job 1/file"'));
    await table(t, where, [
      ['GET', `${LOTS}/%2Fjob%201`, undefined, 200, { lotName: '/job 1', managementPolicyAttrs: { dedicatedGB: 0.003 } }],
      [
        'GET',
        `${LOTS}/%2Fjob%201/usage`,
        undefined,
        200,
        { usage: { totalGB: { selfContrib: 0.001 }, numObjects: { selfContrib: 1 } } },
      ],
      ['GET', `${LOTS}/by-path?path=/job%201/file`, undefined, 200, { path: '/job 1/file', lots: ['/job 1'] }],
      ['GET', `${LOTS}/by-path?path=/elsewhere&recursive=true`, undefined, 200, { lots: ['default'] }],
      [
        'GET',
        `${LOTS}/by-path/capacity?path=/job%201`,
        undefined,
        200,
        { lotName: '/job 1', available: { bytes: 2_000_000, totalGB: 0.002 } },
      ],
      [
        'GET',
        `${LOTS}/by-path/capacity?path=/job%201&start=1&end=2`,
        undefined,
        501,
        { code: 'NOT_SUPPORTED', message: /start and end/ },
      ],
      ['GET', `${LOTS}/by-path?path=relative/../x`, undefined, 200, { lots: ['default'] }],
      ['GET', `${LOTS}/by-path?path=/a/../x`, undefined, 400, { code: 'BAD_PATH' }],
      ['GET', `${LOTS}/by-path`, undefined, 400, { code: 'BAD_REQUEST', message: /path/ }],
      ['POST', `${LOTS}/%2Fjob%201/reclaim`, {}, 501, { code: 'NOT_SUPPORTED', message: /expirationTime/ }],
      ['POST', `${LOTS}/none/reclaim`, undefined, 404, { code: 'NO_SUCH_LOT' }],
      ['DELETE', `${LOTS}/%2Fjob%201`, undefined, 204, null],
    ]);
  });

  await t.test('what is not understood is refused, and changes nothing', async (t) => {
    const before = (await askJson(where, LOTS)).json;
    const bad = (status: number, message: RegExp) => [status, { code: 'BAD_REQUEST', message }] as const;
    await table(t, where, [
      ['POST', LOTS, {}, ...bad(400, /lotName/)],
      ['POST', LOTS, lot('x', { surprise: 1 }), ...bad(400, /additional properties/)],
      ['POST', LOTS, lot('x', { __proto__x: 1 }), ...bad(400, /additional properties/)],
      ['POST', LOTS, lot('x', {}, { dedicatedGB: -1 }), ...bad(400, /dedicatedGB must be >= 0/)],
      ['POST', LOTS, lot('x', {}, { opportunisticGB: -0.5 }), ...bad(400, /opportunisticGB/)],
      ['POST', LOTS, lot('x', {}, { dedicatedGB: '1' }), ...bad(400, /must be number/)],
      ['POST', LOTS, lot('x', {}, { dedicatedGB: 1e300 }), ...bad(400, /dedicatedGB must be <=/)],
      ['POST', LOTS, lot('', {}), ...bad(400, /lotName/)],
      ['POST', LOTS, lot('a\u0000b'), 400, { code: 'BAD_NAME' }],
      ['POST', LOTS, lot('x', { paths: [{ path: '/../x', recursive: true }] }), 400, { code: 'BAD_PATH' }],
      ['POST', LOTS, lot('x', { parents: ['none'] }), 404, { code: 'NO_SUCH_LOT' }],
      ['GET', `${LOTS}?limit=0`, undefined, ...bad(400, /limit/)],
      ['GET', `${LOTS}?limit=2&limit=3`, undefined, ...bad(400, /limit/)],
      ['GET', `${LOTS}?status=tired`, undefined, ...bad(400, /status/)],
      ['GET', `${LOTS}?nonsense=1`, undefined, ...bad(400, /additional/)],
      ['GET', `${LOTS}/ops?recursive=yes`, undefined, ...bad(400, /recursive/)],
      ['GET', `${LOTS}/%ff`, undefined, ...bad(400, /url/)],
      ['GET', `${LOTS}/${'x'.repeat(13_000)}`, undefined, ...bad(400, /.*/)],
      ['GET', `${LOTS}/..%2f..`, undefined, 404, { code: 'NO_SUCH_LOT' }],
      ['GET', `${LOTS}/a/b/c`, undefined, 404, { code: 'NO_SUCH_ROUTE' }],
      ['PUT', `${LOTS}/ops`, {}, 404, { code: 'NO_SUCH_ROUTE' }],
      ['GET', '/api/v2', undefined, 404, { code: 'NO_SUCH_ROUTE' }],
    ]);
    const texts: [string | Buffer, RegExp][] = [
      ['', /body/],
      ['{', /no JSON/],
      ['[]', /must be object/],
      ['{"__proto__":{"lotName":"x"},"constructor":1}', /body/],
      [Buffer.from([0x22, 0xff, 0x22]), /no JSON/],
      [`${'['.repeat(100_000)}`, /no JSON/],
    ];
    for (const [body, message] of texts) {
      const { status, body: said } = await ask(where, LOTS, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/json' },
      });
      t.match({ status, said }, { status: 400, said: message }, String(body).slice(0, 20));
    }
    t.strictSame((await askJson(where, LOTS)).json, before);
  });

  await t.test('report and metrics are those of the mount', async (t) => {
    const report = await ask(where, '/api/v1.0/report');
    t.match(JSON.parse(report.body), {
      daemon: { pid: m.ready.pid },
      pool: { capacityBytes: 50_000_000 },
      lots: [{ name: 'default' }],
      waiting: [],
    });
    t.match(await ask(where, '/metrics', { method: 'HEAD' }), { status: 200, body: '' });
    t.match(await ask(where, '/metrics'), {
      headers: { 'content-type': /^text\/plain; version=0\.0\.4/ },
      body: /^vreserve_lots 5$/m,
    });
  });

  await t.test('the OpenAPI document says what there is, by the schemas that check', async (t) => {
    interface Operation {
      parameters?: { name: string; in: string; required: boolean }[];
      requestBody?: { content: { 'application/json': { schema: object } } };
      responses: Record<string, { content?: Record<string, { schema: object }> }>;
    }
    const { json } = await askJson(where, '/api/openapi.json');
    const document = json as { openapi: string; paths: Record<string, Record<string, Operation>> };
    t.equal(document.openapi, '3.1.0');
    const found = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((each) => `${each} ${path}`),
    );
    t.strictSame(found.sort(), [
      'delete /api/v1.0/lots/{lotName}',
      'get /api/openapi.json',
      'get /api/v1.0/ledger',
      'get /api/v1.0/lots',
      'get /api/v1.0/lots/by-path',
      'get /api/v1.0/lots/by-path/capacity',
      'get /api/v1.0/lots/{lotName}',
      'get /api/v1.0/lots/{lotName}/children',
      'get /api/v1.0/lots/{lotName}/policy',
      'get /api/v1.0/lots/{lotName}/usage',
      'get /api/v1.0/report',
      'get /metrics',
      'get /ping/',
      'get /release/',
      'get /report/',
      'get /reserve/',
      'patch /api/v1.0/lots/{lotName}',
      'post /api/v1.0/command',
      'post /api/v1.0/lots',
      'post /api/v1.0/lots/{lotName}/reclaim',
      'post /ping/',
      'post /release/',
      'post /report/',
      'post /reserve/',
    ]);
    t.strictSame(
      document.paths[LOTS]?.post?.requestBody?.content['application/json'].schema,
      JSON.parse(JSON.stringify(NEW_LOT)),
    );
    const values: Record<string, string> = { path: '/', bytes: '0', lotName: 'old' };
    for (const [path, { get }] of Object.entries(document.paths)) {
      if (get === undefined) continue;
      const needed = (get.parameters ?? []).filter(({ required, in: place }) => required && place === 'query');
      const query = needed.map(({ name }) => `${name}=${values[name]}`).join('&');
      const answer = await ask(where, `${path.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? '')}?${query}`);
      const schema = get.responses['200']?.content?.['application/json']?.schema;
      if (schema === undefined) t.equal(answer.status, 200, path);
      else
        t.ok(new Ajv({ allowUnionTypes: true }).validate(schema, JSON.parse(answer.body)), `GET ${path} is as it is described`);
    }
  });
});
