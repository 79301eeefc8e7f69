// What a request's target below `/store/` names (compat/store.md 2.2: one segment, and nothing else).

/** `none`: there is no such page. */
export type StoreTarget =
  | { kind: 'list' }
  | { kind: 'blob'; name: string }
  | { kind: 'redirect'; location: string }
  | { kind: 'unreadable'; reason: string }
  | { kind: 'none' };

export interface ParsedTarget {
  target: StoreTarget;
  query: URLSearchParams;
}

const PREFIX = '/store/';
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** From the request line, as it came. */
export function parseTarget(url: string): ParsedTarget {
  const local = localPart(url);
  const at = local.indexOf('?');
  const path = at < 0 ? local : local.slice(0, at);
  const search = at < 0 ? '' : local.slice(at);
  return { target: targetOf(path, search), query: new URLSearchParams(search) };
}

/** True for what is the store's to answer. */
export function isBelowStore(url: string): boolean {
  return localPart(url).startsWith(PREFIX);
}

/** Without the scheme and host that a proxy's client sends. */
function localPart(url: string): string {
  return url.replace(/^https?:\/\/[^/?#]*/i, '');
}

function targetOf(path: string, search: string): StoreTarget {
  if (!path.startsWith(PREFIX)) return { kind: 'none' };
  const segment = path.slice(PREFIX.length);
  if (segment === '') return { kind: 'list' };
  const isRedirect = segment.length > 1 && segment.indexOf('/') === segment.length - 1;
  const name = decode(isRedirect ? segment.slice(0, -1) : segment);
  if (name === null) return { kind: 'unreadable', reason: 'the name is not valid UTF-8, or not percent-encoded as it must be' };
  // What a path can never be: an encoded slash separates segments for the original too.
  if (name.includes('/') || name === '.' || name === '..') return { kind: 'none' };
  return isRedirect ? { kind: 'redirect', location: path.slice(0, -1) + search } : { kind: 'blob', name };
}

/** null where it is no text. */
function decode(segment: string): string | null {
  if (/%(?![0-9A-Fa-f]{2})/.test(segment)) return null;
  const bytes = segment.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  try {
    return utf8.decode(Buffer.from(bytes, 'latin1'));
  } catch {
    return null;
  }
}
