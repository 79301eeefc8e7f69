// Lots in the REST interface: LotMan's JSON in camelCase, with -1 for no limit and 0 for never.

import { MAX_BYTES } from '../core/bytes.js';
import { SCHEMAS } from '../lots/schema-data.js';

type Json = Record<string, unknown>;

/** `dedicated_GB` is `dedicatedGB`, `GB_being_written` `gbBeingWritten`. */
export function camel(name: string): string {
  const [first = '', ...rest] = name.split('_');
  return (first === 'GB' ? 'gb' : first) + rest.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
}

/** Every name that inputs have, by the camelCase one. */
const SNAKE = new Map<string, string>();

/** What can be said to have no limit, or never to come. */
const UNLIMITED_AS: Record<string, number> = {
  opportunisticGB: -1,
  maxNumObjects: -1,
  expirationTime: 0,
  deletionTime: 0,
};
const NONE_AT: Record<string, number> = {
  opportunisticGB: MAX_BYTES / 1e9,
  maxNumObjects: MAX_BYTES,
  expirationTime: MAX_BYTES,
  deletionTime: MAX_BYTES,
};

/** A schema of LotMan's input with the names of ours. */
function camelSchema(schema: Json, without: readonly string[] = []): Json {
  const out: Json = { ...schema };
  if (schema.items !== undefined) out.items = camelSchema(schema.items as Json);
  if (schema.properties === undefined) return out;
  const kept = Object.entries(schema.properties as Record<string, Json>).filter(([name]) => !without.includes(name));
  out.properties = Object.fromEntries(
    kept.map(([name, each]) => {
      SNAKE.set(camel(name), name);
      const renamed = camelSchema(each);
      const none = UNLIMITED_AS[camel(name)];
      return [camel(name), none === -1 ? { anyOf: [{ const: -1 }, renamed] } : renamed];
    }),
  );
  out.required = ((schema.required ?? []) as string[]).filter((name) => !without.includes(name)).map(camel);
  return out;
}

export const NEW_LOT = camelSchema(SCHEMAS.add);
export const LOT_CHANGE = camelSchema(SCHEMAS.update, ['lot_name']);

/** An input in LotMan's words. It has been checked. */
export function snakeJson(value: unknown): unknown {
  return renamed(
    value,
    (name) => SNAKE.get(name) ?? name,
    (name, each) => (each === UNLIMITED_AS[name] ? NONE_AT[name] : each),
  );
}

/** An answer in ours. */
export function camelJson(value: unknown): unknown {
  return renamed(value, camel, (name, each) => (each === NONE_AT[camel(name)] ? UNLIMITED_AS[camel(name)] : each));
}

/** `attribute`: the name of the nearest member that is one of the policy's, for answers that put its value a level deeper. */
function renamed(value: unknown, nameOf: (name: string) => string, limitOf: (name: string, value: unknown) => unknown): unknown {
  const walk = (each: unknown, attribute: string): unknown => {
    if (Array.isArray(each)) return each.map((member) => walk(member, ''));
    if (typeof each !== 'object' || each === null) return limitOf(attribute, each);
    return Object.fromEntries(
      Object.entries(each).map(([name, member]) => [nameOf(name), walk(member, name === 'value' ? attribute : name)]),
    );
  };
  return walk(value, '');
}

const NUMBER = { type: 'number' };
const NAMES = { type: 'array', items: { type: 'string' } };

const objectOf = (properties: Json): Json => ({ type: 'object', properties });

const POLICY = objectOf({
  dedicatedGB: NUMBER,
  opportunisticGB: { ...NUMBER, description: '-1: no limit' },
  maxNumObjects: { ...NUMBER, description: '-1: no limit' },
  creationTime: NUMBER,
  expirationTime: { ...NUMBER, description: 'Unix ms; 0: never' },
  deletionTime: { ...NUMBER, description: 'Unix ms; 0: never' },
});

/** A lot as it is told. */
export const LOT: Json = {
  ...objectOf({
    lotName: { type: 'string' },
    status: { type: 'string', enum: ['pending', 'active', 'expired', 'deleted'] },
    owner: { type: 'string' },
    owners: { ...NAMES, description: 'With recursive, in place of owner.' },
    parents: NAMES,
    children: NAMES,
    paths: {
      type: 'array',
      items: objectOf({
        lotName: { type: 'string' },
        path: { type: 'string' },
        recursive: { type: 'boolean' },
        exclude: { type: 'boolean' },
      }),
    },
    managementPolicyAttrs: POLICY,
    restrictiveManagementPolicyAttrs: { type: 'object' },
    usage: { type: 'object' },
  }),
  required: ['lotName', 'status', 'parents', 'children', 'paths', 'managementPolicyAttrs', 'usage'],
};
