// Widgets, for Multispool's cases: metadata and data as S-expressions, three queues, and names with a number at their end.
import { readFile } from 'node:fs/promises';
import type { SpoolKind } from '../../../src/spool/kind.js';

export const QUEUES = ['queue1', 'queue2', 'queue3'] as const;
export type Queue = (typeof QUEUES)[number];

/** What an entry's metadata says: `(Cog 1)` or `(Sprocket "some text")`. */
export type Widget = { cog: number } | { sprocket: string };

/** What its data says: `((serial_number 1) (customer "some text"))`. */
export interface Order {
  serialNumber: number;
  customer: string;
}

type Sexp = string | readonly Sexp[];

/** Throws on anything but one expression. */
function parse(text: string): Sexp {
  const words = text.match(/"(?:[^"\\]|\\.)*"|[()]|[^\s()"]+/gsu) ?? [];
  let next = 0;
  const one = (): Sexp => {
    const word = words[next++];
    if (word === undefined || word === ')') throw new Error(`not an S-expression: ${text}`);
    if (word.startsWith('"')) return JSON.parse(word) as string;
    if (word !== '(') return word;
    const list: Sexp[] = [];
    while (words[next] !== ')') list.push(one());
    next++;
    return list;
  };
  const all = one();
  if (next !== words.length) throw new Error(`more than one S-expression: ${text}`);
  return all;
}

const number = (atom: Sexp | undefined): number => {
  if (typeof atom === 'string' && /^-?[0-9]+$/.test(atom)) return Number(atom);
  throw new Error(`not a number: ${JSON.stringify(atom)}`);
};

const quoted = (text: string): string => JSON.stringify(text);

export const widgetText = (widget: Widget): string =>
  'cog' in widget ? `(Cog ${widget.cog})` : `(Sprocket ${quoted(widget.sprocket)})`;

function widgetOf(text: string): Widget {
  const [kind, value, ...more] = parse(text);
  if (kind === 'Cog' && more.length === 0) return { cog: number(value) };
  if (kind === 'Sprocket' && typeof value === 'string' && more.length === 0) return { sprocket: value };
  throw new Error(`not a widget: ${text}`);
}

export const orderText = ({ serialNumber, customer }: Order): string =>
  `((serial_number ${serialNumber}) (customer ${quoted(customer)}))`;

function orderOf(text: string): Order {
  const fields = new Map([...parse(text)].map((field) => [field[0], field[1]] as const));
  const customer = fields.get('customer');
  if (typeof customer !== 'string') throw new Error(`not an order: ${text}`);
  return { serialNumber: number(fields.get('serial_number')), customer };
}

/** Widgets without a throttle. */
export const WIDGETS: SpoolKind<Widget, Order, Queue> = {
  queues: QUEUES,
  meta: { encode: widgetText, decode: widgetOf },
  data: {
    save: (path, order, { saveAtomically }) => saveAtomically(path, `${orderText(order)}\n`),
    load: async (path) => orderOf(await readFile(path, 'utf8')),
  },
};

/** Names that begin so and end with the attempt, six digits. */
export const numbered =
  (prefix: string) =>
  (attempt: number): string =>
    `${prefix}${String(attempt).padStart(6, '0')}`;
