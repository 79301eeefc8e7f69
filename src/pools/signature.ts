// What is on a device: the signatures that wipefs finds, of filesystems, partition tables, RAID members and the like.

import { Ajv } from 'ajv';
import { VreserveError } from '../core/errors.js';
import type { Tools } from './tools.js';

export interface Signature {
  offsetBytes: number;
  /** Such as `btrfs`, `ext4`, `gpt`, `LVM2_member`. */
  type: string;
  uuid: string | null;
  label: string | null;
}

interface Row {
  offset: string;
  type: string;
  uuid?: string | null;
  label?: string | null;
}

const isAnswer = new Ajv().compile<{ signatures: Row[] }>({
  type: 'object',
  properties: {
    signatures: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          offset: { type: 'string', pattern: '^0x[0-9a-fA-F]{1,13}$' },
          type: { type: 'string' },
          uuid: { type: 'string', nullable: true },
          label: { type: 'string', nullable: true },
        },
        required: ['offset', 'type'],
      },
    },
  },
  required: ['signatures'],
});

/** All signatures on the device, which is only read; none: nothing is known to be on it. Throws TOOL_…. */
export async function signaturesOf(tools: Tools, path: string): Promise<Signature[]> {
  const text = await tools.run('wipefs', ['--no-act', '--json', '--output', 'OFFSET,TYPE,UUID,LABEL', path]);
  if (text.trim() === '') return [];
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = null;
  }
  if (!isAnswer(answer)) {
    throw new VreserveError('TOOL_FAILED', { tool: 'wipefs', reason: `what it says of '${path}' is not understood` });
  }
  return answer.signatures.map(({ offset, type, uuid, label }) => ({
    offsetBytes: Number(offset),
    type,
    uuid: uuid ?? null,
    label: label ?? null,
  }));
}

/** For people: `btrfs 'fast'`, `gpt`. */
export function signatureText({ type, label }: Signature): string {
  return label === null || label === '' ? type : `${type} '${label}'`;
}
