// Text for people: tables whose columns line up.

/** Half of a letter beyond U+FFFF. */
const SURROGATE = /[\ud800-\udfff]/;

/** Printable ASCII, which is nearly all there is. */
const PLAIN = /^[ -~]*$/;

/** A column: its heading, and on which side its cells are aligned. */
export interface Column {
  heading: string;
  align: 'left' | 'right';
}

/** Rows under headings, columns two blanks apart, no trailing blanks; each line ends with a newline. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ heading }, i) => rows.reduce((most, row) => Math.max(most, width(row[i] ?? '')), heading.length));
  // A report may have a hundred thousand lines: nothing is made for a cell but its text.
  const line = (cells: readonly string[]) => {
    let text = '';
    for (let i = 0; i < columns.length; i++) {
      const cell = cells[i] ?? '';
      const pad = ' '.repeat(Math.max(0, (widths[i] ?? 0) - width(cell)));
      text += (i === 0 ? '' : '  ') + (columns[i]?.align === 'right' ? pad + cell : cell + pad);
    }
    return `${text.trimEnd()}\n`;
  };
  return [columns.map(({ heading }) => heading), ...rows].map(line).join('');
}

/** The text with control characters made visible, so that no name can write over the terminal. */
export function printable(text: string): string {
  if (PLAIN.test(text)) return text;
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
}

/** The text in at most `most` characters, its middle left out where it is longer. */
export function shorten(text: string, most: number): string {
  if (text.length <= most) return text;
  const tailLength = Math.floor((most - 1) / 2);
  if (PLAIN.test(text)) return `${text.slice(0, most - 1 - tailLength)}…${text.slice(-tailLength)}`;
  const letters = [...text];
  if (letters.length <= most) return text;
  return `${letters.slice(0, most - 1 - tailLength).join('')}…${letters.slice(-tailLength).join('')}`;
}

/** Code points, which is what most terminals show in one cell each. */
function width(text: string): number {
  return SURROGATE.test(text) ? [...text].length : text.length;
}
