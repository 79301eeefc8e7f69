// The JSON inputs of LotMan: their types, and the check of a value, which refuses with the text that LotMan has for it.

import { Ajv, type DefinedError, type ValidateFunction } from 'ajv';
import { MAX_BYTES } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { SCHEMAS } from './schema-data.js';
import { dumpJson, sortedEntries } from './schema-json.js';

/** A path of a lot. Below a recursive one all belongs to the lot; what is excluded does not. */
export interface PathJson {
  path: string;
  recursive: boolean;
  /** Default: false. */
  exclude?: boolean;
}

/** Amounts in GB of 10^9 bytes, times in Unix ms. */
export interface PolicyJson {
  dedicated_GB: number;
  opportunistic_GB: number;
  max_num_objects: number;
  creation_time: number;
  expiration_time: number;
  deletion_time: number;
}

/** A new lot. One that is its own only parent is a root. */
export interface AddLotJson {
  lot_name: string;
  owner: string;
  /** At least one. */
  parents: readonly string[];
  children?: readonly string[];
  paths?: readonly PathJson[];
  management_policy_attrs: PolicyJson;
}

/** Changes of a lot: what is not named stays. */
export interface UpdateLotJson {
  lot_name: string;
  owner?: string;
  parents?: readonly { current: string; new: string }[];
  paths?: readonly { current: string; new: string; recursive: boolean; exclude?: boolean }[];
  management_policy_attrs?: Partial<Omit<PolicyJson, 'creation_time'>>;
}

/** Parents that the lot is to lose. */
export interface RemoveParentsJson {
  lot_name: string;
  /** At least one. */
  parents: readonly string[];
}

/** Paths that the lots they belong to are to lose. */
export interface RemovePathsJson {
  /** At least one. */
  paths: readonly string[];
}

/** Paths and parents that the lot is to get. */
export interface AddToLotJson {
  lot_name: string;
  paths?: readonly PathJson[];
  parents?: readonly string[];
}

/** Attributes to be told. true: the least over the lot and all above it; false: the lot's own. */
export interface PolicyQueryJson extends Partial<Record<keyof PolicyJson, boolean>> {
  lot_name: string;
}

/** Parts of the usage that can be asked for. */
export type UsagePart =
  | 'dedicated_GB'
  | 'opportunistic_GB'
  | 'total_GB'
  | 'num_objects'
  | 'GB_being_written'
  | 'objects_being_written';

/** Parts of the usage to be told. true: with the lots below; false: the lot's own. */
export interface UsageQueryJson extends Partial<Record<UsagePart, boolean>> {
  lot_name: string;
}

/** A lot's own usage, or as a delta what it changes by, which may be negative. */
export interface UsageUpdateJson {
  lot_name: string;
  self_GB?: number;
  self_objects?: number;
  self_GB_being_written?: number;
  self_objects_being_written?: number;
}

/** What a directory holds, or as a delta what that changes by. */
export interface DirectoryUsageJson {
  /** Below the directory that it is listed in. */
  path: string;
  /** Whether the numbers contain those of `subdirs`. */
  includes_subdirs: boolean;
  size_GB?: number;
  num_obj?: number;
  subdirs?: readonly DirectoryUsageJson[];
}

/** Usage of directories, each charged to the lot that its path belongs to. */
export type UsageByDirJson = readonly DirectoryUsageJson[];

/** Every input, by the method of the client that takes it. */
export interface LotInputs {
  add: AddLotJson;
  update: UpdateLotJson;
  removeParents: RemoveParentsJson;
  removePaths: RemovePathsJson;
  addTo: AddToLotJson;
  policy: PolicyQueryJson;
  usage: UsageQueryJson;
  setUsage: UsageUpdateJson;
  setUsageDelta: UsageUpdateJson;
  setUsageByDir: UsageByDirJson;
  setUsageByDirDelta: UsageByDirJson;
}

export type LotInputKind = keyof LotInputs;

const WRONG_TYPE = 'unexpected instance type';

/**
 * The value, typed as the input it is. Throws BAD_LOT_JSON with the text of the first error that LotMan finds (pboettch's
 * json-schema-validator 2.4.0: `At POINTER of VALUE - WHAT`, with a line feed), and of our own for numbers beyond 2^53 - 1 bytes.
 */
export function checkInput<Kind extends LotInputKind>(kind: Kind, value: unknown): LotInputs[Kind] {
  const parts = kind === 'setUsageByDir' || kind === 'setUsageByDirDelta' ? membersOf(value) : [value];
  const found = parts.map((part) => findingsIn(kind, part));
  // What LotMan refuses goes first, wherever it is.
  for (const [index, part] of parts.entries()) refuseFirst(part, found[index]?.filter(({ ours }) => ours === undefined) ?? []);
  for (const [index, part] of parts.entries()) refuseFirst(part, found[index] ?? []);
  return value as LotInputs[Kind];
}

const ajv = new Ajv({ allErrors: true, ownProperties: true, verbose: true });
const validators = new Map<LotInputKind, ValidateFunction>();

/** Compiled when first used: most processes need few of them. */
function validatorOf(kind: LotInputKind): ValidateFunction {
  const known = validators.get(kind);
  if (known !== undefined) return known;
  const validator = ajv.compile(SCHEMAS[kind]);
  validators.set(kind, validator);
  return validator;
}

/** An error of the value that `pointer` leads to. */
interface Finding {
  pointer: string;
  what: string;
  /** The member that should not be there. */
  surplus?: string;
  /** LotMan stops at the first that is missing. */
  alone?: true;
  /** LotMan would have taken the value. */
  ours?: true;
}

/** LotMan checks the members of a list one by one, so that pointers begin at the member. */
function membersOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : refuse('', value, WRONG_TYPE);
}

function findingsIn(kind: LotInputKind, value: unknown): Finding[] {
  const validator = validatorOf(kind);
  return validator(value) ? [] : ((validator.errors ?? []) as DefinedError[]).flatMap(findingOf);
}

function findingOf(error: DefinedError): Finding[] {
  const { instancePath: pointer, data } = error;
  switch (error.keyword) {
    case 'type':
      if (typeof data === 'number' && !Number.isFinite(data)) return [{ pointer, what: 'the number is not finite', ours: true }];
      return [{ pointer, what: WRONG_TYPE }];
    case 'required':
      return [{ pointer, what: `required property '${error.params.missingProperty}' not found in object`, alone: true }];
    case 'additionalProperties': {
      const surplus = error.params.additionalProperty;
      const what = `validation failed for additional property '${surplus}': instance invalid as per false-schema`;
      return [{ pointer, what, surplus }];
    }
    case 'minItems':
      return [{ pointer, what: 'array has too few items' }];
    case 'minLength':
      return [{ pointer, what: `instance is too short as per minLength:${error.params.limit}` }];
    case 'multipleOf':
      // The library takes large whole numbers for fractions.
      return Number.isInteger(data) ? [] : [{ pointer, what: 'instance is not a multiple of 1.0' }];
    case 'minimum':
      if (error.params.limit === 0) return [{ pointer, what: 'instance is below minimum of 0.0' }];
      return [{ pointer, what: `the number is below ${boundText(pointer, -1)}`, ours: true }];
    case 'maximum':
      return [{ pointer, what: `the number is above ${boundText(pointer, 1)}`, ours: true }];
    default:
      return [{ pointer, what: error.message ?? error.keyword }];
  }
}

function boundText(pointer: string, sign: 1 | -1): string {
  return pointer.includes('GB') ? `${sign * MAX_BYTES} bytes, in GB of 10^9 bytes` : String(sign * MAX_BYTES);
}

/** Throws for the first of the findings in the order in which LotMan looks: a value before its members, and these by key. */
function refuseFirst(value: unknown, findings: readonly Finding[]): void {
  if (findings.length === 0) return;
  const byPointer = new Map<string, Finding[]>();
  for (const finding of findings) {
    const known = byPointer.get(finding.pointer);
    if (known === undefined) byPointer.set(finding.pointer, [finding]);
    else known.push(finding);
  }
  visit('', value, byPointer);
}

function visit(pointer: string, value: unknown, findings: ReadonlyMap<string, readonly Finding[]>): void {
  const here = findings.get(pointer) ?? [];
  const own = here.filter(({ surplus }) => surplus === undefined);
  // A number below 0 with a fraction has two, which LotMan joins in the other order.
  if (own[0] !== undefined) refuse(pointer, value, own[0].alone ? own[0].what : joined(own));
  if (typeof value !== 'object' || value === null) return;
  for (const [key, member] of Array.isArray(value) ? value.entries() : sortedEntries(value)) {
    const unwanted = here.find(({ surplus }) => surplus === key);
    if (unwanted !== undefined) refuse(pointer, value, unwanted.what);
    visit(`${pointer}/${key}`, member, findings);
  }
}

function joined(findings: readonly Finding[]): string {
  return findings.map(({ what }) => what).reduceRight((all, what) => all + what);
}

function refuse(pointer: string, value: unknown, what: string): never {
  const shown = typeof value === 'number' && !Number.isFinite(value) ? String(value) : dumpJson(value);
  throw new VreserveError('BAD_LOT_JSON', { reason: `At ${pointer} of ${shown} - ${what}\n` });
}
