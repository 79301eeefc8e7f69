// A command on spaces, from the fields of JSON or the options of words.

import { parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { checkSpaceName, checkSpaceSize, spaceEnforcer, spacePolicy } from '../core/space.js';
import type { SpaceRequest } from './host.js';

/** Their names, in JSON as they are and as words after `--`. */
export const SPACE_OPTIONS = ['type', 'policy', 'at', 'enforce'] as const;

/** What each verb takes besides `do`. */
const TAKES: Record<SpaceRequest['do'], readonly string[]> = {
  create: ['name', 'bytes', ...SPACE_OPTIONS],
  update: ['name', 'bytes'],
  delete: ['name'],
  lookup: ['name'],
  list: ['all'],
};

/** Throws BAD_COMMAND, BAD_BYTES, SPACE_BAD_… */
export function spaceRequest(fields: Readonly<Record<string, unknown>>): SpaceRequest {
  const { do: verb } = fields;
  const verbs = Object.keys(TAKES).join(', ');
  if (!isVerb(verb)) throw bad(`space has no '${String(verb ?? '').slice(0, 40)}'; it has ${verbs}`);
  const stray = Object.keys(fields).find(
    (field) => field !== 'do' && fields[field] !== undefined && !TAKES[verb].includes(field),
  );
  if (stray !== undefined) throw bad(`space ${verb} takes no '${stray.slice(0, 40)}'`);
  switch (verb) {
    case 'create':
      return {
        do: verb,
        name: checkSpaceName(text(fields, 'name')),
        bytes: size(fields),
        policy: spacePolicy(optional(fields, 'type'), optional(fields, 'policy')),
        enforce: spaceEnforcer(optional(fields, 'enforce')),
        at: optional(fields, 'at') ?? null,
      };
    case 'update':
      return { do: verb, name: checkSpaceName(text(fields, 'name')), bytes: size(fields) };
    case 'delete':
    case 'lookup':
      return { do: verb, name: checkSpaceName(text(fields, 'name')) };
    case 'list': {
      const { all = false } = fields;
      if (typeof all !== 'boolean') throw bad('"all" must be true or false');
      return { do: verb, all };
    }
  }
}

function isVerb(value: unknown): value is SpaceRequest['do'] {
  return typeof value === 'string' && Object.hasOwn(TAKES, value);
}

function text(fields: Readonly<Record<string, unknown>>, name: string): string {
  const value = fields[name];
  if (value === undefined) throw bad(`space ${String(fields.do)} needs a ${name}`);
  if (typeof value !== 'string') throw bad(`"${name}" must be a string`);
  return value;
}

function optional(fields: Readonly<Record<string, unknown>>, name: string): string | undefined {
  return fields[name] === undefined || fields[name] === null ? undefined : text(fields, name);
}

/** A number of bytes, or text such as "500GiB". */
function size(fields: Readonly<Record<string, unknown>>): number {
  const { bytes } = fields;
  return checkSpaceSize(typeof bytes === 'number' ? bytes : parseBytes(text(fields, 'bytes')));
}

function bad(reason: string): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason });
}
