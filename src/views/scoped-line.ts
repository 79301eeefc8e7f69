// A line of the journal as it is seen from a lot's own directory: paths relative to it, nothing of the lots above.

import { relativeTo } from '../core/paths.js';

/**
 * Shows a line in as many bytes as it has, so that offsets in the file stay: what is saved becomes blanks before the
 * newline. A line that was trimmed away is left as it is.
 */
export function lineSeenFrom(directory: string): (line: Buffer) => Buffer {
  const seen = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(seen);
    if (typeof value !== 'string') return value;
    return value === directory || value.startsWith(`${directory}/`) ? relativeTo(value, directory) : value;
  };
  return (line) => {
    const text = line.toString();
    if (!text.startsWith('{')) return line;
    const { parent: _parent, parents: _parents, ...fields } = JSON.parse(text) as Record<string, unknown>;
    const shown = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, seen(value)]));
    const json = Buffer.from(JSON.stringify(shown));
    const padded = Buffer.alloc(line.length, ' ');
    json.copy(padded);
    padded[line.length - 1] = 0x0a;
    return padded;
  };
}
