// Lots over HTTP: /api/v1.0/lots, as Pelican has it.

import type { FastifyPluginCallback, FastifyReply } from 'fastify';
import { compareBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, DEFAULT_LOT_NAME, type Lot } from '../core/lot.js';
import { gbOf } from '../lots/wire.js';
import { limitBodyTime, takeJson } from './bodies.js';
import type { HttpHost } from './host.js';
import { camelJson, LOT, LOT_CHANGE, type LotStatus, NEW_LOT, snakeJson, statusOf } from './lot-wire.js';
import type { RouteDoc } from './openapi.js';

const LOTS = '/api/v1.0/lots';

/** Lots in one answer, where nothing else is asked for, and at most. */
const MANY = 100;
const MOST = 1000;

const YES = { type: 'boolean' };
const TEXT = { type: 'string' };
const NAMED = { type: 'object', properties: { lotName: TEXT }, required: ['lotName'] };
const NAMES = { type: 'array', items: TEXT };

const query = (properties: Record<string, object>, required: readonly string[] = []) => ({
  type: 'object',
  additionalProperties: false,
  properties,
  required,
});
const answers = (content: RouteDoc['answers'], summary: string) => ({ doc: { summary, answers: content } });

interface Named {
  Params: { lotName: string };
}

type Flags = Record<string, boolean | undefined>;

interface Listing {
  after?: string;
  limit: number;
  owner?: string;
  status?: LotStatus;
}

export function lotRoutes(host: HttpHost): FastifyPluginCallback {
  const ask = (name: string, given: { word?: string; json?: unknown; flags?: readonly string[] }) =>
    host.commands.lot({ name, word: given.word ?? null, json: given.json, flags: given.flags ?? [] }, host.by);
  const must = (name: string): Lot => {
    const lot = host.lotNamed(name);
    if (lot === undefined) throw new VreserveError('NO_SUCH_LOT', { reason: `there is no lot '${name.slice(0, 100)}'` });
    return lot;
  };
  const show = async (name: string, recursive = false) => {
    const lot = must(name);
    const shown = (await ask('show', { word: name, flags: recursive ? ['recursive'] : [] })) as object;
    const { lot_name: lotName, ...rest } = shown as Record<string, unknown>;
    return { lotName, status: statusOf(lot, host.lotOf, host.clock()), ...(camelJson(rest) as object) };
  };
  const list = async ({ after, limit, owner, status }: Listing) => {
    const nowMs = host.clock();
    const wanted = ((await ask('list', {})) as string[]).filter((name) => {
      const lot = host.lotNamed(name);
      if (lot === undefined || (owner !== undefined && owner !== lot.owner && owner !== host.userName(lot.owner))) return false;
      return status === undefined || statusOf(lot, host.lotOf, nowMs) === status;
    });
    const left = after === undefined ? wanted : wanted.filter((name) => isAfter(name, after));
    const names = left.slice(0, limit);
    const next = left.length > limit ? { next: names.at(-1) } : {};
    return { lots: await Promise.all(names.map((name) => show(name))), ...next };
  };
  const whichOf = async (path: string, recursive: boolean) => {
    const found = (await ask('which', { word: path, flags: recursive ? ['recursive'] : [] })) as string[];
    return found;
  };

  return (app, _, done) => {
    takeJson(app);
    limitBodyTime(app);

    app.get<{ Querystring: Listing }>(
      LOTS,
      {
        schema: {
          querystring: query({
            status: { ...TEXT, enum: ['pending', 'active', 'expired', 'deleted'] },
            owner: { ...TEXT, description: "A user's name or uid." },
            limit: { type: 'integer', minimum: 1, maximum: MOST, default: MANY },
            after: { ...TEXT, description: 'The `next` of the answer before.' },
          }),
        },
        config: answers(
          { 200: { type: 'object', properties: { lots: { type: 'array', items: LOT }, next: TEXT }, required: ['lots'] } },
          'Lots: the default lot, then the others by name.',
        ),
      },
      (request) => list(request.query),
    );

    app.post<{ Body: { lotName: string } }>(
      LOTS,
      { schema: { body: NEW_LOT }, config: answers({ 201: LOT }, 'Makes a lot. One whose only parent is itself is a root.') },
      async ({ body }, reply) => {
        await ask('add', { json: snakeJson(body) });
        const name = recordedName(body.lotName);
        return reply
          .code(201)
          .header('location', `${LOTS}/${encodeURIComponent(name)}`)
          .send(await show(name));
      },
    );

    app.get<{ Querystring: { path: string; recursive?: boolean } }>(
      `${LOTS}/by-path`,
      {
        schema: { querystring: query({ path: TEXT, recursive: YES }, ['path']) },
        config: answers(
          { 200: { type: 'object', properties: { path: TEXT, lots: NAMES } } },
          'The lot that owns a path; recursive: and all above it.',
        ),
      },
      async ({ query: { path, recursive } }) => ({ path, lots: await whichOf(path, recursive === true) }),
    );

    app.get<{ Querystring: { path: string; start?: string; end?: string } }>(
      `${LOTS}/by-path/capacity`,
      {
        schema: { querystring: query({ path: TEXT, start: TEXT, end: TEXT }, ['path']) },
        config: answers(
          {
            200: {
              type: 'object',
              properties: {
                path: TEXT,
                lotName: TEXT,
                atMs: { type: 'integer' },
                available: { type: 'object', properties: { totalGB: { type: 'number' }, bytes: { type: 'integer' } } },
              },
            },
          },
          'What the lot that owns a path can still take, now.',
        ),
      },
      async ({ query: { path, start, end } }) => {
        if (start !== undefined || end !== undefined)
          throw notHere('the capacity of a time to come is not known here: leave start and end out');
        const [name = ''] = await whichOf(path, false);
        const bytes = Math.max(0, host.roomIn(host.lotNamed(name)?.id ?? DEFAULT_LOT_ID));
        return { path, lotName: name, atMs: host.clock(), available: { totalGB: gbOf(bytes), bytes } };
      },
    );

    app.get<Named & { Querystring: Flags }>(
      `${LOTS}/:lotName`,
      {
        schema: { params: NAMED, querystring: query({ recursive: YES }) },
        config: answers({ 200: LOT }, 'A lot; recursive: with owners, parents and limits of those above, and all below.'),
      },
      ({ params, query: { recursive } }) => show(params.lotName, recursive === true),
    );

    app.patch<Named & { Body: object }>(
      `${LOTS}/:lotName`,
      { schema: { params: NAMED, body: LOT_CHANGE }, config: answers({ 200: LOT }, 'Changes owner, parents, paths or policy.') },
      async ({ params: { lotName }, body }) => {
        await ask('update', { json: { lot_name: lotName, ...(snakeJson(body) as object) } });
        return show(lotName);
      },
    );

    app.delete<Named & { Querystring: Flags }>(
      `${LOTS}/:lotName`,
      {
        schema: { params: NAMED, querystring: query({ recursive: YES, assignToOrphans: YES, assignToNonOrphans: YES }) },
        config: answers({ 204: null }, 'Removes a lot; recursive: and all below it.'),
      },
      async ({ params, query: { recursive, assignToOrphans, assignToNonOrphans } }, reply): Promise<FastifyReply> => {
        const flags = flagged({
          recursive: recursive,
          'assign-to-orphans': assignToOrphans,
          'assign-to-non-orphans': assignToNonOrphans,
        });
        await ask('remove', { word: params.lotName, flags });
        return reply.code(204).send();
      },
    );

    app.post<Named>(
      `${LOTS}/:lotName/reclaim`,
      { schema: { params: NAMED }, config: answers({ 501: null }, 'Not here: see the text of the refusal.') },
      async ({ params }) => {
        must(params.lotName);
        throw notHere("a single lot is not reclaimed: set its expirationTime and deletionTime, or run 'vreserve reclaim'");
      },
    );

    app.get<Named & { Querystring: Flags }>(
      `${LOTS}/:lotName/children`,
      {
        schema: { params: NAMED, querystring: query({ recursive: YES, self: YES }) },
        config: answers({ 200: { type: 'object', properties: { lotName: TEXT, children: NAMES } } }, 'Names of the lots below.'),
      },
      async ({ params: { lotName }, query: { recursive, self } }) => ({
        lotName,
        children: await ask('children', { word: lotName, flags: flagged({ recursive, self }) }),
      }),
    );

    for (const part of ['usage', 'policy'] as const) {
      app.get<Named & { Querystring: Flags }>(
        `${LOTS}/:lotName/${part}`,
        {
          schema: { params: NAMED, querystring: query({ recursive: YES }) },
          config: answers(
            { 200: { type: 'object' } },
            part === 'usage'
              ? 'What the lot uses; recursive: with all below it.'
              : 'Its policy; recursive: as the lots above restrict it.',
          ),
        },
        async ({ params: { lotName }, query: { recursive } }) => ({
          lotName,
          [part]: camelJson(await ask(part, { word: lotName, flags: flagged({ recursive }) })),
        }),
      );
    }
    done();
  };
}

/** In the order of the list: the default lot, then by name. A lot that is gone keeps its place. */
function isAfter(name: string, other: string): boolean {
  return name !== DEFAULT_LOT_NAME && (other === DEFAULT_LOT_NAME || compareBytes(name, other) > 0);
}

function flagged(flags: Flags): string[] {
  return Object.entries(flags).flatMap(([name, on]) => (on === true ? [name] : []));
}

/** A name that is a path is recorded without the slash at its end. */
function recordedName(name: string): string {
  return name.startsWith('/') && name.length > 1 ? name.replace(/\/$/, '') : name;
}

function notHere(reason: string): VreserveError {
  return new VreserveError('NOT_SUPPORTED', { reason });
}
