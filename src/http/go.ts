// How Go's HTTP server and encoders write: the bytes that clients of the original service know.

/** JSON of a text as encoding/json has it: with `<`, `>`, `&` and the line separators escaped. */
export function goString(text: string): string {
  // An escape is taken whole: the b of two backslashes and a b is a letter.
  return JSON.stringify(text).replace(/\\.|[<>&\u2028\u2029]/g, (found) => {
    if (found.length > 1) return found === '\\b' ? '\\u0008' : found === '\\f' ? '\\u000c' : found;
    return `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' };

/** The body of a redirection of GET. */
export function goRedirectBody(url: string): string {
  const escaped = url.replace(/[&<>"']/g, (letter) => ENTITIES[letter] ?? letter);
  return `<a href="${escaped}">Moved Permanently</a>.\n\n`;
}

/** The body of an answer for a path that is not served. */
export const GO_NOT_FOUND = '404 page not found\n';

/** The decimal digits of strconv.ParseUint, which takes no sign, blank, prefix or underscore; null beyond 64 bits too. */
export function parseUint(text: string): bigint | null {
  if (!/^[0-9]+$/.test(text) || text.replace(/^0+/, '').length > 20) return null;
  const value = BigInt(text);
  return value < 2n ** 64n ? value : null;
}
