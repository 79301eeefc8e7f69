// What each JSON input of LotMan may hold, as JSON schemas of draft 07.

import type { SchemaObject } from 'ajv';
import { MAX_BYTES } from '../core/bytes.js';

/** Bytes in a GB of LotMan. */
const GB_BYTES = 1e9;

const NAME = { type: 'string', minLength: 1 };
const TEXT = { type: 'string' };
const YES_OR_NO = { type: 'boolean' };
// The upper bounds, and the lower ones below 0, are ours: LotMan has none.
const AMOUNT = { type: 'number', minimum: 0, maximum: MAX_BYTES / GB_BYTES };
const AMOUNT_CHANGE = { ...AMOUNT, minimum: -AMOUNT.maximum };
const COUNT = { type: 'number', minimum: 0, maximum: MAX_BYTES, multipleOf: 1 };
const COUNT_CHANGE = { ...COUNT, minimum: -COUNT.maximum };

const listOf = (items: SchemaObject): SchemaObject => ({ type: 'array', items });
const someOf = (items: SchemaObject): SchemaObject => ({ ...listOf(items), minItems: 1 });

/** An object of these members and no others; of the required ones the first that is missing is told. */
const exactly = (properties: Record<string, SchemaObject>, required: readonly string[]): SchemaObject => ({
  type: 'object',
  additionalProperties: false,
  properties,
  required,
});

const eachOf = (names: readonly string[], schema: SchemaObject): Record<string, SchemaObject> =>
  Object.fromEntries(names.map((name) => [name, schema]));

const AMOUNTS = ['dedicated_GB', 'opportunistic_GB'];
const COUNTS_TO_CHANGE = ['max_num_objects', 'expiration_time', 'deletion_time'];
const ATTRIBUTES = [...AMOUNTS, 'max_num_objects', 'creation_time', 'expiration_time', 'deletion_time'];
const PARTS_OF_USAGE = [...AMOUNTS, 'total_GB', 'num_objects', 'GB_being_written', 'objects_being_written'];

const PATHS = listOf(exactly({ path: NAME, recursive: YES_OR_NO, exclude: YES_OR_NO }, ['path', 'recursive']));
const POLICY = exactly({ ...eachOf(ATTRIBUTES, COUNT), ...eachOf(AMOUNTS, AMOUNT) }, ATTRIBUTES);
const POLICY_CHANGE = exactly({ ...eachOf(COUNTS_TO_CHANGE, COUNT), ...eachOf(AMOUNTS, AMOUNT) }, []);

const usageOf = (amount: SchemaObject, count: SchemaObject): SchemaObject =>
  exactly(
    {
      lot_name: NAME,
      self_GB: amount,
      self_objects: count,
      self_GB_being_written: amount,
      self_objects_being_written: count,
    },
    ['lot_name'],
  );

/** One directory, with those in it. */
const directoryOf = (amount: SchemaObject, count: SchemaObject): SchemaObject =>
  exactly({ path: NAME, size_GB: amount, num_obj: count, includes_subdirs: YES_OR_NO, subdirs: listOf({ $ref: '#' }) }, [
    'path',
    'includes_subdirs',
  ]);

/** By the method of the client that takes the input. Those of `setUsageByDir` are for each member of the list. */
export const SCHEMAS = {
  add: exactly(
    {
      lot_name: NAME,
      owner: NAME,
      parents: someOf(TEXT),
      children: listOf(TEXT),
      paths: PATHS,
      management_policy_attrs: POLICY,
    },
    ['lot_name', 'owner', 'parents', 'management_policy_attrs'],
  ),
  update: exactly(
    {
      lot_name: NAME,
      owner: NAME,
      parents: listOf(exactly({ current: NAME, new: NAME }, ['current', 'new'])),
      paths: listOf(
        exactly({ current: NAME, new: NAME, recursive: YES_OR_NO, exclude: YES_OR_NO }, ['current', 'new', 'recursive']),
      ),
      management_policy_attrs: POLICY_CHANGE,
    },
    ['lot_name'],
  ),
  removeParents: exactly({ lot_name: NAME, parents: someOf(TEXT) }, ['lot_name', 'parents']),
  removePaths: exactly({ paths: someOf(TEXT) }, ['paths']),
  addTo: exactly({ lot_name: NAME, paths: PATHS, parents: listOf(NAME) }, ['lot_name']),
  policy: exactly({ lot_name: NAME, ...eachOf(ATTRIBUTES, YES_OR_NO) }, ['lot_name']),
  usage: exactly({ lot_name: NAME, ...eachOf(PARTS_OF_USAGE, YES_OR_NO) }, ['lot_name']),
  setUsage: usageOf(AMOUNT, COUNT),
  setUsageDelta: usageOf(AMOUNT_CHANGE, COUNT_CHANGE),
  setUsageByDir: directoryOf(AMOUNT, COUNT),
  setUsageByDirDelta: directoryOf(AMOUNT_CHANGE, COUNT_CHANGE),
} as const satisfies Record<string, SchemaObject>;
