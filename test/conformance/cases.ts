// The conformance table as values: what is done in an empty directory, and what must be the same on every filesystem.
import { DATA_CASES } from './cases/data.js';
import { NAME_CASES } from './cases/names.js';
import { OWNER_CASES } from './cases/owners.js';
import { SHARED_CASES } from './cases/shared.js';

/** Steps of one case, each a line for the interpreter (see README.md): `[ERRNO:] [@PROCESS] WORD ARGUMENT...`. */
export interface Case {
  name: string;
  /** A step that is to fail has the name of its errno in front, and every other one succeeds. */
  steps: readonly string[];
  /** What of the table of limits in README.md it cannot do without. */
  needs?: readonly string[];
}

/** All cases, in the order in which they run. */
export const CASES: readonly Case[] = [...DATA_CASES, ...NAME_CASES, ...OWNER_CASES, ...SHARED_CASES];
