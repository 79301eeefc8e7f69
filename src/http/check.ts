// Checks what comes in by the routes' schemas: bodies as they are, texts of the URL once they are what they stand for.

import { Ajv } from 'ajv';
import type { FastifySchemaValidationError } from 'fastify';

type Schema = Record<string, unknown>;
interface Checker {
  (value: unknown): boolean;
  errors?: FastifySchemaValidationError[] | null;
}

const ajv = new Ajv({ ownProperties: true, useDefaults: true, allowUnionTypes: true });

/** For fastify: `isBody` false for parameters and queries, in which all is text. */
export function checkerOf(schema: Schema, isBody: boolean): Checker {
  const check = ajv.compile(schema) as Checker;
  if (isBody) return check;
  const properties = (schema.properties ?? {}) as Record<string, Schema>;
  const checker: Checker = (value) => {
    const given = value as Record<string, unknown>;
    for (const [name, { type }] of Object.entries(properties)) {
      const text = given[name];
      if (typeof text !== 'string') continue;
      // Ajv's own coercion takes 1e400 for an integer of no bound.
      if (type === 'integer' && /^[0-9]{1,16}$/.test(text)) given[name] = Number(text);
      if (type === 'boolean' && (text === 'true' || text === 'false')) given[name] = text === 'true';
    }
    const isGood = check(given);
    checker.errors = check.errors ?? null;
    return isGood;
  };
  return checker;
}
