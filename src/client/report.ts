// The report as a client gets it.

import type { Report } from '../views/json.js';
import { badAnswer, isObject } from './answers.js';

/** The report, where it looks like one. Throws BAD_ANSWER. */
export function checkReport(json: Record<string, unknown>, where: string): Report {
  const { daemon, pool, lots, waiting } = json;
  if (isObject(daemon) && isObject(pool) && isList(lots) && isList(waiting)) return json as unknown as Report;
  throw badAnswer(where, 'it is no report');
}

function isList(value: unknown): boolean {
  return Array.isArray(value) && value.every(isObject);
}
