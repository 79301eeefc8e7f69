// How the commands on one entry answer: what was taken and where it is now, as rows or as JSON.
import { formatExactBytes } from '../core/bytes.js';
import { asVreserveError, errnoOf } from '../core/errors.js';
import { printable } from '../views/text.js';
import { alignColumns } from './output.js';

/** What became of an entry, or will be when the answer is out. */
export interface Answer {
  name: string;
  /** Where it was. */
  queue: string;
  state: 'queued' | 'checked-out' | 'saved' | 'removed';
  /** The queue that it was saved into. */
  to?: string;
  metadata: string;
  /** The path of its data. */
  data: string;
  /** null where the data is gone. */
  dataBytes: number | null;
  /** The file that its data was copied to. */
  copy?: string;
}

/** Text for stdout. Control characters of names and metadata are made visible. */
export function answerText(answer: Answer, json: boolean): string {
  if (json) return `${JSON.stringify(answer)}\n`;
  const { name, queue, state, to, metadata, data, dataBytes, copy } = answer;
  const where =
    state === 'saved'
      ? `saved into ${to}, was in ${queue}`
      : `${state === 'checked-out' ? 'checked out' : state}, ${state === 'removed' ? 'was in' : 'in'} ${queue}`;
  const rows = [
    ['name', name],
    ['state', where],
    ['metadata', metadata],
    ['data', data],
    ['size', dataBytes === null ? 'the data is gone' : formatExactBytes(dataBytes)],
    ...(copy === undefined ? [] : [['copy', copy]]),
  ];
  return alignColumns(rows.map(([label = '', value = '']) => [label, printable(value)]))
    .join('\n')
    .concat('\n');
}

/**
 * From here on a reader of stdout that goes away ends nothing by itself: what is half done in the spool is finished or
 * undone first. `tell` says whether it went.
 */
export function outliveReader(lost: () => void = () => {}): void {
  process.stdout.removeAllListeners('error').on('error', lost);
}

/** For what `tell` throws: nobody reading is no error. */
export function unlessNoReader(error: unknown): void {
  if (errnoOf(error) !== 'EPIPE') throw error;
}

/** Writes to stdout; resolves when it is written. Throws what the system says, such as EPIPE or ENOSPC. */
export function tell(text: string | Uint8Array): Promise<void> {
  return new Promise((done, failed) => {
    process.stdout.write(text, (error) => (error ? failed(asVreserveError(error)) : done()));
  });
}
