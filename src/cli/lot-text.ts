// What LotMan's functions answer, as text for people.
import { formatBytes, formatCount, MAX_BYTES } from '../core/bytes.js';
import type { LotAsJson, UsagePartJson } from '../lots/queries.js';
import { bytesOfGb, type DirJson } from '../lots/wire.js';
import { alignColumns } from './output.js';

const DONE: Record<string, string> = {
  add: 'made',
  update: 'changed',
  'add-to': 'changed',
  'remove-parents': 'changed',
  'remove-paths': 'removed',
  remove: 'removed',
  'usage set': 'recorded',
  'usage set-by-dir': 'recorded',
};

/** Lines for the result of the function `name`; `word` is the lot that was named, if it was. */
export function lotLines(name: string, result: unknown, word: string | undefined): string[] {
  if (result === undefined || result === null) return [`${DONE[name] ?? 'done'}${word === undefined ? '' : ` ${word}`}`];
  switch (name) {
    case 'show':
      return showLines(result as LotAsJson);
    case 'policy':
      return policyLines(result as Record<string, { lot_name?: string; value: number }>, word);
    case 'usage':
      return usageLines(result as Record<string, UsagePartJson>);
    case 'context':
      return alignColumns(Object.entries(result).map(([key, value]) => [key, String(value)]));
    case 'dirs':
      return dirLines(result as DirJson[]);
    default:
      if (typeof result === 'boolean') return [result ? 'yes' : 'no'];
      return Array.isArray(result) ? result.map(String) : [String(result)];
  }
}

function showLines(lot: LotAsJson): string[] {
  const names = (list: readonly string[]) => (list.length === 0 ? '-' : list.join(', '));
  const head = alignColumns([
    ['lot', lot.lot_name],
    lot.owners === undefined ? ['owner', lot.owner ?? ''] : ['owners', names(lot.owners)],
    ['parents', names(lot.parents)],
    ['children', names(lot.children)],
  ]);
  const attributes = lot.restrictive_management_policy_attrs ?? valuesOf(lot.management_policy_attrs);
  return [...head, '', ...dirLines(lot.paths), '', ...policyLines(attributes, lot.lot_name), '', ...usageLines(lot.usage)];
}

function valuesOf(policy: object): Record<string, { value: number }> {
  return Object.fromEntries(Object.entries(policy).map(([key, value]) => [key, { value: Number(value) }]));
}

function policyLines(attributes: Record<string, { lot_name?: string; value: number }>, word: string | undefined): string[] {
  const rows = Object.entries(attributes).map(([key, { lot_name, value }]) => [
    key,
    valueText(key, value),
    lot_name === undefined || lot_name === word ? '' : `by ${lot_name}`,
  ]);
  return alignColumns([['POLICY', 'VALUE', ''], ...rows]);
}

function usageLines(usage: Record<string, UsagePartJson>): string[] {
  const isRecursive = Object.values(usage).some(({ total }) => total !== undefined);
  const rows = Object.entries(usage).map(([key, { self_contrib, children_contrib, total }]) => {
    const own = valueText(key, self_contrib);
    return isRecursive ? [key, own, valueText(key, children_contrib ?? 0), valueText(key, total ?? 0)] : [key, own];
  });
  return alignColumns([isRecursive ? ['USAGE', 'SELF', 'CHILDREN', 'TOTAL'] : ['USAGE', 'SELF'], ...rows], [1, 2, 3]);
}

function dirLines(dirs: readonly DirJson[]): string[] {
  if (dirs.length === 0) return ['no paths'];
  const rows = dirs.map(({ path, lot_name, recursive, exclude }) => [
    path,
    exclude ? 'excluded' : recursive ? 'recursive' : 'not recursive',
    lot_name,
  ]);
  return alignColumns([['PATH', 'HOW', 'LOT'], ...rows]);
}

/** The end of what a number can say is no limit, or never. */
function valueText(key: string, value: number): string {
  const isTime = key.endsWith('_time');
  if (value >= MAX_BYTES || (key.includes('GB') && bytesOfGb(value) >= MAX_BYTES)) return isTime ? 'never' : 'unlimited';
  if (isTime) return new Date(value).toISOString();
  return key.includes('GB') ? formatBytes(bytesOfGb(value)) : formatCount(value);
}
